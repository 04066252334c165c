import { isDeepStrictEqual } from 'node:util'
import { parse, Refusal, Statement } from '@skerry/api'
import { type HeardStatus, keyOf, type LockedHead, lockHeads, saveHeads, saveNodeStatuses } from '../store/heads.ts'
import {
  appendBatches,
  appendStatements,
  endOfRun,
  type NewBatch,
  type NewStatement,
  type Stretch,
  storedAbove,
  storedAround,
} from '../store/statements.ts'
import type { Store, Tx } from '../store/store.ts'
import { wake } from '../store/wake.ts'
import { type Batch, fitBatches, reach, stretchOf } from './chain.ts'
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
    const place = { watermark: heads.get(key)?.watermark ?? 0, above: above.get(key) ?? { count: 0, bytes: 0 } }
    const fits: Batch[] = []
    for (const [at, fit] of fitBatches(facts, place).entries()) {
      const fact = facts[at]
      if (!fact) continue
      if (fit instanceof Refusal) {
        unfit.set(fact.report, fit)
        continue
      }
      fits.push(fact.batch)
      for (const statement of fit) fresh.push(statement)
      // What brought nothing proves nothing that is not proven already.
      if (fit.length > 0) sealed.push({ ...stretchOf(fact.batch), ...fact.report.seal })
    }
    fitting.set(key, fits)
  }
  return { fresh, sealed, fitting, unfit }
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
  if (watermark > head.watermark && watermark < newestSeq) watermark = await endOfRun(tx, sender, watermark)
  return { incarnation: head.incarnation, watermark, newestSeq }
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
