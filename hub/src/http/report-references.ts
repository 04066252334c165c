import type { ObjectOf, SignedReferences } from '@skerry/api'
import { listObjects } from '../store/resources.ts'
import type { Reader } from '../store/store.ts'
import { loadMetadata, loadTargetFiles, newestMetadata } from '../store/trust.ts'

/** What the nodes of a report with a TPM run, and on what. */
export type Measured = { readonly images: ReadonlySet<string>; readonly hardware: ReadonlySet<string> }

/**
 * What people signed of these images and this hardware, with the metadata by which anybody with root 1 can see that. Nothing
 * where no node has a TPM, or nothing was signed yet. All images of the same hardware are among them: a firmware may have
 * tried one before, and a node may have confirmed one that is newer.
 */
export async function signedReferences(
  tx: Reader,
  images: readonly ObjectOf<'OSImage'>[],
  measured: Measured,
): Promise<SignedReferences | undefined> {
  if (measured.images.size + measured.hardware.size === 0) return undefined
  const [root, targets] = await Promise.all([newestMetadata(tx, 'root'), newestMetadata(tx, 'targets')])
  if (!root || !targets) return undefined
  const roots = await Promise.all(Array.from({ length: root.version }, (_, at) => loadMetadata(tx, 'root', at + 1)))
  const ofHardware = ({ hardwareIds }: { hardwareIds: readonly string[] }) =>
    hardwareIds.some((id) => measured.hardware.has(id))
  const profiles = await listObjects(tx, 'HardwareProfile')
  const wanted = [
    ...images
      .filter(({ spec }) => measured.images.has(spec.image.sha256) || ofHardware(spec))
      .map(({ spec }) => ({ path: spec.target, sha256: spec.manifestSha256 })),
    ...profiles
      .filter(({ spec }) => ofHardware(spec))
      .map(({ spec }) => ({ path: spec.target, sha256: spec.profileSha256 })),
  ].toSorted((a, b) => (a.path < b.path ? -1 : 1))
  const files = await loadTargetFiles(tx, wanted)
  return {
    roots: roots.flatMap((bytes) => (bytes ? [base64(bytes)] : [])),
    targets: base64(targets.bytes),
    files: wanted.flatMap(({ path, sha256 }) => {
      const bytes = files.get(sha256)
      return bytes ? [{ path, bytes: base64(bytes) }] : []
    }),
  }
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64')
}
