import { jetstream, jetstreamManager } from '@nats-io/jetstream'
import { type Position, STREAM_DESIRED, subjects, wildcards } from '@skerry/api'
import { until } from '@skerry/supervise'
import { createKey, sha256Hex } from '@skerry/trust'
import pino from 'pino'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { appendDesired } from '../store/desired-states.ts'
import { acquireLease, type Lease } from '../store/leases.ts'
import { IN_TIME, openWorld, silent } from './fixture.ts'
import { looksWhole, type PublisherOptions, publishNew, refill } from './publisher.ts'

// What leaves is what was kept, however often it leaves and wherever it was cut off. More clusters than leave at a time.

const CLUSTERS = 1_120
const NOW = Date.parse('2026-06-01T12:00:00Z')
let world: Awaited<ReturnType<typeof openWorld>>
let lease: Lease
let publisher: PublisherOptions
let published = 0
beforeAll(async () => {
  world = await openWorld()
  lease = await acquireLease(world.store, 'controllers', new AbortController().signal)
  const signer = createKey('ES256')
  const onPublished = (count: number) => {
    published += count
  }
  publisher = { store: world.store, lease, hub: world.hub, signer, log: silent, now: () => NOW, onPublished }
  await refill(publisher)
  const { sql } = world.store
  const numbers = Array.from({ length: CLUSTERS }, (_, index) => index + 1)
  await sql`insert into cluster_routing (cluster, token, created_at)
    select *, now() from unnest(${numbers.map((n) => `site-${n}`)}::text[], ${numbers.map(tokenOf)}::text[])`
  await order(1)
})
afterAll(async () => {
  await lease?.release()
  await world?.close()
})

test('every order leaves once, signed, and is recorded under its place in the stream', async () => {
  await publishNew(publisher)
  expect(published).toBe(CLUSTERS)
  expect(await sentOf(1)).toBe(CLUSTERS)
  const { messages } = await stream()
  expect(messages).toBe(CLUSTERS)
  await publishNew(publisher)
  expect(published).toBe(CLUSTERS)
  expect(await looksWhole(publisher)).toBe(true)
})

test('a text that was kept and not known to have arrived is the text that leaves', async () => {
  const before = await texts()
  // Killed between the save and the word of the stream.
  await world.store.sql`update publication set stream_seq = 0 where cluster = 'site-7'`
  await publishNew(publisher)
  expect(await texts()).toEqual(before)
})

test('a stream that was emptied is seen at a look and filled with the very same texts at once', async () => {
  const before = await texts()
  const jsm = await jetstreamManager(world.hub.nc, IN_TIME)
  await jsm.streams.purge(STREAM_DESIRED)
  expect(await looksWhole(publisher)).toBe(false)
  expect(await refill(publisher)).toBe(CLUSTERS)
  expect(await texts()).toEqual(before)
  expect(await refill(publisher)).toBe(0)
})

test('one message that is gone, or is not ours, is put right and no other is sent', async () => {
  const before = await texts()
  const jsm = await jetstreamManager(world.hub.nc, IN_TIME)
  await jsm.streams.purge(STREAM_DESIRED, { filter: subjectOf('site-3') })
  await jetstream(world.hub.nc, IN_TIME).publish(subjectOf('site-4'), 'something else')
  const sent = published
  expect(await refill(publisher)).toBe(2)
  expect(published - sent).toBe(2)
  expect(await texts()).toEqual(before)
})

test('a newer order takes the place of the one before', async () => {
  const before = await texts()
  await order(2)
  await publishNew(publisher)
  const after = await texts()
  expect(after.size).toBe(CLUSTERS)
  for (const [subject, text] of after) {
    expect(text).not.toBe(before.get(subject))
    expect(payloadOf(text)).toMatchObject({ generation: 2 })
  }
})

describe('a row that somebody else wrote', () => {
  const day = 86_400
  const seconds = NOW / 1000
  const safe = Number.MAX_SAFE_INTEGER
  test.each([
    ['a position that nothing can follow', { timeline: safe, generation: safe }, {}],
    ['a timeline more than a day ahead', { timeline: seconds + day + 1, generation: 1 }, {}],
    ['a payload with another timeline', { timeline: seconds, generation: 1 }, { timeline: safe }],
    ['a payload with another generation', { timeline: seconds, generation: 1 }, { generation: safe }],
    ['a payload for another cluster', { timeline: seconds, generation: 1 }, { cluster: 'site-10' }],
  ])(
    'with %s is not signed and told with its cluster and position, and the others leave',
    async (_, position, more) => {
      const { sql } = world.store
      const [bad, good] = ['site-9', 'site-11']
      const before = await texts()
      const lines: unknown[] = []
      const log = pino({ level: 'error' }, { write: (line: string) => void lines.push(JSON.parse(line)) })
      // Exactly a day ahead is taken.
      const latest = { timeline: seconds + day, generation: 1 }
      await append([bad, position, more], [good, latest, {}])
      await publishNew({ ...publisher, log })
      const after = await texts()
      expect(after.get(subjectOf(bad))).toBe(before.get(subjectOf(bad)))
      expect(payloadOf(after.get(subjectOf(good)))).toMatchObject({ cluster: good, ...latest })
      expect(lines).toMatchObject([{ cluster: bad, position, msg: expect.stringMatching(/not signed.*delete it/) }])
      expect(await sql`select 1 from publication where cluster = ${bad} and timeline > 0`).toHaveLength(0)
      await sql`delete from desired_state where timeline > 0`
      await sql`delete from publication where timeline > 0`
      await refill(publisher)
    },
  )
})

