import { makeOnline, type Signer } from '@skerry/trust'
import { type Lease, writeFenced } from './leases.ts'
import type { Store, Tx } from './store.ts'
import { appendMetadata, newestMetadata } from './trust.ts'

// What the hub itself signs of the TUF repository: snapshot and timestamp, over the newest targets that others signed.

export type Sealer = { readonly snapshot: Signer; readonly timestamp: Signer; readonly now: () => number }

const DAY_MS = 86_400_000
const SNAPSHOT_DAYS = 30
const TIMESTAMP_DAYS = 14

/**
 * Signs snapshot and timestamp over the newest targets; nothing while there are none. Their versions are the Unix time,
 * at least one more than before: a hub restored from an old backup still rises above what sites have seen.
 */
export async function seal(tx: Tx, { snapshot, timestamp, now }: Sealer): Promise<void> {
  const targets = await newestMetadata(tx, 'targets')
  if (!targets) return
  const version = Math.max(
    Math.floor(now() / 1000),
    ((await newestMetadata(tx, 'snapshot'))?.version ?? 0) + 1,
    ((await newestMetadata(tx, 'timestamp'))?.version ?? 0) + 1,
  )
  const expires = (days: number) => new Date(now() + days * DAY_MS).toISOString().replace(/\.\d+Z$/, 'Z')
  const made = makeOnline({
    ...{ targets: targets.bytes, version, snapshot, timestamp },
    snapshotExpires: expires(SNAPSHOT_DAYS),
    timestampExpires: expires(TIMESTAMP_DAYS),
  })
  await appendMetadata(tx, 'snapshot', version, made.snapshot)
  await appendMetadata(tx, 'timestamp', version, made.timestamp)
}

/** Seals anew once a day, so that a living hub's metadata never expires. Says whether it did. */
export function renewSeal(store: Store, lease: Lease, sealer: Sealer): Promise<boolean> {
  return writeFenced(store, lease, async (tx) => {
    const [row] = await tx<
      { old: boolean }[]
    >`select created_at < ${new Date(sealer.now() - DAY_MS)} as old from tuf_metadata where role = 'timestamp' order by version desc limit 1`
    if (!row?.old) return false
    await seal(tx, sealer)
    return true
  })
}
