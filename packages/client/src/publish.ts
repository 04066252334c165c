import type { Readable } from 'node:stream'
import type { Client } from './client.ts'
import { ApiError } from './errors.ts'

/** What offline signers made, in the form in which it is sent. Releases are targets metadata, oldest first. */
export type Publication = {
  readonly root: Uint8Array
  readonly releases: readonly {
    readonly version: number
    readonly bytes: Uint8Array
    /** The target files that this release adds. */
    readonly added: readonly { readonly path: string; readonly bytes: Uint8Array }[]
  }[]
  readonly blobs: readonly { readonly sha256: string; readonly length: number; readonly open: () => Readable }[]
}

export type Published = { readonly versions: readonly number[]; readonly healed: readonly string[] }

/**
 * Uploads what the hub does not have yet, in the order in which it can judge it: root, image bytes, and for each release
 * its target files and then its metadata. May be ended and repeated anywhere. What the hub has of an image is compared by
 * its digest: bytes that are damaged there are replaced. Returns the versions that were new, and the images that were healed.
 * ApiError 409 when the hub follows another root or holds other metadata under a version.
 */
export async function publishReleases(client: Client, { root, releases, blobs }: Publication): Promise<Published> {
  await put(client, '/tuf/1.root.json', root, 'another root 1: these signers are not those of this hub')
  const healed: string[] = []
  for (const { sha256, length, open } of blobs) {
    const there = await client.blobDigest(sha256)
    if (there === sha256) continue
    await client.upload(`/blobs/sha256/${sha256}`, open(), length)
    if (there !== undefined) healed.push(sha256)
  }
  const versions: number[] = []
  for (const { version, bytes, added } of releases) {
    const path = `/tuf/${version}.targets.json`
    // Asked before its files are sent, so that what others published meanwhile is told as such.
    const there = await client.file(path)
    if (!there)
      for (const file of added) await client.upload(`/tuf/targets/${file.path}`, file.bytes, file.bytes.length)
    const other = `another release ${version}: somebody else published meanwhile. Put your manifests into their folder and sign there ("skerry image sign MANIFEST --trust THEIRS --key NAME"): it becomes the next release`
    if (await put(client, path, bytes, other, there)) versions.push(version)
  }
  return { versions, healed }
}

async function put(
  client: Client,
  path: string,
  bytes: Uint8Array,
  other: string,
  known?: Uint8Array,
): Promise<boolean> {
  const there = known ?? (await client.file(path))
  if (there && Buffer.from(there).equals(Buffer.from(bytes))) return false
  if (there) throw new ApiError(409, 'Conflict', `the hub at ${client.server} has ${other}`)
  await client.upload(path, bytes, bytes.length)
  return true
}
