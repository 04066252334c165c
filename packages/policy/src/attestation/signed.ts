import type { Boot } from '@skerry/api'

// What of all that people signed is about one boot. A hub judges by this, and so does whoever checks its reports.

/** A signed manifest, as far as it says what it is about. */
export type SignedManifest = {
  /** Of its file. */
  readonly sha256: string
  readonly imageSha256: string
  readonly hardwareIds: readonly string[]
  readonly releaseCounter: number
}

/** What people signed of one image: the digest of a manifest, its boot block, and its release counter. */
export type SignedImage = { readonly manifestSha256: string; readonly boot: Boot; readonly releaseCounter: number }

/**
 * What is signed of these bytes for this hardware, each boot block once, under the manifest whose digest is lowest and with
 * the highest of the release counters. `hardwareId` null: nobody knows it, and any counts.
 */
export function signedImages<Manifest extends SignedManifest>(
  manifests: readonly Manifest[],
  { imageSha256, hardwareId }: { readonly imageSha256: string; readonly hardwareId: string | null },
  bootOf: (manifest: Manifest) => Boot,
): SignedImage[] {
  const byBoot = new Map<string, SignedImage>()
  const mine = manifests.filter((one) => one.imageSha256 === imageSha256 && isFor(one, hardwareId))
  for (const manifest of mine.toSorted((a, b) => (a.sha256 < b.sha256 ? -1 : 1))) {
    const boot = bootOf(manifest)
    const key = JSON.stringify(boot)
    const held = byBoot.get(key)
    const releaseCounter = Math.max(manifest.releaseCounter, held?.releaseCounter ?? 0)
    byBoot.set(key, { manifestSha256: held?.manifestSha256 ?? manifest.sha256, boot, releaseCounter })
  }
  return [...byBoot.values()]
}

/** The release counter of a manifest, by its digest, if it is for this hardware. */
export function counterFor(
  manifests: readonly SignedManifest[],
  hardwareId: string | null,
): (manifestSha256: string) => number | undefined {
  const counters = new Map(
    manifests.filter((one) => isFor(one, hardwareId)).map(({ sha256, releaseCounter }) => [sha256, releaseCounter]),
  )
  return (manifestSha256) => counters.get(manifestSha256)
}

function isFor({ hardwareIds }: SignedManifest, hardwareId: string | null): boolean {
  return hardwareId === null || hardwareIds.includes(hardwareId)
}
