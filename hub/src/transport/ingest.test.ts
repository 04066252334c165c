import { jetstreamManager } from '@nats-io/jetstream'
import { type NodeEvidence, STREAM_REPORTS, type Statement, subjects } from '@skerry/api'
import { until } from '@skerry/supervise'
import { createKey, keyRing, readEvidence, sha256Hex, signBytes, signDocument, verifyDocument } from '@skerry/trust'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { lockHeads, saveHeads } from '../store/heads.ts'
import { setIdentityState } from '../store/identities.ts'
import { listBatches, listStatements, lowestGaps } from '../store/statements.ts'
import { MAX_ABOVE } from './chain.ts'
import { commitReports } from './commit.ts'
import { batchOf, chainOf, IN_TIME, openWorld, type TestNode } from './fixture.ts'
import { type Report, readReport } from './reports.ts'

let world: Awaited<ReturnType<typeof openWorld>>
let ingest: ReturnType<typeof world.ingest>
beforeAll(async () => {
  world = await openWorld()
  ingest = world.ingest()
})
afterAll(async () => {
  await ingest?.stop()
  await world?.close()
})

const messageOf = (node: TestNode, text: string) => ({
  subject: subjectOf(node),
  data: Buffer.from(text),
  time: new Date(),
})
const subjectOf = ({ cluster, node }: TestNode) => subjects.report(cluster, node, 'statements')
const stored = async (node: TestNode) => (await world.rows(node)).map(({ text }) => text)
const untilQuiet = () =>
  until(
    async () => {
      const { state } = await (await jetstreamManager(world.hub.nc, IN_TIME)).streams.info(STREAM_REPORTS)
      return state.messages === 0
    },
    'an empty stream',
    30_000,
  )
/** All that the hub has of a node's present life, as a report carries it. */
async function evidenceOf({ cluster, node, incarnation, signer, transcript }: TestNode): Promise<NodeEvidence> {
  const { sql } = world.store
  const life = { cluster, node, incarnation, limit: 1_000 }
  return {
    ...{ cluster, node, incarnation, nodeKey: signer.jwk },
    registration: { transcript, acceptedBy: 'test', acceptedAt: '2026-01-01T00:00:00Z' },
    batches: await listBatches(sql, { ...life, newestSeq: 1_000, after: undefined }),
    statements: await listStatements(sql, { ...life, fromSeq: 1 }),
  }
}
let clusters = 0
const newNode = () => world.addNode(`in-${++clusters}`)

/** Sends a text as the node does and waits until it was answered. */
async function send(node: TestNode, text: string, as = node): Promise<void> {
  const nc = await world.connectNode(node)
  await nc.request(subjectOf(as), text, IN_TIME)
  await untilQuiet()
  await nc.close()
}

