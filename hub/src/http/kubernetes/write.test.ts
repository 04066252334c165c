import { ADMISSION_ANNOTATION, PLACEMENT_LABEL } from '@skerry/api'
import { until } from '@skerry/supervise'
import { createKey, sha256Hex } from '@skerry/trust'
import { describe, expect, test } from 'vitest'
import { verifyAudit } from '../../store/audit.ts'
import { saveIdentities } from '../../store/identities.ts'
import { createObject, saveStatus } from '../../store/resources.ts'
import { appendStatements } from '../../store/statements.ts'
import { write } from '../../store/store.ts'
import { type TestApi, testApi } from '../testing.ts'

const OCM = '/apis/cluster.open-cluster-management.io'
const CLUSTERS = `${OCM}/v1/managedclusters`
const PLACEMENTS = `${OCM}/v1beta1/namespaces/fleet/placements`
const ROLLOUTS = '/apis/skerry.dev/v1alpha1/namespaces/fleet/rollouts'

const cluster = (name: string | undefined, more: object = {}, metadata: object = {}) => ({
  apiVersion: 'cluster.open-cluster-management.io/v1',
  kind: 'ManagedCluster',
  metadata: { ...(name ? { name } : {}), ...metadata },
  ...more,
})
const placement = (spec: object, metadata: object = {}) => ({
  apiVersion: 'cluster.open-cluster-management.io/v1beta1',
  kind: 'Placement',
  metadata: { name: 'all', ...metadata },
  spec,
})
const rollout = (spec: object) => ({
  apiVersion: 'skerry.dev/v1alpha1',
  kind: 'Rollout',
  metadata: { name: 'r' },
  spec: { placementRef: { name: 'p' }, image: { name: 'i' }, ...spec },
})
const merge = (body: object) => ({ body, type: 'application/merge-patch+json' })

/** Everything a write could leave behind. */
async function traces({ store: { sql } }: TestApi): Promise<unknown> {
  const [row] =
    await sql`select (select count(*) from audit_record)::int as audited, (select count(*) from resource)::int as objects,
    (select count(*) from resource_change)::int as changes, (select max(resource_version) from resource)::int as version`
  return row
}

/** Images with their release counters, a decision for `all`, and what the node of each of its clusters confirmed last. */
async function confirmedAt(
  store: TestApi['store'],
  counters: Readonly<Record<string, number>>,
  confirmed: Readonly<Record<string, string>>,
): Promise<void> {
  const clusters = Object.keys(confirmed)
  await write(store, async (tx) => {
    for (const [name, releaseCounter] of Object.entries(counters))
      await createObject(tx, 'OSImage', {
        metadata: { name },
        spec: {
          target: `images/os/${name}.json`,
          manifestSha256: sha256Hex(`manifest ${name}`),
          family: 'os',
          version: name,
          releaseCounter,
          hardwareIds: ['any'],
          image: { sha256: sha256Hex(name), length: 1, mediaType: 'application/octet-stream' },
          boot: { kind: 'none' },
          signers: [],
        },
      })
    await createObject(tx, 'PlacementDecision', {
      metadata: { name: 'all-1', namespace: 'fleet', labels: { [PLACEMENT_LABEL]: 'all' } },
    })
    await saveStatus(tx, 'PlacementDecision', 'fleet', 'all-1', {
      decisions: clusters.map((clusterName) => ({ clusterName, reason: '' })),
    })
    await saveIdentities(
      tx,
      clusters.map((name) => ({
        cluster: name,
        node: name,
        state: 'Accepted',
        class: 'software-key',
        nodeKey: createKey('ES256').jwk,
        nodeKeyThumbprint: sha256Hex(name),
        natsKey: name,
        incarnation: 1,
        requestId: name,
        transcript: '',
        acceptance: '',
        natsJwt: '',
        credentialIssuedAt: new Date(),
        credentialExpiresAt: new Date(),
        decidedBy: 'test',
        decidedAt: new Date(),
      })),
    )
    await appendStatements(
      tx,
      Object.entries(confirmed).map(([name, image]) => ({
        cluster: name,
        node: name,
        incarnation: 1,
        seq: 1,
        prev: '',
        kind: 'transition',
        phase: 'Idle',
        digest: sha256Hex(`${name} ${image}`),
        text: JSON.stringify({ kind: 'transition', body: { to: 'Idle', imageSha256: sha256Hex(image) } }),
      })),
    )
  })
}

