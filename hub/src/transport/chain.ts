import { Refusal } from '@skerry/api'
import { counted } from '@skerry/policy'
import type { NewStatement, Run, Stretch } from '../store/statements.ts'

// How a batch fits what is stored of its node. Pure: what is stored comes in, what to append or why not comes out.

export type Batch = readonly [NewStatement, ...NewStatement[]]

/** What is stored at a batch's place: digests by number from one below it to its last, and what the one above it follows from. */
export type Stored = { readonly digests: ReadonlyMap<number, string>; readonly abovePrev: string | undefined }

/** The numbers of a batch. */
export function stretchOf(batch: Batch): Stretch {
  const { cluster, node, incarnation, seq } = batch[0]
  return { cluster, node, incarnation, first: seq, last: lastOf(batch).seq }
}

/**
 * How much may be stored of a node above a gap in its chain. An honest one sends what is missing first, a hundred at a time,
 * or says by one gap statement that it has it no more: that one is taken at any height, while there are not `gaps` of them.
 */
export const MAX_ABOVE = { count: 2_000, bytes: 16_000_000, gaps: 8 } as const
/** So many stretches of one life may be closed. An honest node closes one when a hub is restored that is older than what it keeps. */
export const MAX_CLOSED = 100

/** Where a node's chain stands, and how much of it is stored above the watermark. */
export type Place = {
  readonly watermark: number
  readonly above: { readonly count: number; readonly gaps: number; readonly bytes: number }
  /** What is lost below the watermark; undefined where nothing comes that would have a place there. */
  readonly closed?: readonly Run[] | undefined
}

/**
 * The statements of each batch that are to be appended, or the Refusal: ForkedChain for another text under a number that
 * is there, BrokenChain for one that does not link to its neighbours, or comes into the midst of what was closed, ChainGap
 * for one above a gap above which too much is stored. All batches are of one node, in the order of their arrival; a batch that was refused is as if it had not come.
 */
export function fitBatches(
  batches: readonly { batch: Batch; stored: Stored }[],
  place: Place,
): (readonly NewStatement[] | Refusal)[] {
  const refused = new Map<number, Refusal>()
  // What came with one that is refused here, and held it for stored, is looked at again without it.
  for (;;) {
    const fits = linked(batches, refused)
    const found = outOfPlace(batches, fits, refused, place)
    if (!found) return fits
    refused.set(found.at, found.refusal)
  }
}

type Fit = readonly NewStatement[] | Refusal

/** The first of these that links to its neighbours and has no place all the same. */
function outOfPlace(
  batches: readonly { batch: Batch }[],
  fits: readonly Fit[],
  refused: ReadonlyMap<number, Refusal>,
  { watermark, above, closed = [] }: Place,
): { at: number; refusal: Refusal } | undefined {
  // Only what is taken closes a gap.
  const mark = reach(
    watermark,
    batches.flatMap(({ batch }, at) => (fits[at] instanceof Refusal ? [] : [stretchOf(batch)])),
  )
  let { count, gaps, bytes } = above
  let left = closed
  for (const [at, fit] of fits.entries()) {
    const first = batches[at]?.batch[0]
    if (fit instanceof Refusal || !first || fit.length === 0 || refused.has(at)) continue
    const inside = intoTheMidst(fit, left)
    if (inside) return { at, refusal: inside }
    left = stillClosed(left, [fit])
    if (first.seq <= mark + 1) continue
    const more = fit.reduce((sum, { text }) => sum + Buffer.byteLength(text), 0)
    const moreGaps = fit.filter(({ kind }) => kind === 'gap').length
    const isGapAlone = fit.length === 1 && moreGaps === 1
    const isFull = count + fit.length > MAX_ABOVE.count || bytes + more > MAX_ABOVE.bytes
    if (gaps + moreGaps > MAX_ABOVE.gaps || (isFull && !isGapAlone))
      return {
        at,
        refusal: new Refusal(
          'ChainGap',
          `${first.cluster}/${first.node} has ${counted(count, 'statement')} (${counted(bytes, 'byte')}) above a gap after ${mark}; ${mark + 1} has to come first`,
        ),
      }
    count += fit.length
    gaps += moreGaps
    bytes += more
  }
  return undefined
}

