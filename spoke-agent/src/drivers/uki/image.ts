import { createHash, X509Certificate } from 'node:crypto'
import { stat } from 'node:fs/promises'
import {
  authorityOf,
  type Certificate,
  Malformed,
  parseSignatureLists,
  REFUSALS,
  type SignedImage,
  signedImageOf,
} from '@skerry/measured-boot'
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
  requireStart(target.version, vars, () => signedImageOf(bytes))
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

/**
 * Whether this firmware will start the image that a manifest speaks of, before there are bytes to ask. Says nothing where
 * the manifest says nothing of signatures: then staging looks at the bytes alone. Fault SignerNotEnrolled.
 */
export function requireEnrolledSigner({ signed, version }: Target, vars: EfiVars): void {
  if (!signed) return
  const certificates = signed.certificates.map((text) => certificateOf(Uint8Array.from(Buffer.from(text, 'base64'))))
  requireStart(version, vars, () => ({
    sha256: Uint8Array.from(Buffer.from(signed.authenticodeSha256, 'hex')),
    signatures: signed.signers.map((sha256) => {
      const signer = certificates.find((one) => one.sha256 === sha256)
      return { verdict: 'Good', signer, certificates }
    }),
  }))
}

/** Whether this firmware will start it. With Secure Boot off it starts anything, and nobody is asked. */
function requireStart(version: string, vars: EfiVars, imageOf: () => SignedImage): void {
  if (vars.bytes('global', 'SecureBoot')?.[0] !== 1) return
  const list = (owner: 'global' | 'security', name: string) => vars.bytes(owner, name) ?? new Uint8Array()
  const enrolled = {
    pk: list('global', 'PK'),
    kek: list('global', 'KEK'),
    db: list('security', 'db'),
    dbx: list('security', 'dbx'),
  }
  try {
    const image = imageOf()
    const authority = authorityOf(image, enrolled)
    if (authority.allowed) return
    const by = image.signatures.flatMap(({ signer }) => signer?.subject ?? [])
    const trusted = parseSignatureLists(enrolled.db).flatMap(({ kind, entries }) =>
      kind === 'x509' ? entries.map(({ data }) => certificateOf(data).subject) : [],
    )
    const who = `${version} is signed by ${namesOf(by)}, and db holds ${namesOf(trusted)}`
    throw fault('SignerNotEnrolled', `${REFUSALS[authority.reason]}: ${who}`)
  } catch (error) {
    // A signature, or a list of this firmware, of a kind that is not judged here: nobody vouches for a start.
    if (error instanceof Malformed) throw fault('SignerNotEnrolled', `${version}: ${reasonOf(error)}`, error)
    throw error
  }
}

/** What is no certificate has no name, and has signed nothing. */
function certificateOf(der: Uint8Array): Certificate {
  const sha256 = createHash('sha256').update(der).digest('hex')
  try {
    return { der, sha256, subject: new X509Certificate(der).subject }
  } catch {
    return { der, sha256, subject: `${sha256}, which is no certificate` }
  }
}

const NAMED = 3
const NAME_LENGTH = 160

function namesOf(subjects: readonly string[]): string {
  if (subjects.length === 0) return 'nobody'
  // OpenSSL gives each part of a name a line of its own.
  const names = subjects.slice(0, NAMED).map((one) => one.replaceAll('\n', ', ').slice(0, NAME_LENGTH))
  const more = subjects.length - names.length
  return `${names.join(' and ')}${more > 0 ? ` and ${more} more` : ''}`
}
