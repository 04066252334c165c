import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createAccount, createOperator, createUser, type KeyPair } from '@nats-io/nkeys'
import { connect, credsAuthenticator, type NatsConnection } from '@nats-io/transport-node'
import { subjects } from '@skerry/api'
import { until } from '@skerry/supervise'
import { testFolder, testNatsServer, testNatsServerAgain } from '@skerry/supervise/testing'
import pino from 'pino'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { enrollment, IN_TIME } from '../testing.ts'
import { type Courier, openCourier } from './courier.ts'

// The courier on a real nats-server in operator mode, with a stream of desired states behind an import, as the hub lays it out.

const { cluster, node, routingToken: t } = enrollment

const keys = { operator: createOperator(), system: createAccount(), hub: createAccount(), sites: createAccount() }
const text = (bytes: Uint8Array) => Buffer.from(bytes).toString('utf8')
const jwt = (claims: object, signer: KeyPair) => {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')
  const now = Math.floor(Date.now() / 1000)
  const head = `${part({ typ: 'JWT', alg: 'ed25519-nkey' })}.${part({ jti: `${Math.random()}`, iat: now, iss: signer.getPublicKey(), ...claims })}`
  return `${head}.${Buffer.from(signer.sign(Buffer.from(head))).toString('base64url')}`
}
const credsOf = (account: KeyPair, user = createUser()) => {
  const nats = { subs: -1, data: -1, payload: -1, type: 'user', version: 2 }
  const token = jwt({ sub: user.getPublicKey(), name: cluster, nats }, account)
  return `-----BEGIN NATS USER JWT-----\n${token}\n------END NATS USER JWT------\n\n-----BEGIN USER NKEY SEED-----\n${text(user.getSeed())}\n------END USER NKEY SEED------\n`
}
const shared = [
  { name: 'report', subject: 'report.*.*.*', type: 'service' },
  { name: 'get', subject: '$JS.API.DIRECT.GET.DESIRED.desired.*.*', type: 'service' },
  { name: 'notify', subject: 'notify.*.*', type: 'stream' },
  { name: 'ack', subject: 'ack.*.*.*', type: 'stream' },
]
const config = (dir: string, revocations: Record<string, number>) => {
  const limits = { subs: -1, data: -1, payload: -1, imports: -1, exports: -1, wildcards: true, conn: -1, leaf: 0 }
  const store = { mem_storage: -1, disk_storage: -1, streams: -1, consumer: -1 }
  const account = (key: KeyPair, nats: object) =>
    `${key.getPublicKey()}: ${jwt({ sub: key.getPublicKey(), name: 'x', nats: { type: 'account', version: 2, ...nats } }, keys.operator)}`
  const imports = shared.map((one) => ({
    ...one,
    account: keys.hub.getPublicKey(),
    ...(one.name === 'get' ? { local_subject: 'get.desired.*.*' } : {}),
  }))
  return `jetstream { store_dir: "${dir}/js" }
operator: ${jwt({ sub: keys.operator.getPublicKey(), name: 'o', nats: { system_account: keys.system.getPublicKey(), type: 'operator', version: 2 } }, keys.operator)}
system_account: ${keys.system.getPublicKey()}
resolver: MEMORY
resolver_preload {
 ${account(keys.system, { limits })}
 ${account(keys.hub, { limits: { ...limits, ...store }, exports: shared })}
 ${account(keys.sites, { limits, imports, revocations })}
}
`
}

let dir: string
let server: Awaited<ReturnType<typeof testNatsServer>>
let hub: NatsConnection
let over: AbortController
const opened: { close(): Promise<void> }[] = []

beforeEach(async () => {
  dir = testFolder()
  server = await testNatsServer(config(dir, {}), { dir })
  hub = await connect({
    servers: server.url,
    authenticator: credsAuthenticator(Buffer.from(credsOf(keys.hub))),
    maxReconnectAttempts: -1,
    reconnectTimeWait: 50,
  })
  over = new AbortController()
})
afterEach(async () => {
  over.abort()
  await Promise.all(opened.splice(0).map((one) => one.close()))
  await hub.close()
  await server.stop()
})

const makeStreams = async () => {
  for (const [name, more] of [
    ['DESIRED', { subjects: ['desired.*.*'], max_msgs_per_subject: 1, allow_direct: true }],
    ['REPORTS', { subjects: ['report.*.*.*'] }],
  ] as const) {
    const answer = await hub.request(
      `$JS.API.STREAM.CREATE.${name}`,
      JSON.stringify({ name, ...more, storage: 'file' }),
      IN_TIME,
    )
    expect(answer.json()).not.toHaveProperty('error')
  }
}

function open(creds = credsOf(keys.sites)) {
  const credsPath = join(dir, 'nats.creds')
  writeFileSync(credsPath, creds, { mode: 0o600 })
  const seen = { hints: 0, connections: 0, acks: [] as string[], refused: [] as string[], repeated: [] as number[] }
  const courier = openCourier({
    longestPauseMs: 300_000,
    repeatAfterMs(times) {
      seen.repeated.push(times)
      return 0
    },
    caPem: () => undefined,
    enrollment,
    credsPath,
    servers: () => [server.url],
    log: pino({ level: 'silent' }),
    onDesiredHint: () => {
      seen.hints += 1
    },
    onAck: (jws) => void seen.acks.push(jws),
    onConnected: () => {
      seen.connections += 1
    },
    onRefused: (refused) => void seen.refused.push(refused),
    signal: over.signal,
  })
  opened.push(courier)
  return { courier, seen, credsPath }
}
const connected = ({ courier }: ReturnType<typeof open>) =>
  until(() => courier.connected, 'the courier being connected', 30_000)

