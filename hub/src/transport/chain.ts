import { Refusal } from '@skerry/api'
import type { NewStatement, Stretch } from '../store/statements.ts'

// How a batch fits what is stored of its node. Pure: what is stored comes in, what to append or why not comes out.

export type Batch = readonly [NewStatement, ...NewStatement[]]

/** What is stored at a batch's place: digests by number from one below it to its last, and what the one above it follows from. */
export type Stored = { readonly digests: ReadonlyMap<number, string>; readonly abovePrev: string | undefined }

/** The numbers of a batch. */
export function stretchOf(batch: Batch): Stretch {
  const { cluster, node, incarnation, seq } = batch[0]
  return { cluster, node, incarnation, first: seq, last: lastOf(batch).seq }
}

/** How much may be stored of a node above a gap in its chain. An honest one sends what is missing first, a hundred at a time. */
export const MAX_ABOVE = { count: 2_000, bytes: 16_000_000 } as const

/** Where a node's chain stands, and how much of it is stored above the watermark. */
export type Place = { readonly watermark: number; readonly above: { readonly count: number; readonly bytes: number } }

/**
 * The statements of each batch that are to be appended, or the Refusal: ForkedChain for another text under a number that
 * is there, BrokenChain for one that does not link to its neighbours, ChainGap for one above a gap above which too much
 * is stored. All batches are of one node, in the order of their arrival; a batch that was refused is as if it had not come.
 */
export function fitBatches(
  batches: readonly { batch: Batch; stored: Stored }[],
  { watermark, above }: Place,
): (readonly NewStatement[] | Refusal)[] {
  const fits = linked(batches)
  // Only what is taken closes a gap.
  const mark = reach(
    watermark,
    batches.flatMap(({ batch }, place) => (fits[place] instanceof Refusal ? [] : [stretchOf(batch)])),
  )
  let { count, bytes } = above
  return fits.map((fit, place) => {
    const first = batches[place]?.batch[0]
    if (fit instanceof Refusal || !first || fit.length === 0 || first.seq <= mark + 1) return fit
    const more = fit.reduce((sum, { text }) => sum + Buffer.byteLength(text), 0)
    if (count + fit.length > MAX_ABOVE.count || bytes + more > MAX_ABOVE.bytes)
      return new Refusal(
        'ChainGap',
        `${first.cluster}/${first.node} has ${count} statements (${bytes} bytes) above a gap after ${mark}; ${mark + 1} has to come first`,
      )
    count += fit.length
    bytes += more
    return fit
  })
}

function linked(batches: readonly { batch: Batch; stored: Stored }[]): (readonly NewStatement[] | Refusal)[] {
  const taken = new Map<number, NewStatement>()
  return batches.map(({ batch, stored }) => {
    const [first] = batch
    const last = lastOf(batch)
    const name = `${first.cluster}/${first.node}`
    const digestOf = (seq: number) => stored.digests.get(seq) ?? taken.get(seq)?.digest
    const forked = batch.find(({ seq, digest }) => (digestOf(seq) ?? digest) !== digest)
    if (forked) return new Refusal('ForkedChain', `${name} has two statements ${forked.seq}`)
    const below = digestOf(first.seq - 1)
    if (below !== undefined && below !== first.prev)
      return new Refusal('BrokenChain', `statement ${first.seq} of ${name} does not follow from ${first.seq - 1}`)
    const abovePrev = stored.abovePrev ?? taken.get(last.seq + 1)?.prev
    if (abovePrev !== undefined && abovePrev !== last.digest)
      return new Refusal('BrokenChain', `statement ${last.seq + 1} of ${name} does not follow from ${last.seq}`)
    const fresh = batch.filter(({ seq }) => digestOf(seq) === undefined)
    for (const statement of fresh) taken.set(statement.seq, statement)
    return fresh
  })
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
