import { testDatabase } from '@skerry/supervise/testing'
import { describe, expect, onTestFinished, test } from 'vitest'
import { pruneEvents, recordEvent } from './events.ts'
import {
  changesSince,
  compactChanges,
  createObject,
  deleteObject,
  historyOf,
  listObjects,
  newestVersion,
  saveStatus,
  updateObject,
} from './resources.ts'
import { migrateStore, openStore, type Store, type Tx, write } from './store.ts'

async function opened(): Promise<Store> {
  const database = await testDatabase()
  onTestFinished(() => database.drop())
  await migrateStore(database.connection)
  const store = openStore(database.connection)
  onTestFinished(() => store.close())
  return store
}
const make = (tx: Tx, name: string, labels = {}) =>
  createObject(tx, 'ManagedCluster', { metadata: { name, labels }, spec: {} })

describe('history', () => {
  test('every write leaves one change with what the labels were before it; one that changes nothing leaves none', async () => {
    const store = await opened()
    const conditions = [
      { type: 'T', status: 'True' as const, reason: 'R', message: '', lastTransitionTime: '2026-01-01T00:00:00Z' },
    ]
    await write(store, async (tx) => {
      await make(tx, 'a', { x: '1' })
      await updateObject(tx, 'ManagedCluster', { metadata: { name: 'a', labels: { x: '2' } }, spec: {} })
      await updateObject(tx, 'ManagedCluster', { metadata: { name: 'a', labels: { x: '2' } }, spec: {} })
      await saveStatus(tx, 'ManagedCluster', '', 'a', { conditions })
      await saveStatus(tx, 'ManagedCluster', '', 'a', { conditions })
      await deleteObject(tx, 'ManagedCluster', '', 'a')
    })
    const found = await changesSince(store.sql, 'ManagedCluster', 0, 100)
    expect(found?.changes.map(({ type, labelsBefore }) => [type, labelsBefore])).toEqual([
      ['ADDED', {}],
      ['MODIFIED', { x: '1' }],
      ['MODIFIED', { x: '2' }],
      ['DELETED', { x: '2' }],
    ])
    expect(found?.upTo).toBe(await newestVersion(store.sql))
  })

  test('a page that is full is complete up to its last change, one that is not up to the newest version of all', async () => {
    const store = await opened()
    await write(store, async (tx) => {
      for (const name of ['a', 'b', 'c']) await make(tx, name)
      await createObject(tx, 'ManagedClusterSet', { metadata: { name: 's' }, spec: {} })
    })
    const newest = await newestVersion(store.sql)
    expect((await changesSince(store.sql, 'ManagedCluster', 0, 2))?.upTo).toBe(newest - 2)
    expect((await changesSince(store.sql, 'ManagedCluster', newest - 2, 2))?.upTo).toBe(newest)
  })

  test('what is compacted, and what was never reached, is no history; the newest version survives a compaction of everything', async () => {
    const store = await opened()
    await write(store, async (tx) => {
      for (const name of ['a', 'b', 'c']) await make(tx, name)
    })
    const newest = await newestVersion(store.sql)
    await write(store, (tx) => compactChanges(tx, 1))
    expect(await historyOf(store.sql)).toEqual({ compacted: newest - 1, newest })
    expect(await changesSince(store.sql, 'ManagedCluster', newest - 2, 10)).toBeUndefined()
    expect((await changesSince(store.sql, 'ManagedCluster', newest - 1, 10))?.changes).toHaveLength(1)
    expect(await changesSince(store.sql, 'ManagedCluster', newest + 1, 10)).toBeUndefined()
    await write(store, (tx) => compactChanges(tx, 0))
    expect(await newestVersion(store.sql)).toBe(newest)
    expect((await changesSince(store.sql, 'ManagedCluster', newest, 10))?.changes).toEqual([])
  })

  test('versions become visible in their order, however the writers overlap', async () => {
    const store = await opened()
    let seen = 0
    let counted = 0
    let done = false
    const looking = (async () => {
      while (!done) {
        const found = await changesSince(store.sql, 'ManagedCluster', seen, 1_000)
        const versions = found?.changes.map(({ version }) => version) ?? []
        const [row] = await store.sql<
          { n: number }[]
        >`select count(*)::int as n from resource_change where resource_version <= ${seen}`
        // Nothing appears below what was already seen.
        expect(row?.n).toBe(counted)
        counted += versions.length
        seen = versions.at(-1) ?? seen
      }
    })()
    await Promise.all(
      [1, 2, 3, 4].map(async (writer) => {
        for (let n = 0; n < 25; n += 1) await write(store, (tx) => make(tx, `c-${writer}-${n}`))
      }),
    )
    done = true
    await looking
  })
})

test('events beyond the newest are deleted so that a watcher sees it', async () => {
  const store = await opened()
  await write(store, async (tx) => {
    for (const name of ['a', 'b', 'c'])
      await recordEvent(tx, {
        type: 'Normal',
        reason: 'Tested',
        message: name,
        component: 'test',
        regarding: { kind: 'ManagedCluster', name },
      })
  })
  const before = await newestVersion(store.sql)
  await write(store, (tx) => pruneEvents(tx, 2))
  expect((await listObjects(store.sql, 'Event')).map(({ spec }) => spec.message)).toEqual(['b', 'c'])
  const found = await changesSince(store.sql, 'Event', before, 10)
  expect(found?.changes.map(({ type, object }) => [type, object.metadata.namespace])).toEqual([['DELETED', 'a']])
})
