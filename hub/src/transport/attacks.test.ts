import { connect as dial } from 'node:net'
import {
  AckPolicy,
  DiscardPolicy,
  JetStreamApiError,
  jetstream,
  jetstreamManager,
  RetentionPolicy,
} from '@nats-io/jetstream'
import {
  type ConnectionOptions,
  connect,
  credsAuthenticator,
  headers,
  type MsgHdrs,
  type NatsConnection,
  PermissionViolationError,
  RequestError,
} from '@nats-io/transport-node'
import { STREAM_DESIRED, STREAM_REPORTS, subjects } from '@skerry/api'
import { until } from '@skerry/supervise'
import { testFolder, testNatsServer } from '@skerry/supervise/testing'
import { sha256Hex } from '@skerry/trust'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { IN_TIME, newNatsKeys, openWorld, type TestNode } from './fixture.ts'
import { credsText, jwt, mintUser, ownCreds, sitesAccount } from './layout.ts'
import { createNkey } from './nkeys.ts'

// What a registered site may not do to the others, tried with raw clients of its own: foreign subjects, JetStream's verbs,
// reply subjects, and a flood.
// Nothing here trusts an error message alone: after each attempt the streams are as they were and nobody heard a thing.
// The same reply-subject attacks are run in one flat account, where they succeed: this test is able to fail.

let world: Awaited<ReturnType<typeof openWorld>>
let a: TestNode
let b: TestNode
/** A site to which nothing is assigned: a get of its key is answered with an empty 404. */
let c: TestNode
let [asA, asB, asC]: NatsConnection[] = []
/** Everything that reached B, or the hub on a subject that is not A's or C's own. */
const strayed: string[] = []

beforeAll(async () => {
  world = await openWorld()
  // One name is the beginning of the other: a prefix is not a cluster.
  a = await world.addNode('site-1')
  b = await world.addNode('site-10')
  c = await world.addNode('site-2')
  ;[asA, asB, asC] = [await world.connectNode(a), await world.connectNode(b), await world.connectNode(c)]
  const js = jetstream(world.hub.nc, IN_TIME)
  await js.publish(subjects.desired(a.cluster, a.routingToken), 'the desired state of A')
  await js.publish(subjects.desired(b.cluster, b.routingToken), 'the desired state of B')
  await asB.request(subjects.report(b.cluster, b.node, 'status'), 'a report of B', IN_TIME)
  await (await jetstreamManager(world.hub.nc, IN_TIME)).consumers.add(STREAM_REPORTS, {
    durable_name: 'ingest',
    ack_policy: AckPolicy.Explicit,
  })
  const stray = (who: string) => ({
    callback: (_: Error | null, { subject }: { subject: string }) => void strayed.push(`${who} heard ${subject}`),
  })
  for (const own of [
    subjects.notify(b.cluster, b.routingToken),
    subjects.ack(b.cluster, b.node, b.routingToken),
    `${subjects.inbox(b.cluster, b.node, b.routingToken)}.watch`,
  ])
    asB.subscribe(own, stray('B'))
  for (const foreign of [
    'desired.>',
    'notify.>',
    'ack.>',
    '$KV.>',
    '$O.>',
    `report.${b.cluster}.>`,
    `heartbeat.${b.cluster}.>`,
  ])
    world.hub.nc.subscribe(foreign, stray('the hub'))
  for (const cluster of [a.cluster, c.cluster])
    world.hub.nc.subscribe(`heartbeat.${cluster}.*`, {
      callback: (_, message) => {
        if (message.subject === subjects.heartbeat(cluster, 'n1')) fences.get(message.string())?.()
        else strayed.push(`the hub heard ${message.subject}`)
      },
    })
  await Promise.all([asB.flush(), world.hub.nc.flush()])
})
afterAll(() => world?.close())

/** JetStream's error code for it. */
const STREAM_NOT_FOUND = 10_059

const fences = new Map<string, () => void>()
let fenced = 0

/** Resolves when the server has carried out everything that this connection sent: its honest heartbeat came through. */
async function fence(nc: NatsConnection, node: TestNode): Promise<void> {
  fenced += 1
  const mark = `fence ${fenced}`
  const passed = new Promise<void>((resolve) => fences.set(mark, resolve))
  nc.publish(subjects.heartbeat(node.cluster, node.node), mark)
  await passed
  await Promise.all([asB?.flush(), world.hub.nc.flush()])
}

