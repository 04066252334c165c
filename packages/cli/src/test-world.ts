import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { connect, createServer, type Socket } from 'node:net'
import { delimiter, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type HubProcess, introduction, startHub } from '@skerry/demo'
import { testDatabase, testFolder } from '@skerry/supervise/testing'
import { inject } from 'vitest'

// A real hub on a database of its own, and the real command as people start it.

const BIN = fileURLToPath(new URL('../bin/skerry.mjs', import.meta.url))
/** A module that lets no socket be opened: for commands that must not. */
const NO_SOCKETS = `data:text/javascript,${encodeURIComponent("import net from 'node:net'; net.Socket.prototype.connect = () => { throw new Error('a socket was opened') }")}`

/** kubectl, where one is on the PATH: tests without it are skipped and counted. */
export const KUBECTL = (process.env['PATH'] ?? '')
  .split(delimiter)
  .map((dir) => join(dir, 'kubectl'))
  .find((file) => existsSync(file))

export type Ran = { readonly code: number; readonly out: string; readonly err: string }
export type RunOptions = { readonly stdin?: string; readonly offline?: boolean; readonly env?: NodeJS.ProcessEnv }
export type World = Awaited<ReturnType<typeof openWorld>>

export async function openWorld() {
  const dir = testFolder()
  const database = await testDatabase()
  const { host, username, password, database: name } = database.connection
  const databaseUrl = `postgres://${username}:${encodeURIComponent(password)}@${encodeURIComponent(dirname(host))}/${name}`
  const hubDir = join(dir, 'hub')
  const introduced = introduction(hubDir, ['--port', '0'])
  const hub: HubProcess = await startHub({
    dataDir: hubDir,
    args: ['--port', '0'],
    logFile: join(dir, 'hub.log'),
    env: {
      DATABASE_URL: databaseUrl,
      NATS_URL: '',
      PATH: `${dirname(inject('natsServer'))}${delimiter}${process.env['PATH']}`,
    },
  })
  const children = new Set<ChildProcess>()
  const env = {
    ...process.env,
    SKERRY_CONFIG: join(dir, 'config.yaml'),
    XDG_CACHE_HOME: join(dir, 'cache'),
    NO_COLOR: '1',
    FORCE_COLOR: undefined,
  }
  const start = (args: readonly string[], { offline, env: more }: RunOptions = {}): ChildProcess => {
    const guard = offline ? ['--import', NO_SOCKETS] : []
    const child = spawn(process.execPath, [...guard, BIN, ...args], { cwd: dir, env: { ...env, ...more } })
    children.add(child)
    child.once('exit', () => children.delete(child))
    return child
  }

  return {
    dir,
    hub,
    introduced,
    bin: BIN,
    env,
    path: (file: string) => join(dir, file),
    write(file: string, text: string): string {
      mkdirSync(dirname(join(dir, file)), { recursive: true })
      writeFileSync(join(dir, file), text)
      return file
    },
    /** Runs the command to its end. */
    async run(args: readonly string[], options: RunOptions = {}): Promise<Ran> {
      const child = start(args, options)
      let [out, err] = ['', '']
      child.stdout?.setEncoding('utf8').on('data', (text: string) => {
        out += text
      })
      child.stderr?.setEncoding('utf8').on('data', (text: string) => {
        err += text
      })
      child.stdin?.end(options.stdin ?? '')
      const code = await new Promise<number>((resolve) => child.once('close', (exit) => resolve(exit ?? -1)))
      return { code, out, err }
    },
    /** Starts the command and lets it run: `until` waits for what it prints. */
    watch(args: readonly string[]) {
      const child = start(args)
      let seen = ''
      const looks = new Set<() => void>()
      for (const stream of [child.stdout, child.stderr])
        stream?.setEncoding('utf8').on('data', (text: string) => {
          seen += text
          for (const look of looks) look()
        })
      return {
        seen: () => seen,
        until: (pattern: RegExp, deadlineMs = 60_000) =>
          new Promise<string>((resolve, reject) => {
            const end = (act: () => void) => {
              clearTimeout(timer)
              looks.delete(look)
              act()
            }
            const look = () => {
              if (pattern.test(seen)) end(() => resolve(seen))
            }
            const timer = setTimeout(
              () =>
                end(() =>
                  reject(new Error(`"skerry ${args.join(' ')}" never printed ${pattern}; it printed:\n${seen}`)),
                ),
              deadlineMs,
            )
            looks.add(look)
            look()
          }),
        stop: () => void child.kill('SIGKILL'),
      }
    },
    async close() {
      for (const child of children) child.kill('SIGKILL')
      await hub.program.stop()
      await hub.client.close()
      await database.drop()
    },
  }
}

/** A relay to the hub whose connections a test can cut. */
export async function openRelay(to: string) {
  const { hostname, port } = new URL(to)
  const sockets = new Set<Socket>()
  const server = createServer((near) => {
    const far = connect(Number(port), hostname)
    for (const socket of [near, far]) {
      sockets.add(socket)
      socket.on('error', () => socket.destroy())
      socket.once('close', () => {
        sockets.delete(socket)
        near.destroy()
        far.destroy()
      })
    }
    near.pipe(far).pipe(near)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  return {
    url: `https://127.0.0.1:${typeof address === 'object' ? address?.port : 0}`,
    cut() {
      for (const socket of sockets) socket.destroy()
    },
    async close() {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}