describe('metadata', () => {
  test('generation rises with the spec alone; resourceVersion rises with everything, over all kinds', async () => {
    const { ask } = await testApi()
    const made = (await ask('POST', CLUSTERS, { body: cluster('a') })).body.metadata
    expect(made.generation).toBe(1)
    const labelled = (await ask('PATCH', `${CLUSTERS}/a`, merge({ metadata: { labels: { tier: 'x' } } }))).body.metadata
    expect(labelled.generation).toBe(1)
    const other = (await ask('POST', PLACEMENTS, { body: placement({}) })).body.metadata
    const accepted = (await ask('PATCH', `${CLUSTERS}/a`, merge({ spec: { hubAcceptsClient: true } }))).body.metadata
    expect(accepted.generation).toBe(2)
    const versions = [made, labelled, other, accepted].map(({ resourceVersion }) => Number(resourceVersion))
    expect(versions).toEqual(versions.toSorted((a, b) => a - b))
    expect(new Set(versions).size).toBe(4)
    const same = (await ask('PATCH', `${CLUSTERS}/a`, merge({ spec: { hubAcceptsClient: true } }))).body.metadata
    expect(same.resourceVersion).toBe(accepted.resourceVersion)
  })

  test('what a client may not set is left aside: uid and creationTimestamp of a new object, generation, status', async () => {
    const { ask } = await testApi()
    const given = {
      uid: 'mine',
      generation: 99,
      creationTimestamp: '2001-01-01T00:00:00Z',
      managedFields: [{ manager: 'kubectl' }],
    }
    const status = { clusterClaims: [{ name: 'gpu', value: 'yes' }] }
    const { body } = await ask('POST', CLUSTERS, { body: cluster('a', { status }, given) })
    expect(body.metadata).toMatchObject({ generation: 1 })
    expect(body.metadata.uid).not.toBe('mine')
    expect(body).not.toHaveProperty('status')
    expect(body).not.toHaveProperty('metadata.managedFields')
    const patched = await ask('PATCH', `${CLUSTERS}/a`, merge({ status, metadata: { generation: 5 } }))
    expect(patched.body.metadata).toEqual(body.metadata)
    expect(patched.body).not.toHaveProperty('status')
  })

  test('a hundred generated names differ, and one that is long stays a label', async () => {
    const { ask } = await testApi()
    const made = await Promise.all(
      Array.from({ length: 100 }, () =>
        ask('POST', CLUSTERS, { body: cluster(undefined, {}, { generateName: 'site-' }) }),
      ),
    )
    expect(made.every(({ code }) => code === 201)).toBe(true)
    expect(new Set(made.map(({ body }) => body.metadata.name)).size).toBe(100)
    const long = await ask('POST', CLUSTERS, { body: cluster(undefined, {}, { generateName: 'a'.repeat(200) }) })
    expect(long.body.metadata.name).toMatch(/^a{55}[a-z0-9]{8}$/)
  })
})

describe('preconditions', () => {
  test('If-Match is checked on PUT, PATCH and DELETE: 412 when stale, done when it is the ETag that was read', async () => {
    const { ask } = await testApi()
    await ask('POST', CLUSTERS, { body: cluster('a') })
    const stale = (await ask('GET', `${CLUSTERS}/a`)).headers['etag'] as string
    await ask('PATCH', `${CLUSTERS}/a`, merge({ metadata: { labels: { x: 'y' } } }))
    const headers = { 'if-match': stale }
    for (const answer of [
      await ask('PUT', `${CLUSTERS}/a`, { body: cluster('a'), headers }),
      await ask('PATCH', `${CLUSTERS}/a`, { ...merge({}), headers }),
      await ask('DELETE', `${CLUSTERS}/a`, { headers }),
    ])
      expect(answer).toMatchObject({ code: 412, body: { kind: 'Status', reason: 'PreconditionFailed' } })
    const fresh = (await ask('GET', `${CLUSTERS}/a`)).headers['etag'] as string
    expect((await ask('DELETE', `${CLUSTERS}/a`, { headers: { 'if-match': fresh } })).code).toBe(200)
  })

  test.each([
    {
      what: 'another resourceVersion in the body',
      metadata: { resourceVersion: '999' },
      code: 409,
      reason: 'Conflict',
    },
    { what: 'the uid of another life', metadata: { uid: 'gone' }, code: 409, reason: 'Conflict' },
    { what: 'resourceVersion 0, which means any', metadata: { resourceVersion: '0' }, code: 200 },
    { what: 'another name', metadata: { name: 'b' }, code: 400, reason: 'BadRequest' },
    { what: 'a namespace', metadata: { namespace: 'x' }, code: 400, reason: 'BadRequest' },
  ])('PUT with $what is answered $code', async ({ metadata, code, reason }) => {
    const { ask } = await testApi()
    await ask('POST', CLUSTERS, { body: cluster('a') })
    const answer = await ask('PUT', `${CLUSTERS}/a`, { body: cluster('a', {}, metadata) })
    expect(answer).toMatchObject({ code, body: reason ? { reason, code } : {} })
  })

  test('a resourceVersion on a new object is refused; a taken name is AlreadyExists', async () => {
    const { ask } = await testApi()
    const early = await ask('POST', CLUSTERS, { body: cluster('a', {}, { resourceVersion: '5' }) })
    expect(early).toMatchObject({ code: 400 })
    await ask('POST', CLUSTERS, { body: cluster('a') })
    const again = await ask('POST', CLUSTERS, { body: cluster('a') })
    expect(again).toMatchObject({ code: 409, body: { reason: 'AlreadyExists' } })
  })

  test('DELETE follows its options: preconditions of uid and version, and a dry run in the body deletes nothing', async () => {
    const { ask } = await testApi()
    const { uid } = (await ask('POST', CLUSTERS, { body: cluster('a') })).body.metadata
    const options = (more: object) => ({ body: { kind: 'DeleteOptions', apiVersion: 'v1', ...more } })
    expect((await ask('DELETE', `${CLUSTERS}/a`, options({ preconditions: { uid: 'other' } }))).code).toBe(409)
    expect((await ask('DELETE', `${CLUSTERS}/a`, options({ preconditions: { resourceVersion: '999' } }))).code).toBe(
      409,
    )
    expect((await ask('DELETE', `${CLUSTERS}/a`, options({ dryRun: ['All'] }))).code).toBe(200)
    expect((await ask('DELETE', `${CLUSTERS}/a`, options({ precondition: { uid: 'typo' } }))).code).toBe(422)
    expect((await ask('GET', `${CLUSTERS}/a`)).code).toBe(200)
    const done = await ask(
      'DELETE',
      `${CLUSTERS}/a`,
      options({ preconditions: { uid }, propagationPolicy: 'Background' }),
    )
    expect(done).toMatchObject({ code: 200, body: { status: 'Success', details: { name: 'a', uid } } })
    expect((await ask('DELETE', `${CLUSTERS}/a`)).code).toBe(404)
  })
})

