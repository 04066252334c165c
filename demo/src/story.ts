import type { ClusterState, RolloutPhase, RolloutSpec } from '@skerry/api'
import type { Client } from '@skerry/client'
import { ensure, eventually } from './objects.ts'
import type { Screen } from './screen.ts'

// The story: three shops, an upgrade that works, and one that does not. It is told from the API alone, and what an
// earlier start has told already is not told again.

const NAMESPACE = 'default'
export const SHOPS = ['shop-bergen', 'shop-oslo', 'shop-tromso'] as const
const PLACEMENT = 'all-shops'
const MINUTES = 60_000

/** Waits until the three shops have told of a boot since `sinceMs`: a first one when they join, a new one after a pause. */
export async function tellJoining(client: Client, screen: Screen, sinceMs: number): Promise<void> {
  const before = new Set((await client.list('EdgeNode')).map(({ metadata }) => metadata.name))
  const seen = new Set<string>()
  await eventually(
    async () => {
      for (const { metadata, status } of await client.list('EdgeNode')) {
        if (seen.has(metadata.name) || !status?.attestation) continue
        const { judgedAt, verdict, reason } = status.attestation
        if (Date.parse(judgedAt) < sinceMs || !status.image?.name) continue
        seen.add(metadata.name)
        const came = before.has(metadata.name) ? 'is back' : 'joined'
        screen.good(
          `${metadata.namespace} ${came} (class ${status.class}), runs ${status.image.name}, verdict ${verdict} (${reason})`,
        )
      }
      return SHOPS.every((shop) => seen.has(shop))
    },
    'the three shops',
    3 * MINUTES,
  )
}

/** Sets, binding and placement: which clusters. */
export async function placeShops(client: Client): Promise<void> {
  await ensure(client, 'ManagedClusterSetBinding', {
    metadata: { name: 'default', namespace: NAMESPACE },
    spec: { clusterSet: 'default' },
  })
  await ensure(client, 'Placement', {
    metadata: { name: PLACEMENT, namespace: NAMESPACE },
    spec: {
      clusterSets: ['default'],
      predicates: [
        {
          requiredClusterSelector: {
            claimSelector: { matchExpressions: [{ key: 'kind', operator: 'In', values: ['shop'] }] },
          },
        },
      ],
    },
  })
}

/** A rollout of the demo: one shop at a time, no failure tolerated, and honest about what a laptop can prove. */
function rolloutSpec(image: string): RolloutSpec {
  return {
    placementRef: { name: PLACEMENT },
    image: { name: image },
    strategy: {
      type: 'Progressive',
      progressive: { maxConcurrency: 1, maxFailures: 0, minSuccessTime: '1s', progressDeadline: '5m' },
    },
    gates: { healthySeconds: 2, timeoutSeconds: 10 },
    attestation: 'warning',
  }
}

export type Chapter = {
  /** The rollout's name and its image's. */
  readonly name: string
  readonly opening: string
  readonly phase: 'Completed' | 'Paused'
  readonly ending: string
}

/** Starts a chapter's rollout unless it is there, and tells of each cluster until it ends; one that ended in an earlier start is only named. */
export async function tellRollout(client: Client, screen: Screen, chapter: Chapter): Promise<void> {
  const { name, opening, phase, ending } = chapter
  const began = await ensure(client, 'Rollout', { metadata: { name, namespace: NAMESPACE }, spec: rolloutSpec(name) })
  const look = () => client.get('Rollout', NAMESPACE, name)
  const found = (await look()).status?.phase
  if (!began && hasEnded(found)) {
    screen.say(`rollout ${name} was told in an earlier start: it is ${found}`)
    return
  }
  screen.step(`Rollout ${name}: ${opening}${began ? '' : ' (goes on)'}`)
  const told = new Map<string, string>()
  await eventually(
    async () => {
      const { status } = await look()
      for (const cluster of status?.clusters ?? []) {
        const line = `${cluster.state}: ${cluster.message}`
        if (told.get(cluster.name) === line) continue
        told.set(cluster.name, line)
        toneOf(screen, cluster.state)(`${cluster.name.padEnd(12)} ${line}`)
      }
      return status?.phase === phase
    },
    `rollout ${name} being ${phase}`,
    5 * MINUTES,
  )
  screen.good(ending)
}

/** Whether a rollout goes on no more by itself: also because whoever plays with the demo paused or aborted it. */
export function hasEnded(phase: RolloutPhase | undefined): boolean {
  return phase === 'Completed' || phase === 'Paused' || phase === 'Aborted'
}

function toneOf(screen: Screen, state: ClusterState): Screen['say'] {
  if (state === 'Succeeded') return screen.good
  return state === 'RolledBack' || state === 'Failed' ? screen.bad : screen.say
}
