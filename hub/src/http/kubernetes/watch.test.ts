import { once } from 'node:events'
import { connect } from 'node:net'
import { until } from '@skerry/supervise'
import fc from 'fast-check'
import { describe, expect, onTestFinished, test } from 'vitest'
import { compactChanges, createObject, deleteObject, newestVersion, updateObject } from '../../store/resources.ts'
import { type Tx, write } from '../../store/store.ts'
import { type Shown, type TestApi, testApi, VIEWER } from '../testing.ts'

const PATH = '/apis/cluster.open-cluster-management.io/v1/managedclusters'

type Line = {
  readonly type: string
  readonly object: Shown & { readonly rows?: readonly object[]; readonly code?: number }
}

/** An API that listens, and watches on it. */
async function watchable(options: Parameters<typeof testApi>[0] = {}) {
  const api = await testApi(options)
  const url = await api.app.listen({ host: '127.0.0.1', port: 0 })
  return {
    ...api,
    url,
    /** Opens a watch; its frames come into `lines` as they arrive. */
    async watch(query: string, { token = api.admin, accept = 'application/json' } = {}) {
      const over = new AbortController()
      const lines: Line[] = []
      const answer = await fetch(`${url}${PATH}?watch=true&${query}`, {
        headers: { authorization: `Bearer ${token}`, accept },
        signal: over.signal,
      })
      const ended = (async () => {
        let rest = ''
        for await (const chunk of answer.body ?? []) {
          const parts = (rest + Buffer.from(chunk).toString('utf8')).split('\n')
          rest = parts.pop() ?? ''
          lines.push(...parts.map((part) => JSON.parse(part) as Line))
        }
      })().catch(() => undefined)
      onTestFinished(() => over.abort())
      return {
        lines,
        ended,
        stop: () => over.abort(),
        async count(n: number): Promise<Line[]> {
          await until(() => lines.length >= n, `${n} frames (${lines.length} came)`, 30_000)
          return lines
        },
        told: () => lines.map(({ type, object }) => `${type} ${object.metadata.name ?? ''}`.trim()),
      }
    },
  }
}
const make = (tx: Tx, name: string, labels: Record<string, string> = {}) =>
  createObject(tx, 'ManagedCluster', { metadata: { name, labels }, spec: {} })
const relabel = (tx: Tx, name: string, labels: Record<string, string>) =>
  updateObject(tx, 'ManagedCluster', { metadata: { name, labels }, spec: {} })
const drop = (tx: Tx, name: string) => deleteObject(tx, 'ManagedCluster', '', name)
const change = <T>({ store }: Pick<TestApi, 'store'>, act: (tx: Tx) => Promise<T>) => write(store, act)

