import { DEFAULT_GATES, type DesiredState, type Position } from '@skerry/api'
import { sha256Hex } from '@skerry/trust'
import { type Assignment, listAssignments } from '../store/assignments.ts'
import { appendDesired, type NewDesired, newestDesired, type StoredDesired } from '../store/desired-states.ts'
import { writeFenced } from '../store/leases.ts'
import { wake } from '../store/wake.ts'
import type { Controller } from './run.ts'

/** Documents composed and stored in one transaction. */
const AT_ONCE = 2_000

/** Composes one document a cluster out of what is assigned to it. A change, and nothing else, is a new generation. */
export function desiredController(): Controller {
  return {
    name: 'desired',
    async reconcile({ store, lease, now }) {
      const stored = new Map((await newestDesired(store.sql)).map((state) => [state.cluster, state]))
      const issuedAt = new Date(now()).toISOString()
      const due: NewDesired[] = []
      for (const assignment of await listAssignments(store.sql)) {
        const before = stored.get(assignment.cluster)
        const position = nextPosition(before)
        const document = compose(assignment, position, issuedAt)
        if (before && sameOrder(before.document, document)) continue
        const payload = new TextEncoder().encode(JSON.stringify(document))
        due.push({ cluster: assignment.cluster, position, payload, digest: sha256Hex(payload) })
      }
      for (let from = 0; from < due.length; from += AT_ONCE)
        await writeFenced(store, lease, async (tx) => {
          await appendDesired(tx, due.slice(from, from + AT_ONCE))
          await wake(tx, 'desired-state')
        })
      return {}
    },
  }
}

function nextPosition(before: StoredDesired | undefined): Position {
  return before
    ? { timeline: before.position.timeline, generation: before.position.generation + 1 }
    : { timeline: 0, generation: 1 }
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
    gates: terms.gates ?? DEFAULT_GATES,
    drain: { timeoutSeconds: 0 },
    budget: { maxUnavailable: 1 },
    onFailure: 'RollBack',
    attestation: terms.attestation,
    paused: terms.paused ?? false,
    works: [],
    tombstones: [],
  }
}

function sameOrder(a: DesiredState, b: DesiredState): boolean {
  const order = ({ generation: _, timeline: __, issuedAt: ___, ...rest }: DesiredState) => JSON.stringify(rest)
  return order(a) === order(b)
}
