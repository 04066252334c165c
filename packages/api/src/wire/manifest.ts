import { type Static, Type } from 'typebox'
import { Bytes, closed, integer, oneOf, Sha256 } from '../words.ts'
import { Boot } from './boot.ts'

export const BlobRef = closed({ sha256: Sha256, length: Bytes, mediaType: Type.String({ maxLength: 128 }) })
export type BlobRef = Static<typeof BlobRef>

/** TUF target `images/<family>/<version>.json`: the signed JSON that names an image by its bytes. */
export const OSImageManifest = closed({
  kind: oneOf(['OSImageManifest']),
  family: Type.String({ pattern: '^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$' }),
  version: Type.String({ pattern: '^[a-z0-9]([a-z0-9.-]{0,38}[a-z0-9])?$' }),
  releaseCounter: integer({
    minimum: 1,
    maximum: Number.MAX_SAFE_INTEGER,
    description: 'rises with every release of the family',
  }),
  hardwareIds: Type.Array(Type.String({ minLength: 1, maxLength: 64 }), { minItems: 1, maxItems: 64 }),
  kubernetesVersion: Type.Optional(Type.String({ maxLength: 32 })),
  image: BlobRef,
  blobs: Type.Optional(Type.Array(BlobRef, { maxItems: 16 })),
  boot: Boot,
  sbom: Type.Optional(closed({ sha256: Sha256, length: Bytes })),
})
export type OSImageManifest = Static<typeof OSImageManifest>

/** Path of a manifest in the TUF repository. */
export function manifestTarget(family: string, version: string): string {
  return `images/${family}/${version}.json`
}

/** Name of the OSImage that shows a manifest: `<family>-<version>`. */
export function osImageName(manifest: Pick<OSImageManifest, 'family' | 'version'>): string {
  return `${manifest.family}-${manifest.version}`
}
