import { comparePositions, type Position } from '@skerry/api'
import type { ClusterFacts } from '@skerry/policy'
import type { Assignment } from './assignments.ts'
import type { Ordered } from './desired-states.ts'
import type { FleetNode } from './fleet.ts'

// How far an order has come to a cluster, read from rows: for whoever plans a rollout and whoever asks whom a pause misses.

/** Where the newest order of a cluster that carries its assignment stands; undefined until it is composed. */
export function positionOf(assignment: Assignment | undefined, ordered: Ordered | undefined): Position | undefined {
  return assignment &&
    ordered?.image?.sha256 === assignment.manifestSha256 &&
    ordered.image.rollout === `${assignment.rolloutNamespace}/${assignment.rolloutName}`
    ? ordered.position
    : undefined
}

/** A cluster has accepted what the last of its nodes has accepted. */
export function leastAccepted(nodes: readonly FleetNode[]): ClusterFacts['accepted'] {
  const said = nodes.map((node) => node.accepted)
  const [first] = said.toSorted((a, b) => (a && b ? comparePositions(a.body, b.body) : a ? 1 : -1))
  return (
    first && {
      position: { timeline: first.body.timeline, generation: first.body.generation },
      atMs: first.receivedAt.getTime(),
      statement: first.ref,
    }
  )
}

/** When any node of a cluster was heard last. */
export function lastHeardMs(nodes: readonly FleetNode[]): number | undefined {
  const heard = nodes.flatMap(({ lastHeardAt }) => (lastHeardAt ? [lastHeardAt.getTime()] : []))
  return heard.length > 0 ? Math.max(...heard) : undefined
}
