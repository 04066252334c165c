import { createReadStream } from 'node:fs'
import { availableParallelism } from 'node:os'
import { createInterface } from 'node:readline'
import { type AddOnPlacementScoreStatus, CLUSTER_SET_LABEL, type ObjectOf, PLACEMENT_LABEL } from '@skerry/api'
import { type Fleet, Scheduler } from '@skerry/policy'

// The placement engine on one core: every placement decided once, and then again what one changed cluster touches. A load
// of OCM's objects makes two engines comparable: `selected` is the sum of what they select.

type Placement = ObjectOf<'Placement'>
type Line =
  | { readonly kind: 'set'; readonly object: ObjectOf<'ManagedClusterSet'> }
  | { readonly kind: 'cluster'; readonly object: ObjectOf<'ManagedCluster'> }
  | { readonly kind: 'binding'; readonly object: ObjectOf<'ManagedClusterSetBinding'> }
  | { readonly kind: 'decision'; readonly object: ObjectOf<'PlacementDecision'> }
  | {
      readonly kind: 'score'
      readonly object: { metadata: { name: string; namespace?: string }; status?: AddOnPlacementScoreStatus | null }
    }
  | { readonly kind: 'placement'; readonly object: Placement }

/** What a placement is of, as far as figures are told apart. */
const KIND_LABEL = 'bench-kind'
const CLUSTERS = 10_000
const PLACEMENTS = 1_000
const CHANGES = 200

export type PlacementBench = { readonly load: string | undefined; readonly say: (sentence: string) => void }

/**
 * Starts the bench again in this very process with a young generation of 48 MB, unless somebody said how large it is to be: by
 * itself V8 lets 128 MB of garbage lie before it looks, which is more than the engine holds.
 */
export function boundYoungGeneration(): void {
  const isBounded = [...process.execArgv, process.env['NODE_OPTIONS'] ?? ''].some((one) => one.includes('semi-space'))
  if (isBounded || process.platform === 'win32') return
  const args = [process.execPath, '--max-semi-space-size=16', ...process.execArgv, ...process.argv.slice(1)]
  process.execve?.(process.execPath, args, process.env)
}

export async function benchPlacement({ load, say }: PlacementBench) {
  const scheduler = new Scheduler()
  const placements: Placement[] = []
  const clusters: ObjectOf<'ManagedCluster'>[] = []
  const decided = new Map<string, { namespace: string; placement: string; clusters: string[] }>()
  for await (const line of load === undefined ? generated() : linesOf(load))
    switch (line.kind) {
      case 'set':
        scheduler.putSet({ ...line.object, spec: line.object.spec ?? {} })
        break
      case 'binding':
        scheduler.putBinding(line.object)
        break
      case 'cluster':
        clusters.push({ ...line.object, spec: line.object.spec ?? {} })
        scheduler.putCluster({ ...line.object, spec: line.object.spec ?? {} })
        break
      case 'score':
        scheduler.putScores(scoresIn(line.object))
        break
      case 'decision': {
        const { metadata, status } = line.object
        const { namespace = '', labels } = metadata
        const placement = labels?.[PLACEMENT_LABEL] ?? ''
        const made = decided.get(`${namespace}/${placement}`) ?? { namespace, placement, clusters: [] }
        for (const { clusterName } of status?.decisions ?? []) made.clusters.push(clusterName)
        decided.set(`${namespace}/${placement}`, made)
        break
      }
      case 'placement':
        placements.push({ ...line.object, spec: line.object.spec ?? {} })
        break
      default:
        throw new Error(`${JSON.stringify((line as { kind: unknown }).kind)} is no kind of a load`)
    }
  for (const made of decided.values()) scheduler.putDecisions(made)
  say(`${clusters.length} clusters, ${placements.length} placements`)

  const nowMs = Date.now()
  const byKind = new Map<string, { n: number; ms: number }>()
  let selected = 0
  let fullPassMs = 0
  // One by one, so that each has its time.
  for (const placement of placements) {
    scheduler.putPlacement(placement)
    const spent = processorTime()
    for (const { found } of scheduler.due(nowMs)) selected += found.kind === 'Decided' ? found.selected : 0
    const ms = spent()
    const kind = placement.metadata.labels?.[KIND_LABEL] ?? 'other'
    const { n, ms: before } = byKind.get(kind) ?? { n: 0, ms: 0 }
    byKind.set(kind, { n: n + 1, ms: before + ms })
    fullPassMs += ms
  }

  const changes: number[] = []
  let touched = 0
  for (let at = 0; at < CHANGES && clusters.length > 0; at += 1) {
    const cluster = clusters[(at * 7_919) % clusters.length]
    const like = clusters[(at * 104_729 + 1) % clusters.length]
    if (!cluster || !like) continue
    const labels = { ...cluster.metadata.labels, ...like.metadata.labels }
    const spent = processorTime()
    scheduler.putCluster({ ...cluster, metadata: { ...cluster.metadata, labels } })
    for (const { found } of scheduler.due(nowMs)) touched += found.kind === 'Decided' ? 1 : 0
    changes.push(spent())
  }
  changes.sort((a, b) => a - b)
  return {
    bench: 'placement',
    clusters: clusters.length,
    placements: placements.length,
    selected,
    fullPassMs: rounded(fullPassMs),
    byKind: Object.fromEntries([...byKind].map(([kind, { n, ms }]) => [kind, { n, msEach: rounded(ms / n) }])),
    oneChangeMs: { p50: rounded(at(changes, 0.5)), p99: rounded(at(changes, 0.99)) },
    touchedByOneChange: rounded(touched / Math.max(changes.length, 1)),
    rssMB: Math.round(process.memoryUsage.rss() / 2 ** 20),
    cores: availableParallelism(),
    node: process.version,
  }
}

