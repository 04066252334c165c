import { testFolder } from '@skerry/supervise/testing'
import { expect, onTestFinished, test } from 'vitest'
import { openDatabase } from './database.ts'
import { makeBell } from './pause.ts'

test('a full disk is told as a full disk, and the next transaction is taken', () => {
  const database = openDatabase(testFolder())
  onTestFinished(() => database.close())
  const { page_count: pages } = database.sql.prepare('pragma page_count').get() as { page_count: number }
  database.sql.exec(`pragma max_page_count = ${pages + 2}`)
  expect(() =>
    database.transact(() =>
      database.save(
        'refused',
        Array.from({ length: 4_000 }, () => 'a'.repeat(64)),
      ),
    ),
  ).toThrow('database or disk is full')
  database.transact(() => database.save('refused', ['a']))
  expect(database.load('refused')).toEqual(['a'])
})

test('what fails in a transaction leaves nothing of it', () => {
  const database = openDatabase(testFolder())
  onTestFinished(() => database.close())
  const act = () =>
    database.transact(() => {
      database.save('refused', ['a'])
      throw new Error('no')
    })
  expect(act).toThrow('no')
  expect(database.load('refused')).toBeUndefined()
})

test('a wait leaves no listener behind, whether it was rung or its time came', async () => {
  const over = new AbortController()
  let listeners = 0
  const { signal } = over
  const counted = new Proxy(signal, {
    get(target, name) {
      if (name === 'addEventListener') listeners += 1
      if (name === 'removeEventListener') listeners -= 1
      const value: unknown = Reflect.get(target, name, target)
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
  const bell = makeBell()
  for (let round = 0; round < 10; round += 1) {
    const wait = bell.wait(round % 2 === 0 ? 1 : 60_000, counted)
    if (round % 2 === 1) bell.ring()
    await wait
  }
  expect(listeners).toBe(0)
})

test('a wait ends with its signal', async () => {
  const over = new AbortController()
  const wait = makeBell().wait(60_000, over.signal)
  over.abort()
  await wait
})
