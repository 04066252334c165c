import type { RolloutAct } from '@skerry/api'
import { expect, test } from 'vitest'
import { appendAct, listActs, openActs } from './acts.ts'
import { write } from './store.ts'
import { openTestStore } from './testing.ts'

const act = (verb: RolloutAct['verb'], rolloutUid = 'u1', more: Partial<RolloutAct> = {}) => ({
  verb,
  by: 'anna',
  at: '2026-06-01T12:00:00.123Z',
  reason: 'because',
  rolloutUid,
  ...more,
})

test('what was appended is read as it was, in its order, and of its own rollout', async () => {
  const store = await openTestStore()
  const given = [
    act('pause'),
    act('retry', 'u1', { manifestSha256: 'a'.repeat(64), clusters: ['shop-1', 'shop-2'] }),
    act('approve', 'u1', { manifestSha256: 'a'.repeat(64), gate: 'Group/1', expiresAt: '2026-06-02T12:00:00.000Z' }),
    act('abort', 'u2'),
  ]
  const made: RolloutAct[] = []
  for (const one of given) made.push(await write(store, (tx) => appendAct(tx, one)))
  expect(made.map(({ id: _, ...rest }) => rest)).toEqual(given)
  expect(new Set(made.map(({ id }) => id)).size).toBe(4)
  expect(await listActs(store.sql, 'u1')).toEqual(made.slice(0, 3))
})

test('who reads again and again reads what is new, and all of it after the database was put back', async () => {
  const store = await openTestStore()
  const acts = openActs(store.sql)
  expect(await acts()).toEqual(new Map())
  await write(store, (tx) => appendAct(tx, act('pause')))
  const first = await acts()
  await write(store, (tx) => appendAct(tx, act('resume')))
  await write(store, (tx) => appendAct(tx, act('pause', 'u2')))
  const verbs = async () => [...(await acts())].map(([uid, of]) => [uid, of.map(({ verb }) => verb)])
  expect(await verbs()).toEqual([
    ['u1', ['pause', 'resume']],
    ['u2', ['pause']],
  ])
  // Nobody's look changes under another's hands.
  expect([...first.values()].flat()).toHaveLength(1)
  await store.sql`delete from rollout_act where verb = 'resume' or rollout_uid = 'u2'`
  expect(await verbs()).toEqual([['u1', ['pause']]])
})
