import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createUser } from '@nats-io/nkeys'
import { connect } from '@nats-io/transport-node'
import { type Ack, type HubDescription, type NodeStatus, subjects } from '@skerry/api'
import { until } from '@skerry/supervise'
import { testFolder, testNatsServer } from '@skerry/supervise/testing'
import { createKey, type Signer, signDocument } from '@skerry/trust'
import pino, { type Logger } from 'pino'
import { afterEach, beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import { openClock } from '../store/clock.ts'
import { openDatabase } from '../store/database.ts'
import { IN_TIME, enrollment as known } from '../testing.ts'
import { openCourier } from '../transport/courier.ts'
import { openOutbox } from './outbox.ts'
import { startPump } from './pump.ts'

// What an agent believes of what arrives on its ack subject. Everything else there could only make it forget too early.

const [ackKey, nodeKey, otherKey] = [createKey('EdDSA'), createKey('ES256'), createKey('EdDSA')]
const enrollment = { ...known, nodeKeyThumbprint: nodeKey.thumbprint }
const { cluster, node, incarnation } = enrollment
const listed = (signer: Signer) => [{ jwk: signer.jwk, notBefore: '1970-01-01T00:00:00Z' }]
const description: HubDescription = {
  kind: 'HubDescription',
  keys: { desiredState: listed(otherKey), ack: listed(ackKey), acceptance: listed(otherKey) },
  caPem: '',
  apiUrls: ['https://127.0.0.1:1'],
  natsUrls: ['nats://127.0.0.1:1'],
}
let keys = description.keys
const nowMs = Date.parse('2026-06-01T00:00:00Z')
const silent = pino({ level: 'silent' })
// A server without accounts asks for none: it has the form alone.
const CREDS = `-----BEGIN NATS USER JWT-----\nnone\n------END NATS USER JWT------\n\n-----BEGIN USER NKEY SEED-----\n${Buffer.from(createUser().getSeed()).toString('utf8')}\n------END USER NKEY SEED------\n`

const nodeStatus: Omit<NodeStatus, 'counter'> = {
  ...{ kind: 'NodeStatus', cluster, node, incarnation, seq: 1, at: '2026-06-01T00:00:00Z' },
  ...{ phase: 'Idle', reason: 'Idle', message: '', booted: { imageSha256: '0'.repeat(64) }, slot: 'a', bootId: 'b' },
  ...{ driver: 'slots', tuf: { root: 1, timestamp: 1, snapshot: 1, targets: 1 }, failed: [], agentVersion: '0' },
}

let wallMs = nowMs
let site: ReturnType<typeof open>
type Opened = {
  readonly servers?: readonly string[]
  readonly status?: () => Omit<NodeStatus, 'counter'>
  readonly log?: Logger
  readonly repeatAfterMs?: (times: number) => number
  readonly heartbeatMs?: number
}
const nobody = () => {
  throw new Error('nobody is connected')
}
// Nobody listens on port 1. A list of none would be the client's own: port 4222, where somebody's may.
const NOWHERE = ['nats://127.0.0.1:1']
const open = ({
  servers = NOWHERE,
  status = nobody,
  log = silent,
  repeatAfterMs = () => 300_000,
  heartbeatMs = 60_000,
}: Opened = {}) => {
  const dir = testFolder()
  writeFileSync(join(dir, 'nats.creds'), CREDS)
  const over = new AbortController()
  const database = openDatabase(dir)
  const outbox = openOutbox(database, enrollment, () => wallMs)
  const clock = openClock(
    database,
    () => nowMs,
    () => keys,
  )
  const nothing = () => {}
  // With no server, what counts arrives through onAck alone.
  const courier = openCourier({
    longestPauseMs: 300_000,
    repeatAfterMs,
    caPem: () => undefined,
    ...{ enrollment, credsPath: join(dir, 'nats.creds'), servers: () => servers, log, signal: over.signal },
    ...{ onDesiredHint: nothing, onAck: nothing, onConnected: nothing, onRefused: nothing },
  })
  const pump = startPump({
    ...{
      courier,
      outbox,
      enrollment,
      signer: nodeKey,
      trust: { hub: () => ({ ...description, keys }) },
      log,
      signal: over.signal,
    },
    heartbeatMs,
    repeatAfterMs,
    clock,
    status,
    nextCounter: () => 1,
  })
  return { over, database, outbox, pump, courier, clock }
}
beforeEach(() => {
  wallMs = nowMs
  site = open()
  for (let n = 1; n <= 10; n += 1)
    site.outbox.append({ kind: 'gap', body: { fromSeq: n, toSeq: n, reason: 'Compacted' } })
})
afterEach(async () => {
  site.over.abort()
  await Promise.all([site.pump.done, site.courier.close()])
  site.database.close()
})

type Made = { minute?: number; by?: Signer; markerBy?: Signer; aud?: string; more?: Partial<Ack> }
async function ack(
  watermark: number,
  { minute = 0, by = ackKey, markerBy = ackKey, aud, more }: Made = {},
): Promise<string> {
  const time = new Date(nowMs + minute * 60_000).toISOString()
  const marker = await signDocument('EpochMarker', { kind: 'EpochMarker', number: minute + 1, time }, markerBy)
  const payload: Ack = { kind: 'Ack', cluster, node, incarnation, watermark, marker, ...more }
  return signDocument('Ack', payload, by, aud ?? `${cluster}/${node}`)
}
const waiting = () => site.outbox.length()

describe('an ack of the hub', () => {
  test('trims the outbox up to its watermark', async () => {
    await site.pump.onAck(await ack(4))
    expect(waiting()).toBe(6)
    expect(site.outbox.pending()[0]).toContain('"seq":5')
  })

  test('that comes again, or late, changes nothing', async () => {
    const [first, second] = [await ack(3), await ack(6)]
    await site.pump.onAck(second)
    expect(waiting()).toBe(4)
    await site.pump.onAck(first)
    await site.pump.onAck(await ack(2, { minute: -5 }))
    expect(waiting()).toBe(4)
  })

  test.each([
    ['eight days later', nowMs + 8 * 86_400_000],
    ['when a clock that began in 1970 has been set', nowMs],
  ])('forgets what is old and committed, but never the head: %s', async (_, laterMs) => {
    wallMs = laterMs === nowMs ? 0 : nowMs
    await site.pump.onAck(await ack(10))
    const head = site.outbox.newest()
    wallMs = laterMs
    await site.pump.onAck(await ack(10, { minute: 1 }))
    expect(site.outbox.newest()).toEqual(head)
    expect(site.database.sql.prepare('select count(*) as n from statement').get()).toEqual({ n: 1 })
    site.outbox.append({ kind: 'gap', body: { fromSeq: 11, toSeq: 11, reason: 'Compacted' } })
    expect(JSON.parse(site.outbox.pending()[0] ?? '')).toMatchObject({ seq: 11, prev: head.digest })
  })

  test('is heard as time: what expires goes by no time before that of its marker', async () => {
    await site.pump.onAck(await ack(4, { minute: 7 }))
    expect(site.clock.now()).toBe(nowMs + 7 * 60_000)
    await site.pump.onAck(await ack(4, { minute: 9, markerBy: nodeKey }))
    await site.pump.onAck(await ack(4, { minute: 3 }))
    expect(site.clock.now()).toBe(nowMs + 7 * 60_000)
  })

  test('that says nothing new writes nothing', async () => {
    await site.pump.onAck(await ack(4))
    const writes = () => site.database.sql.prepare('select total_changes() as n').get()
    const before = writes()
    await site.pump.onAck(await ack(4))
    await site.pump.onAck(await ack(3, { minute: -1 }))
    expect(writes()).toEqual(before)
  })

  test('of a hub that was restored from a backup brings back what it lost', async () => {
    await site.pump.onAck(await ack(8))
    expect(waiting()).toBe(2)
    await site.pump.onAck(await ack(5, { minute: 1 }))
    expect(waiting()).toBe(5)
    expect(site.outbox.pending()[0]).toContain('"seq":6')
  })
})

describe('a marker that names the date of 2100', () => {
  const far = (Date.parse('2100-01-01T00:00:00Z') - nowMs) / 60_000
  const poisoned = async () => {
    await site.pump.onAck(await ack(8, { minute: far }))
    expect(waiting()).toBe(2)
    // While that key counts, a lower watermark is an old word.
    await site.pump.onAck(await ack(5, { minute: 1 }))
    expect(waiting()).toBe(2)
  }
  afterEach(() => {
    keys = description.keys
  })

  test('is outlived by the key that comes after it: a restored hub brings back what it lost', async () => {
    await poisoned()
    keys = { ...keys, ack: listed(otherKey) }
    await site.pump.onAck(await ack(5, { minute: 2, by: otherKey, markerBy: otherKey }))
    expect(waiting()).toBe(5)
    // And no word of that key is late.
    await site.pump.onAck(await ack(3, { minute: 1, by: otherKey, markerBy: otherKey }))
    expect(waiting()).toBe(5)
  })

  test('counts up to the end of the key that signed it', async () => {
    await poisoned()
    const notAfter = new Date(nowMs - 60_000).toISOString()
    keys = { ...keys, ack: [...listed(ackKey).map((key) => ({ ...key, notAfter })), ...listed(otherKey)] }
    await site.pump.onAck(await ack(5, { minute: 0, by: otherKey, markerBy: otherKey }))
    expect(waiting()).toBe(5)
  })
})

test('of acks that come faster than they are judged, 64 wait; what is dropped comes again with the next heartbeat', async () => {
  const good = await ack(9)
  const flood = Array.from({ length: 64 }, () => site.pump.onAck('garbage'))
  await site.pump.onAck(good)
  await Promise.all(flood)
  expect(waiting()).toBe(10)
  await site.pump.onAck(good)
  expect(waiting()).toBe(1)
})

test('what closes a gap is sent by itself and before the oldest, again and again until the watermark has come over the gap', async () => {
  const dir = testFolder()
  const server = await testNatsServer(`jetstream { store_dir: "${dir}/js" }`, { dir })
  onTestFinished(() => server.stop())
  const hub = await connect({ servers: server.url })
  onTestFinished(() => hub.close())
  const subject = subjects.report(cluster, node, 'statements')
  await hub.request(
    '$JS.API.STREAM.CREATE.REPORTS',
    JSON.stringify({ name: 'REPORTS', subjects: ['report.*.*.*'], storage: 'memory' }),
    IN_TIME,
  )
  const sent: number[][] = []
  hub.subscribe(subject, {
    callback: (_, message) => {
      const { statements } = JSON.parse(Buffer.from(message.string().split('.')[1] ?? '', 'base64url').toString())
      sent.push(statements.map((text: string) => JSON.parse(text).seq))
    },
  })
  await hub.flush()
  const second = open({ servers: [server.url], status: () => nodeStatus, repeatAfterMs: () => 0, heartbeatMs: 50 })
  onTestFinished(async () => {
    second.over.abort()
    await Promise.all([second.pump.done, second.courier.close()])
    second.database.close()
  })
  const digest = 'd'.repeat(64)
  const say = () => second.outbox.append({ kind: 'accepted', body: { timeline: 0, generation: 1, digest } })
  for (let n = 0; n < 3; n += 1) say()
  await second.pump.onAck(await ack(3))
  // Of the three the last is kept.
  wallMs += 8 * 86_400_000
  await second.pump.onAck(await ack(3, { minute: 1 }))
  say()
  await second.pump.onAck(await ack(1, { minute: 2 }))
  // A round that a busy machine answers too late begins anew, with what closes the gap.
  const told = () => sent.map((seqs) => seqs.join())
  await until(() => told().join(' ').includes('5 3,4,5 5 3,4,5'), 'two rounds', 60_000)
  const rounds = told().slice(told().indexOf('5'))
  expect(rounds.filter((seqs, index) => seqs === '3,4,5' && rounds[index - 1] !== '5')).toEqual([])
  await second.pump.onAck(await ack(3, { minute: 3 }))
  const since = () => sent.slice(sent.findIndex((seqs) => seqs.join() === '4,5'))
  await until(() => since().length >= 3, 'what is above', 30_000)
  expect(since().slice(0, 3)).toEqual([
    [4, 5],
    [4, 5],
    [4, 5],
  ])
  await second.pump.onAck(await ack(5, { minute: 4 }))
  expect(second.outbox.length()).toBe(0)
})

test('what the stream took is sent again until the hub acknowledges it, after a pause that knows how often it was', async () => {
  const dir = testFolder()
  const server = await testNatsServer(`jetstream { store_dir: "${dir}/js" }`, { dir })
  onTestFinished(() => server.stop())
  const hub = await connect({ servers: server.url })
  onTestFinished(() => hub.close())
  await hub.request(
    '$JS.API.STREAM.CREATE.REPORTS',
    JSON.stringify({ name: 'REPORTS', subjects: ['report.*.*.*'], storage: 'memory' }),
    IN_TIME,
  )
  const waited: number[] = []
  let longer = false
  const second = open({
    servers: [server.url],
    status: () => nodeStatus,
    heartbeatMs: 50,
    repeatAfterMs(times) {
      waited.push(times)
      return longer ? 300_000 : 0
    },
  })
  onTestFinished(async () => {
    second.over.abort()
    await Promise.all([second.pump.done, second.courier.close()])
    second.database.close()
  })
  const say = (seq: number) =>
    second.outbox.append({ kind: 'gap', body: { fromSeq: seq, toSeq: seq, reason: 'Compacted' } })
  say(1)
  // One that a busy machine answers too late is no repeat: it begins anew.
  await until(() => waited.join().includes('0,1,2'), 'two repeats', 30_000)
  longer = true
  const before = waited.length
  await until(() => waited.length > before, 'the repeat after which it waits', 30_000)
  // What is new is sent at once, whatever waits.
  say(2)
  await until(() => waited.length > before + 1, 'what is new being sent', 30_000)
  expect(waited.at(-1)).toBe(0)
  await second.pump.onAck(await ack(2))
  expect(second.outbox.length()).toBe(0)
})

test('a status that is not taken keeps no statement and no heartbeat back, and is told once a minute', async () => {
  const dir = testFolder()
  const server = await testNatsServer(`jetstream { store_dir: "${dir}/js" }`, { dir })
  onTestFinished(() => server.stop())
  const hub = await connect({ servers: server.url })
  onTestFinished(() => hub.close())
  // There is a place for statements, and none for a status.
  await hub.request(
    '$JS.API.STREAM.CREATE.REPORTS',
    JSON.stringify({ name: 'REPORTS', subjects: [subjects.report(cluster, node, 'statements')], storage: 'memory' }),
    IN_TIME,
  )
  const came = { statements: 0, heartbeats: 0 }
  hub.subscribe(subjects.report(cluster, node, 'statements'), { callback: () => void came.statements++ })
  hub.subscribe(subjects.heartbeat(cluster, node), { callback: () => void came.heartbeats++ })
  await hub.flush()
  const lines: { level: number; what?: string; reason?: string }[] = []
  const log = pino({ level: 'debug' }, { write: (line: string) => void lines.push(JSON.parse(line)) })
  const second = open({ servers: [server.url], status: () => nodeStatus, log })
  onTestFinished(async () => {
    second.over.abort()
    await Promise.all([second.pump.done, second.courier.close()])
    second.database.close()
  })
  second.outbox.append({ kind: 'gap', body: { fromSeq: 1, toSeq: 1, reason: 'Compacted' } })
  await until(() => came.statements > 0 && came.heartbeats > 0, 'statements and a heartbeat', 30_000)
  const untaken = () => lines.filter(({ what }) => what === 'status')
  await until(() => untaken().length >= 3, 'three tries with the status', 30_000)
  expect(untaken().filter(({ level }) => level >= 40)).toHaveLength(1)
  // That a busy machine answers late is not what keeps them back.
  expect(lines.filter(({ what, reason }) => what === 'statements' && reason !== 'timeout')).toEqual([])
})

describe('what is not believed', () => {
  test.each<[string, () => Promise<string>]>([
    ['a PubAck', async () => '{"stream":"REPORTS","seq":9}'],
    [
      'its own state',
      async () => signDocument('Heartbeat', { kind: 'Heartbeat', cluster, node, incarnation, seq: 9 }, ackKey),
    ],
    ["another node's ack", () => ack(9, { aud: `${cluster}/n2`, more: { node: 'n2' } })],
    ["another node's ack with this node's name in it", () => ack(9, { aud: `${cluster}/n2` })],
    ['an ack of what it never said', () => ack(11)],
    ['an ack of another life', () => ack(9, { more: { incarnation: 2 } })],
    ['an ack by this node itself', () => ack(9, { by: nodeKey })],
    ["an ack by another of the hub's keys", () => ack(9, { by: otherKey })],
    ['an ack whose marker is not the hub’s', () => ack(9, { markerBy: otherKey })],
    ['an ack with one letter turned', async () => (await ack(9)).replace(/.$/, (last) => (last === 'A' ? 'Q' : 'A'))],
    ['nothing', async () => ''],
  ])('%s', async (_, make) => {
    await site.pump.onAck(await make())
    expect(waiting()).toBe(10)
  })
})