/** An answer of the stream. One that a busy machine gives later than the agent waits for it is none, and it is asked again. */
type Looked = Awaited<ReturnType<Courier['getDesired']>>
async function answered({ courier }: ReturnType<typeof open>): Promise<Looked> {
  let looked: Looked = { found: 'nobody', reason: 'not asked yet' }
  const asked = async () => {
    looked = await courier.getDesired()
    return looked.found !== 'nobody'
  }
  await until(asked, 'an answer of the stream', 60_000)
  return looked
}
const taken = (sent: Promise<void>) =>
  sent.then(
    () => true,
    () => false,
  )

describe('looking', () => {
  test('tells a desired state, none and nobody apart', async () => {
    const site = open()
    expect(await site.courier.getDesired()).toMatchObject({ found: 'nobody' })
    await connected(site)
    // There is no stream yet: nobody answers, and that is no end.
    expect(await site.courier.getDesired()).toMatchObject({ found: 'nobody' })
    await expect(site.courier.publishStatements('x')).rejects.toThrow()
    await makeStreams()
    expect(await answered(site)).toEqual({ found: 'none' })
    await until(() => taken(site.courier.publishStatements('x')), 'the stream taking what is said', 60_000)
    await hub.request(subjects.desired(cluster, t), 'the newest', IN_TIME)
    expect(await answered(site)).toEqual({ found: 'desired', jws: 'the newest' })
  })

  test('that nobody answers is repeated, after a pause that knows how often it was', async () => {
    const site = open()
    await connected(site)
    const unanswered = async (hints: number) => {
      await until(() => site.seen.hints >= hints, `hint ${hints}`, 30_000)
      expect(await site.courier.getDesired()).toMatchObject({ found: 'nobody' })
    }
    for (const n of [0, 1, 2]) await unanswered(n)
    expect(site.seen.repeated).toEqual([0, 1, 2])
    await makeStreams()
    expect(await answered(site)).toEqual({ found: 'none' })
    const { length } = site.seen.repeated
    await hub.request('$JS.API.STREAM.DELETE.DESIRED', '', IN_TIME)
    const isRepeated = async () =>
      (await site.courier.getDesired()).found === 'nobody' && site.seen.repeated.length > length
    await until(isRepeated, 'the first repeat after an answer', 60_000)
    expect(site.seen.repeated[length]).toBe(0)
  })

  test('a storm of notifications is a look a second, and the last of them is not lost', async () => {
    const site = open()
    await connected(site)
    const startedAt = performance.now()
    for (let n = 0; n < 2_000; n += 1) hub.publish(subjects.notify(cluster, t), 'anything')
    hub.publish(subjects.ack(cluster, node, t), 'after the storm')
    await until(() => site.seen.acks.length === 1, 'the end of the storm', 30_000)
    await until(() => site.seen.hints >= 2, 'the look that the last one asked for', 30_000)
    expect(site.seen.hints).toBeLessThanOrEqual(1 + Math.ceil((performance.now() - startedAt) / 1_000))
    expect(site.seen.acks).toEqual(['after the storm'])
  })
})

describe('a connection that ends', () => {
  test('is made again with the credential that lies in the file by then', async () => {
    const old = createUser()
    const site = open(credsOf(keys.sites, old))
    await connected(site)
    writeFileSync(site.credsPath, credsOf(keys.sites))
    process.kill(server.pid, 'SIGKILL')
    await server.exited
    await until(() => !site.courier.connected, 'the end being noticed', 30_000)
    expect(await site.courier.getDesired()).toMatchObject({ found: 'nobody' })
    const revoked = { [old.getPublicKey()]: Math.floor(Date.now() / 1000) + 60 }
    server = await testNatsServerAgain(config(dir, revoked), { dir, port: server.port })
    await connected(site)
    expect(site.seen).toMatchObject({ connections: 2, refused: [] })
  })

  test('a credential that the server does not take is told, with its text, and tried again until another lies there', async () => {
    const rogue = credsOf(createAccount())
    const site = open(rogue)
    await until(() => site.seen.refused.length > 0, 'the refusal being told', 30_000)
    expect(site.seen.refused[0]).toBe(rogue)
    writeFileSync(site.credsPath, credsOf(keys.sites))
    await connected(site)
  })
})

describe('the end', () => {
  test.each([
    ['before it has dialled', async () => {}],
    ['while it is connected', connected],
    [
      'while nobody listens',
      async (site: ReturnType<typeof open>) => {
        await connected(site)
        await server.stop()
        await until(() => !site.courier.connected, 'the end being noticed', 30_000)
      },
    ],
  ])('%s: it closes and does not come back', async (_, reach) => {
    const site = open()
    await reach(site)
    await site.courier.close()
    const { connections } = site.seen
    await server.stop()
    server = await testNatsServerAgain(config(dir, {}), { dir, port: server.port })
    // Whoever else was connected has come back by then.
    const hubIsBack = () =>
      hub.flush().then(
        () => true,
        () => false,
      )
    await until(hubIsBack, 'the other connection being back', 30_000)
    expect(site.courier.connected).toBe(false)
    expect(site.seen.connections).toBe(connections)
  })
})
