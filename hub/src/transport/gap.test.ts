import { jetstreamManager } from '@nats-io/jetstream'
import { type GapBody, STREAM_REPORTS, type Statement, subjects } from '@skerry/api'
import { until } from '@skerry/supervise'
import { sha256Hex } from '@skerry/trust'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { listClosedGaps } from '../store/closed-gaps.ts'
import { lowestGaps } from '../store/statements.ts'
import { MAX_ABOVE, MAX_CLOSED } from './chain.ts'
import { commitReports } from './commit.ts'
import { batchOf, chainOf, openWorld, type TestNode } from './fixture.ts'
import { readReport } from './reports.ts'

// What a node says it has no more: an honest one after its hub was put back, and one that says it to hide something.

let world: Awaited<ReturnType<typeof openWorld>>
let ingest: ReturnType<typeof world.ingest>
let node: TestNode
let clusters = 0
beforeAll(async () => {
  world = await openWorld()
  ingest = world.ingest()
})
beforeEach(async () => {
  node = await world.addNode(`gap-${++clusters}`)
})
afterAll(async () => {
  await ingest?.stop()
  await world?.close()
})

const subjectOf = ({ cluster, node: name }: TestNode) => subjects.report(cluster, name, 'statements')
const messageOf = (text: string) => ({ subject: subjectOf(node), data: Buffer.from(text), time: new Date() })

/** Sends statements as the node does, one batch each, and waits until all were answered. */
async function send(...batches: (readonly string[])[]): Promise<void> {
  const nc = await world.connectNode(node)
  for (const texts of batches) await nc.request(subjectOf(node), await batchOf(node, texts))
  await until(
    async () => (await (await jetstreamManager(world.hub.nc)).streams.info(STREAM_REPORTS)).state.messages === 0,
    'an empty stream',
    30_000,
  )
  await nc.close()
}

/** The same past NATS: what was not taken. */
async function commit(...batches: (readonly string[])[]): Promise<string[]> {
  const reports = await Promise.all(
    batches.map(async (texts) => readReport(messageOf(await batchOf(node, texts)), ingest.directory)),
  )
  const { unfit } = await commitReports(world.store, reports)
  return [...unfit.values()].map(({ code }) => code)
}

/** A gap statement that follows this text. */
function gapAfter(text: string, fromSeq: number, toSeq: number, more: Partial<Statement> = {}): string {
  const { seq, ...before } = JSON.parse(text) as Statement
  const body: GapBody = { fromSeq, toSeq, reason: 'NotKept' }
  return JSON.stringify({ ...before, kind: 'gap', seq: seq + 1, prev: sha256Hex(text), ...more, body })
}
/** What follows a text: refusals as in `chainOf`. */
function following(text: string, count: number, word = 'more'): string[] {
  const texts: string[] = []
  let last = JSON.parse(text) as Statement
  let prev = sha256Hex(text)
  const [model = ''] = chainOf(node, 1, word)
  while (texts.length < count) {
    last = { ...(JSON.parse(model) as Statement), seq: last.seq + 1, prev }
    texts.push(JSON.stringify(last))
    prev = sha256Hex(texts.at(-1) ?? '')
  }
  return texts
}
const at = (texts: readonly string[], seq: number) => texts[seq - 1] ?? ''
const head = () => world.head(node)
const seqs = async () => (await world.rows(node)).map(({ seq }) => seq)
const closed = async () =>
  ((await listClosedGaps(world.store.sql, [node])).get(`${node.cluster}/${node.node}`) ?? []).map(
    ({ fromSeq, toSeq, statement }) => [fromSeq, toSeq, statement.seq],
  )
const refusedSince = (before: number) => ingest.refused.slice(before).map(({ code }) => code)

/** A hub that has 1 to 5, and a node that has 9 to 12 and says so in statement 13. */
async function restored() {
  const texts = chainOf(node, 12)
  await commit(texts.slice(0, 5))
  return { texts, gap: gapAfter(at(texts, 12), 6, 8) }
}

