import { createHash } from 'node:crypto'
import { createWriteStream, existsSync, mkdirSync, renameSync, rmSync, statSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { Refusal } from '@skerry/api'
import { type Role, sha256Hex } from '@skerry/trust'
import type { Reader, Tx } from './store.ts'

// The hub's copy of the TUF repository: metadata and small targets in Postgres, image bytes as files by their digest.

export type StoredMetadata = { readonly version: number; readonly bytes: Uint8Array }

export async function newestMetadata(tx: Reader, role: Role): Promise<StoredMetadata | undefined> {
  const [row] = await tx<
    { version: string; bytes: Buffer }[]
  >`select version, bytes from tuf_metadata where role = ${role} order by version desc limit 1`
  return row && { version: Number(row.version), bytes: row.bytes }
}

export async function loadMetadata(tx: Reader, role: Role, version: number): Promise<Uint8Array | undefined> {
  const [row] = await tx<
    { bytes: Buffer }[]
  >`select bytes from tuf_metadata where role = ${role} and version = ${version}`
  return row?.bytes
}

export async function appendMetadata(tx: Tx, role: Role, version: number, bytes: Uint8Array): Promise<void> {
  await tx`insert into tuf_metadata (role, version, bytes, sha256, created_at) values (${role}, ${version}, ${Buffer.from(bytes)}, ${sha256Hex(bytes)}, now())`
}

export async function loadTarget(tx: Reader, path: string, sha256: string): Promise<Uint8Array | undefined> {
  const [row] = await tx<{ bytes: Buffer }[]>`select bytes from tuf_target where path = ${path} and sha256 = ${sha256}`
  return row?.bytes
}

/** Every stored target file by `path sha256`: what targets metadata is judged against. */
export async function loadTargets(tx: Reader): Promise<Map<string, Uint8Array>> {
  const rows = await tx<{ path: string; sha256: string; bytes: Buffer }[]>`select path, sha256, bytes from tuf_target`
  return new Map(rows.map(({ path, sha256, bytes }) => [`${path} ${sha256}`, bytes]))
}

export async function saveTarget(tx: Tx, path: string, bytes: Uint8Array): Promise<void> {
  await tx`insert into tuf_target (path, sha256, bytes, created_at) values (${path}, ${sha256Hex(bytes)}, ${Buffer.from(bytes)}, now()) on conflict do nothing`
}

export type Blobs = {
  path(sha256: string): string | undefined
  /** Takes bytes in; Refusal ImageMismatch when they are not the ones named, TooLarge beyond the limit. */
  save(sha256: string, source: Readable): Promise<number>
}

const MAX_BLOB_BYTES = 16 * 1024 ** 3

/** Image bytes under `dir`, one file a digest: written beside, hashed on the way, synced, renamed. */
export function openBlobs(dir: string): Blobs {
  mkdirSync(dir, { recursive: true, mode: 0o755 })
  const fileOf = (sha256: string) => join(dir, sha256)
  return {
    path: (sha256) => (existsSync(fileOf(sha256)) ? fileOf(sha256) : undefined),
    async save(sha256, source) {
      if (existsSync(fileOf(sha256))) {
        source.resume()
        return statSync(fileOf(sha256)).size
      }
      const beside = `${fileOf(sha256)}.${process.pid}.${performance.now()}.new`
      const hash = createHash('sha256')
      let length = 0
      try {
        await pipeline(
          source,
          async function* count(chunks: AsyncIterable<Buffer>) {
            for await (const chunk of chunks) {
              length += chunk.length
              if (length > MAX_BLOB_BYTES) throw new Refusal('TooLarge', `a blob may have ${MAX_BLOB_BYTES} bytes`)
              hash.update(chunk)
              yield chunk
            }
          },
          createWriteStream(beside, { mode: 0o644 }),
        )
        const found = hash.digest('hex')
        if (found !== sha256) throw new Refusal('ImageMismatch', `the bytes hash to ${found}, not to ${sha256}`)
        const file = await open(beside, 'r')
        await file.sync()
        await file.close()
        renameSync(beside, fileOf(sha256))
        return length
      } finally {
        rmSync(beside, { force: true })
      }
    },
  }
}
