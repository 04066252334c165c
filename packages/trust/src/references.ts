import { type HardwareProfile, type OSImageManifest, Refusal, type SignedReferences } from '@skerry/api'
import { sha256Hex } from './digest.ts'
import { judgeRoot, readManifest, readProfile, rootThumbprint, trustTargets } from './tuf/repository.ts'

/** Manifests and hardware profiles that a threshold signed, each with the digest of its file. */
export type SignedFiles = {
  readonly manifests: readonly { readonly sha256: string; readonly manifest: OSImageManifest }[]
  readonly profiles: readonly { readonly sha256: string; readonly profile: HardwareProfile }[]
}

/**
 * What a report carries of signed files, by the root 1 of whoever checks it and by nobody else's word. When metadata
 * expires is not asked: what was signed was signed, and nothing is installed by it. Throws Refusal.
 */
export function readReferences({ roots, targets, files }: SignedReferences, root: Uint8Array): SignedFiles {
  const chain = roots.map(bytesOf)
  const [first] = chain
  if (!first || sha256Hex(first) !== rootThumbprint(root))
    throw new Refusal(
      'MetadataUntrusted',
      `the report begins with root ${first ? rootThumbprint(first) : 'of nobody'}, the one to believe is ${rootThumbprint(root)}`,
    )
  chain.forEach((next, at) => {
    judgeRoot(chain[at - 1], next)
  })
  const { targets: named } = trustTargets(chain.at(-1) ?? first, bytesOf(targets))
  const read: { manifests: SignedFiles['manifests'][number][]; profiles: SignedFiles['profiles'][number][] } = {
    manifests: [],
    profiles: [],
  }
  for (const { path, bytes } of files) {
    const content = bytesOf(bytes)
    const sha256 = sha256Hex(content)
    const target = named[path]
    if (target?.hashes['sha256'] !== sha256 || target.length !== content.byteLength)
      throw new Refusal('ManifestMismatch', `${path} (${sha256}) is not the file that the signed targets name`)
    if (path.startsWith('images/')) read.manifests.push({ sha256, manifest: readManifest(content, path) })
    else if (path.startsWith('hardware/')) read.profiles.push({ sha256, profile: readProfile(content, path) })
    else throw new Refusal('ManifestMismatch', `${path} is neither a manifest nor a hardware profile`)
  }
  return read
}

function bytesOf(base64: string): Uint8Array {
  return new Uint8Array(Buffer.from(base64, 'base64'))
}
