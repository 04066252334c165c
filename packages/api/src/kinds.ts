import { type Static, type TObject, type TSchema, Type } from 'typebox'
import {
  ManagedClusterSetBindingSpec,
  ManagedClusterSetBindingStatus,
  ManagedClusterSetSpec,
  ManagedClusterSetStatus,
} from './kinds/cluster-set.ts'
import { EdgeNodeStatus } from './kinds/edge-node.ts'
import { EventSpec } from './kinds/event.ts'
import { HardwareProfileSpec } from './kinds/hardware-profile.ts'
import { ManagedClusterSpec, ManagedClusterStatus } from './kinds/managed-cluster.ts'
import { OSImageSpec, OSImageStatus } from './kinds/os-image.ts'
import {
  AddOnPlacementScoreStatus,
  PLACEMENT_JUDGED,
  PlacementDecisionStatus,
  PlacementSpec,
  PlacementStatus,
} from './kinds/placement.ts'
import { JoinTokenSpec, JoinTokenStatus, RegistrationSpec, RegistrationStatus } from './kinds/registration.ts'
import { ROLLOUT_JUDGED, RolloutSpec, RolloutStatus } from './kinds/rollout.ts'
import { ObjectMeta } from './meta.ts'
import type { Judged } from './sound-part.ts'
import { closed, oneOf } from './words.ts'

// The table of kinds: what http serves, the CLI lists and `explain` describes. A new kind is a new row.

export type Verb = 'get' | 'list' | 'watch' | 'create' | 'update' | 'patch' | 'delete'
const ALL: readonly Verb[] = ['get', 'list', 'watch', 'create', 'update', 'patch', 'delete']
const READ: readonly Verb[] = ['get', 'list', 'watch']

/** One kind as Kubernetes' discovery describes it, with its schemas. */
export type KindRow = {
  readonly kind: KindName
  readonly group: string
  readonly version: string
  readonly plural: string
  readonly singular: string
  readonly shortNames: readonly string[]
  readonly namespaced: boolean
  /** What the API offers. A verb that is missing has another writer (DESIGN.md, "Who writes what"). */
  readonly verbs: readonly Verb[]
  readonly description: string
  readonly spec: TSchema | undefined
  readonly status: TSchema | undefined
  /** Clients write the status, through its subresource; of all other kinds the hub does. */
  readonly clientStatus?: true
  /** What of its objects is judged by other parts of them. */
  readonly judged?: Judged
}

const OCM = 'cluster.open-cluster-management.io'
const OURS = { group: 'skerry.dev', version: 'v1alpha1' }

const rows = {
  ManagedCluster: {
    group: OCM,
    version: 'v1',
    plural: 'managedclusters',
    singular: 'managedcluster',
    shortNames: ['cluster', 'clusters', 'mcl'],
    namespaced: false,
    verbs: ALL,
    description: "A registered site's cluster.",
    spec: ManagedClusterSpec,
    status: ManagedClusterStatus,
  },
  ManagedClusterSet: {
    group: OCM,
    version: 'v1beta2',
    plural: 'managedclustersets',
    singular: 'managedclusterset',
    shortNames: ['mclset', 'mclsets'],
    namespaced: false,
    verbs: ALL,
    description: 'A group of clusters.',
    spec: ManagedClusterSetSpec,
    status: ManagedClusterSetStatus,
  },
  ManagedClusterSetBinding: {
    group: OCM,
    version: 'v1beta2',
    plural: 'managedclustersetbindings',
    singular: 'managedclustersetbinding',
    shortNames: ['mclsetbinding', 'mclsetbindings'],
    namespaced: true,
    verbs: ALL,
    description: 'Lets placements of its namespace choose from a cluster set.',
    spec: ManagedClusterSetBindingSpec,
    status: ManagedClusterSetBindingStatus,
  },
  Placement: {
    group: OCM,
    version: 'v1beta1',
    plural: 'placements',
    singular: 'placement',
    shortNames: [],
    namespaced: true,
    verbs: ALL,
    description: 'Which clusters: sets, selectors and tolerations.',
    spec: PlacementSpec,
    judged: PLACEMENT_JUDGED,
    status: PlacementStatus,
  },
  PlacementDecision: {
    group: OCM,
    version: 'v1beta1',
    plural: 'placementdecisions',
    singular: 'placementdecision',
    shortNames: ['decision', 'decisions'],
    namespaced: true,
    verbs: READ,
    description: "A slice of a placement's decisions, written by the placement controller.",
    spec: undefined,
    status: PlacementDecisionStatus,
  },
  AddOnPlacementScore: {
    group: OCM,
    version: 'v1alpha1',
    plural: 'addonplacementscores',
    singular: 'addonplacementscore',
    shortNames: [],
    namespaced: true,
    verbs: ALL,
    description: 'What an add-on tells of a cluster in numbers, for placements to rank by. Namespace = cluster.',
    spec: undefined,
    status: AddOnPlacementScoreStatus,
    clientStatus: true,
  },
  EdgeNode: {
    ...OURS,
    plural: 'edgenodes',
    singular: 'edgenode',
    shortNames: ['node', 'nodes'],
    namespaced: true,
    verbs: READ,
    description: 'A node of a site: phase, image, slot and attestation. Namespace = cluster.',
    spec: undefined,
    status: EdgeNodeStatus,
  },
  OSImage: {
    ...OURS,
    plural: 'osimages',
    singular: 'osimage',
    shortNames: ['image', 'images'],
    namespaced: false,
    verbs: READ,
    description: 'A signed OS image manifest of the TUF repository.',
    spec: OSImageSpec,
    status: OSImageStatus,
  },
  HardwareProfile: {
    ...OURS,
    plural: 'hardwareprofiles',
    singular: 'hardwareprofile',
    shortNames: ['hwp'],
    namespaced: false,
    verbs: READ,
    description: 'A signed hardware profile of the TUF repository: what machines of a type are, and may measure.',
    spec: HardwareProfileSpec,
    status: undefined,
  },
  Rollout: {
    ...OURS,
    plural: 'rollouts',
    singular: 'rollout',
    shortNames: ['ro'],
    namespaced: true,
    verbs: ALL,
    description: 'Placement, image and strategy: how an image reaches its clusters.',
    spec: RolloutSpec,
    judged: ROLLOUT_JUDGED,
    status: RolloutStatus,
  },
  JoinToken: {
    ...OURS,
    plural: 'jointokens',
    singular: 'jointoken',
    shortNames: [],
    namespaced: false,
    verbs: ALL,
    description: 'Lets nodes ask to belong. Holds the hash of a secret, never the secret.',
    spec: JoinTokenSpec,
    status: JoinTokenStatus,
  },
  Registration: {
    ...OURS,
    plural: 'registrations',
    singular: 'registration',
    shortNames: [],
    namespaced: true,
    verbs: ['get', 'list', 'watch', 'delete'],
    description: "One node's request to belong. Namespace = cluster.",
    spec: RegistrationSpec,
    status: RegistrationStatus,
  },
  Event: {
    ...OURS,
    plural: 'events',
    singular: 'event',
    shortNames: ['ev'],
    namespaced: true,
    verbs: READ,
    description: 'Something that happened, in a sentence.',
    spec: EventSpec,
    status: undefined,
  },
} as const satisfies Record<string, Omit<KindRow, 'kind'>>

