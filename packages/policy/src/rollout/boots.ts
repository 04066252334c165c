import type { RolloutSpec } from '@skerry/api'
import { type AppraisalCode, asGoodAs, worst } from '../attestation/findings.ts'
import type { Boot, ClusterFacts, NodeFacts } from './facts.ts'
import { type Progress, ref } from './progress.ts'
import type { Durations } from './strategy.ts'

// Which boots of a rollout's image count, which fail their cluster, and what is missing of those that do neither.

/** The newest boot is less proven than the rollout asks: waited for, to its deadline. */
export const UNPROVEN = 'AttestationInsufficient'
/** The node fell back to another image after it had confirmed this one. */
export const FELL_BACK = 'AnotherImageBooted'
export const REJUDGED = 'ReferenceValuesChanged'

/**
 * A boot of the confirmed bytes that is proven to be bad, whatever booted since. What became bad only by values that were
 * signed since it was judged is no news of the machine, and fails nobody.
 */
export function badBootOf({ node, confirmed, boot, bad }: NodeFacts): Progress | undefined {
  const found = [bad, boot].find(
    (one) =>
      one?.verdict?.verdict === 'contraindicated' &&
      !isRejudged(one.verdict) &&
      one.imageSha256 === confirmed?.imageSha256,
  )
  if (!confirmed || !found?.verdict) return undefined
  const { message, reason } = found.verdict
  return {
    state: 'Failed',
    reason: 'AttestationContraindicated',
    message: `node ${node}: ${called(found, confirmed)}: ${message} (${reason})`,
    statement: found.statement,
  }
}

// Worse than it was by values that were signed since: no news of the machine. What it confirmed, and what it lost of that, is
// its own word, however late.
const BY_ITSELF: ReadonlySet<string> = new Set<AppraisalCode>(['OlderThanConfirmed', 'ConfirmedLost'])

function isRejudged({ verdict, reason, firstVerdict = verdict }: NonNullable<Boot['verdict']>): boolean {
  return (
    !BY_ITSELF.has(reason) &&
    firstVerdict !== verdict &&
    (verdict === 'contraindicated' || worst([firstVerdict, verdict]) === verdict)
  )
}

function called({ bootId }: Pick<Boot, 'bootId'>, confirmed: NonNullable<NodeFacts['confirmed']>): string {
  return bootId === confirmed.bootId ? 'the boot' : `a later boot, ${bootId}`
}

// Every node confirmed the target's bytes. What is missing is a newest boot that is as good as asked, and time.
export function soakOf(
  { nodes, assignment }: ClusterFacts,
  spec: RolloutSpec,
  durations: Durations,
  nowMs: number,
): Progress {
  const endsAtMs = soakedAtMs(nodes, durations)
  const doubts = nodes.flatMap((node) => doubtOf(node, spec.attestation ?? 'affirming') ?? [])
  // What a node tried under the order before this one is not held against this image.
  const fallen = doubts.find(
    ({ reason, missingSinceMs = 0 }) => reason === FELL_BACK && missingSinceMs >= (assignment?.atMs ?? 0),
  )
  if (fallen)
    return nowMs < endsAtMs ? { ...fallen, recheckAtMs: endsAtMs } : { ...fallen, state: 'Failed', reason: FELL_BACK }
  // Of several the one is told that an edit of the terms would not mend, and before all one that has a deadline.
  const doubt =
    doubts.find(({ reason }) => reason !== UNPROVEN && reason !== REJUDGED) ??
    doubts.find(({ reason }) => reason === UNPROVEN) ??
    doubts[0]
  if (doubt) return doubt
  const statement = nodes
    .flatMap(({ confirmed }) => confirmed ?? [])
    .reduce<NodeFacts['confirmed']>((a, b) => (a && a.atMs > b.atMs ? a : b), undefined)?.statement
  if (nowMs < endsAtMs)
    return {
      state: 'Soaking',
      reason: 'MinSuccessTime',
      message: `confirmed; counts from ${new Date(endsAtMs).toISOString()} on`,
      recheckAtMs: endsAtMs,
      ...ref(statement),
    }
  return {
    state: 'Succeeded',
    reason: 'Confirmed',
    message: 'every node runs the image in a boot that is as good as asked',
    ...ref(statement),
  }
}

/** When every node has run the image for as long as the rollout asks. */
export function soakedAtMs(nodes: readonly NodeFacts[], { soakMs }: Durations): number {
  return Math.max(...nodes.map(({ confirmed }) => confirmed?.atMs ?? 0)) + soakMs
}

/**
 * What keeps a node that confirmed the target's bytes from counting: its newest boot is of another image, is not judged, or
 * is less proven than asked. A later boot that is as good as asked takes the place of one that was not.
 */
function doubtOf({ node, confirmed, boot }: NodeFacts, wanted: 'affirming' | 'warning'): Progress | undefined {
  if (!confirmed) return undefined
  const { verdict, imageSha256, statement, atMs } = boot ?? { ...confirmed, verdict: undefined }
  const what = called(boot ?? confirmed, confirmed)
  const doubt = { state: 'Soaking', missingSinceMs: atMs, statement } as const
  if (imageSha256 !== confirmed.imageSha256)
    return {
      ...doubt,
      reason: FELL_BACK,
      message: `node ${node}: ${what}, is of another image, ${imageSha256.slice(0, 12)}…`,
    }
  if (!verdict)
    return {
      ...doubt,
      reason: 'AwaitingAttestation',
      message: `node ${node}: ${what} has no attestation result yet`,
    }
  if (asGoodAs(verdict.verdict, wanted)) return undefined
  const rejudged = isRejudged(verdict)
  const since = rejudged ? `, ${verdict.firstVerdict} before it was judged again` : ''
  return {
    ...doubt,
    reason: rejudged ? REJUDGED : UNPROVEN,
    message: `node ${node}: ${what}: the verdict is ${verdict.verdict}${since} (${verdict.reason}: ${verdict.message}), this rollout asks for ${wanted}`,
  }
}