/** Tells how much processor time this process took since, in ms, all its threads together: what else a machine does is not in it. */
function processorTime(): () => number {
  const before = process.cpuUsage()
  return () => {
    const { user, system } = process.cpuUsage(before)
    return (user + system) / 1_000
  }
}

const at = (sorted: readonly number[], share: number) =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0
const rounded = (value: number) => Number(value.toFixed(3))

function scoresIn({ metadata, status }: Extract<Line, { kind: 'score' }>['object']): Parameters<Fleet['putScores']>[0] {
  return {
    namespace: metadata.namespace ?? '',
    name: metadata.name,
    validUntil: status?.validUntil ?? undefined,
    scores: status?.scores ?? [],
  }
}

async function* linesOf(file: string): AsyncGenerator<Line> {
  let number = 0
  for await (const text of createInterface({ input: createReadStream(file), crlfDelay: Number.POSITIVE_INFINITY })) {
    number += 1
    if (text.trim() === '') continue
    try {
      yield JSON.parse(text) as Line
    } catch (cause) {
      throw new Error(`line ${number} of ${file} is no JSON`, { cause })
    }
  }
}

const meta = (name: string, namespace?: string, labels?: Record<string, string>) => ({
  ...{ name, uid: name, resourceVersion: '1', generation: 1, creationTimestamp: '2026-01-01T00:00:00Z' },
  ...(namespace === undefined ? {} : { namespace }),
  ...(labels === undefined ? {} : { labels }),
})

