import { type Static, Type } from 'typebox'
import { BOOT_KINDS } from '../wire/boot.ts'
import { BlobRef } from '../wire/manifest.ts'
import { Count, closed, oneOf, Sha256 } from '../words.ts'

/** A view of one signed manifest in the TUF repository. Written by the hub's TUF door alone. */
export const OSImageSpec = closed({
  target: Type.String({ description: 'path of the TUF target, images/<family>/<version>.json' }),
  manifestSha256: Sha256,
  family: Type.String(),
  version: Type.String(),
  releaseCounter: Count,
  hardwareIds: Type.Array(Type.String()),
  image: BlobRef,
  boot: closed({ kind: oneOf(BOOT_KINDS) }, { description: 'its reference values are in the manifest' }),
  signers: Type.Array(Type.String(), { description: 'TUF key ids whose signatures over targets.json verified' }),
})
export type OSImageSpec = Static<typeof OSImageSpec>

export const OSImageStatus = closed({
  nodesRunning: Type.Optional(Count),
  nodesFailed: Type.Optional(Count),
})
export type OSImageStatus = Static<typeof OSImageStatus>