describe('dry run', () => {
  test('every verb answers what would be, with no version of its own, and leaves no trace', async () => {
    const api = await testApi()
    const { ask } = api
    const stored = (await ask('POST', CLUSTERS, { body: cluster('a') })).body
    const before = await traces(api)

    const made = await ask('POST', `${CLUSTERS}?dryRun=All`, { body: cluster('b') })
    expect(made).toMatchObject({ code: 201, body: { metadata: { name: 'b' } } })
    expect(made.body.metadata).not.toHaveProperty('resourceVersion')
    const put = await ask('PUT', `${CLUSTERS}/a?dryRun=All`, {
      body: cluster('a', { spec: { hubAcceptsClient: true } }),
    })
    expect(put.body).toMatchObject({ metadata: { generation: 2 }, spec: { hubAcceptsClient: true } })
    expect(put.body.metadata.resourceVersion).toBe(stored.metadata.resourceVersion)
    const patched = await ask('PATCH', `${CLUSTERS}/a?dryRun=All`, merge({ metadata: { labels: { x: 'y' } } }))
    expect(patched.body.metadata.labels).toMatchObject({ x: 'y' })
    expect((await ask('DELETE', `${CLUSTERS}/a?dryRun=All`)).code).toBe(200)
    expect((await ask('POST', `${CLUSTERS}?dryRun=All`, { body: cluster('a') })).code).toBe(409)
    expect((await ask('POST', `${CLUSTERS}?dryRun=Some`, { body: cluster('b') })).code).toBe(400)

    expect(await traces(api)).toEqual(before)
    expect((await ask('GET', `${CLUSTERS}/a`)).body).toEqual(stored)
  })
})

