import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { SiteBundle } from '@skerry/api'
import { HARDWARE_ID } from './images.ts'
import { ENTRIES, type Program, startProgram } from './program.ts'

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
    logFile: join(dir, 'agent.log'),
  })
}
