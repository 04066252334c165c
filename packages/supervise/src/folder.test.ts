import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { holdFolder } from './folder.ts'

let dir: string
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'skerry-folder-'))
})
afterEach(() => rmSync(dir, { recursive: true, force: true }))

const MODULE = join(import.meta.dirname, 'folder.ts')
const HOLD = `const { holdFolder } = await import(${JSON.stringify(MODULE)}); holdFolder(process.argv[1], 'a hub'); console.log('held'); setInterval(() => {}, 1000)`

it('refuses a folder that another process holds, and names it; takes it once that one was killed', async () => {
  const other = spawn(process.execPath, ['--input-type=module', '-e', HOLD, dir], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  try {
    await once(other.stdout, 'data')
    expect(() => holdFolder(dir, 'a hub')).toThrow(`a hub already runs on ${dir} (process ${other.pid})`)
  } finally {
    other.kill('SIGKILL')
    await once(other, 'exit')
  }
  holdFolder(dir, 'a hub').release()
})

it('takes over the lock of a process whose id somebody else has got by now', () => {
  writeFileSync(join(dir, 'lock'), `${process.ppid} 1`)
  const held = holdFolder(dir, 'a hub')
  expect(readFileSync(join(dir, 'lock'), 'utf8')).toMatch(new RegExp(`^${process.pid} `))
  held.release()
})
