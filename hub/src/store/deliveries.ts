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

/** What a node of a cluster said against the order at this place, if one did. */
export function refusalAt(nodes: readonly FleetNode[], position: Position | undefined): FleetNode['refused'] {
  return nodes.find((node) => isRefused(node, position))?.refused
}

function isRefused({ refused }: FleetNode, position: Position | undefined): boolean {
  const at = refused?.body.position
  return at !== undefined && position !== undefined && comparePositions(at, position) === 0
}

/**
 * Whether nothing of an assignment, of which the newest order stands at `position`, is left to activate: each node confirmed
 * its bytes, gave them up since it was made, or refused the order.
 */
export function isSettled(
  { imageSha256, assignedAt }: Assignment,
  nodes: readonly FleetNode[],
  position: Position | undefined,
): boolean {
  const isDone = (node: FleetNode) => {
    const { confirmedOnce, failed } = node
    if (confirmedOnce?.body.imageSha256 === imageSha256 || isRefused(node, position)) return true
    return failed !== undefined && failed.body.imageSha256 === imageSha256 && failed.receivedAt >= assignedAt
  }
  return nodes.length > 0 && nodes.every(isDone)
}

/** When any node of a cluster was heard last. */
export function lastHeardMs(nodes: readonly FleetNode[]): number | undefined {
  const heard = nodes.flatMap(({ lastHeardAt }) => (lastHeardAt ? [lastHeardAt.getTime()] : []))
  return heard.length > 0 ? Math.max(...heard) : undefined
}