describe('what a watch shows', () => {
  test('without a version: what is there, then every change in the order of its version', async () => {
    const api = await watchable()
    await change(api, (tx) => make(tx, 'a'))
    const watch = await api.watch('')
    await watch.count(1)
    await change(api, (tx) => make(tx, 'b'))
    await change(api, (tx) => relabel(tx, 'a', { x: '1' }))
    await change(api, (tx) => drop(tx, 'b'))
    await watch.count(4)
    expect(watch.told()).toEqual(['ADDED a', 'ADDED b', 'MODIFIED a', 'DELETED b'])
    const versions = watch.lines.map(({ object }) => Number(object.metadata.resourceVersion))
    expect(versions).toEqual(versions.toSorted((a, b) => a - b))
    expect(new Set(versions).size).toBe(4)
  })

  test('from a version: exactly what came after it, whichever frame a client stopped at', async () => {
    const api = await watchable()
    for (const name of ['a', 'b', 'c', 'd']) await change(api, (tx) => make(tx, name))
    const whole = await api.watch('')
    await whole.count(4)
    const resumed = await Promise.all(
      whole.lines.map(({ object }) => api.watch(`resourceVersion=${object.metadata.resourceVersion}`)),
    )
    // The end that each of them sees: nothing else came before it.
    await change(api, (tx) => make(tx, 'end'))
    await whole.count(5)
    for (const [index, watch] of resumed.entries()) {
      await watch.count(4 - index)
      expect(watch.told()).toEqual(whole.told().slice(index + 1))
    }
  })

  test('sendInitialEvents ends its objects with a bookmark that says so; with a selection too', async () => {
    const api = await watchable()
    await change(api, async (tx) => [await make(tx, 'a', { x: '1' }), await make(tx, 'b')])
    const query = 'sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true'
    const watch = await api.watch(`${query}&fieldSelector=metadata.name%3Da`)
    const [first, second] = await watch.count(2)
    expect(first).toMatchObject({ type: 'ADDED', object: { metadata: { name: 'a' } } })
    expect(second).toMatchObject({
      type: 'BOOKMARK',
      object: {
        kind: 'ManagedCluster',
        metadata: {
          resourceVersion: String(await newestVersion(api.store.sql)),
          annotations: { 'k8s.io/initial-events-end': 'true' },
        },
      },
    })
    const empty = await api.watch(`${query}&labelSelector=x%3D2`)
    expect((await empty.count(1))[0]?.type).toBe('BOOKMARK')
  })

  test('sendInitialEvents=false begins with what comes next', async () => {
    const api = await watchable()
    await change(api, (tx) => make(tx, 'old'))
    const watch = await api.watch('sendInitialEvents=false')
    await change(api, (tx) => make(tx, 'new'))
    await watch.count(1)
    expect(watch.told()).toEqual(['ADDED new'])
  })

  test('an object that enters a selection is ADDED, one that leaves it DELETED, also for a watch that resumes', async () => {
    const api = await watchable()
    const before = await newestVersion(api.store.sql)
    await change(api, (tx) => make(tx, 'a'))
    const live = await api.watch('labelSelector=x%3D1')
    const resumed = await api.watch(`labelSelector=x%3D1&resourceVersion=${before || 1}`)
    const steps: Record<string, string>[] = [{ x: '1' }, { x: '1', y: '1' }, { x: '2' }, { x: '3' }, { x: '1' }]
    for (const labels of steps) await change(api, (tx) => relabel(tx, 'a', labels))
    await change(api, (tx) => drop(tx, 'a'))
    await change(api, (tx) => make(tx, 'a', { x: '1' }))
    const expected = ['ADDED a', 'MODIFIED a', 'DELETED a', 'ADDED a', 'DELETED a', 'ADDED a']
    await live.count(expected.length)
    await resumed.count(expected.length)
    expect(live.told()).toEqual(expected)
    expect(resumed.told()).toEqual(expected)
  })

  test('bookmarks rise with changes of other kinds, so that a quiet watcher is never told that it is too old', async () => {
    const api = await watchable({ pace: { bookmarkMs: 50 } })
    await change(api, (tx) => make(tx, 'a'))
    const watch = await api.watch('allowWatchBookmarks=true')
    await watch.count(2)
    for (let n = 0; n < 20; n += 1)
      await change(api, (tx) => createObject(tx, 'ManagedClusterSet', { metadata: { name: `s${n}` }, spec: {} }))
    const newest = await newestVersion(api.store.sql)
    await until(
      () => watch.lines.at(-1)?.object.metadata.resourceVersion === String(newest),
      'a bookmark at the newest version',
      30_000,
    )
    await change(api, (tx) => compactChanges(tx, 5))
    await change(api, (tx) => make(tx, 'b'))
    await until(() => watch.told().includes('ADDED b'), 'the next change', 30_000)
    expect(watch.lines.map(({ type }) => type)).not.toContain('ERROR')
  })

  test('as Table every frame is a Table of one row, a bookmark of none', async () => {
    const api = await watchable()
    await change(api, (tx) => make(tx, 'a'))
    const watch = await api.watch('sendInitialEvents=true', { accept: 'application/json;as=Table;v=v1;g=meta.k8s.io' })
    const [added, bookmark] = await watch.count(2)
    expect(added?.object).toMatchObject({ kind: 'Table', rows: [{ object: { metadata: { name: 'a' } } }] })
    expect(bookmark).toMatchObject({ type: 'BOOKMARK', object: { kind: 'Table', rows: [] } })
  })
})

