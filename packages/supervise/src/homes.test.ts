import { spawn } from 'node:child_process'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { commandLine, until } from './child.ts'
import { leftovers } from './homes.ts'
import { testFolder } from './testing.ts'

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
  await until(() => commandLine(server.pid ?? 0).includes(path), 'the server', 5_000)
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
