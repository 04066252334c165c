import { createHash } from 'node:crypto'
import { createReadStream, createWriteStream, existsSync, mkdirSync, renameSync, rmSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { HUB_TARGET, HubDescription, parse, Refusal } from '@skerry/api'
import { parseStrictJson, type Role, readTargets, sha256Hex } from '@skerry/trust'
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

/** These target files by their SHA-256; what is not stored is not in the map. */
export async function loadTargetFiles(
  tx: Reader,
  files: readonly { readonly path: string; readonly sha256: string }[],
): Promise<Map<string, Uint8Array>> {
  if (files.length === 0) return new Map()
  const rows = await tx<{ sha256: string; bytes: Buffer }[]>`
    select t.sha256, t.bytes from unnest(${files.map(({ path }) => path)}::text[], ${files.map(({ sha256 }) => sha256)}::text[]) as u(p, s)
    join tuf_target t on t.path = u.p and t.sha256 = u.s`
  return new Map(rows.map(({ sha256, bytes }) => [sha256, bytes]))
}

/** hub.json as signers published it last; undefined before that. */
export async function loadHubDescription(tx: Reader): Promise<HubDescription | undefined> {
  const targets = await newestMetadata(tx, 'targets')
  const sha256 = targets && readTargets(targets.bytes).signed.targets[HUB_TARGET]?.hashes['sha256']
  const bytes = sha256 === undefined ? undefined : await loadTarget(tx, HUB_TARGET, sha256)
  return bytes && parse(HubDescription, parseStrictJson(bytes, { maxBytes: 262_144 }), HUB_TARGET)
}

/** Every stored target file by `path sha256`: what targets metadata is judged against. */
export async function loadTargets(tx: Reader): Promise<Map<string, Uint8Array>> {
  const rows = await tx<{ path: string; sha256: string; bytes: Buffer }[]>`select path, sha256, bytes from tuf_target`
  return new Map(rows.map(({ path, sha256, bytes }) => [`${path} ${sha256}`, bytes]))
}

/** Whether it was not there yet. */
export async function saveTarget(tx: Tx, path: string, bytes: Uint8Array): Promise<boolean> {
  const rows = await tx`insert into tuf_target (path, sha256, bytes, created_at)
    values (${path}, ${sha256Hex(bytes)}, ${Buffer.from(bytes)}, now()) on conflict do nothing returning 1`
  return rows.length > 0
}

/** What became of uploaded bytes: they were not here, what was here was not them any more, or it was. */
type Taken = 'new' | 'healed' | 'kept'

export type Blobs = {
  path(sha256: string): string | undefined
  /** The SHA-256 of what is stored under this name, read from the disk; undefined when nothing is. */
  digest(sha256: string): Promise<string | undefined>
  /**
   * Takes bytes in; Refusal ImageMismatch when they are not the ones named, TooLarge beyond the limit. `place` is called
   * when they are on the disk and are to be put in their place, and may refuse by throwing.
   */
  save(
    sha256: string,
    source: Readable,
    place: (taken: 'new' | 'healed', put: () => void) => Promise<void>,
  ): Promise<{ readonly length: number; readonly taken: Taken }>
}

const MAX_BLOB_BYTES = 16 * 1024 ** 3

/** Image bytes under `dir`, one file a digest: written beside, hashed on the way, synced, renamed. */
export function openBlobs(dir: string): Blobs {
  mkdirSync(dir, { recursive: true, mode: 0o755 })
  const fileOf = (sha256: string) => join(dir, sha256)
  const digest = (sha256: string) =>
    existsSync(fileOf(sha256)) ? digestOfFile(fileOf(sha256)) : Promise.resolve(undefined)
  return {
    path: (sha256) => (existsSync(fileOf(sha256)) ? fileOf(sha256) : undefined),
    digest,
    async save(sha256, source, place) {
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
        await sync(beside)
        // A disk forgets: what lies here under this name is believed after it was read, not before.
        const here = await digest(sha256)
        if (here === sha256) return { length, taken: 'kept' }
        const taken = here === undefined ? 'new' : 'healed'
        await place(taken, () => renameSync(beside, fileOf(sha256)))
        await sync(dir)
        return { length, taken }
      } finally {
        rmSync(beside, { force: true })
      }
    },
  }
}

async function digestOfFile(path: string): Promise<string> {
  const hash = createHash('sha256')
  await pipeline(createReadStream(path), hash)
  return hash.digest('hex')
}

async function sync(path: string): Promise<void> {
  const handle = await open(path, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}