describe('fields', () => {
  const body = { ...rollout({ strategie: { type: 'All' } }) }

  test('what is wrong beyond the schema is told in the same answer', async () => {
    const { ask } = await testApi()
    const celSelector = { celExpressions: ['1 +'] }
    const spec = {
      numberOfClusters: -1,
      predicates: [{ requiredClusterSelector: { celSelector } }],
      tolerations: [{ value: 'v' }],
      strategie: {},
    }
    const told = async (method: 'POST' | 'PUT', path: string, given: object) => {
      const { code, body: status } = await ask(method, path, { body: placement(given) })
      return [code, ...(status.details.causes ?? []).map(({ field }: { field: string }) => field).toSorted()]
    }
    const all = [
      'spec.numberOfClusters',
      'spec.predicates[0].requiredClusterSelector.celSelector.celExpressions[0]',
      'spec.strategie',
      'spec.tolerations[0].key',
    ]
    expect(await told('POST', PLACEMENTS, spec)).toEqual([422, ...all])
    await ask('POST', PLACEMENTS, { body: placement({}) })
    expect(await told('PUT', `${PLACEMENTS}/all`, spec)).toEqual([422, ...all])
    const noTexts = { ...spec, predicates: [{ requiredClusterSelector: { celSelector: { celExpressions: [1] } } }] }
    expect(await told('POST', PLACEMENTS, noTexts)).toEqual([422, ...all])
  })

  const SELECTOR = 'spec.predicates[0].requiredClusterSelector'
  const KIND_V1BETA2 = { apiVersion: 'cluster.open-cluster-management.io/v1beta2' }
  test.each<[string, string, object, string[]]>([
    [
      'a selector, a coordinate and a spread of a Placement lack a member, and a toleration and an expression are none',
      PLACEMENTS,
      placement({
        predicates: [
          {
            requiredClusterSelector: {
              labelSelector: { matchExpressions: [{ operator: 'Exists' }, { key: 'a b', operator: 'Exists' }] },
              celSelector: { celExpressions: [1, 'true', 'managedCluster.'] },
            },
          },
        ],
        tolerations: ['x', { operator: 'Exists' }, { value: 'v' }],
        spreadPolicy: { spreadConstraints: [{ topologyKey: 'zone' }] },
        prioritizerPolicy: {
          configurations: [
            { scoreCoordinate: { type: 'AddOn', addOn: { resourceName: 'usage' } } },
            { scoreCoordinate: { builtIn: 'Nope' }, weight: 11 },
          ],
        },
        decisionStrategy: { groupStrategy: { clustersPerDecisionGroup: '25' } },
      }),
      [
        'spec.decisionStrategy.groupStrategy.clustersPerDecisionGroup',
        `${SELECTOR}.celSelector.celExpressions[0]`,
        `${SELECTOR}.celSelector.celExpressions[2]`,
        `${SELECTOR}.labelSelector.matchExpressions[0].key`,
        `${SELECTOR}.labelSelector.matchExpressions[1].key`,
        'spec.prioritizerPolicy.configurations[0].scoreCoordinate.addOn.scoreName',
        'spec.prioritizerPolicy.configurations[1].scoreCoordinate.builtIn',
        'spec.prioritizerPolicy.configurations[1].weight',
        'spec.spreadPolicy.spreadConstraints[0].topologyKeyType',
        'spec.tolerations[0]',
        'spec.tolerations[2].key',
      ],
    ],
    [
      'it has no name, promises what is not kept, and is of another version',
      PLACEMENTS,
      {
        ...{ apiVersion: 'cluster.open-cluster-management.io/v1', kind: 'Placement' },
        metadata: { finalizers: ['example.com/wait'], labels: { 'a.b/c': 'd e', f: 'g' } },
        spec: { tolerations: [{ value: 'v' }] },
      },
      ['apiVersion', 'metadata.finalizers', 'metadata.labels.a.b/c', 'metadata.name', 'spec.tolerations[0].key'],
    ],
    [
      'a Rollout has no placement and no image, a window no length, and its waves cannot be judged',
      ROLLOUTS,
      {
        ...{ apiVersion: 'skerry.dev/v1alpha1', kind: 'Rollout', metadata: { name: 'two.labels' } },
        spec: {
          placementRef: {},
          semantics: 'OCM',
          catchUp: { maxConcurrency: 'x', jitter: '9999999h' },
          windows: {
            activation: [
              { at: '0 2 * * *', timeZone: 'UTC' },
              { at: '61 2 * * *', timeZone: 'Europe/Oz', durationSeconds: 60 },
            ],
          },
          waves: [{ percent: 50 }, { startAfter: '4h', percent: 10 }],
        },
      },
      [
        'metadata.name',
        'spec.catchUp',
        'spec.catchUp.jitter',
        'spec.catchUp.maxConcurrency',
        'spec.image',
        'spec.placementRef.name',
        'spec.waves[0].startAfter',
        'spec.windows.activation[0].durationSeconds',
        'spec.windows.activation[1].at',
        'spec.windows.activation[1].timeZone',
      ],
    ],
    [
      'a requirement of a ManagedClusterSet lacks its operator',
      `${OCM}/v1beta2/managedclustersets`,
      {
        ...{ ...KIND_V1BETA2, kind: 'ManagedClusterSet', metadata: { name: 's' } },
        spec: {
          clusterSelector: {
            selectorType: 'LabelSelector',
            labelSelector: {
              matchExpressions: [{ key: 'a' }, { key: 'b', operator: 'In' }, { key: 'c', operator: 'is' }],
            },
          },
        },
      },
      ['[0].operator', '[1].values', '[2].operator'].map(
        (at) => `spec.clusterSelector.labelSelector.matchExpressions${at}`,
      ),
    ],
    [
      'a ManagedClusterSetBinding lacks its set and its name',
      `${OCM}/v1beta2/namespaces/fleet/managedclustersetbindings`,
      { ...KIND_V1BETA2, kind: 'ManagedClusterSetBinding', metadata: {} },
      ['metadata.name', 'spec.clusterSet'],
    ],
    [
      'a taint of a ManagedCluster lacks its effect, and another is there twice',
      CLUSTERS,
      cluster('a', {
        spec: { taints: [{ key: 'k' }, { key: 'k', effect: 'NoSelect' }, { key: 'k', effect: 'NoSelectIfNew' }] },
      }),
      ['spec.taints[0].effect', 'spec.taints[1].key', 'spec.taints[2].key'],
    ],
  ])('where %s, all that can be judged by itself is told at once', async (_, path, wrong, fields) => {
    const { ask } = await testApi()
    const { code, body: status } = await ask('POST', path, { body: wrong })
    expect([code, status.details.causes?.map(({ field }) => field).toSorted()]).toEqual([422, fields])
  })

  test('Strict, the default, refuses an unknown field by its path', async () => {
    const { ask } = await testApi()
    for (const mode of ['', '?fieldValidation=Strict']) {
      const { code, body: status } = await ask('POST', `${ROLLOUTS}${mode}`, { body })
      expect({ code, causes: status.details.causes }).toEqual({
        code: 422,
        causes: [{ field: 'spec.strategie', message: 'is not a known field', reason: 'FieldValueForbidden' }],
      })
    }
  })

  test('Warn drops one with dots in its name, or without a name, and nothing around it', async () => {
    const { ask } = await testApi()
    const spec = { numberOfClusters: 1, 'sort.by': 'x', '': 1 }
    const {
      code,
      body: stored,
      headers,
    } = await ask('POST', `${PLACEMENTS}?fieldValidation=Warn`, { body: placement(spec) })
    expect([code, stored.spec]).toEqual([201, { numberOfClusters: 1 }])
    expect(headers['warning']).toMatch(/unknown field \\"spec.sort.by\\"".*unknown field \\"spec.\\""/)
    const strict = await ask('POST', PLACEMENTS, { body: placement({ ...spec, tolerations: [{ value: 'v' }] }) })
    expect(strict.body.details.causes?.map(({ field }) => field).toSorted()).toEqual([
      'spec.',
      'spec.sort.by',
      'spec.tolerations[0].key',
    ])
  })

  test('Warn drops it and says so in a header, Ignore drops it, anything else is 400', async () => {
    const { ask } = await testApi()
    const warned = await ask('POST', `${ROLLOUTS}?fieldValidation=Warn`, { body })
    expect(warned.code).toBe(201)
    expect(String(warned.headers['warning'])).toMatch(
      /^299 - "unknown field \\"spec.strategie\\"", 299 - "spec.placement/,
    )
    expect(warned.body.spec).not.toHaveProperty('strategie')
    await ask('DELETE', `${ROLLOUTS}/r`)
    const ignored = await ask('POST', `${ROLLOUTS}?fieldValidation=Ignore`, { body })
    expect(ignored.code).toBe(201)
    expect(ignored.headers['warning']).not.toContain('unknown field')
    expect((await ask('POST', `${ROLLOUTS}?fieldValidation=Maybe`, { body })).code).toBe(400)
  })

  test('a rollout that names what is not there, or what sites will refuse, is written with a warning that says so', async () => {
    const { ask, store } = await testApi()
    const warned = async (name: string, image: string, dryRun = '', more: object = { attestation: 'warning' }) =>
      String(
        (
          await ask('POST', `${ROLLOUTS}${dryRun}`, {
            body: {
              ...rollout({ placementRef: { name: 'all' }, image: { name: image }, ...more }),
              metadata: { name },
            },
          })
        ).headers['warning'] ?? '',
      )
    const placementMissing =
      '299 - "spec.placementRef.name: there is no Placement all in namespace fleet yet; the rollout waits for it"'
    const imageMissing =
      '299 - "spec.image.name: there is no OSImage os-1 yet; the rollout waits until it is published"'
    expect(await warned('a', 'os-1')).toBe(`${placementMissing}, ${imageMissing}`)
    expect(await warned('b', 'os-1', '?dryRun=All')).toBe(`${placementMissing}, ${imageMissing}`)
    await ask('POST', PLACEMENTS, { body: placement({}) })
    expect(await warned('c', 'os-1')).toBe(imageMissing)
    await confirmedAt(
      store,
      { 'os-1': 1, 'os-2': 2, 'os-3': 2 },
      { 'shop-1': 'os-2', 'shop-2': 'os-1', 'shop-3': 'os-2' },
    )
    expect(await warned('d', 'os-1')).toBe(
      '299 - "spec.image.name: the release counter of os-1 is 1, and a site takes none below the one it confirmed: shop-1 (2), shop-3 (2) will refuse it"',
    )
    expect(await warned('e', 'os-2')).toBe('')
    expect(await warned('f', 'os-2', '', {})).toContain(
      'spec.attestation: affirming, the default, asks for a boot that is proven, and nothing measures the boot of os-2',
    )
    const patched = await ask('PATCH', `${ROLLOUTS}/e`, merge({ spec: { image: { name: 'os-1' } } }))
    expect(patched.headers['warning']).toContain('shop-1 (2), shop-3 (2) will refuse it')
    expect(
      (await ask('PATCH', `${ROLLOUTS}/e`, merge({ spec: { image: { name: 'os-3' } } }))).headers,
    ).not.toHaveProperty('warning')
  })

  test('no other writer waits while the fleet is looked through for warnings', async () => {
    const { ask, store } = await testApi()
    await confirmedAt(store, { 'os-1': 1 }, { 'shop-1': 'os-1' })
    const [held, over] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
    const holding = store.sql.begin(async (tx) => {
      await tx`lock table statement_newest in access exclusive mode`
      held.resolve()
      await over.promise
    })
    try {
      await held.promise
      const warned = ask('POST', ROLLOUTS, {
        body: rollout({ placementRef: { name: 'all' }, image: { name: 'os-1' } }),
      })
      const waiting = () =>
        store.sql`select 1 from pg_locks where relation = 'statement_newest'::regclass and not granted`
      await until(async () => (await waiting()).length > 0, 'the look through the fleet', 30_000)
      expect((await ask('POST', PLACEMENTS, { body: placement({}) })).code).toBe(201)
      over.resolve()
      expect(await warned).toMatchObject({ code: 201 })
    } finally {
      over.resolve()
      await holding
    }
  })

  test('every fault of a placement is told at once, with its path', async () => {
    const { ask } = await testApi()
    const spec = {
      predicates: [
        { requiredClusterSelector: { celSelector: { celExpressions: ['true', 'managedCluster.', '1 == 1.0'] } } },
      ],
      prioritizerPolicy: { mode: 'Loose', configurations: [{ scoreCoordinate: { builtIn: 'Nope' }, weight: 0 }] },
      decisionStrategy: {
        groupStrategy: {
          clustersPerDecisionGroup: '25',
          decisionGroups: [
            { groupName: 'canary', groupClusterSelector: { labelSelector: { matchLabels: { env: 'a b' } } } },
          ],
        },
      },
    }
    const { code, body } = await ask('POST', PLACEMENTS, { body: placement(spec) })
    expect(code).toBe(422)
    expect(body.details.causes?.map(({ field }: { field: string }) => field)).toEqual([
      'spec.predicates[0].requiredClusterSelector.celSelector.celExpressions[1]',
      'spec.predicates[0].requiredClusterSelector.celSelector.celExpressions[2]',
      'spec.prioritizerPolicy.mode',
      'spec.prioritizerPolicy.configurations[0].scoreCoordinate.builtIn',
      'spec.decisionStrategy.groupStrategy.decisionGroups[0].groupClusterSelector.labelSelector.matchLabels.env',
      'spec.decisionStrategy.groupStrategy.clustersPerDecisionGroup',
    ])
  })

  describe('the status of an AddOnPlacementScore, which clients write', () => {
    const SCORES = `${OCM}/v1alpha1/namespaces/shop-7/addonplacementscores`
    const score = (more: object = {}) => ({
      apiVersion: 'cluster.open-cluster-management.io/v1alpha1',
      kind: 'AddOnPlacementScore',
      metadata: { name: 'usage' },
      ...more,
    })
    const status = { scores: [{ name: 'free', value: 7 }] }

    test('is left aside beside the object, and says so; the subresource takes it, and nothing else', async () => {
      const { ask } = await testApi()
      const made = await ask('POST', SCORES, { body: score({ status }) })
      expect([made.code, made.body.status, made.headers['warning']]).toEqual([
        201,
        undefined,
        expect.stringContaining('--subresource=status'),
      ])
      const labels = { not: 'taken' }
      const put = await ask('PUT', `${SCORES}/usage/status`, {
        body: score({ status, metadata: { name: 'usage', labels } }),
      })
      expect(put).toMatchObject({ code: 200, body: { status, metadata: { generation: 1 } } })
      expect(put.body.metadata.labels).toBeUndefined()
      expect(put.headers['warning']).toBeUndefined()
      const patched = await ask(
        'PATCH',
        `${SCORES}/usage/status`,
        merge({ status: { validUntil: '2026-06-01T12:00:00Z' } }),
      )
      expect(patched.body.status).toEqual({ ...status, validUntil: '2026-06-01T12:00:00Z' })
      // An update of the object leaves its status as it is.
      await ask('PUT', `${SCORES}/usage`, { body: score({ metadata: { name: 'usage', labels } }) })
      expect((await ask('GET', `${SCORES}/usage`)).body).toMatchObject({ metadata: { labels }, status })
    })

    test('is judged by its schema and its version, and what is wrong changes nothing', async () => {
      const api = await testApi()
      const { ask } = api
      const { body: made } = await ask('POST', SCORES, { body: score() })
      const before = await traces(api)
      const high = await ask('PUT', `${SCORES}/usage/status`, {
        body: score({ status: { scores: [{ name: 'free', value: 101 }] } }),
      })
      expect([high.code, high.body.details.causes?.[0]?.field]).toEqual([422, 'status.scores[0].value'])
      expect((await ask('PUT', `${SCORES}/none/status`, { body: score({ metadata: {} }) })).code).toBe(404)
      const metadata = { name: 'usage', resourceVersion: '999999' }
      expect((await ask('PUT', `${SCORES}/usage/status`, { body: score({ status, metadata }) })).code).toBe(409)
      expect(await traces(api)).toEqual(before)
      const fresh = { name: 'usage', resourceVersion: made.metadata.resourceVersion }
      expect((await ask('PUT', `${SCORES}/usage/status`, { body: score({ status, metadata: fresh }) })).code).toBe(200)
    })

    test('no other kind has it', async () => {
      const { ask } = await testApi()
      await ask('POST', PLACEMENTS, { body: placement({}) })
      expect((await ask('PUT', `${PLACEMENTS}/all/status`, { body: placement({}) })).code).toBe(405)
    })
  })

  test.each([
    ['metadata.finalizers', { finalizers: ['example.com/wait'] }],
    ['metadata.ownerReferences', { ownerReferences: [{ apiVersion: 'v1', kind: 'X', name: 'x', uid: 'u' }] }],
  ])('%s is a promise that this hub would not keep, so it is refused', async (field, metadata) => {
    const { ask } = await testApi()
    const { code, body: status } = await ask('POST', CLUSTERS, { body: cluster('a', {}, metadata) })
    expect({ code, field: status.details.causes?.[0]?.field }).toEqual({ code: 422, field })
  })
})

