import { isDeepStrictEqual } from 'node:util'
import { type GapBody, parse, Refusal, Statement } from '@skerry/api'
import { closedStretches, saveClosed, shrinkClosed } from '../store/closed-gaps.ts'
import { type HeardStatus, keyOf, type LockedHead, lockHeads, saveHeads, saveNodeStatuses } from '../store/heads.ts'
import {
  appendBatches,
  appendStatements,
  endOfRun,
  gapTextsAbove,
  type NewBatch,
  type NewStatement,
  type Run,
  runsAbove,
  type Stretch,
  storedAbove,
  storedAround,
} from '../store/statements.ts'
import type { Store, Tx } from '../store/store.ts'
import { wake } from '../store/wake.ts'
import { type Batch, bridge, fitBatches, MAX_CLOSED, reach, type SaidGap, stillClosed, stretchOf } from './chain.ts'
import type { KnownNode, Report } from './reports.ts'

export type Committed = {
  /** Every node that was heard from: where its watermark stands, and whether this commit moved it. */
  readonly marks: readonly { readonly sender: KnownNode; readonly watermark: number; readonly moved: boolean }[]
  readonly appended: number
  /** Texts of what was appended in which a node says that it refused something. */
  readonly refusals: readonly NewStatement[]
  /** Reports that do not fit what is stored. Nothing of them was kept. */
  readonly unfit: ReadonlyMap<Report, Refusal>
}

type Sent = { readonly report: Extract<Report, { kind: 'statements' }>; readonly batch: Batch }

/** Appends what is new of these reports and moves the watermarks, in one transaction. A repeated report changes nothing. */
export async function commitReports(store: Store, reports: readonly Report[]): Promise<Committed> {
  const senders = new Map(reports.map(({ sender }) => [keyOf(sender), sender]))
  return (await store.sql.begin(async (tx) => {
    const heads = await lockHeads(tx, senders.values())
    const { fresh, sealed, fitting, unfit } = await fitAll(tx, reports, heads)
    await appendStatements(tx, fresh)
    await appendBatches(tx, sealed)
    const shown = await saveNodeStatuses(tx, newestStatuses(reports))
    for (const [report, refusal] of overtaken(reports, shown)) unfit.set(report, refusal)
    const appended = new Set(fresh.map(keyOf))
    const marks: { sender: KnownNode; watermark: number; moved: boolean }[] = []
    const moved: (KnownNode & LockedHead)[] = []
    for (const [key, sender] of senders) {
      const head = heads.get(key)
      // The node has begun another life: what it said in this one is kept and not waited for.
      if (!head || head.incarnation !== sender.incarnation) continue
      const next = await advance(tx, sender, head, fitting.get(key) ?? [])
      if (next.watermark !== head.watermark || appended.has(key)) moved.push({ ...sender, ...next })
      marks.push({ sender, watermark: next.watermark, moved: next.watermark !== head.watermark })
    }
    await saveHeads(tx, moved)
    await wake(tx, 'statement')
    return { marks, appended: fresh.length, refusals: fresh.filter(({ kind }) => kind === 'refused'), unfit }
  })) as Committed
}

async function fitAll(tx: Tx, reports: readonly Report[], heads: ReadonlyMap<string, LockedHead>) {
  const sent = reports.flatMap((report): Sent[] =>
    report.kind === 'statements' ? [{ report, batch: report.statements }] : [],
  )
  const stored = await storedAround(
    tx,
    sent.map(({ batch }) => stretchOf(batch)),
  )
  const ofNode = new Map<
    string,
    (Sent & { stored: { digests: Map<number, string>; abovePrev: string | undefined } })[]
  >()
  for (const [place, one] of sent.entries()) {
    const { digests = new Map<number, string>(), above } = stored[place] ?? {}
    const key = keyOf(one.report.sender)
    const mine = ofNode.get(key)
    const fact = { ...one, stored: { digests, abovePrev: above === undefined ? undefined : prevOf(above) } }
    if (mine) mine.push(fact)
    else ofNode.set(key, [fact])
  }
  const fresh: NewStatement[] = []
  const sealed: NewBatch[] = []
  const fitting = new Map<string, Batch[]>()
  const unfit = new Map<Report, Refusal>()
  const above = await storedAbove(tx, gapped(ofNode, heads))
  for (const [key, facts] of ofNode) {
    const watermark = heads.get(key)?.watermark ?? 0
    const closed = await closedAmong(tx, facts, heads.get(key))
    const place = { watermark, above: above.get(key) ?? { count: 0, gaps: 0, bytes: 0 }, closed }
    const fits: Batch[] = []
    const came: (readonly NewStatement[])[] = []
    for (const [at, fit] of fitBatches(facts, place).entries()) {
      const fact = facts[at]
      if (!fact) continue
      if (fit instanceof Refusal) {
        unfit.set(fact.report, fit)
        continue
      }
      fits.push(fact.batch)
      came.push(fit)
      for (const statement of fit) fresh.push(statement)
      // What brought nothing proves nothing that is not proven already.
      if (fit.length > 0) sealed.push({ ...stretchOf(fact.batch), ...fact.report.seal })
    }
    fitting.set(key, fits)
    if (closed && facts[0]) await shrinkClosed(tx, facts[0].report.sender, stillClosed(closed, came))
  }
  return { fresh, sealed, fitting, unfit }
}

