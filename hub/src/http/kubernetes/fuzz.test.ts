import { KINDS, type KindRow } from '@skerry/api'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { testApi } from '../testing.ts'

// Whatever a client sends, the answer is an object or a Status that says whose fault it was, never the hub's.

const SPECS: Record<string, object> = {
  ManagedCluster: { hubAcceptsClient: true, taints: [{ key: 'k', effect: 'NoSelect' }] },
  ManagedClusterSet: { clusterSelector: { selectorType: 'LabelSelector', labelSelector: { matchLabels: { a: 'b' } } } },
  ManagedClusterSetBinding: { clusterSet: 'x' },
  Placement: {
    clusterSets: ['default'],
    numberOfClusters: 1,
    predicates: [
      {
        requiredClusterSelector: { labelSelector: { matchExpressions: [{ key: 'a', operator: 'In', values: ['b'] }] } },
      },
    ],
    tolerations: [{ key: 'a', operator: 'Exists' }],
  },
  Rollout: {
    placementRef: { name: 'p' },
    image: { name: 'i' },
    strategy: { type: 'Progressive', progressive: { maxConcurrency: '10%', minSuccessTime: '1m' } },
    windows: { activation: [{ at: '0 2 * * *', timeZone: 'Europe/Oslo', durationSeconds: 60 }] },
    waves: [{ startAfter: '4h', percent: 100, spread: '1h' }],
    gates: { healthySeconds: 1, timeoutSeconds: 2 },
  },
  JoinToken: {
    secretSha256: 'a'.repeat(64),
    expiresAt: '2100-01-01T00:00:00Z',
    maxUses: 1,
    classes: ['software-key'],
    acceptance: 'Manual',
  },
}

/** A valid value with one place inside it replaced by anything. */
function spoiled(value: unknown): fc.Arbitrary<unknown> {
  const anything = fc.oneof(
    fc.jsonValue({ maxDepth: 2 }),
    fc.constantFrom(
      null,
      '',
      -1,
      1e21,
      0.5,
      'None',
      '999999999h',
      '* * * * *',
      '0 0 31 2 *',
      'Mars/Olympus',
      [],
      {},
      [null],
      '\u2028',
    ),
  )
  if (typeof value !== 'object' || value === null) return anything
  return fc.oneof(
    { weight: 1, arbitrary: anything },
    ...Object.entries(value).map(([member, inner]) => ({
      weight: 3,
      arbitrary: spoiled(inner).map((other) =>
        Array.isArray(value)
          ? value.map((item, index) => (String(index) === member ? other : item))
          : { ...value, [member]: other },
      ),
    })),
  )
}

const collection = (row: KindRow) =>
  `/apis/${row.group}/${row.version}${row.namespaced ? '/namespaces/x' : ''}/${row.plural}`

test.each(KINDS.filter(({ verbs }) => verbs.includes('create')))('$kind', async (row) => {
  const { ask } = await testApi()
  const whole = {
    apiVersion: `${row.group}/${row.version}`,
    kind: row.kind,
    metadata: { name: 'x', labels: { a: 'b' }, annotations: { c: 'd' } },
    spec: SPECS[row.kind],
  }
  expect(await ask('POST', collection(row), { body: whole })).toMatchObject({ code: 201 })
  const codes = new Map<number, number>()
  await fc.assert(
    fc.asyncProperty(spoiled(whole), fc.constantFrom('POST', 'PUT', 'PATCH'), async (body, method) => {
      const path = method === 'POST' ? `${collection(row)}?dryRun=All` : `${collection(row)}/x?dryRun=All`
      const type = method === 'PATCH' ? 'application/merge-patch+json' : 'application/json'
      const { code, body: status } = await ask(method, path, { body: JSON.stringify(body), type })
      codes.set(code, (codes.get(code) ?? 0) + 1)
      expect({ code, message: status.message }).not.toMatchObject({ code: 500 })
    }),
    { numRuns: 150 },
  )
  expect(codes.get(422)).toBeGreaterThan(0)
})
