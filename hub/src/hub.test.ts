import { execFile, spawn } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { openClient } from '@skerry/client'
import { createDatabase, isFree, startPostgres, until } from '@skerry/supervise'
import { childrenOf, hang, testFolder, testNatsServer } from '@skerry/supervise/testing'
import { describe, expect, inject, onTestFinished, test } from 'vitest'
import type { Hub, HubConfig } from './index.ts'
import { parseDatabaseUrl } from './parts/database.ts'
import { openStore } from './store/store.ts'
import { configure, start, urlOf } from './testing.ts'

// The hub as a whole, on a real PostgreSQL and a real nats-server.

const MAIN = fileURLToPath(new URL('./main.ts', import.meta.url))

/** Runs the hub's program until it ends by itself. */
function run(
  args: readonly string[],
  env: NodeJS.ProcessEnv = {},
): Promise<{ code: number; stderr: string; stdout: string }> {
  return new Promise((done) => {
    execFile(process.execPath, [MAIN, ...args], { env: { ...process.env, ...env } }, (error, stdout, stderr) =>
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

  test('plain HTTP is on loopback, on another port when the one asked for is taken; an open watch does not hold up the end', async () => {
    const taken = createServer()
    await new Promise<void>((done) => taken.listen(0, '127.0.0.1', done))
    onTestFinished(() => new Promise((done) => taken.close(() => done(undefined))))
    const address = taken.address()
    const httpPort = typeof address === 'object' ? (address?.port ?? 0) : 0

    const hub = await start(await configure({ roles: ['api'], httpPort }))
    const { hostname, port } = new URL(hub.plainUrl ?? '')
    expect(hostname).toBe('127.0.0.1')
    expect(sentences(hub.lines)).toContain(`port ${httpPort} is taken; plain HTTP is on ${port}`)
    const watch = await fetch(`${hub.plainUrl}/apis/skerry.dev/v1alpha1/rollouts?watch=true`, {
      headers: { authorization: `Bearer ${hub.adminToken}` },
    })
    expect(watch.status).toBe(200)
    const ended = watch.text().catch(() => 'cut')
    await hub.stop()
    await ended
    expect(await isFree(Number(port))).toBe(true)
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

describe('two hubs on one database', () => {
  /** Starts the hub's program; resolves when it answers. */
  async function spawned(config: HubConfig) {
    const { PATH = '' } = process.env
    const args = ['--data', config.dataDir, '--port', '0', '--roles', 'api,controllers']
    const child = spawn(process.execPath, [MAIN, ...args], {
      env: { ...process.env, PATH: `${dirname(inject('natsServer'))}:${PATH}`, DATABASE_URL: config.databaseUrl },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    const said = { out: '', err: '' }
    child.stdout.on('data', (text) => (said.out += String(text)))
    child.stderr.on('data', (text) => (said.err += String(text)))
    const ended = new Promise<void>((done) => child.once('exit', () => done()))
    onTestFinished(async () => {
      child.kill('SIGTERM')
      await ended
    })
    await until(() => said.out.includes('\n'), `a hub being ready (${said.err})`, 120_000)
    const ready = JSON.parse(said.out.split('\n')[0] ?? '') as { pids: Record<string, number> }
    return {
      pids: ready.pids,
      terms: () => [...said.err.matchAll(/"term":(\d+)/g)].map(([, term]) => Number(term)),
      async kill() {
        child.kill('SIGKILL')
        await ended
        // A nats-server whose hub was killed is ended by the next start on its folder; there is none here.
        process.kill(ready.pids['nats'] ?? -1, 'SIGKILL')
      },
    }
  }

  test('one runs the controllers; when it is killed, the other takes over with the next term', async () => {
    const config = await configure()
    const first = await spawned(config)
    await until(() => first.terms().length === 1, 'the first hub holding the lease', 120_000)
    const second = await spawned({ ...config, dataDir: testFolder() })
    expect(second.terms()).toEqual([])
    await first.kill()
    await until(() => second.terms().length === 1, 'the second hub taking over', 120_000)
    expect([...first.terms(), ...second.terms()]).toEqual([1, 2])
  })
})

describe('NATS', () => {
  test.each([
    { on: 'on loopback', args: [], listen: '127.0.0.1:4222', scheme: 'nats', name: '127.0.0.1' },
    {
      on: 'over a network with TLS',
      args: ['--listen', '0.0.0.0:4222', '--name', 'nats.example.org'],
      listen: '0.0.0.0:4222',
      scheme: 'tls',
      name: 'nats.example.org',
    },
  ])(
    'a server of somebody’s own $on, set up by nats-config and named by NATS_URL, serves the hub and its offline signers',
    async ({ args, listen, scheme, name }) => {
      const dir = testFolder()
      const config = await configure()
      const { code, stdout } = await run(['nats-config', '--data', config.dataDir, '--nats-data', dir, ...args])
      expect(code).toBe(0)
      expect(stdout).toContain(`# The hub is started with NATS_URL=${scheme}://${name}:4222\nlisten: "${listen}"\n`)
      const certificate = /^tls \{ cert_file: "([^"]+)"/m.exec(stdout)?.[1]
      expect(certificate !== undefined).toBe(scheme === 'tls')
      // Sites compare the name by which they reach it.
      if (certificate) expect(new X509Certificate(readFileSync(certificate)).checkHost(name)).toBe(name)
      const server = await testNatsServer(stdout.replace(/^listen: .*$/m, ''), { dir })
      onTestFinished(() => server.stop())
      const natsUrl = server.url.replace('nats:', `${scheme}:`)
      const hub = await start({ ...config, natsUrl })
      expect(hub.natsUrl).toBe(natsUrl)
      expect(hub.pids).not.toHaveProperty('nats')
      const client = openClient({ server: hub.apiUrl, caPem: hub.caPem, token: hub.adminToken })
      onTestFinished(() => client.close())
      await until(async () => (await client.file('/readyz').catch(() => undefined)) !== undefined, 'readiness', 120_000)
      const said = await run(['init', '--data', config.dataDir, '--port', '0'], { NATS_URL: natsUrl })
      expect(JSON.parse(said.stdout)).toMatchObject({ hub: { natsUrls: [natsUrl] } })
    },
  )

  test('a server that does not answer is waited for in a sentence, and a hub that waits ends when it is told to', async () => {
    const { dataDir, databaseUrl } = await configure()
    const env = { ...process.env, DATABASE_URL: databaseUrl, NATS_URL: 'nats://127.0.0.1:1' }
    const child = spawn(process.execPath, [MAIN, 'serve', '--data', dataDir, '--port', '0'], { env })
    onTestFinished(() => void child.kill('SIGKILL'))
    let said = ''
    child.stderr.on('data', (text) => {
      said += text
    })
    await until(() => said.includes('this hub waits for NATS at 127.0.0.1'), 'the sentence', 120_000)
    child.kill('SIGTERM')
    await until(() => child.exitCode !== null || child.signalCode !== null, 'its end', 120_000)
    expect({ code: child.exitCode, signal: child.signalCode }).toEqual({ code: 0, signal: null })
  })

  test('a server that takes too little to be told who is revoked: /readyz says why and what to do until it is told', async () => {
    const dir = testFolder()
    const config = await configure()
    const { stdout } = await run(['nats-config', '--data', config.dataDir, '--nats-data', dir])
    const small = stdout.replace(/^listen: .*$/m, '').replace(/^max_payload: .*$/m, 'max_payload: 65536')
    const server = await testNatsServer(small, { dir })
    onTestFinished(() => server.stop())
    const hub = await start({ ...config, natsUrl: server.url })
    const client = openClient({ server: hub.apiUrl, caPem: hub.caPem, token: hub.adminToken })
    const { sql, close } = openStore(parseDatabaseUrl(config.databaseUrl ?? ''))
    onTestFinished(async () => {
      await close()
      await client.close()
    })
    const ready = () =>
      client.file('/readyz').then(
        () => 'ready',
        (error: unknown) => String(error),
      )
    await until(async () => (await ready()) === 'ready', 'readiness', 120_000)
    await sql`insert into nats_revocation (nats_key, cluster, node, revoked_at, expires_at)
      select 'U' || lpad(n::text, 55, 'A'), 'site', 'n' || n, now(), now() + interval '90 days' from generate_series(1, 1000) as n`
    await sql`select pg_notify('skerry_wake', 'identity')`
    // Sooner than a look by time alone: the hint is what it rests on.
    await until(async () => (await ready()).includes('[-]revocations failed'), 'unreadiness', 20_000)
    expect(await ready()).toMatch(/not told of 1000 revoked keys.*max_payload.*nats-config/)
    await sql`delete from nats_revocation`
    await sql`select pg_notify('skerry_wake', 'identity')`
    await until(async () => (await ready()) === 'ready', 'readiness', 20_000)
  })

  test.each(['it hangs', 'it goes on'])(
    'one that hangs: /readyz says so, the API serves on; a hub ends while %s',
    async (when) => {
      const hub = await start(await configure())
      const { client, ready } = clientOf(hub)
      await until(async () => (await ready()) === 'ready', 'readiness', 120_000)
      const nats = hub.pids['nats'] ?? -1
      const letGo = await hang(nats)
      onTestFinished(letGo)
      await until(async () => (await ready()).includes('[-]nats failed: no answer within 2 s'), 'unreadiness', 120_000)
      expect(await client.list('ManagedClusterSet')).toHaveLength(2)
      if (when === 'it goes on') {
        letGo()
        await until(async () => (await ready()) === 'ready', 'readiness', 120_000)
      }
      await hub.stop()
      expect(await isFree(Number(new URL(hub.natsUrl).port))).toBe(true)
    },
  )

  test('when it ends by itself, /readyz says so, and it is started again and connected to without a restart of the hub', async () => {
    const hub = await start(await configure())
    const { client, ready } = clientOf(hub)
    await until(async () => (await ready()) === 'ready', 'readiness', 120_000)
    process.kill(hub.pids['nats'] ?? -1, 'SIGKILL')
    await until(async () => (await ready()).includes('[-]nats failed'), 'unreadiness', 120_000)
    expect(await client.list('ManagedClusterSet')).toHaveLength(2)
    await until(async () => (await ready()) === 'ready', 'readiness', 120_000)
  })
})

test.each(['it hangs', 'it goes on'])('PostgreSQL that hangs: /readyz says so; a hub ends while %s', async (when) => {
  const postgres = await startPostgres({ dataDir: testFolder(), durable: false, say: () => {} })
  onTestFinished(() => postgres.stop())
  const connection = await createDatabase(postgres.connection, 'hung')
  const hub = await start(await configure({ databaseUrl: urlOf(connection) }))
  const { ready } = clientOf(hub)
  await until(async () => (await ready()) === 'ready', 'readiness', 120_000)
  const go = await hangAll(postgres.pid)
  onTestFinished(go)
  await until(async () => (await ready()).includes('[-]database failed: no answer within 2 s'), 'unreadiness', 120_000)
  if (when === 'it goes on') {
    go()
    await until(async () => (await ready()) === 'ready', 'readiness', 120_000)
  }
  await hub.stop()
  expect(await isFree(Number(new URL(hub.apiUrl).port))).toBe(true)
})

/** Stops a server and its children, and gives what lets them go on. The server first: it makes a child for each who connects. */
async function hangAll(server: number): Promise<() => void> {
  const letServerGo = await hang(server)
  const letChildrenGo = await Promise.all(childrenOf(server).map(hang))
  return () => {
    for (const letGo of [...letChildrenGo, letServerGo]) letGo()
  }
}

function clientOf({ apiUrl, caPem, adminToken }: Hub) {
  const client = openClient({ server: apiUrl, caPem, token: adminToken })
  onTestFinished(() => client.close())
  const ready = () =>
    client.file('/readyz').then(
      () => 'ready',
      (error: unknown) => String(error),
    )
  return { client, ready }
}

describe('the command line', () => {
  test.each([
    { args: ['--frobnicate'], named: '--frobnicate' },
    { args: ['serve', '--roles', 'api,king'], named: '"king" is no role' },
    { args: ['--port', '70000'], named: 'A port is a number' },
    { args: ['--offline-after', '-3'], named: 'A number of seconds' },
    { args: ['--late-after', '500'], named: '--late-after must be less than --offline-after' },
    { args: ['--log-level', 'loud'], named: 'Allowed choices are fatal, error' },
    { args: ['reign'], named: 'reign' },
    { args: ['nats-config', '--host', '0.0.0.0'], named: "unknown option '--host'" },
    { args: ['nats-config', '--port', '4222'], named: "unknown option '--port'" },
    { args: ['nats-config', '--nats-tls'], named: "unknown option '--nats-tls'" },
    { args: ['nats-config', '--listen', 'here'], named: '--listen here is no ADDRESS:PORT' },
    { args: ['nats-config', '--listen', '0.0.0.0:4222'], named: '--name says by which names' },
    { args: ['nats-config', '--name', 'x'], named: '--name is for a certificate' },
  ])('$args ends with exit code 2 and a sentence that names what is wrong', async ({ args, named }) => {
    const { code, stderr, stdout } = await run(args)
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
    expect(stderr).toContain(named)
  })

  test('a hub that cannot start says why in its last line, and all of its log is out before, however busy the machine', async () => {
    // Whatever is written in the background is late.
    const late =
      "import fs from 'node:fs'; const { write } = fs; fs.write = (...args) => void setTimeout(() => write(...args), 50)"
    const NODE_OPTIONS = `--import data:text/javascript,${encodeURIComponent(late)}`
    const args = ['--data', testFolder(), '--port', '0']
    const { code, stderr } = await run(args, { DATABASE_URL: 'not a url', NODE_OPTIONS })
    expect(code).toBe(1)
    expect(stderr).toContain('the hub cannot start')
    expect(stderr.trim().split('\n').at(-1)).toMatch(/^skerry-hub: DATABASE_URL is no URL/)
  })

  test.each(['init', 'nats-config'])('%s on a folder that cannot be: one sentence, exit code 1', async (verb) => {
    const file = join(testFolder(), 'file')
    writeFileSync(file, '')
    const { code, stderr, stdout } = await run([verb, '--data', join(file, 'hub')])
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
    expect(stderr).toMatch(/^skerry-hub: [^\n]*file[^\n]*\n$/)
  })
})
