import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import type { NodePhase, SiteBundle } from '@skerry/api'
import { ENTRIES, type Program, startAgent } from '@skerry/demo'
import { type Boot, bootsOf } from './boots.ts'
import { type Link, openLink } from './link.ts'

// One site of one node, with a link to the hub that a story can cut, and an agent that it can kill.

export type Site = {
  readonly name: string
  readonly link: { cut(): void; mend(): void }
  /** Starts the agent, or starts it again. */
  start(): void
  kill(): Promise<void>
  /** Resolves when the agent's log says so from now on. */
  says(what: string, matches: (entry: LogEntry) => boolean, deadlineMs?: number): Promise<LogEntry>
  /** What `skerry-agent status` prints: the site's own view, with no hub. */
  view(): SiteView
  /** Digests of the statements this node still has, by number. */
  outbox(): ReadonlyMap<number, string>
  /** Every boot of the site's machine so far, by its driver's log. */
  boots(): readonly Boot[]
  close(): Promise<void>
}

export type LogEntry = {
  readonly msg?: string
  readonly effect?: string
  readonly to?: string
  readonly reason?: string
}
type SiteView = {
  readonly phase: NodePhase
  readonly reason: string
  readonly message: string
  readonly confirmed: { imageSha256: string; version?: string } | null
  readonly desired: { waveAt?: string } | null
  readonly statementsWaiting: number
}

export type SiteOptions = {
  readonly name: string
  readonly dir: string
  readonly bundle: SiteBundle
  readonly factoryImage: string
  readonly hubPort: () => number
  readonly natsPort: () => number
}

export async function openSite({ name, dir, bundle, factoryImage, hubPort, natsPort }: SiteOptions): Promise<Site> {
  const [toHub, toNats] = [await openLink(hubPort), await openLink(natsPort)]
  const links: readonly Link[] = [toHub, toNats]
  let agent: Program | undefined

  const running = (): Program => {
    if (!agent) throw new Error(`the agent of ${name} does not run`)
    return agent
  }
  return {
    name,
    link: {
      cut() {
        for (const link of links) link.cut()
      },
      mend() {
        for (const link of links) link.mend()
      },
    },
    start() {
      agent = startAgent({
        name,
        dir,
        bundle,
        factoryImage,
        args: [
          '--hub-url',
          `https://127.0.0.1:${toHub.port}`,
          '--nats-url',
          `tls://127.0.0.1:${toNats.port}`,
          '--heartbeat-seconds',
          '1',
          '--reconnect-seconds',
          '4',
          // It is a process among others here: the TPM of this computer is not its own.
          ...['--tpm', 'off'],
        ],
      })
    },
    kill: () => running().kill(),
    says(what, matches, deadlineMs = 60_000) {
      const pick = (line: string) => {
        const entry = parseEntry(line)
        return entry && matches(entry) ? entry : undefined
      }
      return running().line(pick, `${name}: ${what}`, deadlineMs, 'now')
    },
    view: () =>
      JSON.parse(
        execFileSync(process.execPath, [ENTRIES.agent, 'status', '--data', dir], { encoding: 'utf8' }),
      ) as SiteView,
    outbox: () => outboxOf(join(dir, 'agent.db')),
    boots: () => bootsOf(join(dir, 'agent.log')),
    async close() {
      await agent?.stop()
      await Promise.all(links.map((link) => link.close()))
    },
  }
}

/** Digests of the statements in a node's database, by number; none where there is no such file yet. */
export function outboxOf(file: string): ReadonlyMap<number, string> {
  if (!existsSync(file)) return new Map()
  const database = new DatabaseSync(file, { readOnly: true })
  try {
    const rows = database.prepare('select seq, digest from statement order by seq').all()
    return new Map((rows as { seq: number; digest: string }[]).map(({ seq, digest }) => [seq, digest]))
  } finally {
    database.close()
  }
}

function parseEntry(line: string): LogEntry | undefined {
  if (!line.startsWith('{')) return undefined
  try {
    return JSON.parse(line) as LogEntry
  } catch {
    return undefined
  }
}
