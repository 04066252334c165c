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
    ordered.image.rollout === `${assignment.rolloutNamespace}/${assignment.rolloutName}` &&
    ordered.retry?.act === assignment.terms.retry?.act
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
 * Whether nothing of an assignment, of which this is the newest order, is left to activate: each node confirmed its bytes,
 * gave them up since it was made, or refused the order.
 */
export function isSettled(assignment: Assignment, nodes: readonly FleetNode[], ordered: Ordered | undefined): boolean {
  const { imageSha256, assignedAt } = assignment
  const position = positionOf(assignment, ordered)
  const isDone = (node: FleetNode) => {
    const { confirmedOnce, failed } = node
    if (confirmedOnce?.body.imageSha256 === imageSha256 || isRefused(node, position)) return true
    if (failed?.body.imageSha256 !== imageSha256 || isBeforeRetry(failed, assignment, ordered)) return false
    return failed.receivedAt >= assignedAt
  }
  return nodes.length > 0 && nodes.every(isDone)
}

/**
 * Whether a failure is only said anew, of an order before the one by which a person asked to try again: a node does that after
 * a loss, and has not heard of the retry.
 */
export function isBeforeRetry(
  { body }: Pick<NonNullable<FleetNode['failed']>, 'body'>,
  { terms }: Assignment,
  ordered: Ordered | undefined,
): boolean {
  if (body.from !== 'Failed' || !terms.retry) return false
  // Not composed yet: then no node has heard of it.
  if (ordered?.retry?.act !== terms.retry.act || !ordered.retriedAt || !body.position) return true
  return comparePositions(body.position, ordered.retriedAt) < 0
}

/** When any node of a cluster was heard last. */
export function lastHeardMs(nodes: readonly FleetNode[]): number | undefined {
  const heard = nodes.flatMap(({ lastHeardAt }) => (lastHeardAt ? [lastHeardAt.getTime()] : []))
  return heard.length > 0 ? Math.max(...heard) : undefined
}