// What a node closed, where something comes of it after all; of the others nothing is read.
async function closedAmong(
  tx: Tx,
  sent: readonly (Sent & { readonly stored: { readonly digests: ReadonlyMap<number, string> } })[],
  head: LockedHead | undefined,
): Promise<Run[] | undefined> {
  const sender = sent[0]?.report.sender
  if (!sender || !head) return undefined
  // Of a life that has ended nobody knows any more how far it had come.
  const isPast = head.incarnation !== sender.incarnation
  const late =
    isPast ||
    sent.some(({ batch, stored }) => batch.some(({ seq }) => seq <= head.watermark && !stored.digests.has(seq)))
  return late ? closedStretches(tx, sender) : undefined
}

// The nodes of which something came that does not itself reach down to the watermark; of the others nobody needs to count.
// What else came is no bridge yet: it may be refused.
function gapped(
  ofNode: ReadonlyMap<string, readonly Sent[]>,
  heads: ReadonlyMap<string, LockedHead>,
): Omit<Stretch, 'last'>[] {
  return [...ofNode].flatMap(([key, sent]) => {
    const [one] = sent
    const watermark = heads.get(key)?.watermark ?? 0
    if (!one || sent.every(({ batch: [first] }) => first.seq <= watermark + 1)) return []
    const { cluster, node, incarnation } = one.batch[0]
    return [{ cluster, node, incarnation, first: watermark + 1 }]
  })
}

// Stored statements are walked only where a gap below them was closed; otherwise what came now says it all.
async function advance(tx: Tx, sender: KnownNode, head: LockedHead, batches: readonly Batch[]) {
  const stretches = batches.map(stretchOf)
  const newestSeq = stretches.reduce((newest, { last }) => Math.max(newest, last), head.newestSeq)
  let watermark = reach(head.watermark, stretches)
  const moved = watermark > head.watermark
  if (moved && watermark < newestSeq) watermark = await endOfRun(tx, sender, watermark)
  // A gap statement may have come before what is below the gap that it closes.
  const mayClose = moved || batches.some((batch) => batch.some(({ kind }) => kind === 'gap'))
  if (mayClose && watermark < newestSeq) watermark = await overClosed(tx, sender, watermark, newestSeq)
  return { incarnation: head.incarnation, watermark, newestSeq }
}

// Where the watermark comes over what the node says it has no more; what that is is kept.
async function overClosed(tx: Tx, sender: KnownNode, watermark: number, newestSeq: number): Promise<number> {
  const said = (await gapTextsAbove(tx, sender, watermark)).map(gapOf)
  if (said.length === 0) return watermark
  const runs = await runsAbove(tx, [{ ...sender, watermark, newestSeq }])
  const before = await closedStretches(tx, sender)
  const bridged = bridge(watermark, runs.get(keyOf(sender)) ?? [], said, MAX_CLOSED - before.length)
  await saveClosed(tx, sender, bridged.closed)
  return bridged.watermark
}

// Judged by ingest before it was stored.
function gapOf(text: string): SaidGap {
  const { seq, body } = JSON.parse(text) as { seq: number; body: GapBody }
  return { seq, fromSeq: body.fromSeq, toSeq: body.toSeq }
}

// The newest of each node, by its counter.
function newestStatuses(reports: readonly Report[]): HeardStatus[] {
  const newest = new Map<string, HeardStatus>()
  for (const report of reports) {
    if (report.kind !== 'status') continue
    const held = newest.get(keyOf(report.sender))
    if (!held || report.status.counter > held.status.counter) newest.set(keyOf(report.sender), report)
  }
  return [...newest.values()]
}

// A counter rises with every status, so one that came after what is shown counts higher. One that overtook another on its
// way came before, and one that comes again is the same. Of those that are taken in together the order says it, whatever
// NATS's clock did between them.
function* overtaken(reports: readonly Report[], shown: ReadonlyMap<string, HeardStatus>): Generator<[Report, Refusal]> {
  const passed = new Set<string>()
  const isAmong = new Set(newestStatuses(reports).map(({ status }) => status))
  for (const report of reports) {
    if (report.kind !== 'status') continue
    const key = keyOf(report.sender)
    const above = shown.get(key)
    if (isAmong.has(report.status)) passed.add(key)
    else if (!passed.has(key)) continue
    if (!above || report.heardAt <= above.heardAt) continue
    const [counter, held] = [report.status.counter, above.status.counter]
    if (counter > held || (counter === held && isDeepStrictEqual(report.status, above.status))) continue
    const message = `a status that came after ${above.heardAt.toISOString()} counts ${counter}, and the one of then, which stays shown, ${held}. Told once, it was long on its way, or somebody sent an old one again. Where it goes on, two speak with this node's key, or its disk was put back: end it with skerry node revoke; then delete its Registration, and let the machine enter anew with empty data`
    yield [report, new Refusal('StatusOvertaken', message)]
  }
}

function prevOf(text: string): string {
  return parse(Statement, JSON.parse(text), 'a stored statement').prev
}