/** All that the hub keeps in NATS, without the reports of the attackers themselves. */
async function kept(nc: NatsConnection, attackers: readonly string[]): Promise<object> {
  const jsm = await jetstreamManager(nc, IN_TIME)
  const streams: object[] = []
  for await (const { config } of jsm.streams.list()) {
    const held: Record<string, string> = {}
    const { state } = await jsm.streams.info(config.name, { subjects_filter: '>' })
    for (const subject of Object.keys(state.subjects ?? {})) {
      if (attackers.some((cluster) => subject.startsWith(`report.${cluster}.n1.`))) continue
      const last = await jsm.streams.getMessage(config.name, { last_by_subj: subject })
      held[subject] = `${state.subjects?.[subject]} ${last?.seq} ${sha256Hex(last?.data ?? '')}`
    }
    const consumers = (await jsm.consumers.list(config.name).next()).map(({ name, config }) => ({ name, config }))
    streams.push({ config, held, consumers })
  }
  return streams
}

/** Runs an attack; afterwards everything is as it was and nobody heard anything. */
async function withoutEffect(
  attack: () => unknown,
  from: [NatsConnection | undefined, TestNode] = [asA, a],
): Promise<void> {
  const [nc, node] = from
  if (!nc) throw new Error('not connected')
  strayed.length = 0
  const before = await kept(world.hub.nc, [a.cluster, c.cluster])
  await attack()
  await fence(nc, node)
  expect(await kept(world.hub.nc, [a.cluster, c.cluster])).toEqual(before)
  expect(strayed).toEqual([])
}

async function refusal(act: Promise<unknown>): Promise<unknown> {
  try {
    return await act
  } catch (error) {
    return error instanceof RequestError && error.cause ? error.cause : error
  }
}