test('while NATS is away nothing is called sent, and what was kept leaves afterwards', async () => {
  await order(3)
  await world.restartNats({
    async meanwhile() {
      await expect(publishNew(publisher)).rejects.toThrow()
      expect(await sentOf(3)).toBe(0)
    },
  })
  await until(
    () =>
      publishNew(publisher).then(
        () => true,
        () => false,
      ),
    'NATS taking what was kept',
    30_000,
  )
  expect(await sentOf(3)).toBe(CLUSTERS)
})

test('while NATS hangs, what did not arrive is not followed by more; all of it leaves when it goes on', async () => {
  await order(4)
  const held = async () =>
    [...(await texts()).values()].filter((text) => Reflect.get(Object(payloadOf(text)), 'generation') === 4).length
  const goOn = await world.hangNats()
  await expect(publishNew(publisher))
    .rejects.toThrow(/^NATS did not take \d+ of \d+ desired states$/)
    .finally(goOn)
  // What was sent into the open connection arrives after all, and nobody knows it yet.
  await world.hub.answers()
  await until(async () => (await held()) > 0, 'what was on its way', 30_000)
  expect(await held()).toBeLessThan(CLUSTERS)
  await until(
    () =>
      publishNew(publisher).then(
        () => true,
        () => false,
      ),
    'NATS taking the rest',
    30_000,
  )
  expect([await held(), await sentOf(4)]).toEqual([CLUSTERS, CLUSTERS])
})

test('a hub whose lease went to another publishes nothing', async () => {
  await order(5)
  await world.store.sql`update controller_lease set token = token + 1`
  const sent = published
  await expect(publishNew(publisher)).rejects.toThrow(/another holder/)
  expect(published).toBe(sent)
})

async function order(generation: number): Promise<void> {
  const states = Array.from({ length: CLUSTERS }, (_, index) => {
    const cluster = `site-${index + 1}`
    const payload = Buffer.from(
      JSON.stringify({ kind: 'DesiredState', cluster, timeline: 0, generation, note: 'søråsen' }),
    )
    return { cluster, position: { timeline: 0, generation }, payload, digest: sha256Hex(payload) }
  })
  await world.store.sql.begin((tx) => appendDesired(tx, states))
}

async function append(...rows: [cluster: string, position: Position, more: object][]): Promise<void> {
  const states = rows.map(([cluster, position, more]) => {
    const payload = Buffer.from(JSON.stringify({ kind: 'DesiredState', cluster, ...position, ...more }))
    return { cluster, position, payload, digest: sha256Hex(payload) }
  })
  await world.store.sql.begin((tx) => appendDesired(tx, states))
}

function payloadOf(text = ''): unknown {
  return JSON.parse(Buffer.from(text.split('.')[1] ?? '', 'base64url').toString('utf8'))
}

/** How many orders of a generation NATS is known to hold. */
async function sentOf(generation: number): Promise<number> {
  const [row] = await world.store.sql<{ n: number }[]>`
    select count(*)::int as n from publication where generation = ${generation} and stream_seq > 0`
  return row?.n ?? 0
}

async function stream(): Promise<{ messages: number; last_seq: number }> {
  const jsm = await jetstreamManager(world.hub.nc, IN_TIME)
  return (await jsm.streams.info(STREAM_DESIRED)).state
}

async function texts(): Promise<Map<string, string>> {
  const jsm = await jetstreamManager(world.hub.nc, IN_TIME)
  const held = new Map<string, string>()
  // A server gives a thousand at a time.
  for (let seq = 1; seq <= (await stream()).last_seq; ) {
    const batch = await jsm.direct.getBatch(STREAM_DESIRED, { seq, batch: 1_000, next_by_subj: wildcards.desired })
    for await (const message of batch) {
      held.set(message.subject, message.string())
      seq = message.seq + 1
    }
  }
  return held
}

function subjectOf(cluster: string): string {
  return subjects.desired(cluster, tokenOf(Number(cluster.slice('site-'.length))))
}

/** A routing token that says a number: its four digits as letters. */
function tokenOf(n: number): string {
  return `aaaaaaaaaaaaaa${String(n)
    .padStart(4, '0')
    .replace(/\d/g, (digit) => 'abcdefghij'.charAt(Number(digit)))}`
}
