import { describe, expect, test } from 'vitest'
import { listAudit, recordAudits, verifyAudit } from './audit.ts'
import { pruneEvents, recordEvents } from './events.ts'
import {
  changesSince,
  compactChanges,
  createObject,
  createObjects,
  deleteObject,
  getObjects,
  historyOf,
  listObjects,
  newestVersion,
  saveStatus,
  updateObject,
  updateObjects,
} from './resources.ts'
import { type Tx, write } from './store.ts'
import { openTestStore } from './testing.ts'

const make = (tx: Tx, name: string, labels = {}) =>
  createObject(tx, 'ManagedCluster', { metadata: { name, labels }, spec: {} })

describe('history', () => {
  test('every write leaves one change with what the labels were before it; one that changes nothing leaves none', async () => {
    const store = await openTestStore()
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
    const store = await openTestStore()
    await write(store, async (tx) => {
      for (const name of ['a', 'b', 'c']) await make(tx, name)
      await createObject(tx, 'ManagedClusterSet', { metadata: { name: 's' }, spec: {} })
    })
    const newest = await newestVersion(store.sql)
    expect((await changesSince(store.sql, 'ManagedCluster', 0, 2))?.upTo).toBe(newest - 2)
    expect((await changesSince(store.sql, 'ManagedCluster', newest - 2, 2))?.upTo).toBe(newest)
  })

  test('what is compacted, and what was never reached, is no history; the newest version survives a compaction of everything', async () => {
    const store = await openTestStore()
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
    const store = await openTestStore()
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

test('events beyond the newest are deleted in one statement, so many at most, oldest first and so that a watcher sees it', async () => {
  const store = await openTestStore()
  const event = (name: string) => ({
    type: 'Normal' as const,
    reason: 'Tested',
    message: name,
    component: 'test',
    regarding: { kind: 'ManagedCluster', name },
  })
  await write(store, (tx) => recordEvents(tx, ['a', 'b', 'c', 'd', 'e'].map(event)))
  const before = await newestVersion(store.sql)
  const messages = async () => (await listObjects(store.sql, 'Event')).map(({ spec }) => spec.message)
  expect(await write(store, (tx) => pruneEvents(tx, 2, 2))).toBe(2)
  expect(await messages()).toEqual(['c', 'd', 'e'])
  expect(await write(store, (tx) => pruneEvents(tx, 2, 2))).toBe(1)
  expect(await write(store, (tx) => pruneEvents(tx, 2, 2))).toBe(0)
  expect(await messages()).toEqual(['d', 'e'])
  const found = await changesSince(store.sql, 'Event', before, 10)
  expect(found?.changes.map(({ type, object }) => [type, object.metadata.namespace])).toEqual([
    ['DELETED', 'a'],
    ['DELETED', 'b'],
    ['DELETED', 'c'],
  ])
})

describe('many at once', () => {
  test('objects whose names are free are made; one name that is taken is named, and nothing is made', async () => {
    const store = await openTestStore()
    const named = (...names: string[]) => names.map((name) => ({ metadata: { name }, spec: {} }))
    await write(store, (tx) => createObjects(tx, 'ManagedCluster', named('a', 'b')))
    const again = write(store, (tx) => createObjects(tx, 'ManagedCluster', named('c', 'b')))
    await expect(again).rejects.toMatchObject({ code: 'AlreadyExists', message: expect.stringContaining('"b"') })
    const versions = (await changesSince(store.sql, 'ManagedCluster', 0, 100))?.changes.map(({ object }) => object)
    expect(versions?.map(({ metadata }) => metadata.name)).toEqual(['a', 'b'])
  })

  test('of those that are replaced, what differs is a new version with its own labels before; what is gone is passed over', async () => {
    const store = await openTestStore()
    await write(store, async (tx) => {
      for (const name of ['a', 'b', 'c']) await make(tx, name, { was: name })
    })
    const updated = await write(store, (tx) =>
      updateObjects(tx, 'ManagedCluster', [
        { metadata: { name: 'a', labels: { was: 'a' } }, spec: {} },
        { metadata: { name: 'b', labels: { now: 'b' } }, spec: {} },
        { metadata: { name: 'c', labels: { was: 'c' } }, spec: { hubAcceptsClient: true } },
        { metadata: { name: 'gone' }, spec: {} },
      ]),
    )
    expect(new Set(updated.map(({ metadata }) => metadata.name))).toEqual(new Set(['a', 'b', 'c']))
    const found = await getObjects(
      store.sql,
      'ManagedCluster',
      ['a', 'b', 'c', 'c', 'gone'].map((name) => ({ namespace: '', name })),
    )
    expect([...found.values()].map(({ metadata }) => [metadata.name, metadata.generation]).toSorted()).toEqual([
      ['a', 1],
      ['b', 1],
      ['c', 2],
    ])
    const changes = (await changesSince(store.sql, 'ManagedCluster', 0, 100))?.changes ?? []
    const modified = changes.filter(({ type }) => type === 'MODIFIED')
    expect(modified.map(({ object, labelsBefore }) => [object.metadata.name, labelsBefore]).toSorted()).toEqual([
      ['b', { was: 'b' }],
      ['c', { was: 'c' }],
    ])
  })

  test('audit records keep the order in which they are given, and the chain is whole', async () => {
    const store = await openTestStore()
    const entry = { actor: 'a', sourceIp: '', verb: 'v', kind: 'K', namespace: '', before: undefined, requestId: 'r' }
    const names = Array.from({ length: 50 }, (_, index) => `n${index}`)
    await write(store, (tx) =>
      recordAudits(
        tx,
        names.map((name) => ({ ...entry, name, after: { name } })),
      ),
    )
    await write(store, (tx) => recordAudits(tx, []))
    expect((await listAudit(store.sql, 0, 100)).map(({ name }) => name)).toEqual(names)
    expect(await verifyAudit(store.sql)).toMatchObject({ whole: true, head: { count: 50 } })
  })
})