describe('foreign subjects', () => {
  const GUESS = 'a'.repeat(26)
  test.each([
    '>',
    '*',
    '*.*',
    '*.*.*',
    'notify.>',
    'notify.*.*',
    'notify.site-1.*',
    'notify.site-10.*',
    `notify.site-10.${GUESS}`,
    'NOTIFY_B',
    'ack.>',
    'ack.*.*.*',
    'ack.site-1.n2.*',
    'ack.site-1.*.*',
    'ACK_B',
    '_INBOX.>',
    '_INBOX.*.*.*.>',
    '_INBOX.site-1.>',
    '_INBOX.site-1.n1.>',
    'INBOX_B',
    '_R_.>',
    '_GR_.>',
    '$SYS.>',
    '$SYS.ACCOUNT.>',
    '$JS.>',
    '$JS.API.>',
    '$JS.EVENT.>',
    '$KV.>',
    '$O.>',
    '$SRV.>',
    '$MQTT.>',
    'desired.>',
    'DESIRED_A',
    'DESIRED_B',
    'report.>',
    'report.site-1.n1.status',
    'report.site-10.n1.status',
    'heartbeat.>',
    'get.>',
    'get.desired.*.*',
  ])('subscribing to %s hears nothing', async (name) => {
    const subject = named(name)
    const heard: string[] = []
    const refused: Error[] = []
    for (const queue of [undefined, 'hub', 'ingest'])
      asA?.subscribe(subject, {
        ...(queue ? { queue } : {}),
        callback: (error, message) => {
          if (error) refused.push(error)
          else heard.push(message.subject)
        },
      })
    // Now there is something to hear, on every kind of subject.
    const [to] = [subjects.ack(b.cluster, b.node, b.routingToken)]
    world.hub.nc.publish(to, 'an ack for B')
    await jetstream(world.hub.nc, IN_TIME).publish(
      subjects.desired(b.cluster, b.routingToken),
      'the desired state of B',
    )
    asB?.publish(subjects.heartbeat(b.cluster, b.node), 'B lives')
    await asB?.request(`get.desired.${b.cluster}.${b.routingToken}`, '', IN_TIME)
    await Promise.all([asB?.flush(), world.hub.nc.flush()])
    await asA?.flush()
    expect(heard).toEqual([])
    expect(refused).toEqual(Array(3).fill(expect.any(PermissionViolationError)))
  })

  test.each([
    'report.site-10.n1.status',
    'report.site-10.n1.statements',
    'report.site-1.n2.status',
    'report.site-1.n1.commands',
    'report.site-1.n1',
    'report.site-1.n1.status.more',
    'heartbeat.site-10.n1',
    'heartbeat.site-1.n2',
    'heartbeat.site-1',
    'GET_B',
    `get.desired.site-1.${GUESS}`,
    `get.desired.site-10.${GUESS}`,
    'get.desired.site-1',
    'DESIRED_A',
    'DESIRED_B',
    'NOTIFY_A',
    'NOTIFY_B',
    'ACK_A',
    'ACK_B',
    'INBOX_A.x',
    'INBOX_B.watch',
    '_R_.x',
    '_GR_.x',
    '$SYS.REQ.SERVER.PING',
    '$SYS.REQ.USER.INFO',
    '$SYS.REQ.CLAIMS.UPDATE',
    '$SYS.REQ.CLAIMS.DELETE',
    '$SYS.REQ.CLAIMS.LIST',
    '$SYS.REQ.ACCOUNT.PING.CONNZ',
    '$SYS.ACCOUNT.x.CONNECT',
    '$KV.x.y',
    '$O.x.C.y',
    '$JS.ACK.REPORTS.ingest.1.1.1.1.0',
    '$JS.ACK.>',
    '$JS.FC.x',
    'anything',
  ])('publishing to %s reaches nobody', async (name) => {
    const subject = named(name)
    await withoutEffect(async () => {
      asA?.publish(subject, 'an attack')
      const h = headers()
      h.set('Nats-Trace-Dest', subjects.notify(b.cluster, b.routingToken))
      asA?.publish(subject, 'an attack', { headers: h })
      expect(await refusal(asA?.request(subject, 'an attack', { timeout: 1_000 }) as Promise<unknown>)).toBeInstanceOf(
        Error,
      )
    })
  })

  // Tokens are made at run time; the tables name their subjects.
  function named(name: string): string {
    const [head = '', ...rest] = name.split('.')
    const of: Record<string, (node: TestNode) => string> = {
      DESIRED: (node) => subjects.desired(node.cluster, node.routingToken),
      NOTIFY: (node) => subjects.notify(node.cluster, node.routingToken),
      ACK: (node) => subjects.ack(node.cluster, node.node, node.routingToken),
      INBOX: (node) => subjects.inbox(node.cluster, node.node, node.routingToken),
      GET: (node) => subjects.getDesired(node.cluster, node.routingToken),
    }
    const make = of[head.slice(0, -2)]
    return make ? [make(head.endsWith('_A') ? a : b), ...rest].join('.') : name
  }
})