describe('a statement is stored once, whatever the way it came', () => {
  test('a manifest that a node confirms is kept with the first statement that does, also where that comes last', async () => {
    const node = await newNode()
    const { cluster, incarnation, transcript } = node
    const manifest = sha256Hex('manifest')
    const bodies = [
      { to: 'Idle', bootId: 'b1' },
      { to: 'Idle' },
      { to: 'Idle', bootId: 'b2' },
      { to: 'Failed', bootId: 'b3' },
    ] as const
    let prev = transcript
    const confirmation = (seq: number, body: (typeof bodies)[number] = bodies[0]) => {
      const place = { cluster, node: node.node, incarnation, seq, prev, marker: sha256Hex('marker') }
      const said = {
        from: 'Confirming',
        reason: 'Confirmed',
        message: 'runs it',
        manifestSha256: manifest,
        ...body,
      } as const
      const time = { wall: '2026-01-01T00:00:00Z' }
      const text = JSON.stringify({ kind: 'transition', ...place, time, body: said } satisfies Statement)
      prev = sha256Hex(text)
      return text
    }
    const texts = bodies.map((body, at) => confirmation(at + 1, body))
    const kept = () =>
      world.store
        .sql`select seq, last_seq from confirmed_manifest where cluster = ${cluster} and manifest_sha256 = ${manifest}`
    await send(node, await batchOf(node, texts.slice(1)))
    expect(await kept()).toEqual([{ seq: '3', last_seq: '3' }])
    await send(node, await batchOf(node, texts.slice(0, 1)))
    expect(await kept()).toEqual([{ seq: '1', last_seq: '3' }])
    await send(node, await batchOf(node, [confirmation(5)]))
    expect(await kept()).toEqual([{ seq: '1', last_seq: '5' }])
  })

  test('batches with other boundaries, out of order and with gaps; the watermark is the highest number without a gap', async () => {
    const node = await newNode()
    const texts = chainOf(node, 12)
    const marks: (number | undefined)[] = []
    for (const [from, to] of [
      [5, 8],
      [1, 2],
      [1, 2],
      [2, 3],
      [10, 12],
      [3, 9],
      [1, 12],
    ] as const) {
      await send(node, await batchOf(node, texts.slice(from - 1, to)))
      marks.push((await world.head(node))?.watermark)
    }
    expect(marks).toEqual([0, 2, 2, 3, 3, 12, 12])
    expect(await stored(node)).toEqual(texts)
  })

  test('any batches in any order, taken in by workers that may die between commit and ack', async () => {
    let run = 0
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 24 }),
        fc.array(fc.tuple(fc.nat(23), fc.nat(11)), { maxLength: 12 }),
        fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 1, maxLength: 6 }),
        async (count, cuts, fetches) => {
          run += 1
          const node = await world.addNode(`property-${run}`)
          const texts = chainOf(node, count)
          const batches = cuts.map(([from, length]) => texts.slice(from % count, (from % count) + length + 1))
          const reports: Report[] = []
          for (const batch of batches)
            reports.push(await readReport(messageOf(node, await batchOf(node, batch)), ingest.directory))
          // A worker that died after its commit leaves its messages to another, which commits them again beside new ones.
          const work: Promise<unknown>[] = []
          for (let at = 0, turn = 0; at < reports.length; turn += 1) {
            const size = fetches[turn % fetches.length] ?? 1
            work.push(commitReports(world.store, reports.slice(Math.max(0, at - 1), at + size)))
            at += size
          }
          await Promise.all(work)
          const sent = new Set(batches.flat())
          expect(await stored(node)).toEqual(texts.filter((text) => sent.has(text)))
          const gap = texts.findIndex((text) => !sent.has(text))
          expect((await world.head(node))?.watermark ?? 0).toBe(gap === -1 ? count : gap)
          // Each of them is in a batch of which all is there, and no signature was kept that brought nothing.
          const { faults, statements } = await readEvidence(await evidenceOf(node))
          expect(faults).toEqual([])
          expect([...statements.values()].filter(({ reached }) => reached !== 'signed')).toEqual([])
          expect((await evidenceOf(node)).batches.length).toBeLessThanOrEqual(sent.size)
        },
      ),
      { numRuns: 60 },
    )
  })
})

