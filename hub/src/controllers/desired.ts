import { DEFAULT_GATES, type DesiredState, type Position } from '@skerry/api'
import { type NextPosition, nextPosition } from '@skerry/policy'
import { sha256Hex } from '@skerry/trust'
import { type Assignment, listAssignments } from '../store/assignments.ts'
import { type ClaimAhead, listClaimsAhead } from '../store/claims.ts'
import { appendDesired, type NewDesired, newestDesired } from '../store/desired-states.ts'
import { type NewEvent, recordEvents } from '../store/events.ts'
import { writeFenced } from '../store/leases.ts'
import { wake } from '../store/wake.ts'
import type { Controller } from './run.ts'

/** Documents read, composed and stored at a time: those of a whole fleet are more than memory is for. */
const AT_ONCE = 2_000
/** What sites say that they hold is compared once in so long. */
const COMPARE_MS = 10_000
/** A claim that is not answered is told once in so long, for each cluster. */
const TELL_AGAIN_MS = 3_600_000

type Due = NewDesired & { readonly event: NewEvent | undefined }

/**
 * Composes one document a cluster out of what is assigned to it. A change, and nothing else, is a new generation; a site
 * that holds what this database knows nothing of has its order again in a new timeline.
 */
export function desiredController(): Controller {
  let comparedAtMs = Number.NEGATIVE_INFINITY
  // When it was last told that a cluster's claim is not answered: a node may claim something else at each look.
  const toldAtMs = new Map<string, number>()
  return {
    name: 'desired',
    async reconcile({ store, lease, now }) {
      const nowMs = now()
      // They cost as much as all the rest: 128 ms with 9,500 nodes, and nobody waits for them.
      const compare = Math.abs(nowMs - comparedAtMs) >= COMPARE_MS
      const [assignments, ahead] = await Promise.all([
        listAssignments(store.sql),
        compare ? listClaimsAhead(store.sql) : [],
      ])
      if (compare) comparedAtMs = nowMs
      const claimsOf = Map.groupBy(ahead, ({ cluster }) => cluster)
      const issuedAt = new Date(nowMs).toISOString()
      const unanswered: NewEvent[] = []
      let recheckAtMs: number | undefined
      for (let from = 0; from < assignments.length; from += AT_ONCE) {
        const some = assignments.slice(from, from + AT_ONCE)
        const newest = await newestDesired(
          store.sql,
          some.map(({ cluster }) => cluster),
        )
        const stored = new Map(newest.map((state) => [state.cluster, state]))
        const due: Due[] = []
        for (const assignment of some) {
          const { cluster } = assignment
          const before = stored.get(cluster)
          const claims = claimsOf.get(cluster) ?? []
          const next = nextPosition(before, claims, claims[0]?.begun ?? 0, nowMs)
          const document = compose(assignment, next.position, issuedAt)
          const event = eventOf(cluster, next, claims, before?.position)
          if (next.kind === 'HeldBack') recheckAtMs = Math.min(recheckAtMs ?? next.notBeforeMs, next.notBeforeMs)
          if (next.kind !== 'Begins') {
            if (event && nowMs - (toldAtMs.get(cluster) ?? Number.NEGATIVE_INFINITY) >= TELL_AGAIN_MS) {
              unanswered.push(event)
              toldAtMs.set(cluster, nowMs)
            }
            if (before && sameOrder(before.document, document)) continue
          }
          const payload = new TextEncoder().encode(JSON.stringify(document))
          const begins = next.kind === 'Begins' ? event : undefined
          due.push({ cluster, position: next.position, payload, digest: sha256Hex(payload), event: begins })
        }
        if (due.length === 0) continue
        await writeFenced(store, lease, async (tx) => {
          await appendDesired(tx, due)
          await recordEvents(
            tx,
            due.flatMap(({ event }) => event ?? []),
          )
          await wake(tx, 'desired-state')
        })
      }
      if (unanswered.length > 0) await writeFenced(store, lease, (tx) => recordEvents(tx, unanswered))
      return { recheckAtMs }
    },
  }
}

// A claim that is answered, or is not, is told on its cluster: whoever restored a database finds there what came of it.
function eventOf(
  cluster: string,
  next: NextPosition,
  claims: readonly ClaimAhead[],
  stored: Position | undefined,
): NewEvent | undefined {
  if (next.kind === 'Follows') return undefined
  const { above } = next
  const node = claims.find(({ position }) => position === above)?.node
  const claim = `node ${node} says that it holds desired state ${shown(above)}, and the newest that this hub has is ${stored ? shown(stored) : 'none'}`
  const regarding = { kind: 'ManagedCluster', name: cluster }
  const event = (reason: string, message: string): NewEvent => ({
    type: 'Warning',
    reason,
    message: `${claim}: ${message}`,
    component: 'desired',
    regarding,
  })
  switch (next.kind) {
    case 'Begins':
      return event(
        'TimelineBegun',
        `the database was put back to an earlier state, or the node does not say the truth; the present order is issued as ${shown(next.position)}, above it`,
      )
    case 'HeldBack':
      return event(
        'TimelineHeldBack',
        `this cluster has a new timeline already, and no further one before ${new Date(next.notBeforeMs).toISOString()}; if no database was restored since, look at the node`,
      )
    case 'Impossible':
      return event(
        'ImpossiblePosition',
        "that is more than a day ahead of this hub's clock, and no site takes such a place; nothing is issued for it; look at the clock of the hub, then at the node",
      )
    default: {
      const never: never = next
      return never
    }
  }
}

function shown({ timeline, generation }: Position): string {
  return `${timeline}.${generation}`
}

function compose(
  { cluster, target, manifestSha256, rolloutNamespace, rolloutName, terms }: Assignment,
  position: Position,
  issuedAt: string,
): DesiredState {
  return {
    kind: 'DesiredState',
    cluster,
    ...position,
    issuedAt,
    image: { target, sha256: manifestSha256, rollout: `${rolloutNamespace}/${rolloutName}` },
    windows: { activation: [...terms.windows] },
    // Where there are none they leave no trace, as a retry does: a site of before knows no such members.
    ...(terms.waves ? { waves: terms.waves } : {}),
    gates: terms.gates ?? DEFAULT_GATES,
    drain: { timeoutSeconds: 0 },
    budget: { maxUnavailable: 1 },
    onFailure: 'RollBack',
    attestation: terms.attestation,
    paused: terms.paused ?? false,
    ...(terms.retry ? { retry: { imageSha256: terms.retry.imageSha256, act: terms.retry.act } } : {}),
    works: [],
    tombstones: [],
  }
}

function sameOrder(a: DesiredState, b: DesiredState): boolean {
  const order = ({ generation: _, timeline: __, issuedAt: ___, ...rest }: DesiredState) => JSON.stringify(rest)
  return order(a) === order(b)
}
