import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { dirname, join } from 'node:path'
import postgres from 'postgres'
import { afterAll, describe, expect, inject, onTestFinished, test } from 'vitest'
import { commandLine, isAlive, until } from './child.ts'
import { findNatsServer, isRecent } from './nats-server.ts'
import { startPostgres, toOptions } from './postgres.ts'
import { keepRunning } from './restarting.ts'
import { childrenOf, hang, removeFolder, testFolder, testNatsServer } from './testing.ts'

const dir = testFolder()
afterAll(() => removeFolder(dir))

test('a folder that is made outside of a test lies in the one that goes with the run', () => {
  expect(dirname(dir)).toBe(inject('runFolder'))
})

describe('PostgreSQL', () => {
  test('comes back with its data after it was killed, though its lock file still lies there', async () => {
    const first = await startPostgres({ dataDir: join(dir, 'pg'), durable: true, say: () => {} })
    const sql = postgres(toOptions(first.connection, { max: 1, onclose: () => {} }))
    await sql`create table kept (n int)`
    await sql`insert into kept values (42)`
    await sql.end()
    process.kill(first.pid, 'SIGKILL')
    await first.exited
    const second = await startPostgres({ dataDir: join(dir, 'pg'), durable: true, say: () => {} })
    const again = postgres(toOptions(second.connection, { max: 1 }))
    expect(await again`select n from kept`).toMatchObject([{ n: 42 }])
    await again.end()
    await second.stop()
  })

  test('one that was killed and whose child has not noticed yet is waited for to the last: two never share a memory', async () => {
    const dataDir = join(dir, 'half')
    const killed = await startPostgres({ dataDir, durable: false, say: () => {} })
    const [child = 0] = childrenOf(killed.pid)
    const letGo = await hang(child)
    onTestFinished(letGo)
    process.kill(killed.pid, 'SIGKILL')
    await killed.exited
    const said: string[] = []
    const next = startPostgres({ dataDir, durable: false, say: (sentence) => said.push(sentence) })
    await Promise.race([next, until(() => said.length > 0, 'the sentence that something is waited for', 30_000)])
    expect(said).toEqual([expect.stringMatching(/that was killed left behind on .* is waited for$/)])
    letGo()
    await (await next).stop()
  })

  test('a server that outlived its parent is ended before a new one starts on the same data', async () => {
    const left = await startPostgres({ dataDir: join(dir, 'left'), durable: false, say: () => {} })
    const said: string[] = []
    const next = await startPostgres({
      dataDir: join(dir, 'left'),
      durable: false,
      say: (sentence) => said.push(sentence),
    })
    expect(isAlive(left.pid)).toBe(false)
    expect(said.join()).toContain(`process ${left.pid}`)
    await next.stop()
  })
})

describe('nats-server', () => {
  test.each([
    ['2.9.10', false],
    ['2.12.14', false],
    ['2.12.15', true],
    ['2.13.9', false],
    ['2.14.4', false],
    ['2.14.5', true],
    ['2.15.0', true],
    ['2.16.1', true],
    ['3.0.0', true],
    ['0.0.0', false],
  ])('version %s is recent enough: %s', (version, recent) => expect(isRecent(version)).toBe(recent))

  test('takes another port when the wanted one is taken, and says so', async () => {
    const other = createServer().listen(0, '127.0.0.1')
    await once(other, 'listening')
    const { port } = other.address() as AddressInfo
    const server = await testNatsServer('', { port })
    expect(server.port).not.toBe(port)
    await server.stop()
    other.close()
  })

  test('is started again when it is killed', async () => {
    const folder = testFolder()
    const warned: string[] = []
    const kept = await keepRunning(
      'nats-server',
      () => testNatsServer('', { dir: folder }),
      (sentence) => warned.push(sentence),
    )
    const { pid } = kept.current()
    process.kill(pid, 'SIGKILL')
    await until(() => kept.current().pid !== pid, 'a new nats-server', 30_000)
    expect(isAlive(kept.current().pid)).toBe(true)
    expect(warned).toEqual(['nats-server ended, by signal SIGKILL, though nobody told it to; it is started again'])
    await kept.stop()
    expect(isAlive(kept.current().pid)).toBe(false)
  })

  test('a foreign process that got the old id is left alone', async () => {
    const stranger = spawn('sleep', ['60'])
    await until(() => commandLine(stranger.pid ?? 0).includes('sleep'), 'the stranger', 30_000)
    const folder = testFolder()
    const { writeFileSync } = await import('node:fs')
    writeFileSync(join(folder, 'nats.pid'), String(stranger.pid))
    const server = await testNatsServer('', { dir: folder })
    expect(isAlive(stranger.pid ?? 0)).toBe(true)
    stranger.kill('SIGKILL')
    await server.stop()
  })

  test('NATS_URL comes first; with nothing at hand the error lists the ways', async () => {
    expect(await findNatsServer({ NATS_URL: 'nats://127.0.0.1:1' }, () => {})).toEqual({
      kind: 'url',
      url: 'nats://127.0.0.1:1',
    })
    await expect(findNatsServer({ PATH: '/nowhere', XDG_CACHE_HOME: join(dir, 'empty') }, () => {})).rejects.toThrow(
      /PATH, install Go .* NATS_URL/,
    )
    expect(inject('natsServer')).toContain('nats-server')
  })

  test('a build under way ends with its signal, and leaves no half program', async () => {
    const tools = join(dir, 'tools')
    mkdirSync(tools)
    // Go as slow as a bad link makes it.
    writeFileSync(join(tools, 'go'), '#!/bin/sh\n[ "$1" = version ] || exec sleep 600\n', { mode: 0o755 })
    const cache = join(dir, 'cache')
    const over = new AbortController()
    const env = { PATH: `${tools}:/usr/bin:/bin`, XDG_CACHE_HOME: cache }
    const found = findNatsServer(env, () => over.abort(new Error('Ctrl-C')), over.signal)
    await expect(found).rejects.toThrow('Ctrl-C')
    expect(readdirSync(join(cache, 'skerry', 'nats-server'))).toEqual([])
  })
})
