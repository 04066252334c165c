import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { testFolder } from '@skerry/supervise/testing'
import { expect, onTestFinished, test } from 'vitest'
import { openDatabase, readDatabase } from './database.ts'

const HOLD = `const { DatabaseSync } = await import('node:sqlite')
const sql = new DatabaseSync(process.argv[1])
sql.exec('pragma locking_mode = exclusive; begin immediate; insert into kept (name, value) values (1, 1); commit')
console.log('held'); setInterval(() => {}, 1000)`

test.each([
  ['the agent', openDatabase],
  ['a look at it', readDatabase],
])('somebody who has the whole database at this moment is waited for by %s', async (_, open) => {
  const dir = testFolder()
  openDatabase(dir).close()
  const holder = spawn(process.execPath, ['--input-type=module', '-e', HOLD, join(dir, 'agent.db')], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  onTestFinished(() => void holder.kill('SIGKILL'))
  await once(holder.stdout, 'data')
  // It ends while the database is opened: nothing else of this process comes in between.
  holder.kill('SIGKILL')
  open(dir)?.close()
})

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

test('what is forgotten is not there any more, with the rest of its transaction or not at all', () => {
  const database = openDatabase(testFolder())
  onTestFinished(() => database.close())
  database.save('refused', ['a'])
  database.save('exchanges', ['b'])
  expect(() =>
    database.transact(() => {
      database.forget('refused', 'exchanges')
      throw new Error('no')
    }),
  ).toThrow('no')
  expect(database.load('refused')).toEqual(['a'])
  database.forget('refused', 'registration')
  expect([database.load('refused'), database.load('exchanges')]).toEqual([undefined, ['b']])
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
