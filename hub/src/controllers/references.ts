import type { Boot, ObjectOf, UkiBoot } from '@skerry/api'
import { readManifest } from '@skerry/trust'
import type { Mirrors } from '../store/mirrors.ts'
import { profilesByHardware, type SignedProfile } from '../store/profiles.ts'
import type { Store } from '../store/store.ts'
import { loadTargetFiles } from '../store/trust.ts'

/** What people signed of one image: the digest of the manifest, and its boot block. */
type SignedImage = { readonly manifestSha256: string; readonly boot: Boot; readonly releaseCounter: number }

/** The reference values that are signed now. */
export type References = {
  /** Changes with what is signed, and with nothing else. */
  readonly mark: string
  /**
   * The manifests that name these bytes for this hardware, each boot block once, with the highest of its release counters; of a node whose hardware nobody knows, for any. An error where a
   * manifest's file is not there to be read.
   */
  imagesOf(imageSha256: string, hardwareId: string | null): SignedImage[]
  /** Digests of all manifests that name these bytes for this hardware. */
  manifestsOf(imageSha256: string, hardwareId: string | null): string[]
  /** Whether any manifest names these bytes. */
  isSigned(imageSha256: string): boolean
  /** Boot blocks of what else is for this hardware. */
  othersOf(imageSha256: string, hardwareId: string | null): UkiBoot[]
  /** Release counters of all signed manifests, by digest. */
  readonly releases: ReadonlyMap<string, number>
  profileOf(hardwareId: string | null): SignedProfile | undefined
  /** How many clusters this profile asks for, where it learns by them. */
  quorumOf(profile: string): number | undefined
}

/** Reads the reference values; manifests, which never change, are read once. */
export function openReferences(): (store: Store, mirrors: Mirrors) => Promise<References> {
  const boots = new Map<string, UkiBoot>()
  return async ({ sql }, mirrors) => {
    const [images, profiles] = await Promise.all([mirrors.images(), mirrors.profiles()])
    const measured = [...images.values()].filter(({ spec }) => spec.boot.kind === 'uki')
    const there = new Set(measured.map(({ spec }) => spec.manifestSha256))
    for (const sha256 of boots.keys()) if (!there.has(sha256)) boots.delete(sha256)
    const unread = measured
      .filter(({ spec }) => !boots.has(spec.manifestSha256))
      .map(({ spec }) => ({ path: spec.target, sha256: spec.manifestSha256 }))
    const files = await loadTargetFiles(sql, unread)
    for (const { path, sha256 } of unread) {
      const bytes = files.get(sha256)
      const boot = bytes && readManifest(bytes, path).boot
      if (boot?.kind === 'uki') boots.set(sha256, boot)
    }
    const byImage = Map.groupBy(images.values(), ({ spec }) => spec.image.sha256)
    const profileOf = profilesByHardware(profiles.values())
    const imagesFor = (imageSha256: string, hardwareId: string | null) =>
      (byImage.get(imageSha256) ?? []).filter(
        ({ spec }) => hardwareId === null || spec.hardwareIds.includes(hardwareId),
      )
    return {
      mark: [
        ...[...images.values()].map(({ spec }) => spec.manifestSha256),
        ...[...profiles.values()].map(({ spec }) => spec.profileSha256),
      ]
        .toSorted()
        .join(),
      imagesOf: (...image) => unique(imagesFor(...image).map((found) => signedImage(found, boots))),
      manifestsOf: (...image) => imagesFor(...image).map(({ spec }) => spec.manifestSha256),
      releases: new Map([...images.values()].map(({ spec }) => [spec.manifestSha256, spec.releaseCounter])),
      isSigned: (imageSha256) => byImage.has(imageSha256),
      othersOf: (imageSha256, hardwareId) =>
        measured.flatMap(({ spec }) => {
          const other =
            spec.image.sha256 !== imageSha256 && hardwareId !== null && spec.hardwareIds.includes(hardwareId)
          return other ? (boots.get(spec.manifestSha256) ?? []) : []
        }),
      profileOf: (hardwareId) => (hardwareId === null ? undefined : profileOf(hardwareId)),
      quorumOf(name) {
        const spec = profiles.get(name)?.spec
        return spec?.learn === 'quorum' ? (spec.quorum ?? 2) : undefined
      },
    }
  }
}

function signedImage({ spec }: ObjectOf<'OSImage'>, boots: ReadonlyMap<string, UkiBoot>): SignedImage {
  const { target, manifestSha256, boot, releaseCounter } = spec
  if (boot.kind === 'none') return { manifestSha256, releaseCounter, boot: { kind: 'none' } }
  const read = boots.get(manifestSha256)
  if (!read) throw new Error(`the signed manifest ${target} (${manifestSha256}) is not in this hub’s database`)
  return { manifestSha256, releaseCounter, boot: read }
}

function unique(images: readonly SignedImage[]): SignedImage[] {
  const byBoot = new Map<string, SignedImage>()
  for (const image of images.toSorted((a, b) => (a.manifestSha256 < b.manifestSha256 ? -1 : 1))) {
    const key = JSON.stringify(image.boot)
    const { releaseCounter, ...first } = byBoot.get(key) ?? image
    byBoot.set(key, { ...first, releaseCounter: Math.max(releaseCounter, image.releaseCounter) })
  }
  return [...byBoot.values()]
}
