import type { ObjectOf, RolloutSpec } from '@skerry/api'
import type { Client } from '@skerry/client'
import { ensure, eventually } from './objects.ts'
import type { Screen } from './screen.ts'

// The story: three shops, an upgrade that works, and one that does not. It is told from the API alone, and what an
// earlier start has told already is not told again.

export const NAMESPACE = 'default'
export const SHOPS = ['shop-bergen', 'shop-oslo', 'shop-tromso'] as const
export const PLACEMENT = 'all-shops'
const MINUTES = 60_000

/** Waits until the three shops have joined and their factory image is attested. */
export async function tellJoining(client: Client, screen: Screen): Promise<void> {
  const seen = new Set<string>()
  await eventually(
    async () => {
      for (const { metadata, status } of await client.list('EdgeNode')) {
        if (seen.has(metadata.name) || !status?.attestation) continue
        seen.add(metadata.name)
        screen.good(
          `${metadata.namespace} joined (class ${status.class}), runs ${status.image?.name ?? 'an unknown image'}, verdict ${status.attestation.verdict} (${status.attestation.reason})`,
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
export function rolloutSpec(image: string): RolloutSpec {
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

/** Starts a rollout unless it is there, and tells of each cluster until it ends in `phase`. */
export async function tellRollout(
  client: Client,
  screen: Screen,
  name: string,
  image: string,
  phase: 'Completed' | 'Paused',
): Promise<ObjectOf<'Rollout'>> {
  await ensure(client, 'Rollout', { metadata: { name, namespace: NAMESPACE }, spec: rolloutSpec(image) })
  const states = new Map<string, string>()
  return eventually(
    async () => {
      const rollout = await client.get('Rollout', NAMESPACE, name)
      for (const cluster of rollout.status?.clusters ?? []) {
        const line = `${cluster.state}: ${cluster.message}`
        if (states.get(cluster.name) === line) continue
        states.set(cluster.name, line)
        const show =
          cluster.state === 'Succeeded'
            ? screen.good
            : cluster.state === 'RolledBack' || cluster.state === 'Failed'
              ? screen.bad
              : screen.say
        show(`${cluster.name.padEnd(12)} ${line}`)
      }
      return rollout.status?.phase === phase && rollout
    },
    `rollout ${name} being ${phase}`,
    5 * MINUTES,
  )
}