export type KindName = keyof typeof rows

type SpecOf<K extends KindName> = (typeof rows)[K]['spec'] extends TSchema
  ? Static<(typeof rows)[K]['spec']>
  : undefined
type StatusOf<K extends KindName> = (typeof rows)[K]['status'] extends TSchema
  ? Static<(typeof rows)[K]['status']>
  : undefined

/** A stored object of a kind: complete metadata, its spec where the kind has one, its status once somebody wrote it. */
export type ObjectOf<K extends KindName> = {
  apiVersion: string
  kind: K
  metadata: StoredMeta
} & (SpecOf<K> extends undefined ? { spec?: undefined } : { spec: SpecOf<K> }) &
  (StatusOf<K> extends undefined ? { status?: undefined } : { status?: StatusOf<K> })
export type SpecFor<K extends KindName> = SpecOf<K>
export type StatusFor<K extends KindName> = StatusOf<K>

/** Metadata as every stored object has it. */
export type StoredMeta = {
  name: string
  namespace?: string
  uid: string
  resourceVersion: string
  generation: number
  creationTimestamp: string
  deletionTimestamp?: string
  labels?: Record<string, string>
  annotations?: Record<string, string>
  ownerReferences?: ObjectMeta['ownerReferences']
  finalizers?: string[]
}

export type SkerryObject = { [K in KindName]: ObjectOf<K> }[KindName]

export const KINDS: readonly KindRow[] = (Object.keys(rows) as KindName[]).map((kind) => ({ kind, ...rows[kind] }))

/** The row of a kind. */
export function kindRow(kind: KindName): KindRow {
  return { kind, ...rows[kind] }
}

/** `group/version` of a kind. */
export function apiVersionOf(kind: KindName): string {
  return `${rows[kind].group}/${rows[kind].version}`
}

/** The row a person means: kind, plural, singular or short name, in any case, with or without its group; undefined when none. */
export function findKind(word: string): KindRow | undefined {
  const [name, ...group] = word.toLowerCase().split('.')
  return KINDS.find(
    (row) =>
      (group.length === 0 || row.group === group.join('.')) &&
      (row.kind.toLowerCase() === name ||
        row.plural === name ||
        row.singular === name ||
        row.shortNames.some((short) => short === name)),
  )
}

const objectSchemas = new Map<KindName, TObject>()

/** The closed schema of a whole object of a kind, as a client sends it. */
export function objectSchema(kind: KindName): TObject {
  const known = objectSchemas.get(kind)
  if (known) return known
  const row = kindRow(kind)
  const schema = closed(
    {
      apiVersion: oneOf([apiVersionOf(kind)]),
      kind: oneOf([kind]),
      metadata: ObjectMeta,
      ...(row.spec ? { spec: row.spec } : {}),
      ...(row.status ? { status: Type.Optional(row.status) } : {}),
    },
    { description: row.description },
  )
  objectSchemas.set(kind, schema)
  return schema
}
