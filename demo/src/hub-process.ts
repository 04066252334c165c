import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { HubIntroduction, parse } from '@skerry/api'
import { type Client, openClient } from '@skerry/client'
import { ENTRIES, type Program, startProgram } from './program.ts'

export type HubProcess = {
  readonly program: Program
  readonly apiUrl: string
  readonly natsUrl: string
  readonly caPem: string
  readonly adminToken: string
  readonly client: Client
  /** The process of a part that this hub started. */
  pidOf(part: Part): number
  /** Resolves once the hub has started a part again that ended from now on. */
  restarted(part: Part): Promise<void>
}

/** What a hub starts on its own machine. */
export type Part = 'nats' | 'postgres'

/** A hub's public keys, CA and addresses, for those who sign away from it. Makes them at the first call. */
export function introduction(dataDir: string, args: readonly string[]): HubIntroduction {
  const text = execFileSync(process.execPath, [ENTRIES.hub, 'init', '--data', dataDir, ...args], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  return parse(HubIntroduction, JSON.parse(text), 'the introduction')
}

/** Starts a hub and waits until it answers. The first start on a machine may build a nats-server: a few minutes are allowed. */
export async function startHub({
  dataDir,
  args,
  logFile,
  env,
  say,
  onProgram,
}: {
  dataDir: string
  args: readonly string[]
  logFile: string
  env?: NodeJS.ProcessEnv
  /** Told what the hub says of its start. */
  say?: (sentence: string) => void
  /** Given the process as soon as there is one, so that it can be ended before it answers. */
  onProgram?: (program: Program) => void
}): Promise<HubProcess> {
  const program = startProgram({
    entry: ENTRIES.hub,
    args: ['serve', '--data', dataDir, ...args],
    logFile,
    ...(env ? { env } : {}),
  })
  onProgram?.(program)
  const pick = (line: string) => {
    const sentence = say && sentenceOf(line)
    if (sentence) say(sentence)
    return readyLine(line)
  }
  const ready = await program.line(pick, 'the hub being ready', 600_000)
  const adminToken = readFileSync(join(dataDir, 'keys', 'admin.token'), 'utf8')
  const caPem =
    /-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----\n?/.exec(
      readFileSync(join(dataDir, 'keys', 'ca.pem'), 'utf8'),
    )?.[0] ?? ''
  const pids = new Map(Object.entries(ready.pids))
  return {
    program,
    apiUrl: ready.apiUrl,
    natsUrl: ready.natsUrl,
    pidOf(part) {
      const pid = pids.get(part)
      if (pid === undefined) throw new Error(`this hub did not start ${part}`)
      return pid
    },
    async restarted(part) {
      const line = (text: string) => (text.startsWith(`{"restarted":"${part}"`) ? text : undefined)
      const { pid } = JSON.parse(await program.line(line, `${part} being started again`, 60_000, 'now')) as {
        pid: number
      }
      pids.set(part, pid)
    },
    caPem,
    adminToken,
    client: openClient({ server: ready.apiUrl, caPem, token: adminToken }),
  }
}

// Where its folders and ports are and what it builds stand in the log as sentences without members of their own.
function sentenceOf(line: string): string | undefined {
  try {
    const { level, time: _, msg, ...more } = JSON.parse(line) as { level?: number; time?: number; msg?: string }
    return level === 30 && Object.keys(more).length === 0 ? msg : undefined
  } catch {
    return undefined
  }
}

function readyLine(line: string): { apiUrl: string; natsUrl: string; pids: Record<string, number> } | undefined {
  if (!line.startsWith('{"ready":true')) return undefined
  return JSON.parse(line) as { apiUrl: string; natsUrl: string; pids: Record<string, number> }
}