describe('a node closes what it has no more', () => {
  test('and the watermark passes it, though the oldest that it has come again and again', async () => {
    const { texts, gap } = await restored()
    await send(texts.slice(8, 12))
    expect(await head()).toMatchObject({ watermark: 5, newestSeq: 12 })
    await send([gap], texts.slice(8, 12))
    expect(await head()).toMatchObject({ watermark: 13, newestSeq: 13 })
    expect(await closed()).toEqual([[6, 8, 13]])
    await send([gap], [...texts.slice(8), gap], following(gap, 3))
    expect(await head()).toMatchObject({ watermark: 16, newestSeq: 16 })
    expect(await closed()).toEqual([[6, 8, 13]])
    expect(await seqs()).toEqual([1, 2, 3, 4, 5, 9, 10, 11, 12, 13, 14, 15, 16])
  })

  test('however far above it stands: it is taken where nothing else is any more, and what follows the gap comes after it', async () => {
    const many = MAX_ABOVE.count + 200
    const texts = chainOf(node, many)
    await commit(texts.slice(0, 5))
    for (let from = 8; from < MAX_ABOVE.count; from += 100)
      expect(await commit(texts.slice(from, from + 100))).toEqual([])
    const gap = gapAfter(at(texts, many), 6, 8)
    expect(await commit(texts.slice(many - 100), [at(texts, many), gap])).toEqual(['ChainGap', 'ChainGap'])
    await send([gap])
    expect((await head())?.watermark).toBe(MAX_ABOVE.count + 8)
    await send(texts.slice(MAX_ABOVE.count + 8, MAX_ABOVE.count + 108), texts.slice(MAX_ABOVE.count + 108))
    expect(await head()).toMatchObject({ watermark: many + 1, newestSeq: many + 1 })
    expect(await closed()).toEqual([[6, 8, many + 1]])
  })

  test('before what the hub lacks below the gap has come: then the watermark comes over both', async () => {
    const { texts } = await restored()
    await send(texts.slice(8), [gapAfter(at(texts, 12), 7, 8)])
    expect([(await head())?.watermark, await closed()]).toEqual([5, []])
    await send(texts.slice(4, 6))
    expect([(await head())?.watermark, await closed()]).toEqual([13, [[7, 8, 13]]])
  })

  test('all but the statement that it follows, or from the first on', async () => {
    const texts = chainOf(node, 12)
    await send([gapAfter(at(texts, 12), 1, 11)])
    expect([(await head())?.watermark, await closed()]).toEqual([11, [[1, 11, 13]]])
    await send([at(texts, 12)])
    expect((await head())?.watermark).toBe(13)
  })

  test('by two statements, each of which closes a part', async () => {
    const { texts } = await restored()
    const lower = gapAfter(at(texts, 12), 6, 7)
    await send([lower], [gapAfter(lower, 8, 8)], texts.slice(8))
    expect([(await head())?.watermark, await closed()]).toEqual([
      14,
      [
        [6, 7, 13],
        [8, 8, 14],
      ],
    ])
  })

  test('of what the hub has nothing: only what it lacks is lost', async () => {
    const { texts } = await restored()
    await send(texts.slice(8))
    await send([gapAfter(at(texts, 12), 1, 12)])
    expect([(await head())?.watermark, await closed()]).toEqual([13, [[6, 8, 13]]])
    expect((await world.rows(node)).map(({ text }) => text).slice(0, 9)).toEqual([
      ...texts.slice(0, 5),
      ...texts.slice(8),
    ])
  })

  test('of what is not missing nothing, and nothing is lost', async () => {
    const texts = chainOf(node, 5)
    await send(texts, [gapAfter(at(texts, 5), 2, 4)])
    expect([(await head())?.watermark, await closed()]).toEqual([6, []])
  })

  test('in one life, and the next one has no gap', async () => {
    const { texts, gap } = await restored()
    await commit([...texts.slice(8), gap])
    const next = { ...node, incarnation: 2 }
    await world.store.sql`update node_identity set incarnation = 2 where cluster = ${node.cluster}`
    ingest.directory.forget()
    const before = node
    node = next
    expect(await commit(chainOf(next, 3))).toEqual([])
    expect([await head(), await closed()]).toEqual([{ watermark: 3, newestSeq: 3, incarnation: 2 }, []])
    node = before
    expect(await closed()).toEqual([[6, 8, 13]])
    // A hub that has not heard of the next life yet.
    await world.store.sql`update node_identity set incarnation = 1 where cluster = ${node.cluster}`
    ingest.directory.forget()
    expect(await commit(texts.slice(6, 7))).toEqual(['BrokenChain'])
    expect(await commit(texts.slice(5, 7))).toEqual([])
    expect([await head(), await closed()]).toMatchObject([{ watermark: 3, incarnation: 2 }, [[8, 8, 13]]])
  })
})

describe('what is lost comes after all', () => {
  test('from its lowest number on: it is taken, and less is lost, until nothing is', async () => {
    const { texts, gap } = await restored()
    await commit([...texts.slice(8), gap])
    expect(await commit(texts.slice(6, 7))).toEqual(['BrokenChain'])
    expect(await commit(texts.slice(5, 6))).toEqual([])
    expect([(await head())?.watermark, await closed()]).toEqual([13, [[7, 8, 13]]])
    // What does not lead to what is stored above is not what was lost.
    expect(await commit(chainOf(node, 8, 'otherwise').slice(7))).toEqual(['BrokenChain'])
    expect(await commit(following(at(texts, 6), 2, 'otherwise'))).toEqual(['BrokenChain'])
    expect(await commit(texts.slice(6, 10))).toEqual([])
    expect([(await head())?.watermark, await closed()]).toEqual([13, []])
    expect((await world.rows(node)).map(({ text }) => text)).toEqual([...texts, gap])
  })

  test('in two batches of one commit, of which one into the midst of it is refused', async () => {
    const texts = chainOf(node, 12)
    await commit(texts.slice(0, 2), [...texts.slice(8), gapAfter(at(texts, 12), 3, 8)])
    expect(await commit(texts.slice(2, 4), texts.slice(4, 5), texts.slice(6, 7))).toEqual(['BrokenChain'])
    expect(await closed()).toEqual([[6, 8, 13]])
  })
})

