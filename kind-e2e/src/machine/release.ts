import { createHash } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import type { OSImageManifest } from '@skerry/api'
import type { Release } from '@skerry/demo'
import { promiseOf } from '@skerry/policy'

const MEDIA_TYPE = 'application/vnd.skerry.uki'

export type ReleaseOptions = Pick<OSImageManifest, 'family' | 'version' | 'releaseCounter' | 'hardwareIds'> & {
  readonly uki: Uint8Array
  /** The boot loader as it lies on the machines' ESP: signed, where they have Secure Boot. */
  readonly bootLoader: string
}

/** A UKI as it is published, written into `dir`: its manifest promises what any machine will measure that boots it. */
export function ukiRelease(dir: string, { uki, bootLoader, ...names }: ReleaseOptions): Release {
  const file = join(dir, `${names.family}_${names.version}.efi`)
  mkdirSync(dir, { recursive: true })
  writeFileSync(file, uki)
  const sha256 = createHash('sha256').update(uki).digest('hex')
  const loaders = [{ name: basename(bootLoader), file: new Uint8Array(readFileSync(bootLoader)) }]
  return {
    manifest: {
      kind: 'OSImageManifest',
      ...names,
      image: { sha256, length: uki.length, mediaType: MEDIA_TYPE },
      boot: promiseOf({ uki, loaders, banks: ['sha256'] }),
    },
    file,
  }
}