describe('JetStream', () => {
  const config = (more: object = {}) => JSON.stringify({ name: 'X', subjects: ['x'], ...more })
  const consumer = JSON.stringify({
    stream_name: STREAM_REPORTS,
    config: { durable_name: 'x', ack_policy: 'explicit' },
  })
  test.each([
    ['INFO', ''],
    ['STREAM.CREATE.X', config()],
    ['STREAM.CREATE.KV_X', config({ name: 'KV_X', subjects: ['$KV.X.>'] })],
    ['STREAM.CREATE.OBJ_X', config({ name: 'OBJ_X', subjects: ['$O.X.>'] })],
    ['STREAM.UPDATE.REPORTS', config({ name: 'REPORTS' })],
    ['STREAM.DELETE.REPORTS', ''],
    ['STREAM.DELETE.DESIRED', ''],
    ['STREAM.PURGE.REPORTS', ''],
    ['STREAM.PURGE.DESIRED', ''],
    ['STREAM.INFO.REPORTS', '{"subjects_filter":">"}'],
    ['STREAM.LIST', ''],
    ['STREAM.NAMES', ''],
    ['STREAM.MSG.GET.DESIRED', '{"seq":2}'],
    ['STREAM.MSG.GET.REPORTS', '{"seq":1}'],
    ['STREAM.MSG.DELETE.REPORTS', '{"seq":1}'],
    ['STREAM.SNAPSHOT.REPORTS', '{"deliver_subject":"_INBOX.x"}'],
    ['STREAM.RESTORE.X', config()],
    ['STREAM.LEADER.STEPDOWN.REPORTS', ''],
    ['STREAM.PEER.REMOVE.REPORTS', '{"peer":"x"}'],
    ['CONSUMER.CREATE.REPORTS', consumer],
    ['CONSUMER.CREATE.REPORTS.x', consumer],
    ['CONSUMER.CREATE.REPORTS.x.report.site-1.n1.status', consumer],
    ['CONSUMER.DURABLE.CREATE.REPORTS.x', consumer],
    ['CONSUMER.DELETE.REPORTS.ingest', ''],
    ['CONSUMER.INFO.REPORTS.ingest', ''],
    ['CONSUMER.LIST.REPORTS', ''],
    ['CONSUMER.NAMES.REPORTS', ''],
    ['CONSUMER.MSG.NEXT.REPORTS.ingest', '{"batch":1}'],
    ['CONSUMER.PAUSE.REPORTS.ingest', '{"pause_until":"2999-01-01T00:00:00Z"}'],
    ['CONSUMER.UNPIN.REPORTS.ingest', '{"group":"x"}'],
    ['CONSUMER.RESET.REPORTS.ingest', ''],
    ['DIRECT.GET.DESIRED', '{"seq":2}'],
    ['DIRECT.GET.DESIRED.desired.site-1.x', ''],
    ['DIRECT.GET.DESIRED.desired.site-10.x', ''],
    ['DIRECT.GET.DESIRED.>', ''],
    ['ACCOUNT.PURGE.HUB', ''],
    ['ACCOUNT.STREAM.MOVE.HUB.REPORTS', '{}'],
    ['META.LEADER.STEPDOWN', ''],
    ['SERVER.REMOVE', '{"peer":"x"}'],
  ])('%s is no right of a site', async (verb, body) => {
    await withoutEffect(async () => {
      for (const prefix of ['$JS.API', '$JS.hub.API'])
        expect(
          await refusal(asA?.request(`${prefix}.${verb}`, body, { timeout: 30_000 }) as Promise<unknown>),
        ).toBeInstanceOf(PermissionViolationError)
    })
  })

  const header = (values: Record<string, string>): MsgHdrs => {
    const made = headers()
    for (const [name, value] of Object.entries(values)) made.set(name, value)
    return made
  }
  test.each([
    ['rolls up the whole stream', { 'Nats-Rollup': 'all' }],
    ['rolls up its subject', { 'Nats-Rollup': 'sub' }],
    ['sets a time to live', { 'Nats-TTL': '1s' }],
    ['opens an atomic batch', { 'Nats-Batch-Id': 'x', 'Nats-Batch-Sequence': '1', 'Nats-Batch-Commit': '1' }],
    ['asks for a schedule', { 'Nats-Schedule': '@every 1s', 'Nats-Schedule-Target': 'report.site-10.n1.status' }],
    [
      'asks for one delayed message',
      { 'Nats-Schedule': '@at 2026-01-01T00:00:00Z', 'Nats-Schedule-Target': 'desired.site-10.x' },
    ],
    ['counts', { 'Nats-Incr': '1' }],
    [
      'expects another last number of B',
      {
        'Nats-Expected-Last-Subject-Sequence': '9',
        'Nats-Expected-Last-Subject-Sequence-Subject': 'report.site-10.n1.status',
      },
    ],
    ['expects another stream', { 'Nats-Expected-Stream': 'DESIRED' }],
  ])('a report of its own that %s is refused', async (_, values) => {
    await withoutEffect(async () => {
      const answer = await asA?.request(subjects.report(a.cluster, a.node, 'status'), 'x', {
        headers: header(values),
        timeout: 30_000,
      })
      expect(answer?.json()).toMatchObject({ error: { code: expect.any(Number) } })
    })
  })

  test('a message id of B that A uses first swallows nothing: B sends none', async () => {
    await asA?.request(subjects.report(a.cluster, a.node, 'status'), 'x', {
      headers: header({ 'Nats-Msg-Id': 'site-10/n1/2' }),
      timeout: 30_000,
    })
    const answer = await asB?.request(subjects.report(b.cluster, b.node, 'status'), 'another report of B', IN_TIME)
    expect(answer?.json()).not.toHaveProperty('duplicate')
  })
})

