import { createHash } from 'node:crypto'
import { stat } from 'node:fs/promises'
import { authorityOf, Malformed, REFUSALS } from '@skerry/measured-boot'
import type { Target } from '@skerry/policy'
import { reasonOf } from '../../reason.ts'
import { diskFault } from '../driver.ts'
import type { Booted } from './booted.ts'
import type { Disk } from './disk.ts'
import type { EfiVars } from './efivars.ts'
import { imageNameIn } from './entries.ts'
import { fault } from './faults.ts'

/**
 * The bytes of a download, once everything about them is known to be good: what is written is what was looked at. Faults:
 * ImageMismatch, NotUki, OtherFamily, VersionMismatch, SignerNotEnrolled.
 */
export async function goodImage(
  disk: Disk,
  file: string,
  target: Target,
  booted: Booted,
  vars: EfiVars,
): Promise<Uint8Array> {
  const bytes = await readImage(disk, file, target)
  const image = imageNameIn(bytes)
  if (!image) throw fault('NotUki', `${target.version} is no UKI whose .osrel has an IMAGE_ID and an IMAGE_VERSION`)
  const { id } = booted.image
  if (image.id !== id) throw fault('OtherFamily', `${target.version} is of ${image.id}, and ${id} runs`)
  if (image.version !== target.version)
    throw fault('VersionMismatch', `${target.version} is ${image.version} by its own os-release`)
  requireSigner(bytes, target, vars)
  return bytes
}

async function readImage(disk: Disk, file: string, target: Target): Promise<Uint8Array> {
  let bytes: Uint8Array
  try {
    const { size } = await stat(file)
    if (size !== target.imageLength)
      throw fault('ImageMismatch', `the download has ${size} bytes and the image ${target.imageLength}`)
    bytes = await disk.read(file)
  } catch (cause) {
    throw diskFault(cause)
  }
  if (createHash('sha256').update(bytes).digest('hex') !== target.imageSha256)
    throw fault('ImageMismatch', 'the download is not the image')
  return bytes
}

/** Whether this firmware will start it. With Secure Boot off it starts anything, and nobody is asked. */
function requireSigner(bytes: Uint8Array, { version }: Target, vars: EfiVars): void {
  if (vars.bytes('global', 'SecureBoot')?.[0] !== 1) return
  const list = (owner: 'global' | 'security', name: string) => vars.bytes(owner, name) ?? new Uint8Array()
  const enrolled = {
    pk: list('global', 'PK'),
    kek: list('global', 'KEK'),
    db: list('security', 'db'),
    dbx: list('security', 'dbx'),
  }
  try {
    const authority = authorityOf(bytes, enrolled)
    if (!authority.allowed) throw fault('SignerNotEnrolled', `${version}: ${REFUSALS[authority.reason]}`)
  } catch (error) {
    // A signature, or a list of this firmware, of a kind that is not judged here: nobody vouches for a start.
    if (error instanceof Malformed) throw fault('SignerNotEnrolled', `${version}: ${reasonOf(error)}`, error)
    throw error
  }
}