test('waves and windows that cannot be carried out are refused with every fault, each at its path', async () => {
  const { ask } = await testApi()
  const post = async (spec: object) => (await ask('POST', ROLLOUTS, { body: rollout(spec) })).body.details?.causes
  const window = { at: '61 2 * * *', timeZone: 'Europe/Oz', durationSeconds: 60 }
  const waves = [
    { startAfter: '4h', percent: 50 },
    { startAfter: '4h', percent: 10 },
  ]
  const causes = await post({ windows: { activation: [window] }, waves })
  expect(causes?.map(({ field }) => field)).toEqual([
    'spec.windows.activation[0].at',
    'spec.windows.activation[0].timeZone',
    'spec.waves[1].startAfter',
    'spec.waves[1].percent',
    'spec.waves[1].percent',
  ])
  const shapes = await post({ waves: [{ startAfter: '6d', percent: 0, spread: 'None' }] })
  expect(shapes?.map(({ field }) => field).toSorted()).toEqual([
    'spec.waves[0].percent',
    'spec.waves[0].spread',
    'spec.waves[0].startAfter',
  ])
  expect((await post({ waves: [] }))?.map(({ field }) => field)).toEqual(['spec.waves'])
  const good = [
    { startAfter: '0s', percent: 1 },
    { startAfter: '4h', percent: 100 },
  ]
  expect((await ask('POST', ROLLOUTS, { body: rollout({ waves: good }) })).code).toBe(201)
})

