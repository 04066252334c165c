import type { ComplianceReport, RegistrationProof, StatementRef } from '@skerry/api'
import type { Closed } from './assess.ts'
import type { KnownStatement } from './facts.ts'

// What the statements of one life show by themselves: which are here, which are lost by the node's own word, and which are
// only missing.

/** One life's statements as they were read and verified: by number, with what is not as the node made it. */
export type Proven = {
  /** RFC 7638 thumbprint of the key that signed them. */
  readonly key: string
  readonly statements: ReadonlyMap<number, ProvenStatement>
  /** What the node signed when it registered, where that was kept and verifies. */
  readonly proof?: RegistrationProof
  readonly faults: readonly string[]
}

export type ProvenStatement = KnownStatement & {
  readonly nonce: string
  readonly reached: 'signed' | 'chained' | 'not-kept'
}

type SaidClosed = NonNullable<ComplianceReport['clusters'][number]['nodes'][number]['hubSays']['closed']>[number]

/** What a report calls lost is lost by the node's own word; what is not is a fault, and only missing. */
export function closedBy(
  said: readonly SaidClosed[],
  statements: ReadonlyMap<number, ProvenStatement>,
  watermark: number,
): { closed: Closed[]; faults: string[] } {
  const closed: Closed[] = []
  const faults: string[] = []
  for (const { fromSeq, toSeq, seq, reason } of said.toSorted((a, b) => a.fromSeq - b.fromSeq)) {
    const gap = statements.get(seq)
    const body = gap?.statement.kind === 'gap' ? gap.statement.body : undefined
    const covers = body && toSeq < seq && body.fromSeq <= fromSeq && fromSeq <= toSeq && toSeq <= body.toSeq
    if (gap && covers && toSeq <= watermark && body.reason === reason)
      closed.push({ fromSeq, toSeq, reason, statement: refOf(gap) })
    else
      faults.push(
        `the report says that statements ${fromSeq} to ${toSeq} are lost (${reason}); statement ${seq}, which it names for that, does not say so`,
      )
  }
  return { closed, faults }
}

/** What the report counts has to be there or be closed up to the watermark: above that it says itself that something is missing. */
export function gaps(
  statements: ReadonlyMap<number, ProvenStatement>,
  closed: readonly Closed[],
  watermark: number,
  newestSeq: number,
): string[] {
  const found: string[] = []
  let before = 0
  const look = (first: number, last: number) => {
    const what = before + 1 === first - 1 ? `statement ${first - 1} is` : `statements ${before + 1} to ${first - 1} are`
    if (before + 1 < first) found.push(`${what} missing: the report counts 1 to ${watermark} without a gap`)
    if (first <= before) found.push(`the report says that statement ${before} is lost, and it is here or lost twice`)
    before = Math.max(before, last)
  }
  const numbers = [...statements.keys()].toSorted((a, b) => a - b)
  const counted = numbers.filter((seq) => seq <= watermark).map((seq) => ({ first: seq, last: seq }))
  const lost = closed.map(({ fromSeq, toSeq }) => ({ first: fromSeq, last: toSeq }))
  for (const { first, last } of [...counted, ...lost].toSorted((a, b) => a.first - b.first)) look(first, last)
  look(watermark + 1, watermark + 1)
  const newest = numbers.at(-1) ?? 0
  if (newest > newestSeq || (newest < newestSeq && watermark < newestSeq))
    found.push(`the newest statement here is ${newest}, the report counts ${newestSeq}`)
  return found
}

export function refOf({ statement: { cluster, node, incarnation, seq }, digest }: KnownStatement): StatementRef {
  return { cluster, node, incarnation, seq, digest }
}