// The server publishes its answer where the asker says, with the server's rights. `from` C asks for what is not
// there, so that the answer is empty and passes for a request without a body.
type Account = { getOf(node: TestNode): string }
type ReplyAttack = {
  name: string
  from: 'A' | 'C'
  ask: (own: TestNode, account: Account) => [string, string]
  reply: string
}
const getOwn = (own: TestNode, { getOf }: Account): [string, string] => [getOf(own), '']
const getBadly = (own: TestNode, { getOf }: Account): [string, string] => [getOf(own), '{not json']
const report = (own: TestNode): [string, string] => [subjects.report(own.cluster, own.node, 'status'), 'x']
const REPLY_ATTACKS: ReplyAttack[] = [
  { name: "A's state as a report of B", from: 'A', ask: getOwn, reply: 'report.site-10.n1.status' },
  { name: "A's state as B's desired state", from: 'A', ask: getOwn, reply: 'DESIRED_B' },
  { name: "a PubAck as B's desired state", from: 'A', ask: report, reply: 'DESIRED_B' },
  { name: 'a 404 that deletes a consumer', from: 'C', ask: getOwn, reply: '$JS.API.CONSUMER.DELETE.REPORTS.ingest' },
  { name: 'a 404 that purges the reports', from: 'C', ask: getOwn, reply: '$JS.API.STREAM.PURGE.REPORTS' },
  { name: 'a 408 that purges the desired states', from: 'A', ask: getBadly, reply: '$JS.API.STREAM.PURGE.DESIRED' },
  { name: 'a 404 that deletes the reports', from: 'C', ask: getOwn, reply: '$JS.API.STREAM.DELETE.REPORTS' },
  { name: 'a 408 that deletes the desired states', from: 'A', ask: getBadly, reply: '$JS.API.STREAM.DELETE.DESIRED' },
]
const ALSO_TRIED: ReplyAttack[] = [
  { name: 'a PubAck that purges', from: 'A', ask: report, reply: '$JS.API.STREAM.PURGE.REPORTS' },
  { name: 'a 404 that purges an account', from: 'C', ask: getOwn, reply: '$JS.API.ACCOUNT.PURGE.HUB' },
  { name: 'a 404 that acknowledges', from: 'C', ask: getOwn, reply: '$JS.ACK.REPORTS.ingest.1.1.1.1.0' },
  { name: "A's state to whoever listens behind an import", from: 'A', ask: getOwn, reply: '_R_.x' },
  { name: 'a 404 to the system', from: 'C', ask: getOwn, reply: '$SYS.REQ.SERVER.PING' },
  { name: "A's state as a notification of B", from: 'A', ask: getOwn, reply: `notify.site-10.${'a'.repeat(26)}` },
  { name: 'a PubAck as an acknowledgement of B', from: 'A', ask: report, reply: `ack.site-10.n1.${'a'.repeat(26)}` },
  { name: 'a PubAck to an inbox of B', from: 'A', ask: report, reply: `_INBOX.site-10.n1.${'a'.repeat(26)}.watch` },
  { name: 'a PubAck to everybody', from: 'A', ask: report, reply: 'notify.*.*' },
]
const replyOf = ({ reply }: ReplyAttack, victim: TestNode) =>
  reply === 'DESIRED_B' ? subjects.desired(victim.cluster, victim.routingToken) : reply

