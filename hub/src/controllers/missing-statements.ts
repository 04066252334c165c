import type { Condition } from '@skerry/api'
import type { NewEvent } from '../store/events.ts'
import type { Gap } from '../store/statements.ts'

// A gap in a node's chain, told on its EdgeNode as long as it stands.

/**
 * An honest node sends what is missing within seconds, and a hub that was restored is told it again within minutes. The
 * clocks of hubs and PostgreSQL, which are compared here, are no further apart.
 */
const STANDS_AFTER_MS = 300_000

/** When a gap is to be told of. */
export function standsAtMs({ since }: Gap): number {
  return since.getTime() + STANDS_AFTER_MS
}

/**
 * `ChainComplete` is False while a gap stands, and absent otherwise. What was once said to contradict what is above the
 * gap does so as long as that stands: a reason that changed with each statement would be an event each time.
 */
export function chainCondition(
  gap: Gap | undefined,
  before: readonly Condition[] | undefined,
  nowMs: number,
): Condition | undefined {
  if (!gap || nowMs < standsAtMs(gap)) return undefined
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
          message: `${missing}. Below it came what was made after that had come: two speak with this node's key. End it with skerry node revoke; then delete its Registration, and let the machine enter anew with empty data`,
        }
      : {
          reason: 'StatementsMissing',
          message: `${missing}. The node sends what is missing by itself as long as it has it. Compare newestStatement of skerry-agent status at the site: below ${newest} somebody else has the node's key, and skerry node revoke ends it; otherwise what is missing is lost, and only the node's next life (its Registration deleted, its data emptied) has a chain without a gap`,
        }),
    lastTransitionTime: since.toISOString(),
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

function toldOf(conditions: readonly Condition[] | undefined): Condition | undefined {
  return conditions?.find(({ type }) => type === 'ChainComplete')
}
