import { existsSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { writeSecret } from '@skerry/trust'
import { createUserKey } from './nkey.ts'

// The NATS key. It is new at every entry: what served before may be in a thief's hands,
// and the hub ends it. Until the hub's answer is kept the new seed has a file of its own, so that an agent killed in
// between goes on with the same keys and meets the same row; afterwards it lives in nats.creds alone.

export const credsFile = (dataDir: string) => join(dataDir, 'nats.creds')

/** The credential in force, where there is one. */
export function readCreds(dataDir: string): string | undefined {
  const file = credsFile(dataDir)
  return existsSync(file) ? readFileSync(file, 'utf8') : undefined
}

const seedFile = (dataDir: string) => join(dataDir, 'keys', 'nats.seed')

/** The seed of the entry under way, or a new one. */
export function openEntrySeed(dataDir: string): string {
  const file = seedFile(dataDir)
  if (!existsSync(file)) writeSecret(file, createUserKey())
  return readFileSync(file, 'utf8').trim()
}

/** Whether an entry was begun whose end is not kept yet. */
export function isEntering(dataDir: string): boolean {
  return existsSync(seedFile(dataDir))
}

/** Ends an entry: its key is in nats.creds, or the hub will not have it. */
export function forgetEntrySeed(dataDir: string): void {
  rmSync(seedFile(dataDir), { force: true })
}
