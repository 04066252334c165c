import { connect, createServer, type Socket } from 'node:net'
import {
  KubeConfig,
  type KubernetesListObject,
  type KubernetesObject,
  KubernetesObjectApi,
  makeInformer,
  PatchStrategy,
} from '@kubernetes/client-node'
import { until } from '@skerry/supervise'
import { expect, onTestFinished, test } from 'vitest'
import type { Hub } from './index.ts'
import { parseDatabaseUrl } from './parts/database.ts'
import { compactChanges } from './store/resources.ts'
import { openStore, write } from './store/store.ts'
import { configure, start } from './testing.ts'

// Kubernetes' own JavaScript client against a whole hub.

const SETS = '/apis/cluster.open-cluster-management.io/v1beta2/managedclustersets'
type Set = KubernetesObject & { spec?: { clusterSelector?: { selectorType?: string } } }

function configOf({ apiUrl, caPem, adminToken }: Hub, server = apiUrl): KubeConfig {
  const config = new KubeConfig()
  config.loadFromOptions({
    clusters: [{ name: 'hub', server, caData: Buffer.from(caPem).toString('base64') }],
    users: [{ name: 'me', token: adminToken }],
    contexts: [{ name: 'hub', cluster: 'hub', user: 'me' }],
    currentContext: 'hub',
  })
  return config
}
const set = (name: string): Set => ({
  apiVersion: 'cluster.open-cluster-management.io/v1beta2',
  kind: 'ManagedClusterSet',
  metadata: { name },
  spec: { clusterSelector: { selectorType: 'ExclusiveClusterSetLabel' } },
})
const header = (name: string) => ({ ...set(name), metadata: { name, namespace: '' } })

/** Passes bytes to the hub until it is cut: every connection ends in the middle, and new ones are refused. */
async function cuttableLink(to: string): Promise<{ url: string; cut(): void; mend(): void }> {
  const { hostname, port } = new URL(to)
  const open = new Set<Socket>()
  let whole = true
  const server = createServer((near) => {
    if (!whole) return void near.destroy()
    const far = connect(Number(port), hostname)
    for (const socket of [near, far]) {
      open.add(socket)
      socket.on('error', () => undefined).once('close', () => open.delete(socket))
    }
    near.pipe(far).pipe(near)
  })
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  const cut = () => {
    whole = false
    for (const socket of open) socket.destroy()
  }
  onTestFinished(() => {
    cut()
    server.close()
  })
  const address = server.address()
  if (typeof address !== 'object' || !address) throw new Error('the link has no address')
  return {
    url: `https://127.0.0.1:${address.port}`,
    cut,
    mend() {
      whole = true
    },
  }
}

test('KubernetesObjectApi finds the kind by discovery, and creates, reads, patches, lists and deletes', async () => {
  const hub = await start(await configure({ roles: ['api'] }))
  const api = KubernetesObjectApi.makeApiClient(configOf(hub))
  const made = await api.create(set('dev'))
  expect(made.metadata?.uid).toMatch(/^[0-9a-f-]{36}$/)
  expect((await api.read<Set>(header('dev'))).spec?.clusterSelector?.selectorType).toBe('ExclusiveClusterSetLabel')
  const patched = await api.patch(
    { ...set('dev'), metadata: { name: 'dev', labels: { team: 'a' } } },
    undefined,
    undefined,
    undefined,
    undefined,
    PatchStrategy.MergePatch,
  )
  expect(patched.metadata?.labels).toEqual({ team: 'a' })
  const replaced = await api.replace({ ...set('dev'), metadata: { name: 'dev' } })
  expect(replaced).not.toHaveProperty('metadata.labels')
  const listed = await api.list('cluster.open-cluster-management.io/v1beta2', 'ManagedClusterSet')
  expect(listed.items.map(({ metadata }) => metadata?.name)).toEqual(['default', 'dev', 'global'])
  await api.delete(set('dev'))
  await expect(api.read(header('dev'))).rejects.toMatchObject({ code: 404 })
})

test('an informer sees everything that is added, changed and deleted, over cut connections and compacted history', async () => {
  const config = await configure({ roles: ['api'] })
  const hub = await start(config)
  const link = await cuttableLink(hub.apiUrl)
  const api = KubernetesObjectApi.makeApiClient(configOf(hub))
  const informed = configOf(hub, link.url)
  const lister = KubernetesObjectApi.makeApiClient(informed)
  const informer = makeInformer<Set>(
    informed,
    SETS,
    () =>
      lister.list('cluster.open-cluster-management.io/v1beta2', 'ManagedClusterSet') as Promise<
        KubernetesListObject<Set>
      >,
  )
  const seen: string[] = []
  for (const verb of ['add', 'update', 'delete'] as const)
    informer.on(verb, ({ metadata }) => void seen.push(`${verb} ${metadata?.name}`))
  // As its documentation asks: whoever is told of an error starts it again.
  let stopped = false
  let errors = 0
  informer.on('error', () => {
    errors += 1
    if (!stopped) setTimeout(() => void informer.start(), 50)
  })
  onTestFinished(async () => {
    stopped = true
    await informer.stop()
  })
  const saw = (what: string) =>
    until(() => seen.includes(what), `the informer's "${what}" (it saw: ${seen.join(', ')})`, 30_000)

  await informer.start()
  await saw('add default')
  await api.create(set('dev'))
  await saw('add dev')
  await api.patch(
    { ...set('dev'), metadata: { name: 'dev', labels: { team: 'a' } } },
    undefined,
    undefined,
    undefined,
    undefined,
    PatchStrategy.MergePatch,
  )
  await saw('update dev')
  await api.delete(set('dev'))
  await saw('delete dev')

  link.cut()
  await api.create(set('while-cut'))
  link.mend()
  await saw('add while-cut')

  // Cut again, and what happened meanwhile is compacted away: 410, and the informer lists anew.
  link.cut()
  await api.create(set('forgotten'))
  await api.delete(set('while-cut'))
  const store = openStore(parseDatabaseUrl(config.databaseUrl ?? ''))
  onTestFinished(() => store.close())
  await write(store, (tx) => compactChanges(tx, 1))
  link.mend()
  await saw('add forgotten')
  await saw('delete while-cut')
  expect(
    informer
      .list()
      .map(({ metadata }) => metadata?.name)
      .toSorted(),
  ).toEqual(['default', 'forgotten', 'global'])
  expect(errors).toBeGreaterThan(0)
})