describe('answers sent to foreign subjects', () => {
  const account: Account = { getOf: (node) => subjects.getDesired(node.cluster, node.routingToken) }
  test.each([...REPLY_ATTACKS, ...ALSO_TRIED])('$name: without effect', async (attack) => {
    const [nc, own] = attack.from === 'A' ? ([asA, a] as const) : ([asC, c] as const)
    await withoutEffect(() => {
      const [subject, body] = attack.ask(own, account)
      nc?.publish(subject, body, { reply: replyOf(attack, b) })
    }, [nc, own])
  })

  // The control: the same clients, the same exact allow-lists, one account.
  test.each(REPLY_ATTACKS)('$name: succeeds in a flat account', async (attack) => {
    const flat = await openFlat()
    try {
      const before = JSON.stringify(await kept(flat.hub, [a.cluster, c.cluster]))
      const [subject, body] = attack.ask(attack.from === 'A' ? a : c, flat)
      const nc = attack.from === 'A' ? flat.asA : flat.asC
      await until(
        async () => {
          nc.publish(subject, body, { reply: replyOf(attack, b) })
          await nc.flush()
          // A stream that goes while it is looked at is an effect, too.
          const after = await kept(flat.hub, [a.cluster, c.cluster]).catch((error: unknown) => {
            if (error instanceof JetStreamApiError && error.code === STREAM_NOT_FOUND) return []
            throw error
          })
          return JSON.stringify(after) !== before
        },
        `the effect of: ${attack.name}`,
        30_000,
      )
    } finally {
      await flat.close()
    }
  })

  async function openFlat() {
    const getOf = (node: TestNode) => `$JS.API.DIRECT.GET.DESIRED.${subjects.desired(node.cluster, node.routingToken)}`
    const user = (node: TestNode) => {
      const publish = [
        subjects.report(node.cluster, node.node, 'status'),
        subjects.heartbeat(node.cluster, node.node),
        getOf(node),
      ]
      return `{ user: "${node.cluster}", password: "x", permissions: { publish: ${JSON.stringify(publish)}, subscribe: ["${subjects.inbox(node.cluster, node.node, node.routingToken)}.>"] } }`
    }
    const dir = testFolder()
    const server = await testNatsServer(
      `jetstream { store_dir: "${dir}/js" }\naccounts { FLAT { jetstream: enabled, users: [ { user: "hub", password: "x" }, ${user(a)}, ${user(c)} ] } }\n`,
      { dir },
    )
    const join = (name: string) => connect({ servers: server.url, user: name, pass: 'x' })
    const [hub, flatA, flatC] = [await join('hub'), await join(a.cluster), await join(c.cluster)]
    const jsm = await jetstreamManager(hub, IN_TIME)
    await jsm.streams.add({
      name: STREAM_DESIRED,
      subjects: ['desired.*.*'],
      max_msgs_per_subject: 1,
      allow_direct: true,
    })
    await jsm.streams.add({
      name: STREAM_REPORTS,
      subjects: ['report.*.*.*'],
      retention: RetentionPolicy.Workqueue,
      discard: DiscardPolicy.New,
    })
    await jsm.consumers.add(STREAM_REPORTS, { durable_name: 'ingest', ack_policy: AckPolicy.Explicit })
    for (const node of [a, b])
      await jetstream(hub, IN_TIME).publish(subjects.desired(node.cluster, node.routingToken), node.cluster)
    await jetstream(hub, IN_TIME).publish(subjects.report(b.cluster, b.node, 'status'), 'a report of B')
    return {
      hub,
      asA: flatA,
      asC: flatC,
      getOf,
      async close() {
        await Promise.allSettled([hub, flatA, flatC].map((nc) => nc.close()))
        await server.stop()
      },
    }
  }
})

