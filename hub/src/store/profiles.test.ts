import type { ObjectOf } from '@skerry/api'
import { expect, test } from 'vitest'
import { openProfiles, profilesByHardware } from './profiles.ts'
import { createObject, listObjects, updateObject } from './resources.ts'
import { write } from './store.ts'
import { openTestStore } from './testing.ts'

type HardwareProfileSpec = ObjectOf<'HardwareProfile'>['spec']

const spec = (name: string, hardwareIds: string[], more: Partial<HardwareProfileSpec> = {}): HardwareProfileSpec => ({
  ...{ target: `hardware/${name}.json`, profileSha256: 'a'.repeat(64), signers: [], hardwareIds },
  ...{ tpm: { roots: [], inventory: [] }, banks: ['sha256'], firmware: [], learn: 'off' },
  ...more,
})

test('a machine has one profile, the same at the door and in a controller, also where a database holds two', async () => {
  const store = await openTestStore()
  // No release has two: these are written past the door.
  await write(store, async (tx) => {
    for (const [name, ids] of [
      ['z-box', ['till', 'z']],
      ['b-box', ['till']],
      ['m-box', ['till', 'm']],
    ] as const)
      await createObject(tx, 'HardwareProfile', { metadata: { name }, spec: spec(name, [...ids]) })
  })
  const atTheDoor = openProfiles(store.sql)
  const objects = await listObjects(store.sql, 'HardwareProfile', { limit: 10 })
  const inController = profilesByHardware(objects)
  const otherWayRound = profilesByHardware(objects.toReversed())
  for (const id of ['till', 'z', 'm', 'nobody']) {
    const found = await atTheDoor(id)
    expect([id, inController(id)?.profile]).toEqual([id, found])
    expect([id, otherWayRound(id)?.profile]).toEqual([id, found])
  }
  expect((await atTheDoor('till'))?.name).toBe('b-box')
  expect((await atTheDoor('z'))?.name).toBe('z-box')
  expect(await atTheDoor('nobody')).toBeUndefined()
})

test('a profile that was signed anew is read anew', async () => {
  const store = await openTestStore()
  const metadata = { name: 'box' }
  await write(store, (tx) => createObject(tx, 'HardwareProfile', { metadata, spec: spec('box', ['till']) }))
  const profiles = openProfiles(store.sql)
  expect((await profiles('till'))?.learn).toBe('off')
  const changed = spec('box', ['till'], { learn: 'tofu', profileSha256: 'b'.repeat(64) })
  await write(store, (tx) => updateObject(tx, 'HardwareProfile', { metadata, spec: changed }))
  expect((await profiles('till'))?.learn).toBe('tofu')
})
