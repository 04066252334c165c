import { execFile } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { openClient } from '@skerry/client'
import { isFree } from '@skerry/supervise'
import { describe, expect, onTestFinished, test } from 'vitest'
import { configure, start } from './testing.ts'

// The hub as a whole, on a real PostgreSQL and a real nats-server.

/** Runs the hub's program until it ends by itself. */
function run(
  args: readonly string[],
  env: NodeJS.ProcessEnv = {},
): Promise<{ code: number; stderr: string; stdout: string }> {
  return new Promise((done) => {
    const entry = fileURLToPath(new URL('./main.ts', import.meta.url))
    execFile(process.execPath, [entry, ...args], { env: { ...process.env, ...env } }, (error, stdout, stderr) =>
      done({ code: error ? Number(error.code) : 0, stdout, stderr }),
    )
  })
}

const sentences = (lines: readonly string[]) => lines.map((line) => (JSON.parse(line) as { msg: string }).msg)

describe('starting', () => {
  test('a hub with every role answers, is ready, and leaves no process and no open port when it stops', async () => {
    const warned: string[] = []
    const onWarning = (warning: Error) => void warned.push(`${warning.name}: ${warning.message}`)
    process.on('warning', onWarning)
    onTestFinished(() => void process.off('warning', onWarning))

    const hub = await start(await configure())
    const client = openClient({ server: hub.apiUrl, caPem: hub.caPem, token: hub.adminToken })
    onTestFinished(() => client.close())
    expect((await client.list('ManagedClusterSet')).map(({ metadata }) => metadata.name)).toEqual(['default', 'global'])
    await hub.stop()

    expect(await isFree(Number(new URL(hub.apiUrl).port))).toBe(true)
    expect(await isFree(Number(new URL(hub.natsUrl).port))).toBe(true)
    expect(() => process.kill(hub.pids['nats'] ?? 0, 0)).toThrow('ESRCH')
    expect(warned).toEqual([])
  })

  test('with the role api alone it serves and takes no lease', async () => {
    const hub = await start(await configure({ roles: ['api'] }))
    const client = openClient({ server: hub.apiUrl, caPem: hub.caPem, token: hub.adminToken })
    onTestFinished(() => client.close())
    expect(await client.list('Rollout')).toEqual([])
    expect(sentences(hub.lines)).not.toContain('this hub runs the controllers')
  })

  test('a port that is taken is replaced by another, in a sentence that names both, and kept at the next start', async () => {
    const taken = createServer()
    await new Promise<void>((done) => taken.listen(0, '127.0.0.1', done))
    onTestFinished(() => new Promise((done) => taken.close(() => done(undefined))))
    const address = taken.address()
    const port = typeof address === 'object' ? (address?.port ?? 0) : 0
    const config = await configure({ port, roles: ['api'] })

    const first = await start(config)
    const { port: chosen } = new URL(first.apiUrl)
    expect(Number(chosen)).not.toBe(port)
    expect(sentences(first.lines)).toContain(`port ${port} is taken; the hub listens on ${chosen}`)
    await first.stop()
    expect((await start(config)).apiUrl).toBe(first.apiUrl)
  })

  test('a second hub on the same folder is refused by name, and the first one goes on', async () => {
    const config = await configure({ roles: ['api'] })
    const hub = await start(config)
    const second = await run(['--data', config.dataDir, '--port', '0'], { DATABASE_URL: config.databaseUrl })
    expect(second.code).toBe(1)
    expect(second.stderr).toContain(`a hub already runs on ${config.dataDir} (process ${process.pid})`)
    const client = openClient({ server: hub.apiUrl, caPem: hub.caPem, token: hub.adminToken })
    onTestFinished(() => client.close())
    expect(await client.list('Rollout')).toEqual([])
  })

  test('a start that fails half way leaves nothing running and the folder free', async () => {
    const config = await configure({ roles: ['api'] })
    mkdirSync(join(config.dataDir, 'blobs'), { recursive: true })
    await expect(start({ ...config, databaseUrl: 'not a url' })).rejects.toThrow('DATABASE_URL is no URL')
    await start(config)
  })
})

describe('the command line', () => {
  test.each([
    { args: ['--frobnicate'], named: '--frobnicate' },
    { args: ['serve', '--roles', 'api,king'], named: '"king" is no role' },
    { args: ['--port', '70000'], named: 'A port is a number' },
    { args: ['--offline-after', '-3'], named: 'A number of seconds' },
    { args: ['reign'], named: 'reign' },
  ])('$args ends with exit code 2 and a sentence that names what is wrong', async ({ args, named }) => {
    const { code, stderr, stdout } = await run(args)
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
    expect(stderr).toContain(named)
  })
})
