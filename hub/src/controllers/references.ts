import type { Boot, UkiBoot } from '@skerry/api'
import { counterFor, type SignedImage, type SignedManifest, signedImages } from '@skerry/policy'
import { readManifest } from '@skerry/trust'
import type { Mirrors } from '../store/mirrors.ts'
import { profilesByHardware, type SignedProfile } from '../store/profiles.ts'
import type { Store } from '../store/store.ts'
import { loadTargetFiles } from '../store/trust.ts'

/** The reference values that are signed now. */
export type References = {
  /** Changes with what is signed, and with nothing else. */
  readonly mark: string
  /**
   * What is signed of these bytes for this hardware (policy, `signedImages`); of a node whose hardware nobody knows, for any.
   * An error where a manifest's file is not there to be read.
   */
  imagesOf(imageSha256: string, hardwareId: string | null): SignedImage[]
  /** All manifests that name these bytes for this hardware. */
  manifestsOf(imageSha256: string, hardwareId: string | null): SignedManifest[]
  /** Whether any manifest names these bytes. */
  isSigned(imageSha256: string): boolean
  /** Boot blocks of what else is for this hardware. */
  othersOf(imageSha256: string, hardwareId: string | null): UkiBoot[]
  /** The release counter of a manifest, by its digest, if it is for this hardware. */
  counterFor(hardwareId: string | null): (manifestSha256: string) => number | undefined
  /** The digests of all manifests. */
  readonly manifestSha256s: readonly string[]
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
    const manifests = [...images.values()].map(({ spec }) => ({
      ...{ sha256: spec.manifestSha256, imageSha256: spec.image.sha256, hardwareIds: spec.hardwareIds },
      ...{ releaseCounter: spec.releaseCounter, target: spec.target, kind: spec.boot.kind },
    }))
    const bootOf = ({ sha256, target, kind }: (typeof manifests)[number]): Boot => {
      const read = kind === 'none' ? { kind } : boots.get(sha256)
      if (!read) throw new Error(`the signed manifest ${target} (${sha256}) is not in this hub’s database`)
      return read
    }
    const counters = new Map<string | null, ReturnType<typeof counterFor>>()
    const byImage = Map.groupBy(manifests, ({ imageSha256 }) => imageSha256)
    const profileOf = profilesByHardware(profiles.values())
    return {
      mark: [
        ...[...images.values()].map(({ spec }) => spec.manifestSha256),
        ...[...profiles.values()].map(({ spec }) => spec.profileSha256),
      ]
        .toSorted()
        .join(),
      imagesOf: (imageSha256, hardwareId) =>
        signedImages(byImage.get(imageSha256) ?? [], { imageSha256, hardwareId }, bootOf),
      manifestsOf: (imageSha256, hardwareId) =>
        (byImage.get(imageSha256) ?? []).filter(
          ({ hardwareIds }) => hardwareId === null || hardwareIds.includes(hardwareId),
        ),
      counterFor(hardwareId) {
        const held = counters.get(hardwareId) ?? counterFor(manifests, hardwareId)
        counters.set(hardwareId, held)
        return held
      },
      manifestSha256s: manifests.map(({ sha256 }) => sha256),
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