describe('the signature under which a statement came', () => {
  test('is kept with it in one transaction: whoever dies in between has stored neither', async () => {
    const node = await newNode()
    const texts = chainOf(node, 3)
    const report = await readReport(messageOf(node, await batchOf(node, texts)), ingest.directory)
    const { sql } = world.store
    let work: Promise<unknown> = Promise.resolve()
    await sql.begin(async (tx) => {
      await tx`lock table statement_batch in access exclusive mode`
      work = commitReports(world.store, [report]).catch(() => 'died')
      const waiting = () => sql<{ pid: number }[]>`
        select pid from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock' and query like '%insert into statement_batch%'`
      await until(async () => (await waiting()).length === 1, 'the writer between statements and signature', 30_000)
      await sql`select pg_terminate_backend(${(await waiting())[0]?.pid ?? 0})`
    })
    expect(await work).toBe('died')
    expect(await stored(node)).toEqual([])
    await commitReports(world.store, [report])
    const { statements } = await readEvidence(await evidenceOf(node))
    expect([...statements.values()].map(({ reached }) => reached)).toEqual(['signed', 'signed', 'signed'])
  })

  test('is not kept alone: what fails after it takes it back', async () => {
    const node = await newNode()
    const report = await readReport(messageOf(node, await batchOf(node, chainOf(node, 2))), ingest.directory)
    const { sql } = world.store
    await sql`alter table cluster_head add constraint never check (cluster <> ${sql.unsafe(`'${node.cluster}'`)} or watermark < 1) not valid`
    await expect(commitReports(world.store, [report])).rejects.toThrow(/never/)
    await sql`alter table cluster_head drop constraint never`
    const { batches, statements } = await evidenceOf(node)
    expect([batches, statements]).toEqual([[], []])
  })

  test('is kept once: a batch that brings nothing new leaves no trace, whoever signed it when', async () => {
    const node = await newNode()
    const texts = chainOf(node, 4)
    const batch = await batchOf(node, texts)
    for (const text of [batch, batch, await batchOf(node, texts), await batchOf(node, texts.slice(1, 3))])
      await send(node, text)
    expect((await evidenceOf(node)).batches).toEqual([
      { first: 1, last: 4, header: batch.split('.')[0], signature: batch.split('.')[2] },
    ])
  })

  test('is that of the very bytes: a payload in another spelling is kept as it was signed', async () => {
    const node = await newNode()
    const { cluster, incarnation } = node
    const payload = { statements: chainOf(node, 2), incarnation, node: node.node, cluster, kind: 'StatementBatch' }
    const spelt = ` ${JSON.stringify(payload, null, 1)}`
    await send(node, await signBytes('StatementBatch', Buffer.from(spelt), node.signer))
    const evidence = await evidenceOf(node)
    expect(evidence.batches).toMatchObject([{ first: 1, last: 2, payload: spelt }])
    expect((await readEvidence(evidence)).faults).toEqual([])
    const other = chainOf(node, 2, 'otherwise').map((text, place) => ({ seq: place + 1, text }))
    expect((await readEvidence({ ...evidence, statements: other })).faults).toContain(
      'what the node signed as statements 1 to 2 is not what stands here',
    )
  })
})

test('what a site has refused is an event of its node: one a minute for each code', async () => {
  const node = await newNode()
  await send(node, await batchOf(node, chainOf(node, 3)))
  await until(async () => (await world.events(node.cluster)).length > 0, 'the event', 30_000)
  expect(await world.events(node.cluster)).toMatchObject([
    {
      reason: 'SiteRefusedDesiredState',
      component: 'ingest',
      type: 'Warning',
      message: 'BadSignature: said 1',
      regarding: { kind: 'EdgeNode', namespace: node.cluster, name: node.node },
    },
  ])
})

test('codes that a site makes up are told as one: it cannot fill the history of events by them', async () => {
  const node = await newNode()
  const nc = await world.connectNode(node)
  // The node is acknowledged once all that it brought was told.
  const acks = nc.subscribe(subjects.ack(node.cluster, node.node, node.routingToken), { max: 1 })
  const odd = chainOf(node, 100, 'said', (seq) => `Odd${seq}`)
  await nc.request(subjectOf(node), await batchOf(node, odd), IN_TIME)
  for await (const _ of acks) break
  expect((await world.events(node.cluster)).map(({ message }) => message)).toEqual(['Odd1: said 1'])
  await nc.close()
})

