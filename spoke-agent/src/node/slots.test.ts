import { join } from 'node:path'
import { initialState } from '@skerry/policy'
import { testFolder } from '@skerry/supervise/testing'
import pino from 'pino'
import { expect, onTestFinished, test } from 'vitest'
import type { Driver } from '../drivers/driver.ts'
import { openSlots } from '../drivers/slots.ts'
import { testImage } from '../drivers/testing.ts'
import { ukiMachine } from '../drivers/uki/testing.ts'
import { openBus } from '../store/bus.ts'
import { openDatabase } from '../store/database.ts'
import { NO_ROOM } from '../testing.ts'
import { type KeptSlots, keepSlots } from './slots.ts'

function open() {
  const database = openDatabase(testFolder())
  onTestFinished(() => database.close())
  const over = new AbortController()
  const said: string[] = []
  const log = pino({}, { write: (line: string) => void said.push(line) })
  const keep = (driver: Pick<Driver, 'slots'>) => keepSlots({ driver, database, log, signal: over.signal })
  return { database, keep, over, said, kept: () => database.load<KeptSlots>('slots') }
}

test('versions that a driver does not know are those of the order, and stay known when another came', async () => {
  const root = testFolder()
  const { database, keep, kept } = open()
  const [factory, next] = ['1', '2'].map((version) => testImage(join(root, 'images'), version))
  if (!factory || !next) throw new Error('no images')
  const log = pino({ level: 'silent' })
  const driver = await openSlots({ dir: join(root, 'slots'), factoryImage: factory.file, log })
  onTestFinished(() => driver.close())
  const bus = openBus(database)
  await keep(driver)
  expect(kept()).toEqual([expect.not.objectContaining({ version: expect.anything() })])
  const state = initialState(undefined)
  bus.saveNode({ state: { ...state, stage: { phase: 'Staged', target: next.target } } })
  await driver.stage(next.target, next.file)
  await keep(driver)
  bus.saveNode({ state })
  await keep(driver)
  expect(kept()?.map(({ slot, version, state }) => [slot, version, state])).toEqual([
    ['a', undefined, 'confirmed'],
    ['b', '2', 'idle'],
  ])
})

test('nothing is written where nothing changed', async () => {
  const { database, keep } = open()
  const driver = await ukiMachine(testFolder()).on()
  await keep(driver)
  const changes = () => database.sql.prepare('select total_changes() as n').get()
  const before = changes()
  await keep(driver)
  expect(changes()).toEqual(before)
})

test('where the ESP cannot be looked at, what lies there stays known, and not which of it booted', async () => {
  const { keep, kept } = open()
  const machine = ukiMachine(testFolder())
  const driver = await machine.on()
  await keep(driver)
  const known = { slot: 'edge_1', version: '1', state: 'confirmed', imageSha256: machine.factory.target.imageSha256 }
  expect(kept()).toEqual([{ ...known, booted: true }])
  machine.mounted('')
  await keep(driver)
  expect(kept()).toEqual([known])
})

test('where nobody says what booted, its slots are told all the same', async () => {
  const { keep, kept } = open()
  const machine = ukiMachine(testFolder())
  machine.hide('1', 'its own name')
  await keep(await machine.on())
  expect(kept()).toMatchObject([{ slot: 'edge_1', version: '1', state: 'confirmed' }])
  expect(kept()?.[0]).not.toHaveProperty('booted')
})

test('an image that may be in its last try, or spent, is told as neither where nobody says what booted', async () => {
  const { keep, kept } = open()
  const machine = ukiMachine(testFolder())
  const driver = await machine.on({ tries: 1 })
  const next = machine.image('2')
  machine.hide('2', 'its own name')
  await driver.stage(next.target, next.file)
  await driver.activate(next.target)
  await keep(driver)
  const { imageSha256 } = next.target
  expect(kept()).toEqual([
    expect.objectContaining({ slot: 'edge_1', state: 'confirmed' }),
    { slot: 'edge_2', version: '2', imageSha256 },
  ])
})

test('a view that cannot be kept is logged, and what was seen after the end is not kept', async () => {
  const { database, keep, kept, over, said } = open()
  const driver = await ukiMachine(testFolder()).on()
  database.sql.exec(NO_ROOM)
  await keep(driver)
  expect([kept(), said]).toEqual([undefined, [expect.stringMatching(/database or disk is full.*could not be kept/)]])
  database.sql.exec('drop trigger no_room')
  over.abort()
  await keep(driver)
  expect([kept(), said.length]).toEqual([undefined, 1])
})
