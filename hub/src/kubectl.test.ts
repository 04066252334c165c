import { type ExecFileException, execFile } from 'node:child_process'
import { existsSync, writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import type { RolloutStatus } from '@skerry/api'
import { type Connection, until } from '@skerry/supervise'
import { testDatabase, testFolder } from '@skerry/supervise/testing'
import { beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest'
import type { Hub } from './index.ts'
import { createObject } from './store/resources.ts'
import { openStore, write } from './store/store.ts'
import { configOn, start } from './testing.ts'

// A real kubectl against a whole hub, with the CA and the token that the hub gives.

const kubectlPath = (process.env['PATH'] ?? '')
  .split(delimiter)
  .map((dir) => join(dir, 'kubectl'))
  .find(existsSync)
const on = kubectlPath ? 'kubectl' : 'kubectl (skipped: there is none on the PATH)'

type Ran = { readonly code: number; readonly out: string; readonly err: string }
type Options = {
  readonly input?: string
  readonly env?: NodeJS.ProcessEnv
  /** It is ended as soon as it has printed this. */
  readonly enough?: (out: string) => boolean
}
type Run = (args: string, options?: Options) => Promise<Ran>

function kubectlOf({ apiUrl, caPem, adminToken }: Hub): Run {
  const dir = testFolder()
  const kubeconfig = join(dir, 'kubeconfig')
  const named = (name: string, kind: string, value: object) => [{ name, [kind]: value }]
  writeFileSync(
    kubeconfig,
    JSON.stringify({
      apiVersion: 'v1',
      kind: 'Config',
      clusters: named('hub', 'cluster', {
        server: apiUrl,
        'certificate-authority-data': Buffer.from(caPem).toString('base64'),
      }),
      users: named('me', 'user', { token: adminToken }),
      contexts: named('hub', 'context', { cluster: 'hub', user: 'me', namespace: 'fleet' }),
      'current-context': 'hub',
    }),
  )
  return (args, { input = '', env = {}, enough = () => false } = {}) =>
    new Promise((done) => {
      const child = execFile(
        kubectlPath ?? 'kubectl',
        [
          '--kubeconfig',
          kubeconfig,
          '--cache-dir',
          join(dir, 'cache'),
          ...(args.match(/'[^']*'|\S+/g)?.map((arg) => arg.replaceAll("'", '')) ?? []),
        ],
        { env: { ...process.env, HOME: dir, ...env }, timeout: 60_000 },
        (error: ExecFileException | null, out, err) => done({ code: error ? Number(error.code ?? -1) : 0, out, err }),
      )
      child.stdin?.end(input)
      let seen = ''
      child.stdout?.on('data', (text) => {
        seen += text
        if (enough(seen)) child.kill()
      })
    })
}

const ROLLOUT_PER_GROUP = `
apiVersion: skerry.dev/v1alpha1
kind: Rollout
metadata: { name: wave, namespace: fleet }
spec:
  placementRef: { name: all-shops }
  image: { name: os-1 }
  strategy: { type: ProgressivePerGroup, progressivePerGroup: {} }
`
const PLACEMENT = `
apiVersion: cluster.open-cluster-management.io/v1beta1
kind: Placement
metadata: { name: all-shops, namespace: fleet, labels: { team: a } }
spec:
  clusterSets: [default]
  numberOfClusters: 3
  predicates:
    - requiredClusterSelector:
        labelSelector: { matchLabels: { tier: shop } }
        claimSelector: { matchExpressions: [{ key: cpu, operator: Exists }] }
  tolerations: [{ key: gpu, operator: Exists }]
`
// As Open Cluster Management's own documentation writes them.
const OCM = `
apiVersion: cluster.open-cluster-management.io/v1beta2
kind: ManagedClusterSet
metadata: { name: dev }
spec: { clusterSelector: { selectorType: ExclusiveClusterSetLabel } }
---
apiVersion: cluster.open-cluster-management.io/v1beta2
kind: ManagedClusterSetBinding
metadata: { namespace: fleet, name: dev }
spec: { clusterSet: dev }
---
${PLACEMENT}`

const CLUSTER = `
apiVersion: cluster.open-cluster-management.io/v1
kind: ManagedCluster
metadata: { name: shop, labels: { cluster.open-cluster-management.io/clusterset: dev } }
spec: { hubAcceptsClient: true }
`

/** An image, which signers publish and kubectl cannot write. */
async function addImage(database: Connection): Promise<void> {
  const store = openStore(database)
  const spec = {
    ...{ target: 'images/os/1.json', manifestSha256: 'a'.repeat(64), family: 'os', version: '1', releaseCounter: 1 },
    image: { sha256: 'b'.repeat(64), length: 1, mediaType: 'application/octet-stream' },
    ...{ hardwareIds: ['any'], boot: { kind: 'none' }, signers: [] },
  }
  await write(store, (tx) => createObject(tx, 'OSImage', { metadata: { name: 'os-1' }, spec }))
  await store.close()
}

describe.skipIf(!kubectlPath)(on, () => {
  let database: Connection
  let hub: Hub
  let kubectl: Run
  beforeEach(async () => {
    const { connection, drop } = await testDatabase()
    onTestFinished(() => drop())
    database = connection
    hub = await start(configOn(connection))
    kubectl = kubectlOf(hub)
  })
  const ok = async (args: string, options: Parameters<Run>[1] = {}): Promise<string> => {
    const ran = await kubectl(args, options)
    expect(ran, ran.err).toMatchObject({ code: 0 })
    return ran.out
  }

  test('discovers: every kind with its short names, and the version', async () => {
    const resources = await ok('api-resources')
    expect(resources).toMatch(
      /^managedclusters +cluster,clusters,mcl +cluster.open-cluster-management.io\/v1 +false +ManagedCluster$/m,
    )
    expect(resources).toMatch(/^rollouts +ro +skerry.dev\/v1alpha1 +true +Rollout$/m)
    expect(await ok('version')).toContain('Server Version: v1.')
    const ready = async () => (await kubectl('get --raw /readyz?verbose')).out.includes('readyz check passed')
    await until(ready, 'readiness', 120_000)
  })

  test("applies Open Cluster Management's YAML as it is: created, unchanged, configured, a removed field goes", async () => {
    expect((await ok('apply -f -', { input: OCM })).split('\n')).toEqual([
      'managedclusterset.cluster.open-cluster-management.io/dev created',
      'managedclustersetbinding.cluster.open-cluster-management.io/dev created',
      'placement.cluster.open-cluster-management.io/all-shops created',
      '',
    ])
    expect((await ok('apply -f -', { input: OCM })).match(/unchanged/g)).toHaveLength(3)
    const shorter = PLACEMENT.replace('  numberOfClusters: 3\n', '').replace(', labels: { team: a }', '')
    expect(await ok('apply -f -', { input: shorter })).toContain('all-shops configured')
    const stored = JSON.parse(await ok('get placement all-shops -o json')) as { spec: object; metadata: object }
    expect(stored.spec).not.toHaveProperty('numberOfClusters')
    expect(stored.metadata).not.toHaveProperty('labels')
    expect(stored.metadata).toMatchObject({ generation: 2 })
  })

  test('diff exits 1 and shows what would change, 0 when nothing would, and writes nothing', async () => {
    await ok('apply -f -', { input: PLACEMENT })
    // A status that is written while kubectl compares would be a difference.
    await ok('wait --for=condition=PlacementSatisfied=False placement/all-shops --timeout=50s')
    expect((await kubectl('diff -f -', { input: PLACEMENT })).code).toBe(0)
    const changed = await kubectl('diff -f -', {
      input: PLACEMENT.replace('numberOfClusters: 3', 'numberOfClusters: 4'),
    })
    expect(changed.code).toBe(1)
    expect(changed.out).toMatch(/^- {2}numberOfClusters: 3\n\+ {2}numberOfClusters: 4$/m)
    expect((await kubectl('diff -f -', { input: PLACEMENT })).code).toBe(0)
  })

  test('--dry-run=server writes nothing, whatever the verb', async () => {
    await ok('apply -f -', { input: PLACEMENT })
    const before = await ok("get placements,mclset -A -o 'jsonpath={.items[*].metadata.uid}'")
    expect(await ok('create mclset --dry-run=server -f -', { input: 'x' }).catch(() => '')).toBe('')
    expect(await ok('apply --dry-run=server -f -', { input: OCM })).toContain('dev created (server dry run)')
    expect(await ok('delete placement all-shops --dry-run=server')).toContain('deleted (server dry run)')
    expect(await ok("get placements,mclset -A -o 'jsonpath={.items[*].metadata.uid}'")).toBe(before)
  })

  test('--dry-run=server of a rollout shows the status that it would have: who waits, why, and until when', async () => {
    await addImage(database)
    const fleet = `${OCM}---\n${CLUSTER}---\n${PLACEMENT.replace(/spec:[\s\S]*/, 'spec: { clusterSets: [dev] }\n')}`
    await ok('apply -f -', { input: fleet })
    const decided = async () => (await ok('get placementdecisions -o yaml')).includes('clusterName: shop')
    await until(decided, 'the placement selecting the cluster', 30_000)
    const { status } = JSON.parse(await ok('apply --dry-run=server -o json -f -', { input: ROLLOUT_PER_GROUP })) as {
      status: RolloutStatus
    }
    expect(status).toMatchObject({ phase: 'Running', image: { version: '1' }, counts: { total: 1, deferred: 1 } })
    expect(status.clusters).toMatchObject([
      { name: 'shop', state: 'Offline', reason: 'NeverSeen', message: expect.stringContaining('never heard from') },
    ])
    expect(Date.parse(status.clusters?.[0]?.recheckAt ?? '')).toBeGreaterThan(0)
    expect((await kubectl('get rollout wave')).code).toBe(1)

    // What is stored lacks the times that only news ends, and nothing differs by that.
    await ok('apply -f -', { input: ROLLOUT_PER_GROUP })
    await ok("wait rollout/wave --for=jsonpath='{.status.phase}'=Running --timeout=50s")
    expect(await ok("get rollout wave -o 'jsonpath={.status.clusters[*].recheckAt}'")).toBe('')
    expect(await kubectl('diff -f -', { input: ROLLOUT_PER_GROUP })).toMatchObject({ code: 0, out: '' })
    expect(await ok('explain rollout.status.clusters.recheckAt')).toContain('dry run')
  })

  test('asks why of a placement that is not stored', async () => {
    await ok('apply -f -', { input: `${OCM}---\n${CLUSTER}` })
    const dry = 'create --dry-run=client -o json -f -'
    const unstored = await ok(dry, { input: PLACEMENT.replace('all-shops', 'new') })
    const why = '/apis/cluster.open-cluster-management.io/v1beta1/namespaces/fleet/placements/new/why'
    const ran = await kubectl(`create --raw ${why} -f -`, { input: unstored })
    expect(ran).toMatchObject({ code: 0, err: expect.stringContaining('dry run: 0 clusters would be selected') })
    expect(JSON.parse(ran.out)).toMatchObject({
      placement: 'fleet/new',
      clusters: [{ cluster: 'shop', reason: 'NotInEligibleSet' }],
    })
    expect((await kubectl('get placement new')).code).toBe(1)
    expect(await ok('auth can-i create placements/why')).toBe('yes\n')
  })

  test('shows: a table of our columns, wide, YAML, jsonpath, and describe', async () => {
    await ok('apply -f -', { input: OCM })
    expect(await ok('get placements')).toMatch(/^NAME +SATISFIED +REASON +SELECTED +AGE\nall-shops /)
    expect(await ok('get placements -o wide')).toMatch(/^NAME .* SELECTED +AGE +MISCONFIGURED\n/)
    // What is printed names its version, and while the placement is being decided that is a conflict, as everywhere.
    const again = await vi.waitFor(async () => {
      const ran = await kubectl('apply -f - --dry-run=server', { input: await ok('get placements -o yaml') })
      expect(ran.err).not.toContain('(Conflict)')
      return ran
    }, 30_000)
    expect(again.code, again.err).toBe(0)
    expect(await ok('get placements -A --chunk-size=1')).toMatch(/^NAMESPACE +NAME/)
    expect(await ok('get mclset --chunk-size=1 -o name')).toBe(
      ['default', 'dev', 'global']
        .map((name) => `managedclusterset.cluster.open-cluster-management.io/${name}\n`)
        .join(''),
    )
    expect(await ok('get placement all-shops -o yaml')).toContain('numberOfClusters: 3')
    expect(await ok("get mclset dev -o 'jsonpath={.spec.clusterSelector.selectorType}'")).toBe(
      'ExclusiveClusterSetLabel',
    )
    expect(await ok('get placements -l team=a -o name')).toBe(
      'placement.cluster.open-cluster-management.io/all-shops\n',
    )
    expect(await ok('get placements -l team!=a -o name')).toBe('')
    const described = await ok('describe placement all-shops')
    expect(described).toMatch(/Name: +all-shops\nNamespace: +fleet\nLabels: +team=a/)
    expect(described).toMatch(/Number Of Clusters: +3/)
  })

  test('explains: the texts of a kind and of nested fields', async () => {
    expect(await ok('explain rollout')).toMatch(
      /GROUP: +skerry.dev\nKIND: +Rollout\nVERSION: +v1alpha1[\s\S]*how an image reaches its clusters/,
    )
    expect(await ok('explain rollout.spec.attestation')).toContain('the worst verdict that still counts as success')
    expect(await ok('explain placement.spec.predicates')).toContain('ORed; an empty list passes every cluster')
    expect(await ok('explain placement.spec.tolerations.tolerationSeconds')).toContain(
      "counted from the taint's timeAdded",
    )
    expect(await ok('explain rollout.spec.strategy.progressive')).toMatch(
      /maxConcurrency[^\n]*\n +how many clusters may be under way at once/,
    )
    expect((await kubectl('explain rollout.spec.strategie')).code).toBe(1)
  })

  test('changes: label, annotate, patch, edit, replace', async () => {
    await ok('apply -f -', { input: PLACEMENT })
    await ok('label placement all-shops tier=x')
    await ok('annotate placement all-shops note=read-me')
    await ok(`patch placement all-shops --type merge -p '{"spec":{"numberOfClusters":5}}'`)
    await ok('edit placement all-shops', { env: { EDITOR: 'sed -i "s/numberOfClusters: 5/numberOfClusters: 6/"' } })
    expect(JSON.parse(await ok('get placement all-shops -o json'))).toMatchObject({
      metadata: { labels: { tier: 'x', team: 'a' }, annotations: { note: 'read-me' }, generation: 3 },
      spec: { numberOfClusters: 6 },
    })
    // The hub writes the status beside us. Where it does so between kubectl's GET and its PUT, one says it again.
    await until(
      async () => {
        const { code, out, err } = await kubectl('replace -f -', { input: PLACEMENT })
        if (code !== 0) expect(err).toContain('(Conflict)')
        return out.includes('replaced')
      },
      'the placement being replaced',
      30_000,
    )
    expect(await ok("get placement all-shops -o 'jsonpath={.spec.numberOfClusters}'")).toBe('3')
  })

  test('waits: for a condition that the hub writes, for a value, and for a deletion', async () => {
    await ok('apply -f -', { input: PLACEMENT })
    await ok('wait --for=condition=PlacementSatisfied=False placement/all-shops --timeout=50s')
    await ok("wait --for=jsonpath='{.spec.numberOfClusters}'=3 placement/all-shops --timeout=50s")
    const gone = kubectl('wait --for=delete placement/all-shops --timeout=50s')
    expect(await ok('delete placement all-shops')).toContain('"all-shops" deleted')
    expect(await gone).toMatchObject({ code: 0 })
    const missing = await kubectl('wait --for=condition=X placement/all-shops --timeout=5s')
    expect(missing).toMatchObject({ code: 1, err: expect.stringContaining('"all-shops" not found') })
  })

  test('watches: -w shows every state in order until it is ended', async () => {
    await ok('apply -f -', { input: OCM })
    const states = (out: string) => out.match(/\/dev$/gm)?.length ?? 0
    const watching = kubectl('get mclset -w -o name', { enough: (out) => states(out) > 2 })
    // kubectl says nothing when its watch stands, so the change is repeated until the watch has shown enough.
    let ended = false
    void watching.then(() => {
      ended = true
    })
    let n = 0
    await until(
      async () => {
        n += 1
        await ok(`label mclset dev round=r${n} --overwrite`)
        return ended
      },
      'two changes in the watch',
      60_000,
    )
    const { out } = await watching
    expect(out.split('\n').slice(0, 3)).toEqual(
      ['default', 'dev', 'global'].map((name) => `managedclusterset.cluster.open-cluster-management.io/${name}`),
    )
    expect(states(out)).toBeGreaterThan(2)
  })

  test.each([
    ['an unknown field', PLACEMENT.replace('clusterSets', 'clusterSetz'), 'spec.clusterSetz: is not a known field'],
    [
      'a strategy that there is none of',
      ROLLOUT_PER_GROUP.replace('type: ProgressivePerGroup', 'type: PerGroup'),
      'spec.strategy.type: must be one of: All, Progressive, ProgressivePerGroup',
    ],
    [
      'a wrong type',
      PLACEMENT.replace('numberOfClusters: 3', 'numberOfClusters: many'),
      'spec.numberOfClusters: must be integer',
    ],
    ['an unknown kind', PLACEMENT.replace('kind: Placement', 'kind: Placemat'), 'no matches for kind "Placemat"'],
  ])('%s is refused with a sentence that names it', async (_, input, says) => {
    const ran = await kubectl('apply -f -', { input })
    expect(ran.code).toBe(1)
    expect(ran.err).toContain(says)
    expect(await ok('get placements -o name')).toBe('')
  })

  test('a rollout that goes group by group is taken as it is written', async () => {
    await ok('apply -f -', { input: ROLLOUT_PER_GROUP })
    expect(await ok("get rollout wave -o jsonpath='{.spec.strategy}'")).toContain(
      '{"progressivePerGroup":{},"type":"ProgressivePerGroup"}',
    )
  })

  test('auth can-i is answered by the rule that judges the act itself', async () => {
    expect(await ok('auth can-i create rollouts')).toBe('yes\n')
    expect(await kubectl('auth can-i create osimages')).toMatchObject({ code: 1, out: expect.stringMatching(/^no/) })
  })

  test('what is not there is said clearly: server-side apply, other patches', async () => {
    const apply = await kubectl('apply --server-side -f -', { input: PLACEMENT })
    expect(apply).toMatchObject({
      code: 1,
      err: expect.stringContaining('Server-side apply not available on the server'),
    })
    await ok('apply -f -', { input: PLACEMENT })
    const patched = await kubectl("patch placement all-shops --type json -p '[]'")
    expect(patched).toMatchObject({
      code: 1,
      err: expect.stringContaining('application/json-patch+json is not supported'),
    })
  })
})
