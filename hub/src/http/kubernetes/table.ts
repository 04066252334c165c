import type { KindName, KindRow, ObjectOf } from '@skerry/api'

// kubectl's and skerry's tables. Columns are chosen so that `get` answers "what is wrong, and where". Priority 1 is `-o wide`.

type Cell = string | number | boolean
type Column<K extends KindName> = {
  name: string
  priority?: 1
  type?: 'integer'
  of: (object: ObjectOf<K>) => Cell | undefined
  description?: string
}
type Columns = { [K in KindName]: readonly Column<K>[] }

const condition = (object: { status?: unknown }, type: string) => {
  const { conditions } = (object.status ?? {}) as {
    conditions?: { type: string; status: string; reason: string; message: string }[]
  }
  return conditions?.find((found) => found.type === type)
}
const short = (digest: string | undefined) => digest?.slice(0, 12)

// What keeps decisions as they are says more than how well they were satisfied before.
const placementReason = (o: ObjectOf<'Placement'>) =>
  ['RemovalHeld', 'DecisionsFrozen'].find((type) => condition(o, type)?.status === 'True') ??
  (condition(o, 'PlacementMisconfigured')?.status === 'True'
    ? 'Misconfigured'
    : condition(o, 'PlacementSatisfied')?.reason)

// What is lost for good is told by the condition, and no alarm that could ever end.
const notWell = (o: ObjectOf<'EdgeNode'>) =>
  [condition(o, 'Degraded'), condition(o, 'ChainComplete')]
    .flatMap((found) => (found && found.status !== 'Unknown' ? [found.reason] : []))
    .join(',') || 'no'

const COLUMNS: Columns = {
  ManagedCluster: [
    { name: 'Accepted', of: (o) => o.spec.hubAcceptsClient === true },
    { name: 'Joined', of: (o) => condition(o, 'ManagedClusterJoined')?.status ?? 'False' },
    { name: 'Available', of: (o) => condition(o, 'ManagedClusterConditionAvailable')?.status ?? 'Unknown' },
    { name: 'Reachability', of: (o) => condition(o, 'Reachable')?.reason ?? 'NeverSeen' },
    {
      name: 'Claims',
      priority: 1,
      of: (o) => (o.status?.clusterClaims ?? []).map(({ name, value }) => `${name}=${value}`).join(','),
    },
  ],
  ManagedClusterSet: [
    { name: 'Selector', of: (o) => o.spec.clusterSelector?.selectorType ?? 'ExclusiveClusterSetLabel' },
  ],
  ManagedClusterSetBinding: [{ name: 'Set', of: (o) => o.spec.clusterSet }],
  Placement: [
    { name: 'Satisfied', of: (o) => condition(o, 'PlacementSatisfied')?.status },
    { name: 'Reason', of: (o) => placementReason(o) },
    { name: 'Selected', type: 'integer', of: (o) => o.status?.numberOfSelectedClusters ?? 0 },
    { name: 'Misconfigured', priority: 1, of: (o) => condition(o, 'PlacementMisconfigured')?.message },
  ],
  PlacementDecision: [{ name: 'Clusters', type: 'integer', of: (o) => o.status?.decisions?.length ?? 0 }],
  AddOnPlacementScore: [
    { name: 'Scores', of: (o) => (o.status?.scores ?? []).map(({ name, value }) => `${name}=${value}`).join(',') },
    { name: 'Valid until', of: (o) => o.status?.validUntil ?? undefined },
  ],
  EdgeNode: [
    { name: 'Phase', of: (o) => o.status?.phase },
    { name: 'Reason', of: (o) => o.status?.reason },
    { name: 'Image', of: (o) => o.status?.image?.name ?? short(o.status?.image?.sha256) },
    { name: 'Class', of: (o) => o.status?.class },
    { name: 'Verdict', of: (o) => o.status?.attestation?.verdict ?? 'none' },
    { name: 'Reachability', of: (o) => o.status?.reachability },
    { name: 'Degraded', of: (o) => notWell(o), description: "by the node's own word, or by a gap in what it said" },
    { name: 'Slot', priority: 1, of: (o) => o.status?.slot },
    { name: 'Driver', priority: 1, of: (o) => o.status?.driver },
    { name: 'Message', priority: 1, of: (o) => o.status?.message },
  ],
  OSImage: [
    { name: 'Family', of: (o) => o.spec.family },
    { name: 'Version', of: (o) => o.spec.version },
    { name: 'Counter', type: 'integer', of: (o) => o.spec.releaseCounter },
    { name: 'Sha256', of: (o) => short(o.spec.image.sha256) },
    { name: 'Signers', type: 'integer', of: (o) => o.spec.signers.length },
    { name: 'Running', type: 'integer', of: (o) => o.status?.nodesRunning ?? 0 },
    { name: 'Target', priority: 1, of: (o) => o.spec.target },
  ],
  HardwareProfile: [
    { name: 'Hardware', of: (o) => o.spec.hardwareIds.join(',') },
    { name: 'Banks', of: (o) => o.spec.banks.join(',') },
    { name: 'Firmware', type: 'integer', of: (o) => o.spec.firmware.length },
    { name: 'Learn', of: (o) => o.spec.learn },
    { name: 'Secure-Boot', of: (o) => o.spec.secureBoot !== undefined },
    { name: 'Signers', type: 'integer', of: (o) => o.spec.signers.length },
    { name: 'Target', priority: 1, of: (o) => o.spec.target },
  ],
  Rollout: [
    { name: 'Phase', of: (o) => o.status?.phase ?? 'Pending' },
    { name: 'Reason', of: (o) => condition(o, 'Completed')?.reason, description: 'what it waits for, or how it ended' },
    { name: 'Image', of: (o) => o.spec.image.name },
    { name: 'Succeeded', of: (o) => `${o.status?.counts?.succeeded ?? 0}/${o.status?.counts?.total ?? 0}` },
    {
      name: 'Failed',
      type: 'integer',
      of: (o) => (o.status?.counts?.failed ?? 0) + (o.status?.counts?.rolledBack ?? 0),
    },
    { name: 'Breached', of: (o) => condition(o, 'Breached')?.status ?? 'False' },
    {
      name: 'Waiting',
      priority: 1,
      type: 'integer',
      of: (o) => (o.status?.counts?.notStarted ?? 0) + (o.status?.counts?.deferred ?? 0),
    },
    { name: 'Placement', priority: 1, of: (o) => o.spec.placementRef.name },
  ],
  JoinToken: [
    { name: 'Uses', of: (o) => `${o.status?.uses ?? 0}/${o.spec.maxUses}` },
    { name: 'Acceptance', of: (o) => o.spec.acceptance },
    { name: 'Classes', of: (o) => o.spec.classes.join(',') },
    { name: 'Expires', of: (o) => o.spec.expiresAt },
  ],
  Registration: [
    { name: 'State', of: (o) => o.status?.state ?? 'Pending' },
    { name: 'Class', of: (o) => o.spec.class },
    { name: 'Fingerprint', of: (o) => o.spec.fingerprint },
    {
      name: 'Decided-By',
      // Its own decision stands; what it has been denied by is its cluster's.
      of: (o) =>
        o.status?.reason === 'HubClusterAdminDenied' ? `ManagedCluster/${o.metadata.namespace}` : o.spec.decision?.by,
    },
    { name: 'Incarnation', priority: 1, type: 'integer', of: (o) => o.status?.incarnation ?? 0 },
    { name: 'Message', priority: 1, of: (o) => o.status?.message },
  ],
  Event: [
    { name: 'Type', of: (o) => o.spec.type },
    { name: 'Reason', of: (o) => o.spec.reason },
    { name: 'Object', of: (o) => `${o.spec.regarding.kind}/${o.spec.regarding.name}` },
    { name: 'Message', of: (o) => o.spec.message },
    { name: 'Component', priority: 1, of: (o) => o.spec.component },
  ],
}

