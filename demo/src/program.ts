import { type ChildProcess, spawn } from 'node:child_process'
import { createWriteStream, mkdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

// One of Skerry's own programs as a child of this one: its log in a file, its end known, its lines readable.

export const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..', '..')
export const ENTRIES = {
  hub: join(ROOT, 'hub', 'src', 'main.ts'),
  agent: join(ROOT, 'spoke-agent', 'src', 'main.ts'),
  cli: join(ROOT, 'packages', 'cli', 'src', 'main.ts'),
} as const

export type Program = {
  readonly pid: number
  /** Resolves with the exit code, or with -1 when a signal ended it. */
  readonly exited: Promise<number>
  /** SIGTERM, then SIGKILL after `graceMs`. */
  stop(graceMs?: number): Promise<void>
  kill(): Promise<void>
  /**
   * The first line that `pick` makes something of, from its start or from now on; an error with the log's end when the
   * program ends first, and one that names `what` after the deadline.
   */
  line<T>(pick: (line: string) => T | undefined, what: string, deadlineMs: number, from?: 'start' | 'now'): Promise<T>
}

export type ProgramOptions = {
  readonly entry: string
  readonly args: readonly string[]
  readonly env?: NodeJS.ProcessEnv
  /** Everything the program prints is appended here. */
  readonly logFile: string
}

/** Starts a program under this very Node. */
export function startProgram({ entry, args, env, logFile }: ProgramOptions): Program {
  mkdirSync(dirname(logFile), { recursive: true })
  const log = createWriteStream(logFile, { flags: 'a', mode: 0o600 })
  // A session of its own keeps the terminal's Ctrl-C for us alone: we say in which order the parts end.
  const child = spawn(process.execPath, [entry, ...args, '--end-with-stdin'], {
    env: { ...process.env, ...env },
    // Its standard input is our life: killed without a turn, we still take it along (--end-with-stdin).
    stdio: ['pipe', 'pipe', 'pipe'],
    detached: true,
  })
  if (child.pid === undefined) throw new Error(`cannot start ${entry}`)
  const last: string[] = []
  const listeners = new Set<(line: string) => void>()
  const seen: string[] = []
  const keep = (line: string) => {
    log.write(`${line}\n`)
    last.push(line)
    if (last.length > 20) last.shift()
  }
  child.stdin.on('error', () => {})
  for (const input of [child.stdout, child.stderr])
    createInterface({ input }).on('line', (line) => {
      keep(line)
      if (seen.length < 200) seen.push(line)
      for (const listener of listeners) listener(line)
    })
  const exited = ended(child)
  // Not at its exit: what it said last may still be on its way.
  child.once('close', () => log.end())
  return {
    pid: child.pid,
    exited,
    async stop(graceMs = 15_000) {
      signal(child, 'SIGTERM')
      const timer = setTimeout(() => signal(child, 'SIGKILL'), graceMs)
      await exited
      clearTimeout(timer)
    },
    async kill() {
      signal(child, 'SIGKILL')
      await exited
    },
    line(pick, what, deadlineMs, from = 'start') {
      return new Promise((resolve, reject) => {
        const finish = (act: () => void) => {
          listeners.delete(listen)
          clearTimeout(timer)
          act()
        }
        const listen = (line: string) => {
          const found = pick(line)
          if (found !== undefined) finish(() => resolve(found))
        }
        const timer = setTimeout(
          () =>
            finish(() =>
              reject(new Error(`${what} did not come within ${deadlineMs / 1000} s; the log is in ${logFile}`)),
            ),
          deadlineMs,
        )
        listeners.add(listen)
        void exited.then((code) =>
          finish(() => reject(new Error(`the program ended (${code}) before ${what}:\n${last.join('\n')}`))),
        )
        if (from === 'start') for (const line of seen) listen(line)
      })
    },
  }
}

function ended(child: ChildProcess): Promise<number> {
  return new Promise((resolve) => child.once('exit', (code) => resolve(code ?? -1)))
}

function signal(child: ChildProcess, name: NodeJS.Signals): void {
  if (child.exitCode === null && child.signalCode === null) child.kill(name)
}
