import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'

/** A sentence for whoever watches the start: what is done, and where. */
export type Say = (sentence: string) => void

/** How a program ended: by itself with a code, by a signal, or it never began. */
export type Exit = { readonly code: number } | { readonly signal: NodeJS.Signals } | { readonly neverBegan: string }

/** `with exit code 3`, `by signal SIGKILL`, `before it began: …`: after "ended". */
export function exitText(exit: Exit): string {
  if ('code' in exit) return `with exit code ${exit.code}`
  return 'signal' in exit ? `by signal ${exit.signal}` : `before it began: ${exit.neverBegan}`
}

/** A program that this machine runs for us. */
export type Child = {
  readonly pid: number
  /** Resolves when it ends, with how. */
  readonly exited: Promise<Exit>
  /** What it last printed, for the sentence that says why it ended. */
  readonly tail: () => string
  /** Asks with `signal`, and after `graceMs` insists with SIGKILL. */
  stop(signal: NodeJS.Signals, graceMs: number): Promise<void>
}

/** Programs that must not outlive us. Node runs these on a normal exit; SIGKILL gives us no turn, so a start looks for orphans. */
const alive = new Set<ChildProcess>()
process.on('exit', () => {
  for (const child of alive) child.kill('SIGKILL')
})

/** Starts a program of our own; it is ended with us. `uid` and `gid` drop rights where we are root. */
export function startChild(
  file: string,
  args: readonly string[],
  options: { cwd?: string; env?: NodeJS.ProcessEnv; uid?: number; gid?: number } = {},
): Child {
  const child = spawn(file, args, { ...options, stdio: ['ignore', 'pipe', 'pipe'], detached: true })
  const lines: string[] = []
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8')
    stream.on('data', (text: string) => {
      lines.push(text)
      if (lines.length > 50) lines.shift()
    })
  }
  const exited = new Promise<Exit>((resolve) => {
    child.once('error', ({ message }) => resolve({ neverBegan: message }))
    child.once('exit', (code, signal) => resolve(signal === null ? { code: code ?? 0 } : { signal }))
  })
  alive.add(child)
  void exited.then(() => alive.delete(child))
  return {
    pid: child.pid ?? -1,
    exited,
    tail: () => lines.join('').slice(-2000),
    async stop(signal, graceMs) {
      if (!alive.has(child)) return
      child.kill(signal)
      const timer = setTimeout(() => child.kill('SIGKILL'), graceMs)
      await exited
      clearTimeout(timer)
    },
  }
}

/** Whether a living process has this id. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM'
  }
}

/** The command line of a living process, or '' where the system does not tell. */
export function commandLine(pid: number): string {
  const path = `/proc/${pid}/cmdline`
  return existsSync(path) ? readFileSync(path, 'utf8').replaceAll('\0', ' ') : ''
}

/** Waits for a condition, looking every 20 ms; an error that says what did not happen after the deadline. */
export async function until(
  condition: () => boolean | Promise<boolean>,
  what: string,
  deadlineMs: number,
): Promise<void> {
  const end = performance.now() + deadlineMs
  while (!(await condition())) {
    if (performance.now() > end) throw new Error(`${what} did not happen within ${deadlineMs / 1000} s`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

/**
 * Ends a program that an earlier run of ours left behind: only one whose command line holds `mark`, which names our own
 * folder, so that a foreign process which got the same id is left alone.
 */
export async function endOrphan(pid: number, mark: string, signal: NodeJS.Signals, say: Say): Promise<void> {
  if (!isAlive(pid) || !commandLine(pid).includes(mark)) return
  say(`an earlier run left process ${pid} behind; it is ended first`)
  process.kill(pid, signal)
  try {
    await until(() => !isAlive(pid), 'its end', 10_000)
  } catch {
    process.kill(pid, 'SIGKILL')
    await until(() => !isAlive(pid), 'its end', 5_000)
  }
}