describe('what is refused has a code, is counted and shown, and changes nothing', () => {
  const cases: [string, string, (node: TestNode, texts: string[]) => Promise<string>][] = [
    [
      'another text under a stored number',
      'ForkedChain',
      (node) => batchOf(node, chainOf(node, 3, 'otherwise').slice(0, 3)),
    ],
    [
      'a batch that does not follow from what is stored',
      'BrokenChain',
      (node) => batchOf(node, chainOf(node, 5, 'otherwise').slice(3, 5)),
    ],
    ['a batch with a hole in it', 'BrokenChain', (node, texts) => batchOf(node, [texts[3], texts[5]].map(String))],
    [
      'a first statement of another registration',
      'BrokenChain',
      (node) => batchOf(node, chainOf({ ...node, transcript: sha256Hex('x') }, 1)),
    ],
    [
      'a batch for another node',
      'WrongSender',
      (node) => batchOf({ ...node, cluster: 'in-1' }, chainOf({ ...node, cluster: 'in-1' }, 1)),
    ],
    [
      'a statement for another node in a batch of its own',
      'WrongSender',
      (node) => batchOf(node, chainOf({ ...node, cluster: 'in-1' }, 1)),
    ],
    [
      'another life',
      'WrongSender',
      (node) => batchOf({ ...node, incarnation: 2 }, chainOf({ ...node, incarnation: 2 }, 1)),
    ],
    ['a key that is not its own', 'UnknownKey', (node, texts) => batchOf(node, texts, createKey('ES256'))],
    [
      'a status signed as statements',
      'WrongType',
      async (node, texts) =>
        signBytes('NodeStatus', Buffer.from(JSON.stringify({ kind: 'StatementBatch', texts })), node.signer),
    ],
    ['no signature at all', 'MalformedJws', async (_, texts) => JSON.stringify({ statements: texts })],
    ['bytes', 'MalformedJws', async () => '\u00ff\u0000.\u0001.x'],
    ['more than a batch may have', 'InvalidField', (node) => batchOf(node, chainOf(node, 101))],
    [
      'a statement with an unknown member',
      'InvalidField',
      (node) => batchOf(node, [String(chainOf(node, 1)[0]).replace('{', '{"more":1,')]),
    ],
    [
      'a member that stands twice',
      'DuplicateMember',
      (node) => batchOf(node, [String(chainOf(node, 1)[0]).replace('{', '{"seq":1,')]),
    ],
    ['a character that PostgreSQL cannot hold', 'MalformedJson', (node) => batchOf(node, chainOf(node, 1, '\u0000'))],
    ['half of a surrogate pair', 'MalformedJson', (node) => batchOf(node, chainOf(node, 1, '\ud800'))],
  ]
  test.each(cases)('%s: %s', async (_, code, make) => {
    const node = await newNode()
    const texts = chainOf(node, 8)
    await send(node, await batchOf(node, texts.slice(0, 3)))
    const before = ingest.refused.length
    await send(node, await make(node, texts.slice(0, 6)))
    expect(ingest.refused.slice(before)).toEqual([{ document: 'report', code }])
    const ours = (await world.events(node.cluster)).filter(({ reason }) => !reason.startsWith('SiteRefused'))
    expect(ours).toMatchObject([{ reason: code, component: 'ingest', type: 'Warning' }])
    expect(await stored(node)).toEqual(texts.slice(0, 3))
    expect((await world.head(node))?.watermark).toBe(3)
  })

  test('more above a gap than may be stored there; what closes the gap is taken, and all goes on', async () => {
    const node = await newNode()
    const texts = chainOf(node, MAX_ABOVE.count + 300)
    const part = async (from: number) => send(node, await batchOf(node, texts.slice(from, from + 100)))
    for (let from = 200; from < MAX_ABOVE.count + 200; from += 100) await part(from)
    // A bridge that comes along and is refused makes no room.
    const pair = [await batchOf(node, texts.slice(100, 200)), await batchOf(node, chainOf(node, 100, 'otherwise'))]
    const { unfit } = await commitReports(
      world.store,
      await Promise.all(pair.map((text) => readReport(messageOf(node, text), ingest.directory))),
    )
    expect([...unfit.values()].map(({ code }) => code).toSorted()).toEqual(['BrokenChain', 'ChainGap'])
    const before = ingest.refused.length
    await part(MAX_ABOVE.count + 200)
    await part(MAX_ABOVE.count + 200)
    expect(ingest.refused.slice(before)).toEqual(Array(2).fill({ document: 'report', code: 'ChainGap' }))
    expect((await world.events(node.cluster)).filter(({ reason }) => reason === 'ChainGap')).toHaveLength(1)
    expect(await stored(node)).toHaveLength(MAX_ABOVE.count)
    expect((await world.head(node))?.watermark).toBe(0)
    for (const from of [0, 100, MAX_ABOVE.count + 200]) await part(from)
    expect((await world.head(node))?.watermark).toBe(MAX_ABOVE.count + 300)
    expect(await stored(node)).toEqual(texts)
  })

  test('a batch above a gap is not refused while what is missing may be in the hands of another hub', async () => {
    const node = await newNode()
    const texts = chainOf(node, MAX_ABOVE.count + 200)
    const part = (from: number) => batchOf(node, texts.slice(from, from + 100))
    for (let from = 100; from < MAX_ABOVE.count + 100; from += 100) await send(node, await part(from))
    const before = ingest.refused.length
    const nc = await world.connectNode(node)
    const answers: string[] = []
    const listening = world.hub.nc.subscribe('$JS.ACK.>', {
      callback: (_, message) => void answers.push(message.string()),
    })
    const [above, below] = [await part(MAX_ABOVE.count + 100), await part(0)]
    const missing = await readReport(messageOf(node, below), ingest.directory)
    const { sql } = world.store
    const inLine = (count: number) =>
      until(
        async () => {
          const waiting = await sql`select 1 from pg_stat_activity
            where datname = current_database() and wait_event_type = 'Lock' and query like '%insert into cluster_head%'`
          return waiting.length === count
        },
        `${count} waiting for the head`,
        30_000,
      )
    // PostgreSQL serves those who wait for a row in their order: this hub first, and the other long before it comes again.
    let other: Promise<unknown> | undefined
    await sql.begin(async (tx) => {
      await tx`select 1 from cluster_head where cluster = ${node.cluster} for update`
      await nc.request(subjectOf(node), above, IN_TIME)
      await inLine(1)
      other = commitReports(world.store, [missing])
      await inLine(2)
    })
    await other
    await untilQuiet()
    listening.unsubscribe()
    await nc.close()
    expect(answers.map((text) => text.slice(0, 4))).toEqual(['-NAK', '+ACK'])
    expect(ingest.refused.slice(before)).toEqual([])
    expect(await stored(node)).toEqual(texts)
  })

  test('what one with the node’s key says above all numbers stands above a gap that what is said below does not close', async () => {
    const node = await newNode()
    const texts = chainOf(node, 4)
    const far = chainOf(node, 2, 'otherwise').map((text) => JSON.parse(text) as Statement)
    const before = JSON.stringify({ ...far[0], seq: Number.MAX_SAFE_INTEGER - 1 })
    const thief = [before, JSON.stringify({ ...far[1], seq: Number.MAX_SAFE_INTEGER, prev: sha256Hex(before) })]
    await send(node, await batchOf(node, texts.slice(0, 2)))
    await send(node, await batchOf(node, thief))
    await send(node, await batchOf(node, texts.slice(2)))
    const head = await world.head(node)
    expect(head).toMatchObject({ watermark: 4, newestSeq: Number.MAX_SAFE_INTEGER })
    const [gap] = (
      await lowestGaps(world.store.sql, [{ ...node, watermark: 4, newestSeq: Number.MAX_SAFE_INTEGER }])
    ).values()
    expect(gap).toMatchObject({ first: 5, last: Number.MAX_SAFE_INTEGER - 2, newest: Number.MAX_SAFE_INTEGER })
    expect((await world.events(node.cluster)).filter(({ reason }) => !reason.startsWith('SiteRefused'))).toEqual([])
  })

  test('a batch below that does not lead to what is stored above', async () => {
    const node = await newNode()
    await send(node, await batchOf(node, chainOf(node, 6).slice(3)))
    await send(node, await batchOf(node, chainOf(node, 3, 'otherwise')))
    expect(ingest.refused.at(-1)).toEqual({ document: 'report', code: 'BrokenChain' })
    expect((await world.rows(node)).map(({ seq }) => seq)).toEqual([4, 5, 6])
  })

  test('a node that is not accepted, and a name that nobody registered', async () => {
    const node = await newNode()
    await world.store.sql.begin((tx) => setIdentityState(tx, node, 'Denied'))
    ingest.directory.forget()
    await send(node, await batchOf(node, chainOf(node, 1)))
    expect(ingest.refused.at(-1)?.code).toBe('NotAllowed')
    await world.hub.nc.request('report.nobody.n1.statements', 'x', IN_TIME)
    await untilQuiet()
    expect(ingest.refused.at(-1)?.code).toBe('WrongSender')
  })

  test('clone: a fork suspends the node, and nothing more of it is taken', async () => {
    const node = await newNode()
    const texts = chainOf(node, 4)
    await send(node, await batchOf(node, texts.slice(0, 3)))
    await send(node, await batchOf(node, chainOf(node, 3, 'the clone')))
    const [identity] = await world.store.sql`select state from node_identity where cluster = ${node.cluster}`
    expect(identity).toMatchObject({ state: 'Suspended' })
    await send(node, await batchOf(node, texts))
    expect(ingest.refused.at(-1)?.code).toBe('NotAllowed')
    expect(await stored(node)).toEqual(texts.slice(0, 3))
  })

  test('one bad message among many harms no other, and a flood of them is one event', async () => {
    const [bad, good] = [await newNode(), await newNode()]
    // Taken in before: who of two workers commits first is nobody's to say.
    await send(bad, await batchOf(bad, chainOf(bad, 2)))
    await ingest.stop()
    const [badNc, goodNc] = [await world.connectNode(bad), await world.connectNode(good)]
    const texts = chainOf(good, 40)
    for (let at = 0; at < 40; at += 2) {
      await badNc.request(subjectOf(bad), `nonsense ${at}`, IN_TIME)
      await goodNc.request(subjectOf(good), await batchOf(good, texts.slice(at, at + 2)), IN_TIME)
    }
    await badNc.request(subjectOf(bad), await batchOf(bad, chainOf(bad, 2, 'otherwise')), IN_TIME)
    ingest = world.ingest()
    await untilQuiet()
    expect(await stored(good)).toEqual(texts)
    expect(await stored(bad)).toEqual(chainOf(bad, 2))
    expect(ingest.refused.filter(({ code }) => code === 'MalformedJws')).toHaveLength(20)
    const reasons = (await world.events(bad.cluster)).map(({ reason }) => reason)
    expect(reasons.filter((reason) => !reason.startsWith('SiteRefused')).toSorted()).toEqual([
      'ForkedChain',
      'MalformedJws',
    ])
    expect((await world.events(good.cluster)).filter(({ reason }) => !reason.startsWith('SiteRefused'))).toEqual([])
  })
})