describe('[attack] a node that closes', () => {
  test.each<[string, string, (texts: readonly string[]) => string]>([
    ['what it has not said yet', 'InvalidField', (texts) => gapAfter(at(texts, 12), 6, 14)],
    ['its own statement', 'InvalidField', (texts) => gapAfter(at(texts, 12), 6, 13)],
    ['a stretch that ends before it begins', 'InvalidField', (texts) => gapAfter(at(texts, 12), 8, 6)],
    ['from 0 on', 'InvalidField', (texts) => gapAfter(at(texts, 12), 0, 8)],
    ['up to no number', 'MalformedJson', (texts) => gapAfter(at(texts, 12), 6, Number.MAX_SAFE_INTEGER + 1)],
    ['numbers of another life', 'WrongSender', (texts) => gapAfter(at(texts, 12), 6, 8, { incarnation: 2 })],
    ['numbers of another node', 'WrongSender', (texts) => gapAfter(at(texts, 12), 6, 8, { node: 'n2' })],
  ])('%s is refused: %s', async (_, code, make) => {
    const { texts } = await restored()
    const before = ingest.refused.length
    await send([make(texts)])
    expect(refusedSince(before)).toEqual([code])
    expect([(await head())?.watermark, await closed(), await seqs()]).toEqual([5, [], [1, 2, 3, 4, 5]])
  })

  test('what is there does not take it back: a text of its own under such a number is a fork, as ever', async () => {
    const { texts, gap } = await restored()
    await send([...texts.slice(8), gap])
    await send([at(chainOf(node, 5, 'otherwise'), 5)])
    expect(ingest.refused.at(-1)?.code).toBe('ForkedChain')
  })

  test('by two statements with one number is suspended', async () => {
    const { texts, gap } = await restored()
    await send([gap])
    await send([gapAfter(at(texts, 12), 6, 7)])
    expect(ingest.refused.at(-1)?.code).toBe('ForkedChain')
    const [identity] = await world.store.sql`select state from node_identity where cluster = ${node.cluster}`
    expect(identity?.['state']).toBe('Suspended')
    expect(await closed()).toEqual([[6, 8, 13]])
  })

  test('again and again above a gap that it leaves: a handful is stored', async () => {
    const [first = ''] = chainOf(node, 1)
    const far = (seq: number) => gapAfter(JSON.stringify({ ...JSON.parse(first), seq: seq - 1 }), 5, seq - 2)
    const codes = await commit(...Array.from({ length: 40 }, (_, n) => [far(1_000 * (n + 1))]))
    expect(codes).toEqual(Array(40 - MAX_ABOVE.gaps).fill('ChainGap'))
    expect(await seqs()).toHaveLength(MAX_ABOVE.gaps)
    // Nor does it help to say them together with others.
    const run = chainOf(node, 20).slice(14)
    expect(await commit([...run, gapAfter(run.at(-1) ?? '', 5, 6)])).toEqual(['ChainGap'])
    expect([(await head())?.watermark ?? 0, await closed()]).toEqual([0, []])
  })

  test('every other number: so many stretches of one life, and then a gap is a gap', async () => {
    let text = at(chainOf(node, 1), 1)
    await commit([text])
    const skipped = () => following(text, 2)[1] ?? ''
    for (let n = 0; n < MAX_CLOSED; n += 1) {
      const above = skipped()
      const { seq } = JSON.parse(above) as Statement
      text = gapAfter(above, seq - 1, seq - 1)
      expect(await commit([above, text])).toEqual([])
    }
    const { seq: mark } = JSON.parse(text) as Statement
    expect([(await head())?.watermark, (await closed()).length]).toEqual([mark, MAX_CLOSED])
    const above = skipped()
    expect(await commit([above, gapAfter(above, mark + 1, mark + 1)])).toEqual([])
    expect([await head(), (await closed()).length]).toMatchObject([
      { watermark: mark, newestSeq: mark + 3 },
      MAX_CLOSED,
    ])
    const [gap] = (await lowestGaps(world.store.sql, [{ ...node, watermark: mark, newestSeq: mark + 3 }])).values()
    expect(gap).toMatchObject({ first: mark + 1, last: mark + 1 })
  })

  test('all numbers there are, with a copied key: what the node says is stored all the same, from the lowest on', async () => {
    const texts = chainOf(node, 9)
    await send(texts.slice(0, 4))
    const last = Number.MAX_SAFE_INTEGER
    const thief = gapAfter(JSON.stringify({ ...JSON.parse(at(texts, 4)), seq: last - 1 }), 5, last - 1)
    await send([thief])
    await send(texts.slice(4, 7))
    await send(texts.slice(7))
    expect(await head()).toMatchObject({ watermark: last, newestSeq: last })
    expect(await closed()).toEqual([[10, last - 1, last]])
    expect((await world.rows(node)).map(({ text }) => text)).toEqual([...texts, thief])
  })
})
