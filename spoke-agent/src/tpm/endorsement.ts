import type { X509Certificate } from 'node:crypto'
import {
  certificatesIn,
  chainFrom,
  command,
  EK_CHAIN_INDEXES,
  EK_TEMPLATES,
  type EkTemplateName,
  Malformed,
  type PublicArea,
  parsePublic,
  writePublic,
} from '@skerry/measured-boot'
import type { Commander } from './commander.ts'
import { TpmError } from './errors.ts'
import { EK_KINDS, isMadeFrom } from './templates.ts'

/** A TPM's identity: a key that its maker certified, and that can only open what was sealed to it. */
export type EndorsementKey = {
  /** The template of the EK Credential Profile that it is made from. */
  readonly kind: EkTemplateName
  /** TPM2B_PUBLIC. */
  readonly public: Uint8Array
  /** DER, from NV, for the hub to judge; undefined when the maker left none. */
  readonly certificate: Uint8Array | undefined
  /** DER of those that lead from it to its maker, as far as the maker left them in NV. */
  readonly chain: readonly Uint8Array[]
}

/** TCG TPM v2.0 Provisioning Guidance: where a maker leaves endorsement keys. */
const PERSISTENT = { first: 0x81010000, last: 0x810100ff }
const NV_CERTIFICATES = 0x01c00000
const LARGEST_CERTIFICATE = 8192
/** Bytes that are read of indexes with makers' certificates, and how many of those are looked at. */
const MOST_NV_BYTES = 32_768
const MOST_READ = 32
/** What is sent with an EK's own certificate: no request may be larger than a hub takes. */
const MOST_SENT = { certificates: 7, bytes: 16_384 }
const SMALLEST_NV_BUFFER = 512

/**
 * The endorsement keys whose certificates lie in NV, best first; where there are none, the RSA key that every TPM can make,
 * without a certificate, for a hub that knows it from an inventory.
 */
export async function findEndorsementKeys(tpm: Commander): Promise<EndorsementKey[]> {
  const indexes = new Set(await tpm.run(command.getHandles(NV_CERTIFICATES)))
  const certified = EK_KINDS.filter((kind) => indexes.has(EK_TEMPLATES[kind].nvCertificate))
  const makers = certified.length > 0 ? await readMakers(tpm, [...indexes]) : []
  const keys: EndorsementKey[] = []
  for (const kind of certified.length > 0 ? certified : (['L-1'] as const)) {
    const { nvCertificate } = EK_TEMPLATES[kind]
    const certificate = indexes.has(nvCertificate) ? trimmed(await readNv(tpm, nvCertificate)) : undefined
    const chain = certificate ? sendable(chainFrom(certificate, makers, MOST_SENT.certificates)) : []
    keys.push({ kind, public: await withEk(tpm, kind, async (ek) => ek.public), certificate, chain })
  }
  return keys
}

/** The certificates that the maker left beside the EKs' own. What may not be read, or is too much, is left where it is. */
async function readMakers(tpm: Commander, indexes: readonly number[]): Promise<readonly X509Certificate[]> {
  const { first, last } = EK_CHAIN_INDEXES
  const contents: Uint8Array[] = []
  let room = MOST_NV_BYTES
  for (const index of indexes.filter((one) => first <= one && one <= last).toSorted((a, b) => a - b)) {
    const read = await readNv(tpm, index).catch((error: unknown) => {
      // It is the TPM that says no, or an index that is too large: the EK's own certificate may do without.
      if (error instanceof TpmError && (error.response || error.code === 'Unsupported')) return undefined
      throw error
    })
    if (!read) continue
    room -= read.length
    if (room < 0) break
    contents.push(read)
  }
  return certificatesIn(contents, MOST_READ)
}

// The nearest to the EK first: where there is no room for one, what is above it is of no use either.
function sendable(chain: readonly Uint8Array[]): readonly Uint8Array[] {
  let room = MOST_SENT.bytes
  return chain.filter((der) => {
    room -= der.length
    return room >= 0 && der.length <= LARGEST_CERTIFICATE
  })
}

/** What was sealed to an endorsement key for `ak` alone. */
export async function openCredential(
  tpm: Commander,
  kind: EkTemplateName,
  ak: command.Loaded,
  credential: { readonly idObject: Uint8Array; readonly encryptedSecret: Uint8Array },
): Promise<Uint8Array> {
  return withEk(tpm, kind, (ek) => {
    const open = (ekBy: command.Authorisation) =>
      tpm.run(command.activateCredential({ ak: ak.handle, ek: ek.handle, ekBy, ...credential }))
    if (EK_TEMPLATES[kind].area.attributes.includes('userWithAuth')) return open('empty-password')
    return tpm.withEndorsementPolicy((session) => open({ session }))
  })
}

/** The persistent key, where the maker left one that is what the profile says; else one made from the profile's template. */
async function withEk<Value>(
  tpm: Commander,
  kind: EkTemplateName,
  use: (ek: { readonly handle: number; readonly public: Uint8Array }) => Promise<Value>,
): Promise<Value> {
  const { area } = EK_TEMPLATES[kind]
  const handles = await tpm.run(command.getHandles(PERSISTENT.first))
  for (const handle of handles.filter((each) => each <= PERSISTENT.last)) {
    const { public: bytes } = await tpm.run(command.readPublic(handle))
    if (isOfKind(area, bytes)) return use({ handle, public: bytes })
  }
  return tpm.withPrimary(writePublic(area), use)
}

// What else lies there may be of a kind that is not read here.
function isOfKind(template: PublicArea, bytes: Uint8Array): boolean {
  try {
    return isMadeFrom(template, parsePublic(bytes))
  } catch (error) {
    if (error instanceof Malformed) return false
    throw error
  }
}

/** All bytes of an NV index that anybody may read, in pieces as large as this TPM gives. */
async function readNv(tpm: Commander, index: number): Promise<Uint8Array> {
  const { nvBufferMax } = command.PROPERTIES
  const asked = await tpm.run(command.getProperties(nvBufferMax, 1))
  const piece = Math.max(1, Math.min(asked.get(nvBufferMax) ?? SMALLEST_NV_BUFFER, 2048))
  const { size } = await tpm.run(command.nvReadPublic(index))
  if (size > LARGEST_CERTIFICATE)
    throw new TpmError('Unsupported', `NV index 0x${index.toString(16)}`, `${size} bytes are no certificate`)
  const whole = new Uint8Array(size)
  for (let at = 0; at < size; at += piece)
    whole.set(await tpm.run(command.nvRead(index, Math.min(piece, size - at), at)), at)
  return whole
}

/** Makers fill an index up behind the certificate: DER says itself how long it is. */
function trimmed(der: Uint8Array): Uint8Array {
  const isLong = der[0] === 0x30 && der[1] === 0x82
  const length = 4 + ((der[2] ?? 0) << 8) + (der[3] ?? 0)
  return isLong && length < der.length ? der.subarray(0, length) : der
}