describe('acknowledgement', () => {
  test('a committed watermark is signed and sent; one that was lost comes again at the next word of the node', async () => {
    const node = await newNode()
    const nc = await world.connectNode(node)
    const heard: string[] = []
    nc.subscribe(subjects.ack(node.cluster, node.node, node.routingToken), {
      callback: (_, message) => void heard.push(message.string()),
    })
    const texts = chainOf(node, 3)
    await nc.request(subjectOf(node), await batchOf(node, texts), IN_TIME)
    await until(() => heard.length === 1, 'an ack', 30_000)
    const keys = keyRing([world.ackSigner.jwk])
    const aud = `${node.cluster}/${node.node}`
    const { payload } = await verifyDocument('Ack', String(heard[0]), keys, { aud })
    expect(payload).toMatchObject({ watermark: 3, incarnation: 1 })
    const marker = await verifyDocument('EpochMarker', payload.marker, keys)
    expect(await world.store.sql`select 1 from epoch_marker where number = ${marker.payload.number}`).toHaveLength(1)
    // A word that brings nothing new is answered too, though at most once a second.
    await until(
      async () => {
        await nc.request(subjectOf(node), await batchOf(node, texts), IN_TIME)
        return heard.length >= 2
      },
      'the ack again',
      30_000,
    )
    expect((await verifyDocument('Ack', String(heard[1]), keys, { aud })).payload.watermark).toBe(3)
  })
})

