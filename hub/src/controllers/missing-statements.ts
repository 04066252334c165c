import type { Condition } from '@skerry/api'
import { lostWords } from '@skerry/policy'
import type { ClosedGap } from '../store/closed-gaps.ts'
import type { NewEvent } from '../store/events.ts'
import type { Gap } from '../store/statements.ts'

/** What is lost, and up to which number the first of it that the node's own later word refutes. */
type Lost = { readonly stretches: readonly ClosedGap[]; readonly refutedUpTo: number | undefined }

// A gap in a node's chain, told on its EdgeNode as long as it stands; and for good what the node closed by its own word.

/**
 * An honest node sends what is missing within seconds, and a hub that was restored is told it again within minutes. The
 * clocks of hubs and PostgreSQL, which are compared here, are no further apart.
 */
export const STANDS_AFTER_MS = 300_000

/** When a gap is to be told of. */
export function standsAtMs({ since }: Pick<Gap, 'since'>): number {
  return since.getTime() + STANDS_AFTER_MS
}

/**
 * `ChainComplete` is False while a gap stands, Unknown where what is missing is lost by the node's own word, and absent
 * otherwise. What was once said to contradict what is above the gap does so as long as that stands: a reason that changed
 * with each statement would be an event each time.
 */
export function chainCondition(
  gap: Gap | undefined,
  closed: Lost,
  before: readonly Condition[] | undefined,
  nowMs: number,
): Condition | undefined {
  if (!gap || nowMs < standsAtMs(gap)) return closedCondition(closed, before)
  const { first, last, newest, since, markedAt } = gap
  const contradicts =
    (markedAt !== undefined && markedAt.getTime() > standsAtMs(gap)) ||
    toldOf(before)?.reason === 'StatementsContradict'
  const numbers = first === last ? `statement ${first} is` : `statements ${first} to ${last} are`
  const missing = `${numbers} missing below ${last + 1}, and the newest is ${newest}: what is shown of this node may be what stands above the gap`
  return {
    type: 'ChainComplete',
    status: 'False',
    ...(contradicts
      ? {
          reason: 'StatementsContradict',
          message: `${missing}. Below it came what was made after that had come: two speak with this node's key. ${END_IT}`,
        }
      : {
          reason: 'StatementsMissing',
          message: `${missing}. The node sends what is missing by itself as long as it has it, and says by a gap statement what it has no more. Compare newestStatement of skerry-agent status at the site: below ${newest} somebody else has the node's key, and skerry node revoke ends it; otherwise its agent is from before gap statements, or had made too many, and only the node's next life (its Registration deleted, its data emptied) has a chain without a gap`,
        }),
    lastTransitionTime: since.toISOString(),
  }
}

// Who closes numbers has none of them any more. One that answers a marker of later was made by another.
function closedCondition(
  { stretches, refutedUpTo }: Lost,
  before: readonly Condition[] | undefined,
): Condition | undefined {
  const [first] = stretches
  if (!first) return undefined
  const told = { type: 'ChainComplete', lastTransitionTime: first.closedAt.toISOString() }
  const refuted =
    stretches.find(({ toSeq }) => toSeq === refutedUpTo) ??
    (toldOf(before)?.reason === 'StatementsContradict' ? first : undefined)
  if (refuted)
    return {
      ...told,
      status: 'False',
      reason: 'StatementsContradict',
      message: `statement ${refuted.statement.seq} says that what this node had said up to ${refuted.toSeq} is lost, and below it came what was made after that had come: two speak with this node's key. ${END_IT}`,
    }
  return {
    ...told,
    status: 'Unknown',
    reason: 'StatementsLost',
    message: `${lostWords(stretches)}: what they said is not known, and what this node runs and has confirmed is told by what it said since. A hub that was restored from a backup older than a node keeps its statements loses some; one that was not, and a node that closes statements, is a reason to compare newestStatement of skerry-agent status at the site: below ${first.statement.seq} somebody else has the node's key`,
  }
}

/** The event of a gap that is told of and was not before, or not for this reason. */
export function gapEvent(
  { namespace, name }: { readonly namespace: string; readonly name: string },
  now: readonly Condition[] | undefined,
  before: readonly Condition[] | undefined,
): NewEvent[] {
  const told = toldOf(now)
  if (!told || told.reason === toldOf(before)?.reason) return []
  const { reason, message } = told
  return [
    { type: 'Warning', reason, message, component: 'cluster-status', regarding: { kind: 'EdgeNode', namespace, name } },
  ]
}

const END_IT =
  'End it with skerry node revoke; then delete its Registration, and let the machine enter anew with empty data'

function toldOf(conditions: readonly Condition[] | undefined): Condition | undefined {
  return conditions?.find(({ type }) => type === 'ChainComplete')
}
