import { until } from '@skerry/supervise'
import { expect, onTestFinished, test } from 'vitest'
import { watchChanges } from './changes.ts'
import { createObject } from './resources.ts'
import { write } from './store.ts'
import { openTestStore } from './testing.ts'

test('a commit wakes those who read one of the kinds that it made versions of, and nobody else', async () => {
  const store = await openTestStore()
  const changes = await watchChanges(store)
  onTestFinished(() => changes.stop())
  const heard = { clusters: 0, both: 0, rollouts: 0 }
  const count = (who: keyof typeof heard) => () => {
    heard[who] += 1
  }
  changes.subscribe(['ManagedCluster'], count('clusters'))
  const end = changes.subscribe(['ManagedCluster', 'ManagedClusterSet'], count('both'))
  changes.subscribe(['Rollout'], count('rollouts'))

  await write(store, async (tx) => {
    await createObject(tx, 'ManagedCluster', { metadata: { name: 'a' }, spec: {} })
    await createObject(tx, 'ManagedCluster', { metadata: { name: 'b' }, spec: {} })
    await createObject(tx, 'ManagedClusterSet', { metadata: { name: 'set' }, spec: {} })
  })
  // One word for each kind of a commit, however many versions it made.
  await until(() => heard.both === 2, 'a word for each of the two kinds', 30_000)
  end()
  await write(store, (tx) => createObject(tx, 'ManagedCluster', { metadata: { name: 'c' }, spec: {} }))
  await until(() => heard.clusters === 2, 'a word for the next commit', 30_000)
  expect(heard).toEqual({ clusters: 2, both: 2, rollouts: 0 })
})