// What was refused for its place links, or does not, as if it had been taken: it comes again. It brings nothing.
function linked(batches: readonly { batch: Batch; stored: Stored }[], refused: ReadonlyMap<number, Refusal>): Fit[] {
  const known = new Map<number, NewStatement>()
  const taken = new Set<number>()
  return batches.map(({ batch, stored }, at) => {
    const [first] = batch
    const last = lastOf(batch)
    const name = `${first.cluster}/${first.node}`
    const digestOf = (seq: number) => stored.digests.get(seq) ?? known.get(seq)?.digest
    const forked = batch.find(({ seq, digest }) => (digestOf(seq) ?? digest) !== digest)
    if (forked) return new Refusal('ForkedChain', `${name} has two statements ${forked.seq}`)
    const below = digestOf(first.seq - 1)
    if (below !== undefined && below !== first.prev)
      return new Refusal('BrokenChain', `statement ${first.seq} of ${name} does not follow from ${first.seq - 1}`)
    const abovePrev = stored.abovePrev ?? known.get(last.seq + 1)?.prev
    if (abovePrev !== undefined && abovePrev !== last.digest)
      return new Refusal('BrokenChain', `statement ${last.seq + 1} of ${name} does not follow from ${last.seq}`)
    for (const statement of batch) known.set(statement.seq, statement)
    const refusal = refused.get(at)
    if (refusal) return refusal
    const fresh = batch.filter(({ seq }) => !stored.digests.has(seq) && !taken.has(seq))
    for (const { seq } of fresh) taken.add(seq)
    return fresh
  })
}

// What was closed and comes after all is taken from its lowest number on, where it links to what is there: so a stretch
// shrinks and never falls into many.
function intoTheMidst([first]: readonly NewStatement[], closed: readonly Run[]): Refusal | undefined {
  if (!first || !closed.some((lost) => lost.first < first.seq && first.seq <= lost.last)) return undefined
  return new Refusal(
    'BrokenChain',
    `${first.cluster}/${first.node} closed statement ${first.seq} by a gap statement; of what it closed, what comes after all comes from its lowest number on`,
  )
}

/** What is lost still, once these have come. */
export function stillClosed(closed: readonly Run[], came: readonly (readonly NewStatement[])[]): Run[] {
  const highest = (first: number, last: number) =>
    came.flat().reduce((high, { seq }) => (seq >= first && seq <= last ? Math.max(high, seq) : high), first - 1)
  return closed.flatMap(({ first, last }) => {
    const high = highest(first, last)
    return high < last ? [{ first: high + 1, last }] : []
  })
}

/** A gap statement: what the node has no more. */
export type SaidGap = { readonly seq: number; readonly fromSeq: number; readonly toSeq: number }

/**
 * How far the watermark comes over what is stored above it, as runs in order, where gap statements close what lies between;
 * and what they close that is not stored, each stretch by one of them, at most `most` stretches.
 */
export function bridge(
  watermark: number,
  runs: readonly Run[],
  said: readonly SaidGap[],
  most: number,
): { readonly watermark: number; readonly closed: readonly (Run & { readonly by: number })[] } {
  const closed: (Run & { by: number })[] = []
  let mark = watermark
  for (const { first, last } of runs) {
    while (mark + 1 < first && closed.length < most) {
      const [widest] = said
        .filter(({ fromSeq, toSeq }) => fromSeq <= mark + 1 && mark < toSeq)
        .toSorted((a, b) => b.toSeq - a.toSeq)
      if (!widest) break
      const stretch = { first: mark + 1, last: Math.min(widest.toSeq, first - 1), by: widest.seq }
      closed.push(stretch)
      mark = stretch.last
    }
    if (mark + 1 < first) break
    mark = Math.max(mark, last)
  }
  return { watermark: mark, closed }
}

/** The highest number without a gap, from `watermark` over these stretches, whatever their order. */
export function reach(watermark: number, stretches: readonly Pick<Stretch, 'first' | 'last'>[]): number {
  return stretches
    .toSorted((a, b) => a.first - b.first)
    .reduce((mark, { first, last }) => (first <= mark + 1 ? Math.max(mark, last) : mark), watermark)
}

function lastOf(batch: Batch): NewStatement {
  return batch.at(-1) ?? batch[0]
}
