import type { ComplianceReport } from '@skerry/api'
import { appraise } from '../attestation/appraise.ts'
import type { AppraisalCode } from '../attestation/findings.ts'
import type { JudgedAgain } from './again.ts'
import type { NodeInventory } from './assess.ts'
import { type ProvenStatement, refOf } from './chain.ts'

// What the evidence of a boot is worth, beside what a report says of it.

type Node = ComplianceReport['clusters'][number]['nodes'][number]

/** What no manifest, profile or record can mend, beside a check of the quote that fails. */
const UNMENDABLE: ReadonlySet<string> = new Set<AppraisalCode | 'EmptyBank'>([
  'NonceMismatch',
  'ClassMismatch',
  'NoQuote',
  'EventLogMissing',
  'EventLogReplaced',
  'EventLogMalformed',
  'MeasurementLogMalformed',
  'ReplayMismatch',
  'EmptyBank',
])

type Verdict = NonNullable<NodeInventory['verdict']>

/**
 * What a TPM's quote is held against was signed by people, and only whoever has their root can say so of the copies in a
 * report. Without it such a verdict is the hub's word, but for what the evidence shows by itself: that it is not authentic,
 * or not whole.
 */
export function verdictOf(
  { statement, digest, nonce }: ProvenStatement,
  as: Node['class'],
  said: Node['hubSays']['verdict'],
  again: (() => ReturnType<JudgedAgain>) | undefined,
): { readonly due: Verdict; readonly byHub: string | undefined; readonly again?: boolean } | undefined {
  if (statement.kind !== 'evidence') return undefined
  const { verdict, reason, checks, codes } = appraise(statement.body, { nonce, class: as })
  const { bootId } = statement.body
  const own: Verdict = { bootId, verdict, reason, statement: refOf({ statement, digest }) }
  if (statement.body.class !== 'tpm') return { due: own, byHub: undefined }
  const made = again?.() ?? { why: BY_HUB }
  if (!('why' in made))
    return { due: { ...own, verdict: made.verdict, reason: made.reason }, byHub: undefined, again: true }
  const refuted = checks.some(({ ok }) => !ok) || [...codes].some((code) => UNMENDABLE.has(code))
  const saidOfIt = said?.seq === statement.seq && said.bootId === bootId ? said : undefined
  if (refuted && (saidOfIt?.verdict === 'affirming' || saidOfIt?.verdict === 'warning'))
    return { due: own, byHub: undefined }
  if (saidOfIt)
    return {
      due: { ...own, verdict: saidOfIt.verdict, reason: saidOfIt.reason },
      byHub: refuted ? undefined : made.why,
    }
  return { due: refuted ? own : { ...own, verdict: 'warning', reason: 'NoReference' }, byHub: undefined }
}

const BY_HUB = 'what that is held against was judged by the hub, not by this report'

/**
 * A hub may not have come to a boot's evidence, or not know how to judge it. What it then leaves open is no more than it
 * knows, unless the evidence is bad: that is not hidden by saying nothing.
 */
export function unjudgedOf(
  said: Node['hubSays']['verdict'],
  { bootId, verdict, reason, statement: { seq } }: NonNullable<NodeInventory['verdict']>,
): string | undefined {
  if (said?.seq === seq || said?.bootId === bootId || verdict === 'contraindicated') return undefined
  return `statement ${seq} is evidence that the hub had not judged; judged here it is ${verdict} (${reason})`
}

/**
 * The running boot's evidence is judged whatever the report says of it: a bad verdict is not hidden by telling none, or one
 * on evidence that came before.
 */
export function verdictFaults(
  said: Node['hubSays']['verdict'],
  due: NodeInventory['verdict'],
  statements: ReadonlyMap<number, ProvenStatement>,
): string[] {
  if (said && statements.get(said.seq)?.statement.kind !== 'evidence')
    return [`the verdict on boot ${said.bootId} names statement ${said.seq}, which is no evidence here`]
  if (!due) return []
  const { bootId, verdict, reason, statement } = due
  if (said?.seq !== statement.seq)
    return [
      `boot ${bootId} has evidence in statement ${statement.seq}, ${verdict} (${reason}), and the report ${said ? `only a verdict on statement ${said.seq}` : 'no verdict on it'}; had it only just come, export again`,
    ]
  if (said.verdict === verdict && said.reason === reason && said.bootId === bootId) return []
  const other = said.bootId === bootId ? '' : ` of boot ${said.bootId}`
  return [
    `the evidence of boot ${bootId} is ${verdict} (${reason}), the report says ${said.verdict} (${said.reason})${other}`,
  ]
}