/** Shops of a few countries, kinds and sizes, and placements of every kind over them; the same ones each time. */
function* generated(): Generator<Line> {
  const OCM = 'cluster.open-cluster-management.io'
  for (let set = 0; set < 5; set += 1) {
    const name = `set-${set}`
    const object = { apiVersion: `${OCM}/v1beta2`, kind: 'ManagedClusterSet' as const, metadata: meta(name), spec: {} }
    yield { kind: 'set', object }
    for (let namespace = 0; namespace < 10; namespace += 1)
      yield {
        kind: 'binding',
        object: {
          apiVersion: `${OCM}/v1beta2`,
          kind: 'ManagedClusterSetBinding',
          metadata: meta(name, `team-${namespace}`),
          spec: { clusterSet: name },
        },
      }
  }
  for (let at = 0; at < CLUSTERS; at += 1) {
    const name = `shop-${String(at).padStart(5, '0')}`
    yield {
      kind: 'cluster',
      object: {
        apiVersion: `${OCM}/v1`,
        kind: 'ManagedCluster',
        metadata: meta(name, undefined, {
          [CLUSTER_SET_LABEL]: `set-${at % 5}`,
          env: ['dev', 'stage', 'prod'][at % 3] ?? '',
          region: `r${at % 40}`,
          tier: `${at % 4}`,
          shop: name,
        }),
        spec: {
          hubAcceptsClient: true,
          ...(at % 50 === 0
            ? { taints: [{ key: 'maintenance', effect: 'NoSelect' as const, timeAdded: '2026-01-01T00:00:00Z' }] }
            : {}),
        },
        status: {
          version: { kubernetes: `v1.${29 + (at % 3)}.${at % 7}` },
          clusterClaims: [
            { name: 'id.k8s.io', value: `id-${at}` },
            { name: 'platform.open-cluster-management.io', value: ['AWS', 'GCP', 'Metal'][at % 3] ?? '' },
          ],
          capacity: { cpu: '64', memory: '256Gi' },
          allocatable: { cpu: `${(at * 13) % 64}`, memory: `${(at * 7) % 256}Gi` },
        },
      },
    }
  }
  const kinds: Readonly<Record<string, (at: number) => Placement['spec']>> = {
    label: (at) => ({
      predicates: [
        {
          requiredClusterSelector: {
            labelSelector: {
              matchLabels: { env: 'prod' },
              matchExpressions: [{ key: 'region', operator: 'In', values: [`r${at % 40}`, `r${(at + 7) % 40}`] }],
            },
          },
        },
      ],
    }),
    claim: (at) => ({
      predicates: [
        {
          requiredClusterSelector: {
            labelSelector: { matchLabels: { tier: `${at % 4}` } },
            claimSelector: {
              matchExpressions: [{ key: 'platform.open-cluster-management.io', operator: 'NotIn', values: ['GCP'] }],
            },
          },
        },
      ],
    }),
    number: (at) => ({ numberOfClusters: 20 + (at % 100), tolerations: [{ key: 'maintenance', operator: 'Exists' }] }),
    resource: (at) => ({
      numberOfClusters: 100,
      prioritizerPolicy: {
        configurations: [
          { scoreCoordinate: { type: 'BuiltIn', builtIn: 'ResourceAllocatableCPU' }, weight: 2 },
          { scoreCoordinate: { type: 'BuiltIn', builtIn: 'ResourceAllocatableMemory' }, weight: (at % 5) + 1 },
        ],
      },
    }),
    group: () => ({
      decisionStrategy: {
        groupStrategy: {
          clustersPerDecisionGroup: '10%',
          decisionGroups: [
            { groupName: 'canary', groupClusterSelector: { labelSelector: { matchLabels: { tier: '0' } } } },
          ],
        },
      },
    }),
    cel: (at) => ({
      predicates: [
        {
          requiredClusterSelector: {
            celSelector: {
              celExpressions: [
                `managedCluster.metadata.labels["region"] == "r${at % 40}" && managedCluster.status.version.kubernetes.startsWith("v1.30")`,
              ],
            },
          },
        },
      ],
    }),
  }
  const names = Object.keys(kinds)
  // Of ten placements six are by labels alone, and one in ten asks CEL.
  const mix = ['label', 'label', 'number', 'label', 'claim', 'label', 'resource', 'label', 'group', 'label']
  for (let at = 0; at < PLACEMENTS; at += 1) {
    const kind = at % 20 === 19 ? 'cel' : (mix[at % 10] ?? names[0] ?? '')
    yield {
      kind: 'placement',
      object: {
        apiVersion: `${OCM}/v1beta1`,
        kind: 'Placement',
        metadata: meta(`placement-${at}`, `team-${at % 10}`, { [KIND_LABEL]: kind }),
        spec: kinds[kind]?.(at) ?? {},
      },
    }
  }
}
