import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { SiteBundle } from '@skerry/api'
import { HARDWARE_ID } from './images.ts'
import { ENTRIES, type Program, startProgram } from './program.ts'
import type { Screen } from './screen.ts'

export type AgentOptions = {
  readonly name: string
  readonly dir: string
  readonly bundle: SiteBundle
  readonly factoryImage: string
  readonly args?: readonly string[]
}

/** Starts a site of one node with the slots driver. */
export function startAgent({ name, dir, bundle, factoryImage, args = [] }: AgentOptions): Program {
  mkdirSync(dir, { recursive: true, mode: 0o700 })
  const bundleFile = join(dir, 'site.bundle.json')
  writeFileSync(bundleFile, JSON.stringify(bundle), { mode: 0o600 })
  return startProgram({
    entry: ENTRIES.agent,
    args: [
      'run',
      '--data',
      dir,
      '--bundle',
      bundleFile,
      '--node-name',
      name,
      '--hardware-id',
      HARDWARE_ID,
      '--factory-image',
      factoryImage,
      '--heartbeat-seconds',
      '5',
      ...args,
    ],
    logFile: logOf(dir),
  })
}

/** Says which site's agent ended, unless everything is being stopped. Resolves when it has ended. */
export async function tellEnd(
  agent: Pick<Program, 'exited'>,
  { name, dir }: Pick<AgentOptions, 'name' | 'dir'>,
  screen: Pick<Screen, 'bad'>,
  isStopping: () => boolean,
): Promise<void> {
  const code = await agent.exited
  if (isStopping()) return
  screen.bad(`the agent of ${name} ended (${code}): the next npm start begins it again; its log is ${logOf(dir)}`)
}

const logOf = (dir: string) => join(dir, 'agent.log')