test('[deviation] D-07 what OCM would find out later is refused at once, and stored where a placement asks for that', async () => {
  const { ask } = await testApi()
  const spec = {
    predicates: [{ requiredClusterSelector: { celSelector: { celExpressions: ['managedCluster.'] } } }],
    prioritizerPolicy: { mode: 'Loose' },
  }
  const refused = await ask('POST', PLACEMENTS, { body: placement(spec) })
  expect([refused.code, refused.body.details.causes?.map(({ field }: { field: string }) => field)]).toEqual([
    422,
    ['spec.predicates[0].requiredClusterSelector.celSelector.celExpressions[0]', 'spec.prioritizerPolicy.mode'],
  ])
  const annotations = { [ADMISSION_ANNOTATION]: 'Lenient' }
  const stored = await ask('POST', PLACEMENTS, { body: placement(spec, { annotations }) })
  expect([stored.code, stored.body.spec]).toEqual([201, spec])
  const strict = await ask(
    'PATCH',
    `${PLACEMENTS}/all`,
    merge({ metadata: { annotations: { [ADMISSION_ANNOTATION]: null } } }),
  )
  expect(strict.code).toBe(422)
  const negative = placement({ numberOfClusters: -1 }, { name: 'negative', annotations })
  expect((await ask('POST', PLACEMENTS, { body: negative })).code).toBe(422)
})

describe('labels and annotations', () => {
  test.each([
    [{ labels: { 'a,b': 'x' } }, 'metadata.labels.a,b'],
    [{ labels: { 'UPPER.example/x': 'x' } }, 'metadata.labels.UPPER.example/x'],
    [{ labels: { 'a/b/c': 'x' } }, 'metadata.labels.a/b/c'],
    [{ labels: { '': 'x' } }, 'metadata.labels.'],
    [{ labels: { a: 'two words' } }, 'metadata.labels.a'],
    [{ labels: { a: '-x' } }, 'metadata.labels.a'],
    [{ annotations: { 'with blank': 'x' } }, 'metadata.annotations.with blank'],
  ])('%j is refused by its field', async (metadata, field) => {
    const { ask } = await testApi()
    const { code, body } = await ask('POST', CLUSTERS, { body: cluster('a', {}, metadata) })
    expect({ code, field: body.details.causes?.[0]?.field }).toEqual({ code: 422, field })
  })

  test("Kubernetes' own forms are taken as they are", async () => {
    const { ask } = await testApi()
    const labels = { 'example.com/Tier_1.a': 'Shop-1_b.c', empty: '', x: 'y' }
    const annotations = { 'kubectl.kubernetes.io/last-applied-configuration': '{"any":"text"}\n' }
    const { code, body } = await ask('POST', CLUSTERS, { body: cluster('a', {}, { labels, annotations }) })
    expect(code).toBe(201)
    expect(body.metadata).toMatchObject({ labels, annotations })
  })
})

