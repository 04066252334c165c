import {
  APPROVED_REMOVAL_ANNOTATION,
  APPROVED_REMOVAL_BY_ANNOTATION,
  type Cause,
  CLUSTER_SET_LABEL,
  type KindName,
  LABEL_PATTERN,
  type SpecFor,
} from '@skerry/api'
import { admitPlacement, admitRollout, clusterSetFaults, keepHubTaint, stampTaints, taintFaults } from '@skerry/policy'

// What a write must meet beyond its schema, and what the hub adds to it. The judgements are policy's.

const LABEL = new RegExp(LABEL_PATTERN)
/** Clusters and Rollouts name other things by their own name, so theirs is one label. */
const ONE_LABEL: ReadonlySet<KindName> = new Set(['ManagedCluster', 'JoinToken', 'Rollout'])

type Candidate = {
  metadata: {
    name: string
    namespace?: string
    labels?: Record<string, string>
    annotations?: Record<string, string>
  }
  spec?: unknown
}

/**
 * Every fault of an object, with its field; `before`: what it takes the place of. Of one that is not whole, whose name may be
 * empty and whose spec may lack whatever the schema asks of it, those of the rest.
 */
export function faultsOf(kind: KindName, object: Candidate, before: Candidate | undefined, nowMs: number): Cause[] {
  const faults: { field: string; message: string }[] = []
  const { name } = object.metadata
  if (name !== '' && ONE_LABEL.has(kind) && !LABEL.test(name))
    faults.push({ field: 'metadata.name', message: `must be one RFC 1123 label (${LABEL_PATTERN})` })
  switch (kind) {
    case 'Placement':
      faults.push(...admitPlacement(name, object.spec as SpecFor<'Placement'>, object.metadata.annotations))
      faults.push(...approvalFaults(object, before))
      break
    case 'ManagedClusterSet':
      faults.push(...clusterSetFaults(object.spec as SpecFor<'ManagedClusterSet'>))
      break
    case 'ManagedClusterSetBinding': {
      const { clusterSet } = object.spec as Partial<SpecFor<'ManagedClusterSetBinding'>>
      if (name !== '' && clusterSet !== name)
        faults.push({ field: 'spec.clusterSet', message: "must be the binding's own name" })
      break
    }
    case 'ManagedCluster':
      faults.push(...taintFaults((object.spec as SpecFor<'ManagedCluster'>).taints ?? []))
      break
    case 'Rollout':
      faults.push(...admitRollout(object.spec as Partial<SpecFor<'Rollout'>>, nowMs))
      break
    case 'PlacementDecision':
    case 'AddOnPlacementScore':
    case 'EdgeNode':
    case 'OSImage':
    case 'HardwareProfile':
    case 'JoinToken':
    case 'Registration':
    case 'Event':
      break
    default: {
      const never: never = kind
      return never
    }
  }
  return faults.map((fault) => ({ ...fault, reason: 'FieldValueInvalid' }))
}

// Whoever approves says of which removal, and that is compared with the one that is held.
function approvalFaults({ metadata }: Candidate, before: Candidate | undefined): { field: string; message: string }[] {
  return [APPROVED_REMOVAL_ANNOTATION, APPROVED_REMOVAL_BY_ANNOTATION].flatMap((name) => {
    const value = metadata.annotations?.[name]
    if (value === undefined || value === before?.metadata.annotations?.[name]) return []
    return { field: `metadata.annotations[${name}]`, message: "is set by a PUT to the placement's approval alone" }
  })
}

/** What the hub itself sets on a write: the time of a taint, the default cluster set. */
export function complete(kind: KindName, object: Candidate, before: Candidate | undefined, nowMs: number): Candidate {
  if (kind !== 'ManagedCluster') return object
  const spec = object.spec as SpecFor<'ManagedCluster'>
  const was = (before?.spec as SpecFor<'ManagedCluster'> | undefined)?.taints ?? []
  const labels = { ...object.metadata.labels }
  if (!labels[CLUSTER_SET_LABEL]) labels[CLUSTER_SET_LABEL] = 'default'
  const given = keepHubTaint(was, spec.taints)
  const taints = given ? { taints: stampTaints(was, given, new Date(nowMs).toISOString()) } : {}
  return { ...object, metadata: { ...object.metadata, labels }, spec: { ...spec, ...taints } }
}