describe('credentials', () => {
  const seconds = () => Math.floor(Date.now() / 1000)
  const inAnHour = () => new Date(Date.now() + 3_600_000)
  const own = () => ({
    issuer_account: world.keys.sites.pub,
    tags: [`node:${a.node}`, `t:${a.routingToken}`],
    type: 'user',
    version: 2,
  })
  const asUser = (more: object, signer = world.keys.scoped) =>
    credsText(
      jwt({ sub: a.user.pub, name: a.cluster, exp: seconds() + 3_600, nats: { ...own(), ...more } }, signer),
      a.user.seed,
    )
  const enter = (creds: string | undefined, more: ConnectionOptions = {}) =>
    connect({
      servers: world.url,
      reconnect: false,
      ...(creds === undefined ? {} : { authenticator: credsAuthenticator(Buffer.from(creds)) }),
      ...more,
    })

  test.each<[string, () => string | undefined]>([
    ['none at all', () => undefined],
    ["B's JWT with A's seed", () => credsText(b.jwt, a.user.seed)],
    ['one by a rogue signer', () => asUser({}, createNkey('account'))],
    [
      'one by a rogue operator and account',
      () => asUser({ issuer_account: createNkey('account').pub }, createNkey('account')),
    ],
    ['one that A signed for itself', () => asUser({}, a.user)],
    ['one that carries rights of its own', () => asUser({ pub: { allow: ['>'] }, sub: { allow: ['>'] } })],
    ['one that carries limits of its own', () => asUser({ subs: -1 })],
    ['one for another account', () => asUser({ issuer_account: world.keys.hub.pub })],
    [
      'one that is expired',
      () =>
        credsText(
          mintUser(world.keys, { ...a, natsKey: a.user.pub, expiresAt: new Date(Date.now() - 1_000) }),
          a.user.seed,
        ),
    ],
  ])('%s: refused', async (_, make) => {
    await expect(enter(make())).rejects.toThrow(/authorization|expired/i)
  })

  test('the same connection with the right ones is taken', async () => {
    await (await enter(asUser({}))).close()
  })

  test.each([
    ['*', 'n1'],
    ['>', 'n1'],
    ['site-10.x', 'n1'],
    ['Site', 'n1'],
    ['', 'n1'],
    ['site-1', '*'],
    ['site-1', '>'],
    ['site-1', 'n1.example'],
    ['site-1', ''],
  ])('a credential for cluster "%s" and node "%s" is never made: it would mean other subjects', (cluster, node) => {
    const wanted = { cluster, node, routingToken: a.routingToken, natsKey: a.user.pub, expiresAt: inAnHour() }
    expect(() => mintUser(world.keys, wanted)).toThrow(TypeError)
  })

  test.each(['*', '>', 'short', 'a.b'.repeat(8), 'A'.repeat(26)])(
    'nor one with the routing token "%s"',
    (routingToken) => {
      const wanted = { cluster: 'site-1', node: 'n1', routingToken, natsKey: a.user.pub, expiresAt: inAnHour() }
      expect(() => mintUser(world.keys, wanted)).toThrow(TypeError)
    },
  )

  test('a revoked one is cut off at once and refused after; others stay; a later one of the same key is taken', async () => {
    const node = await world.addNode('site-revoked')
    const nc = await connect({
      servers: world.url,
      authenticator: credsAuthenticator(Buffer.from(node.creds)),
      reconnect: false,
    })
    await world.hub.pushSites(new Map([[node.user.pub, seconds()]]))
    expect(await nc.closed()).toBeInstanceOf(Error)
    await expect(enter(node.creds)).rejects.toThrow(/authorization|revoked/i)
    await asB?.flush()
    expect(asB?.isClosed()).toBe(false)
    await until(
      async () => {
        const again = credsText(
          mintUser(world.keys, { ...node, natsKey: node.user.pub, expiresAt: inAnHour() }),
          node.user.seed,
        )
        const entered = await enter(again).catch(() => undefined)
        await entered?.close()
        return entered !== undefined
      },
      'a later credential being taken',
      30_000,
    )
  })

  test('one ends at its time, with its connection', async () => {
    let creds = ''
    let nc: NatsConnection | undefined
    // A slow machine may take longer to enter than the credential lives: another is tried then.
    await until(
      async () => {
        const expiresAt = new Date(Date.now() + 2_000)
        creds = credsText(mintUser(world.keys, { ...a, natsKey: a.user.pub, expiresAt }), a.user.seed)
        nc = await enter(creds).catch(() => undefined)
        return nc !== undefined
      },
      'a credential of two seconds being taken',
      30_000,
    )
    expect(await nc?.closed()).toBeInstanceOf(Error)
    // The server compares whole seconds: within the last one it still lets in, and cuts off again.
    await until(
      async () => {
        const entered = await enter(creds).catch(() => undefined)
        await entered?.close()
        return entered === undefined
      },
      'the expired credential being refused',
      30_000,
    )
  })

  test('no leaf node may be made of one, and no MQTT client', async () => {
    expect(world.config).not.toMatch(/^\s*(leafnodes|mqtt|websocket|cluster|gateway|authorization|no_auth_user)\b/m)
    const [, claims = ''] = sitesAccount(newNatsKeys(), new Map()).split('.')
    const { nats } = JSON.parse(Buffer.from(claims, 'base64url').toString()) as {
      nats: { limits: { leaf: number }; signing_keys: [{ template: { allowed_connection_types: string[] } }] }
    }
    expect(nats.limits.leaf).toBe(0)
    expect(nats.signing_keys[0].template.allowed_connection_types).toEqual(['STANDARD', 'WEBSOCKET'])

    // And where somebody opens a port for leaf nodes, the server itself refuses it.
    const dir = testFolder()
    const leafPort = await (await import('@skerry/supervise')).freePort()
    const config = world.config
      .replaceAll(/store_dir: "[^"]*"/g, `store_dir: "${dir}/js"`)
      .replaceAll(/type: full, dir: "[^"]*"/g, `type: full, dir: "${dir}/jwt"`)
    const server = await testNatsServer(`${config}leafnodes { listen: "127.0.0.1:${leafPort}" }\n`, { dir })
    try {
      expect(await leaf(leafPort, b)).toMatch(/Authorization Violation|Connection Type/i)
    } finally {
      await server.stop()
    }
  })

  function leaf(port: number, node: TestNode): Promise<string> {
    return new Promise((resolve, reject) => {
      let text = ''
      const socket = dial(port, '127.0.0.1')
      socket.setEncoding('utf8')
      socket.once('error', reject)
      socket.once('close', () => resolve(text))
      socket.on('data', (more) => {
        const greeted = text.includes('\r\n')
        text += more
        const line = /^INFO (.*)\r\n/.exec(text)?.[1]
        if (greeted || line === undefined) return
        const { nonce } = JSON.parse(line) as { nonce: string }
        socket.write(
          `CONNECT ${JSON.stringify({ jwt: node.jwt, sig: node.user.sign(nonce), name: 'leaf', version: '2.15.2', protocol: 1, headers: true })}\r\nPING\r\n`,
        )
      })
    })
  }
})