describe('faults', () => {
  test('writers that name the same nodes in other orders never wait for each other', async () => {
    const nodes = Array.from({ length: 500 }, (_, i) => ({ cluster: `order-${i}`, node: 'n1', incarnation: 1 }))
    await Promise.all(
      Array.from({ length: 48 }, (_, round) =>
        world.store.sql.begin(async (tx) => {
          const mine = round % 2 ? nodes : nodes.toReversed()
          const heads = await lockHeads(tx, mine)
          await saveHeads(
            tx,
            mine.map((id) => ({ ...id, watermark: heads.size, newestSeq: round })),
          )
        }),
      ),
    )
    expect(await world.head({ cluster: 'order-0', node: 'n1' })).toMatchObject({ watermark: 500 })
  })

  test('nats-server killed in mid-stream, and its store lost: what the node sends again is there once', async () => {
    const node = await newNode()
    const nc = await world.connectNode(node)
    const texts = chainOf(node, 60)
    const { ensureStreams } = await import('./streams.ts')
    // As the agent's pump does: send, and send again what was not taken.
    const sendAll = async () => {
      for (let at = 0; at < 60; at += 3) {
        const batch = await batchOf(node, texts.slice(at, at + 3))
        const taken = () =>
          nc.request(subjectOf(node), batch, { timeout: 1_000 }).then(
            () => true,
            () => false,
          )
        await until(taken, `batch ${at} being taken`, 30_000)
        if (at === 15) await world.restartNats({ loseStore: false })
        if (at === 30) {
          await world.restartNats({ loseStore: true })
          await until(
            () =>
              ensureStreams(world.hub.nc, 1).then(
                () => true,
                () => false,
              ),
            'new streams',
            30_000,
          )
        }
      }
    }
    await sendAll()
    // Messages that were in the lost store are not in the outbox's past: no ack came for them.
    await until(
      async () => {
        const mark = (await world.head(node))?.watermark ?? 0
        if (mark < 60)
          await nc.request(subjectOf(node), await batchOf(node, texts.slice(mark, mark + 50))).catch(() => {})
        return mark === 60
      },
      'every statement',
      30_000,
    )
    expect(await stored(node)).toEqual(texts)
  })

  test('PostgreSQL away in mid-stream: messages come again soon, and nothing is doubled', async () => {
    const node = await newNode()
    const nc = await world.connectNode(node)
    const texts = chainOf(node, 30)
    const [{ current_database: name } = { current_database: '' }] = await world.store.sql<
      { current_database: string }[]
    >`select current_database()`
    for (let at = 0; at < 30; at += 2) {
      await nc.request(subjectOf(node), await batchOf(node, texts.slice(at, at + 2)), IN_TIME)
      // Every connection of this hub is cut, as a restart of the server does.
      if (at % 6 === 0)
        await world.store
          .sql`select pg_terminate_backend(pid, 30000) from pg_stat_activity where datname = ${name} and pid <> pg_backend_pid()`.catch(
          () => {},
        )
    }
    // The pool may still hold connections that were cut last and do not know it yet.
    const rows = () => stored(node).catch(() => [])
    await until(async () => (await rows()).length === 30, '30 rows', 30_000)
    expect(await stored(node)).toEqual(texts)
    expect((await world.head(node))?.watermark).toBe(30)
    await untilQuiet()
  })

  describe('of a status', () => {
    const statusOf = (node: TestNode, counter: number, message = `status ${counter}`) =>
      signDocument(
        'NodeStatus',
        {
          kind: 'NodeStatus',
          cluster: node.cluster,
          node: node.node,
          incarnation: 1,
          counter,
          seq: 0,
          at: '2026-01-01T00:00:00Z',
          phase: 'Idle',
          reason: 'Confirmed',
          message,
          booted: { imageSha256: sha256Hex('image') },
          slot: 'a',
          bootId: 'b',
          driver: 'slots',
          tuf: { root: 1, timestamp: 1, snapshot: 1, targets: 1 },
          failed: [],
          agentVersion: '0',
        },
        node.signer,
      )
    const statusSubject = (node: TestNode) => subjects.report(node.cluster, node.node, 'status')
    async function shown({ cluster }: TestNode): Promise<unknown> {
      const [row] = await world.store
        .sql`select status->>'message' as message from cluster_head where cluster = ${cluster}`
      return row?.message
    }
    /** Sends these, and gives the codes of those that are refused. */
    async function codesOf(node: TestNode, texts: readonly string[]): Promise<string[]> {
      const before = ingest.refused.length
      const nc = await world.connectNode(node)
      for (const text of texts) await nc.request(statusSubject(node), text, IN_TIME)
      await untilQuiet()
      return ingest.refused.slice(before).map(({ code }) => code)
    }
    /** Commits one that NATS took in so many seconds after the first second of 2026, and gives the codes of what is refused. */
    async function commit(node: TestNode, ...heard: readonly (readonly [counter: number, second: number])[]) {
      const reports = heard.map(async ([counter, second]) => {
        const data = Buffer.from(await statusOf(node, counter))
        const time = new Date(Date.UTC(2026, 0, 1, 0, 0, second))
        return readReport({ subject: statusSubject(node), data, time }, ingest.directory)
      })
      const { unfit } = await commitReports(world.store, await Promise.all(reports))
      return [...unfit.values()].map(({ code }) => code)
    }

    test('the newest counts, by its counter; the same once more is no second one', async () => {
      const node = await newNode()
      const texts = [await statusOf(node, 2), await statusOf(node, 3)]
      expect(await codesOf(node, [...texts, ...texts.slice(1)])).toEqual([])
      expect(await shown(node)).toBe('status 3')
    })

    test('one that came later and counts lower, or as much and says something else, is told: two speak as this node', async () => {
      const node = await newNode()
      const last = Number.MAX_SAFE_INTEGER
      expect(await codesOf(node, [await statusOf(node, last)])).toEqual([])
      expect(await codesOf(node, [await statusOf(node, 4)])).toEqual(['StatusOvertaken'])
      expect(await codesOf(node, [await statusOf(node, last, 'another')])).toEqual(['StatusOvertaken'])
      expect(await shown(node)).toBe(`status ${last}`)
      const [event, ...more] = await world.events(node.cluster)
      expect(event).toMatchObject({ reason: 'StatusOvertaken', regarding: { kind: 'EdgeNode', name: node.node } })
      expect(event?.message).toMatch(/counts 4, and the one of then, which stays shown, 9007199254740991\. Told once/)
      expect(more).toEqual([])
    })

    test('one that another overtook on its way is none: it was made before', async () => {
      const node = await newNode()
      expect([await commit(node, [6, 20]), await commit(node, [5, 10]), await commit(node, [6, 20])]).toEqual([
        [],
        [],
        [],
      ])
      expect(await commit(node, [8, 40], [7, 30])).toEqual([])
      expect(await commit(node, [9, 50], [2, 60])).toEqual(['StatusOvertaken'])
      // Taken in together while the clock of NATS was set back.
      expect(await commit(node, [10, 90], [11, 70])).toEqual([])
      expect(await shown(node)).toBe('status 11')
    })

    test('a node in another life counts anew', async () => {
      const node = await newNode()
      expect(await commit(node, [6, 20])).toEqual([])
      await world.store.sql`update cluster_head set incarnation = 2 where cluster = ${node.cluster}`
      expect(await commit(node, [5, 30])).toEqual([])
    })
  })
})