/**
 * Kubernetes' Table of some objects. Wide columns stand behind the age, as
 * Kubernetes has them: the longest text is the last and pushes nothing else off the screen.
 */
export function toTable(row: KindRow, objects: readonly ObjectOf<KindName>[], metadata: object): object {
  const columns = COLUMNS[row.kind] as readonly Column<KindName>[]
  const shown = ({ name, priority, type, description }: Column<KindName>) => ({
    name,
    type: type ?? 'string',
    format: '',
    description: description ?? name,
    priority: priority ?? 0,
  })
  const [narrow, wide] = [columns.filter(({ priority }) => !priority), columns.filter(({ priority }) => priority)]
  return {
    kind: 'Table',
    apiVersion: 'meta.k8s.io/v1',
    metadata,
    columnDefinitions: [
      { name: 'Name', type: 'string', format: 'name', description: 'name', priority: 0 },
      ...narrow.map(shown),
      { name: 'Age', type: 'string', format: '', description: 'time since creation', priority: 0 },
      ...wide.map(shown),
    ],
    rows: objects.map((object) => {
      const cells = (some: typeof columns) => some.map((column) => cellOf(column, object))
      return {
        cells: [object.metadata.name, ...cells(narrow), age(object.metadata.creationTimestamp), ...cells(wide)],
        object: { kind: 'PartialObjectMetadata', apiVersion: 'meta.k8s.io/v1', metadata: object.metadata },
      }
    }),
  }
}

// As Kubernetes' own tables have it: kubectl prints an empty cell as nothing, and what stands behind moves under another header.
function cellOf({ of, type }: Column<KindName>, object: ObjectOf<KindName>): Cell {
  const cell = of(object) ?? (type === 'integer' ? 0 : '')
  return cell === '' ? '<none>' : cell
}

/** Kubernetes' short ages: 40s, 12m, 5h, 3d. */
function age(since: string): string {
  const seconds = Math.max(0, Math.floor((Date.now() - Date.parse(since)) / 1000))
  if (seconds < 120) return `${seconds}s`
  if (seconds < 7_200) return `${Math.floor(seconds / 60)}m`
  if (seconds < 172_800) return `${Math.floor(seconds / 3_600)}h`
  return `${Math.floor(seconds / 86_400)}d`
}
