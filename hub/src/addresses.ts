import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { freePort, type Say } from '@skerry/supervise'
import { writeSecret } from '@skerry/trust'

export type Addresses = { readonly apiPort: number; readonly natsPort: number }

const NATS_PORT = 7422

/** The ports that this data folder's hub has, or had when it ran last; undefined before its first start. */
export function knownAddresses(dataDir: string): Addresses | undefined {
  const file = join(dataDir, 'addresses.json')
  return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Addresses) : undefined
}

/** The ports of a hub on one machine: those of the last start while they are free, others when somebody took them. */
export async function chooseAddresses(dataDir: string, apiPort: number, say: Say): Promise<Addresses> {
  const file = join(dataDir, 'addresses.json')
  const before = existsSync(file)
    ? (JSON.parse(readFileSync(file, 'utf8')) as { apiPort: number; wanted: number; natsPort: number })
    : undefined
  // A port that was asked for anew comes before the one of the last start.
  const wantedApi = before?.wanted === apiPort ? before.apiPort : apiPort
  const chosen = {
    apiPort: await freePort(wantedApi),
    wanted: apiPort,
    // Whoever takes any port for the API takes any for NATS too: a well-known one would be fought over.
    natsPort: await freePort(before?.natsPort ?? (apiPort === 0 ? undefined : NATS_PORT)),
  }
  if (chosen.apiPort !== apiPort && before?.apiPort !== chosen.apiPort && apiPort !== 0)
    say(`port ${apiPort} is taken; the hub listens on ${chosen.apiPort}`)
  writeSecret(file, JSON.stringify(chosen))
  return chosen
}