describe('bad input', () => {
  const post = (body: string | object, more: object = {}) => ({ method: 'POST', path: CLUSTERS, body, ...more })
  test.each([
    { what: 'half a JSON text', ...post('{"a":'), code: 400 },
    { what: 'no body', method: 'POST', path: CLUSTERS, body: undefined, code: 415 },
    { what: 'an empty body', ...post(''), code: 400 },
    { what: 'a list', ...post('[]'), code: 400 },
    { what: 'invalid UTF-8', ...post(Buffer.from([0x7b, 0xff, 0x7d])), code: 400 },
    {
      what: 'a doubled member',
      ...post('{"metadata":{"name":"a","name":"b"}}'),
      code: 400,
      says: '"metadata.name" stands twice',
    },
    {
      what: 'a member __proto__',
      ...post('{"metadata":{"name":"a","labels":{"__proto__":"x"}}}'),
      code: 400,
      says: '__proto__',
    },
    {
      what: 'depth without end',
      ...post(`${'{"a":'.repeat(100)}1${'}'.repeat(100)}`),
      code: 400,
      says: 'nested deeper',
    },
    { what: 'more than a mebibyte', ...post(`{"a":"${'x'.repeat(1_100_000)}"}`), code: 413 },
    { what: 'YAML', ...post('kind: X', { type: 'application/yaml' }), code: 415 },
    {
      what: 'a merge patch where an object belongs',
      ...post('{}', { type: 'application/merge-patch+json' }),
      code: 415,
    },
    {
      what: 'server-side apply',
      method: 'PATCH',
      path: `${CLUSTERS}/a`,
      body: '{}',
      type: 'application/apply-patch+yaml',
      code: 415,
    },
    {
      what: 'a JSON patch',
      method: 'PATCH',
      path: `${CLUSTERS}/a`,
      body: '[]',
      type: 'application/json-patch+json',
      code: 415,
    },
    { what: 'another kind', ...post({ ...cluster('a'), kind: 'Rollout' }), code: 422, says: 'kind' },
    { what: 'a name with capitals', ...post(cluster('Shop')), code: 422, says: 'metadata.name' },
    {
      what: 'a name that is no text',
      ...post(cluster('', {}, { name: { toString: '' } })),
      code: 422,
      says: 'metadata.name',
    },
    { what: 'a name of a path', ...post(cluster('../../etc')), code: 422, says: 'metadata.name' },
    { what: 'a name with a line break', ...post(cluster('a\nb')), code: 422, says: 'metadata.name' },
    { what: 'a dotted cluster name, which is no label', ...post(cluster('a.b')), code: 422, says: 'metadata.name' },
    {
      what: 'NUL in an annotation',
      ...post(cluster('a', {}, { annotations: { x: 'a\0b' } })),
      code: 400,
      says: 'U+0000',
    },
    {
      what: 'half a surrogate pair',
      ...post(cluster('a', {}, { annotations: { x: '\ud800' } })),
      code: 400,
      says: 'surrogate',
    },
    { what: 'NUL in the path', method: 'GET', path: `${CLUSTERS}/a%00b`, code: 400 },
    { what: 'a slash in the name', method: 'GET', path: `${CLUSTERS}/a%2Fb`, code: 404 },
    { what: 'a broken escape', method: 'GET', path: `${CLUSTERS}/%zz`, code: 400 },
    { what: 'a kind that is not there', method: 'GET', path: `${OCM}/v1/manifestworks`, code: 404 },
    { what: 'a version that is not there', method: 'GET', path: `${OCM}/v7/managedclusters`, code: 404 },
    { what: 'POST to an object', method: 'POST', path: `${CLUSTERS}/a`, body: {}, code: 405 },
    { what: 'DELETE of a collection', method: 'DELETE', path: CLUSTERS, code: 405 },
    {
      what: 'POST of a kind with another writer',
      method: 'POST',
      path: '/apis/skerry.dev/v1alpha1/osimages',
      body: {},
      code: 405,
    },
    {
      what: 'a parameter that stands twice',
      method: 'GET',
      path: `${CLUSTERS}?limit=1&limit=2`,
      code: 400,
      says: 'limit stands twice',
    },
    { what: 'a limit that is no number', method: 'GET', path: `${CLUSTERS}?limit=many`, code: 400, says: 'limit' },
    { what: 'a name of 300 letters', method: 'GET', path: `${CLUSTERS}/${'a'.repeat(300)}`, code: 414 },
    {
      what: 'the list of an earlier moment',
      method: 'GET',
      path: `${CLUSTERS}?resourceVersion=1&resourceVersionMatch=Exact`,
      code: 400,
      says: 'Exact is not offered',
    },
    {
      what: 'a broken label selector',
      method: 'GET',
      path: `${CLUSTERS}?labelSelector=a%20in%20b`,
      code: 400,
      says: 'unable to parse',
    },
    {
      what: 'an unsupported field',
      method: 'GET',
      path: `${CLUSTERS}?fieldSelector=spec.x%3Dy`,
      code: 400,
      says: 'supported are metadata.name',
    },
  ] as { what: string; method: string; path: string; body?: unknown; type?: string; code: number; says?: string }[])(
    '$what: $code, as a Status, and nothing is written',
    async ({ method, path, body, type, code, says = '' }) => {
      const api = await testApi()
      const before = await traces(api)
      const answer = await api.ask(method, path, { body, ...(type ? { type } : {}) })
      expect(answer).toMatchObject({ code, body: { kind: 'Status', status: 'Failure', code } })
      expect(answer.body.message).toContain(says)
      expect(await traces(api)).toEqual(before)
    },
  )

  test('a 405 names what is offered instead', async () => {
    const { ask } = await testApi()
    const { headers } = await ask('POST', '/apis/skerry.dev/v1alpha1/osimages/x', { body: {} })
    expect(headers['allow']).toBe('GET, HEAD')
  })
})