test('answers that nobody will give are waited for no longer than a few seconds: a million of them would be memory', async () => {
  const system = await connect({
    servers: world.url,
    authenticator: credsAuthenticator(Buffer.from(ownCreds(world.keys.system, 'test'))),
  })
  const awaited = async () => {
    const account = JSON.stringify({ account: world.keys.hub.pub })
    const answer = await system.request('$SYS.REQ.SERVER.PING.ACCOUNTZ', account, { timeout: 30_000 })
    const { data } = answer.json<{ data: { account_detail: { responses?: object } } }>()
    return Object.keys(data.account_detail.responses ?? {}).length
  }
  try {
    const inbox = subjects.inbox(c.cluster, c.node, c.routingToken)
    const ask = async () => {
      for (let n = 0; n < 50; n += 1)
        asC?.publish(subjects.heartbeat(c.cluster, c.node), 'x', { reply: `${inbox}.${n}` })
      await asC?.flush()
    }
    await until(() => ask().then(async () => (await awaited()) > 0), 'the server waiting', 30_000)
    await until(async () => (await awaited()) === 0, 'the server waiting no more', 30_000)
  } finally {
    await system.close()
  }
})

describe('what is honest', () => {
  test('a node that floods its reports is refused alone', async () => {
    const subject = subjects.report(a.cluster, a.node, 'statements')
    const answers: object[] = []
    for (let n = 0; n < 105; n += 1) answers.push((await asA?.request(subject, `${n}`, IN_TIME))?.json() ?? {})
    expect(answers.filter((answer) => 'error' in answer)).toHaveLength(5)
    expect(answers.at(-1)).toMatchObject({ error: { err_code: 10077 } })
    expect((await asB?.request(subjects.report(b.cluster, b.node, 'statements'), 'x', IN_TIME))?.json()).toHaveProperty(
      'seq',
    )
    expect((await asA?.request(subjects.report(a.cluster, a.node, 'status'), 'x', IN_TIME))?.json()).toHaveProperty(
      'seq',
    )
  })

  test('after all that a site still gets its state, hears its notification and its ack, and is heard', async () => {
    const heard: string[] = []
    const hear = {
      callback: (_: Error | null, message: { subject: string; data: Uint8Array }) =>
        void heard.push(`${message.subject} ${message.data.length}`),
    }
    asA?.subscribe(subjects.notify(a.cluster, a.routingToken), hear)
    asA?.subscribe(subjects.ack(a.cluster, a.node, a.routingToken), hear)
    await asA?.flush()
    await jetstream(world.hub.nc, IN_TIME).publish(subjects.desired(a.cluster, a.routingToken), 'a newer state')
    world.hub.nc.publish(subjects.ack(a.cluster, a.node, a.routingToken), 'ack')
    await until(() => heard.length === 2, 'notification and ack', 30_000)
    // The notification is a hint: it has no body.
    expect(heard.toSorted()).toEqual([
      `${subjects.ack(a.cluster, a.node, a.routingToken)} 3`,
      `${subjects.notify(a.cluster, a.routingToken)} 0`,
    ])
    expect((await asA?.request(subjects.getDesired(a.cluster, a.routingToken), '', IN_TIME))?.string()).toBe(
      'a newer state',
    )
    if (asA) await fence(asA, a)
  })
})
