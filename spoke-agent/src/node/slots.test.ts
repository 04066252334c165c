import { join } from 'node:path'
import { initialState } from '@skerry/policy'
import { testFolder } from '@skerry/supervise/testing'
import pino from 'pino'
import { expect, onTestFinished, test } from 'vitest'
import { openSlots } from '../drivers/slots.ts'
import { testImage } from '../drivers/testing.ts'
import { ukiMachine } from '../drivers/uki/testing.ts'
import { openBus } from '../store/bus.ts'
import { openDatabase } from '../store/database.ts'
import { type KeptSlots, keepSlots } from './slots.ts'

function open() {
  const database = openDatabase(testFolder())
  onTestFinished(() => database.close())
  return { database, kept: () => database.load<KeptSlots>('slots') }
}

test('versions that a driver does not know are those of the order, and stay known when another came', async () => {
  const root = testFolder()
  const { database, kept } = open()
  const [factory, next] = ['1', '2'].map((version) => testImage(join(root, 'images'), version))
  if (!factory || !next) throw new Error('no images')
  const log = pino({ level: 'silent' })
  const driver = await openSlots({ dir: join(root, 'slots'), factoryImage: factory.file, log })
  onTestFinished(() => driver.close())
  const bus = openBus(database)
  await keepSlots(driver, database)
  expect(kept()).toEqual([expect.not.objectContaining({ version: expect.anything() })])
  const state = initialState(undefined)
  bus.saveNode({ state: { ...state, stage: { phase: 'Staged', target: next.target } } })
  await driver.stage(next.target, next.file)
  await keepSlots(driver, database)
  bus.saveNode({ state })
  await keepSlots(driver, database)
  expect(kept()?.map(({ slot, version, state }) => [slot, version, state])).toEqual([
    ['a', undefined, 'confirmed'],
    ['b', '2', 'idle'],
  ])
})

test('nothing is written where nothing changed', async () => {
  const { database } = open()
  const driver = await ukiMachine(testFolder()).on()
  await keepSlots(driver, database)
  const changes = () => database.sql.prepare('select total_changes() as n').get()
  const before = changes()
  await keepSlots(driver, database)
  expect(changes()).toEqual(before)
})

test('where the ESP cannot be looked at, what lies there stays known, and not which of it booted', async () => {
  const { database, kept } = open()
  const machine = ukiMachine(testFolder())
  const driver = await machine.on()
  await keepSlots(driver, database)
  const known = { slot: 'edge_1', version: '1', state: 'confirmed', imageSha256: machine.factory.target.imageSha256 }
  expect(kept()).toEqual([{ ...known, booted: true }])
  machine.mounted('')
  await keepSlots(driver, database)
  expect(kept()).toEqual([known])
})

test('where nobody says what booted, its slots are told all the same', async () => {
  const { database, kept } = open()
  const machine = ukiMachine(testFolder())
  machine.hide('1', 'its own name')
  await keepSlots(await machine.on(), database)
  expect(kept()).toMatchObject([{ slot: 'edge_1', version: '1', state: 'confirmed' }])
  expect(kept()?.[0]).not.toHaveProperty('booted')
})