describe('audit', () => {
  test('one record for each change, with who, what and both digests; none for what changes nothing or fails', async () => {
    const { ask, store } = await testApi()
    await ask('POST', CLUSTERS, { body: cluster('a') })
    await ask('PATCH', `${CLUSTERS}/a`, merge({ metadata: { labels: { x: 'y' } } }))
    await ask('PATCH', `${CLUSTERS}/a`, merge({ metadata: { labels: { x: 'y' } } }))
    await ask('PUT', `${CLUSTERS}/a`, { body: cluster('a', {}, { resourceVersion: '999' }) })
    await ask('POST', CLUSTERS, { body: cluster('B') })
    await ask('DELETE', `${CLUSTERS}/a`)
    const records =
      await store.sql`select actor, verb, kind, name, before_digest is null as made, after_digest is null as gone from audit_record order by id`
    expect(records.map((record) => ({ ...record }))).toEqual([
      { actor: 'admin', verb: 'create', kind: 'ManagedCluster', name: 'a', made: true, gone: false },
      { actor: 'admin', verb: 'patch', kind: 'ManagedCluster', name: 'a', made: false, gone: false },
      { actor: 'admin', verb: 'delete', kind: 'ManagedCluster', name: 'a', made: false, gone: true },
    ])
    expect(await verifyAudit(store.sql)).toMatchObject({ whole: true, head: { count: 3 } })
  })

  test('the verb is what the person did: accept, deny and revoke, of a cluster too, whose field decides', async () => {
    const { ask, store } = await testApi()
    const spec = {
      nodeName: 'n',
      class: 'software-key' as const,
      keysDigest: 'k',
      nodeKeyThumbprint: 't',
      natsKey: `U${'A'.repeat(55)}`,
      fingerprint: 'aaaa-bbbb',
      hardwareId: 'box',
      claims: {},
    }
    await write(store, (tx) => createObject(tx, 'Registration', { metadata: { name: 'n', namespace: 'a' }, spec }))
    await ask('POST', CLUSTERS, { body: cluster('a') })
    await ask('PATCH', `${CLUSTERS}/a`, merge({ spec: { hubAcceptsClient: true } }))
    await ask('PATCH', `${CLUSTERS}/a`, merge({ spec: { hubAcceptsClient: true }, metadata: { labels: { x: 'y' } } }))
    const { body } = await ask('GET', `${CLUSTERS}/a`)
    await ask('PUT', `${CLUSTERS}/a`, { body: { ...body, spec: { ...body.spec, hubAcceptsClient: false } } })
    const path = '/apis/skerry.dev/v1alpha1/namespaces/a/registrations/n'
    for (const state of ['Accepted', 'Denied', 'Revoked']) await ask('PUT', `${path}/approval`, { body: { state } })
    await ask('PUT', `${path}/rotation`, { body: {} })
    const records = await store.sql`select kind, namespace, name, verb from audit_record order by id`
    expect(records.map(({ kind, namespace, name, verb }) => `${verb} ${kind} ${namespace}/${name}`)).toEqual([
      'create ManagedCluster /a',
      'accept ManagedCluster /a',
      'patch ManagedCluster /a',
      'deny ManagedCluster /a',
      'accept Registration a/n',
      'deny Registration a/n',
      'revoke Registration a/n',
      'rotate Registration a/n',
    ])
  })

  test('a change whose audit record cannot be written is not made', async () => {
    const { ask, store } = await testApi()
    await store.sql`alter table audit_record add constraint full_disk check (name <> 'a')`
    expect((await ask('POST', CLUSTERS, { body: cluster('a') })).code).toBe(500)
    expect((await ask('GET', `${CLUSTERS}/a`)).code).toBe(404)
  })
})

describe('approval', () => {
  test('an unknown field, a missing or wrong state is refused by name', async () => {
    const { ask } = await testApi()
    const path = '/apis/skerry.dev/v1alpha1/namespaces/shop/registrations/n/approval'
    const fields = async (body: object) =>
      (await ask('PUT', path, { body })).body.details.causes?.map(({ field }) => field)
    expect(await fields({ state: 'Accepted', resaon: 'x' })).toEqual(['resaon'])
    expect(await fields({})).toEqual(['state'])
    expect(await fields({ state: 'Perhaps' })).toEqual(['state'])
    expect((await ask('PUT', path, { body: { state: 'Accepted' } })).code).toBe(404)
  })

  test('about another fingerprint than the registration has is a conflict, and decides nothing', async () => {
    const { ask, store } = await testApi()
    const spec = {
      nodeName: 'n',
      class: 'software-key' as const,
      keysDigest: 'k',
      nodeKeyThumbprint: 't',
      natsKey: `U${'A'.repeat(55)}`,
      fingerprint: 'aaaa-bbbb',
      hardwareId: 'box',
      claims: {},
    }
    await write(store, (tx) => createObject(tx, 'Registration', { metadata: { name: 'n', namespace: 'shop' }, spec }))
    const path = '/apis/skerry.dev/v1alpha1/namespaces/shop/registrations/n'
    const approve = (fingerprint: string) =>
      ask('PUT', `${path}/approval`, { body: { state: 'Accepted', fingerprint } })
    expect((await approve('cccc-dddd')).code).toBe(409)
    expect((await ask('GET', path)).body.spec['decision']).toBeUndefined()
    expect((await approve('aaaa-bbbb')).code).toBe(200)
    expect((await ask('GET', path)).body.spec['decision']).toMatchObject({ state: 'Accepted', by: 'admin' })
  })
})