describe('how a watch ends', () => {
  test('after timeoutSeconds, without an error', async () => {
    const api = await watchable()
    const watch = await api.watch('timeoutSeconds=1')
    await watch.ended
    expect(watch.lines).toEqual([])
  })

  test.each([
    ['a version that was compacted', async () => '1'],
    ['a version that is not there yet, as after a restore', async (newest: number) => String(newest + 1_000)],
  ])('%s: one ERROR frame with 410 Expired', async (_, versionOf) => {
    const api = await watchable()
    for (let n = 0; n < 10; n += 1) await change(api, (tx) => make(tx, `c${n}`))
    await change(api, (tx) => compactChanges(tx, 3))
    const watch = await api.watch(`resourceVersion=${await versionOf(await newestVersion(api.store.sql))}`)
    await watch.ended
    expect(watch.lines).toMatchObject([{ type: 'ERROR', object: { kind: 'Status', code: 410, reason: 'Expired' } }])
  })

  test('when its token is revoked', async () => {
    const api = await watchable({ pace: { bookmarkMs: 50 } })
    const watch = await api.watch('', { token: VIEWER })
    expect((await api.ask('DELETE', '/apis/skerry.dev/v1alpha1/apitokens/viewer')).code).toBe(200)
    await watch.ended
    expect(watch.lines).toMatchObject([{ type: 'ERROR', object: { code: 401 } }])
  })

  test('when the server stops', async () => {
    const api = await watchable()
    const watch = await api.watch('')
    await api.app.close()
    await watch.ended
  })

  // More than any buffer on the way holds.
  const burden = (api: TestApi) =>
    change(api, async (tx) => {
      const annotations = { note: 'x'.repeat(200_000) }
      for (let n = 0; n < 60; n += 1)
        await createObject(tx, 'ManagedCluster', { metadata: { name: `c${n}`, annotations }, spec: {} })
    })

  test('a reader that never reads is cut off', async () => {
    const api = await watchable({ pace: { stalledMs: 500 } })
    await burden(api)
    const { hostname, port } = new URL(api.url)
    const accepted = once(api.app.server, 'connection')
    const socket = connect({ host: hostname, port: Number(port) })
    const closed = new Promise<void>((done) => socket.once('close', () => done()))
    socket.on('error', () => undefined)
    socket.pause()
    socket.write(`GET ${PATH}?watch=true HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${api.admin}\r\n\r\n`)
    // Node tells of the end of a paused socket only when it is read, so the server is asked.
    await accepted
    await until(async () => (await connections(api)) === 0, 'the end of the connection that does not read', 60_000)
    socket.resume()
    await closed
  })

  test('a slow reader gets everything', async () => {
    const api = await watchable()
    await burden(api)
    const slow = await api.watch('')
    await slow.count(60)
    expect(new Set(slow.told()).size).toBe(60)
  })
})

const connections = ({ app }: TestApi) =>
  new Promise<number>((done, fail) => app.server.getConnections((error, count) => (error ? fail(error) : done(count))))

test('whatever several writers do, every watcher ends with what the list shows, and saw each version once', async () => {
  const api = await watchable()
  const writer = fc.array(
    fc.record({
      name: fc.constantFrom('a', 'b', 'c', 'd', 'e'),
      act: fc.constantFrom('make', 'relabel', 'drop'),
      x: fc.constantFrom('1', '2', '3'),
    }),
    { minLength: 5, maxLength: 15 },
  )
  const selections = ['', 'labelSelector=x%3D1', 'labelSelector=x%20in%20(1,2)', 'fieldSelector=metadata.name%3Db']
  await fc.assert(
    fc.asyncProperty(fc.array(writer, { minLength: 3, maxLength: 3 }), async (writers) => {
      const watches = await Promise.all(selections.map((selection) => api.watch(selection)))
      await Promise.all(
        writers.map(async (steps) => {
          for (const { name, act, x } of steps)
            await change(api, async (tx) => {
              if (act === 'make') await make(tx, name, { x }).catch(() => undefined)
              else if (act === 'relabel') await relabel(tx, name, { x })
              else await drop(tx, name)
            })
        }),
      )
      // The end everybody can see: an object that every selection holds.
      const end = await change(api, async (tx) => {
        await drop(tx, 'b')
        return make(tx, 'b', { x: '1' })
      })
      for (const [index, watch] of watches.entries()) {
        await until(
          () => watch.lines.at(-1)?.object.metadata.resourceVersion === end.metadata.resourceVersion,
          `the last change in watch ${index}`,
          30_000,
        )
        const view = new Map<string, string>()
        const seen = new Set<string>()
        for (const { type, object } of watch.lines) {
          const { name, resourceVersion } = object.metadata
          expect(seen).not.toContain(resourceVersion)
          seen.add(resourceVersion)
          expect(view.has(name)).toBe(type !== 'ADDED')
          if (type === 'DELETED') view.delete(name)
          else view.set(name, resourceVersion)
        }
        const { body } = await api.ask('GET', `${PATH}?${selections[index]}`)
        const listed = body.items.map(({ metadata }) => [metadata.name, metadata.resourceVersion])
        expect([...view].toSorted()).toEqual(listed.toSorted())
        watch.stop()
      }
    }),
    { numRuns: 10 },
  )
})
