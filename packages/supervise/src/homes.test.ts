import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { commandLine, until } from './child.ts'
import { forgetPostgres, leftovers, openHome } from './homes.ts'
import { testFolder } from './testing.ts'

test.each(['', '\0'.repeat(16), '..', 'a'.repeat(15), `${'a'.repeat(16)}/..`])(
  'a damaged home.id (%j) names no home: nothing is opened, deleted or called a leftover by it',
  (id) => {
    // Homes of its own, and a data folder deeper than cleaning up looks for a home.id: were the check gone, nothing outside
    // these two folders would be deleted.
    const [homes, dataDir] = [join(testFolder(), 'var', 'homes'), join(testFolder(), 'deep', 'data')]
    const file = join(dataDir, 'home.id')
    mkdirSync(dataDir, { recursive: true })
    writeFileSync(file, id)
    const other = join(homes, 'a'.repeat(16))
    mkdirSync(other, { recursive: true })
    writeFileSync(join(other, 'data-folder'), dataDir)
    const next = new RegExp(`home\\.id is damaged.*in ${homes} .*data-folder" names ${dataDir}; .*delete ${file}`)
    expect(() => openHome(dataDir, 65_534, () => {}, homes)).toThrow(next)
    expect(() => forgetPostgres(dataDir, homes)).toThrow(next)
    expect(existsSync(other)).toBe(true)
    expect(leftovers(homes)).toEqual([])
    rmSync(file)
    expect(leftovers(homes)).toHaveLength(1)
    writeFileSync(file, `${'a'.repeat(16)}\n`)
    expect(leftovers(homes)).toEqual([])
  },
)

const NAMES = ['a', 'b', 'c', 'd'].map((letter) => letter.repeat(16))

test('what is left of a data folder that is gone, or made anew, is named with it; what is in use, foreign or unknown is not', async () => {
  const [homes, data] = [testFolder(), testFolder()]
  const home = (name: string, dataDir?: string) => {
    const path = join(homes, name)
    mkdirSync(join(path, 'cluster'), { recursive: true })
    if (dataDir !== undefined) writeFileSync(join(path, 'data-folder'), dataDir)
    return path
  }
  const [gone = '', anew = '', used = '', running = ''] = NAMES
  const dataOf = (name: string, id: string) => {
    const dir = join(data, name)
    mkdirSync(dir)
    writeFileSync(join(dir, 'home.id'), id)
    return dir
  }
  home(gone, join(data, 'gone'))
  home(anew, dataOf('anew', 'f'.repeat(16)))
  home(used, dataOf('used', used))
  home('e'.repeat(16))
  mkdirSync(join(homes, 'postgresql-0123456789ab'))
  writeFileSync(join(homes, 'postgresql-0123456789ab', 'data-folder'), '/nowhere')
  // Stands for a server whose data folder was deleted under it.
  const path = home(running, join(data, 'gone-too'))
  const server = spawn('sh', ['-c', 'sleep 60; :', path])
  onTestFinished(() => void server.kill('SIGKILL'))
  await until(() => commandLine(server.pid ?? 0).includes(path), 'the server', 30_000)
  writeFileSync(join(path, 'cluster', 'postmaster.pid'), `${server.pid}\n`)

  const found = [
    { path: join(homes, gone), dataDir: join(data, 'gone') },
    { path: join(homes, anew), dataDir: join(data, 'anew') },
  ]
  expect(leftovers(homes)).toEqual(found)
  rmSync(join(data, 'used'), { recursive: true })
  expect(leftovers(homes)).toEqual([...found, { path: join(homes, used), dataDir: join(data, 'used') }])
  expect(leftovers(join(homes, 'nowhere'))).toEqual([])
})
