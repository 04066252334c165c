import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'

/** A slot's program while it runs. */
export type Running = {
  /** Resolves when it said its port, or ended, or took too long: a boot that hangs is a boot, and not a healthy one. */
  readonly started: Promise<void>
  /** Resolves with how it ended, such as `code 1`. */
  readonly ended: Promise<string>
  /** Whether it answers on its port, as these bytes, that it is well. */
  healthy(imageSha256: string): Promise<boolean>
  off(): void
}

const START_MS = 10_000
const ANSWER_MS = 1_000

/** Starts a program as a child that lives no longer than the pipe to it: when this process is killed, its power is off. */
export function powerOn(program: string): Running {
  const child = spawn(process.execPath, [program], { stdio: ['pipe', 'pipe', 'ignore'] })
  child.stdin.on('error', () => {})
  let port: number | undefined
  const ended = new Promise<string>((resolve) => {
    child.once('exit', (code, signal) => resolve(signal ?? `code ${code}`))
    child.once('error', ({ message }) => resolve(message))
  })
  const said = new Promise<void>((resolve) => {
    createInterface({ input: child.stdout }).on('line', (line) => {
      port ??= portOf(line)
      if (port !== undefined) resolve()
    })
  })
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, START_MS)
  })
  return {
    started: Promise.race([said, ended.then(() => {}), late]).finally(() => clearTimeout(timer)),
    ended,
    async healthy(imageSha256) {
      if (port === undefined || child.exitCode !== null) return false
      try {
        const answer = await fetch(`http://127.0.0.1:${port}/health`, { signal: AbortSignal.timeout(ANSWER_MS) })
        const body: unknown = await answer.json()
        return (
          typeof body === 'object' &&
          body !== null &&
          'sha256' in body &&
          body.sha256 === imageSha256 &&
          'healthy' in body &&
          body.healthy === true
        )
      } catch {
        return false
      }
    },
    off() {
      child.stdin.destroy()
      child.kill('SIGKILL')
    },
  }
}

function portOf(line: string): number | undefined {
  try {
    const said: unknown = JSON.parse(line)
    return typeof said === 'object' && said !== null && 'port' in said && typeof said.port === 'number'
      ? said.port
      : undefined
  } catch {
    return undefined
  }
}
