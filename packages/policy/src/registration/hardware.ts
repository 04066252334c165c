import { createHash, X509Certificate } from 'node:crypto'
import { type HardwareProfile, Refusal, type RefusalCode, type RegistrationRequest } from '@skerry/api'
import {
  akFaults,
  CURVES,
  checkEkCertificate,
  EK_TEMPLATES,
  Malformed,
  nameOf,
  type PublicArea,
  parsePublic,
  writePublic,
} from '@skerry/measured-boot'

// Which TPM a request names, and whether it is one that people signed for. That it is really there is shown by the
// credential that only it opens.

/** A TPM and its attestation key, as a node is held to them for good: SHA-256 of the EK's TPM2B_PUBLIC, the AK's Name in hex. */
export type TpmIdentity = {
  readonly ekSha256: string
  readonly akName: string
  /** The hashes that the same key has as a key of other templates: its TPM opens what is sealed for any of them. */
  readonly ekTwins?: readonly string[] | undefined
}

/** Whether one of two TPMs' keys, by whatever template, is the other's too. */
export function sharesKey(one: TpmIdentity, other: TpmIdentity): boolean {
  return one.akName === other.akName || one.ekSha256 === other.ekSha256 || (one.ekTwins ?? []).includes(other.ekSha256)
}

/** What a request names, parsed: nothing about it is proven yet. */
export type NamedTpm = TpmIdentity & {
  readonly ek: PublicArea
  readonly ak: PublicArea
  /** What was parsed and is of no use: told with all else that is wrong. */
  readonly faults: readonly HardwareFault[]
}
export type HardwareFault = {
  readonly code: Extract<RefusalCode, 'EkUntrusted' | 'AkUnfit'>
  readonly message: string
}

const TEMPLATES = Object.values(EK_TEMPLATES).map(({ area }) => area)
const EMPTY = new Uint8Array()

/**
 * The TPM that a request of class `tpm` names; undefined where it names none. Costs no public-key work. Throws Refusal
 * InvalidField for a class without its keys, or keys without their class, and EkUntrusted or AkUnfit for bytes that are no key.
 */
export function namedTpm(
  request: Pick<RegistrationRequest, 'class' | 'ek' | 'ak' | 'ekCertificates'>,
): NamedTpm | undefined {
  const given = request.ek !== undefined || request.ak !== undefined || request.ekCertificates !== undefined
  if (request.class !== 'tpm') {
    if (given) throw new Refusal('InvalidField', `class ${request.class} names no keys of a TPM`, { field: 'class' })
    return undefined
  }
  if (request.ek === undefined || request.ak === undefined)
    throw new Refusal('InvalidField', 'class tpm names its endorsement key (ek) and its attestation key (ak)', {
      field: request.ek === undefined ? 'ek' : 'ak',
    })
  const ek = canonical(read(request.ek, 'ek', 'EkUntrusted'))
  const ak = read(request.ak, 'ak', 'AkUnfit')
  const faults: HardwareFault[] = []
  if (!TEMPLATES.some((template) => isMadeFrom(template, ek)))
    faults.push({
      code: 'EkUntrusted',
      message: 'the endorsement key is of no template of the TCG EK profile that can be judged',
    })
  for (const { message } of akFaults(ak))
    faults.push({ code: 'AkUnfit', message: `the attestation key is unfit: ${message}` })
  const ekSha256 = sha256(writePublic(ek))
  return { ek, ak, faults, ekSha256, ekTwins: twinsOf(ek), akName: Buffer.from(nameOf(ak)).toString('hex') }
}

function read(base64: string, field: 'ek' | 'ak', code: HardwareFault['code']): PublicArea {
  try {
    return parsePublic(new Uint8Array(Buffer.from(base64, 'base64')))
  } catch (error) {
    if (!(error instanceof Malformed)) throw error
    throw new Refusal(code, `${field} is no TPM2B_PUBLIC: ${error.message}`, { field, cause: error })
  }
}

// Part 2: exponent 0 is 65537. One key has one hash, or one TPM could be two nodes.
function canonical(area: PublicArea): PublicArea {
  return area.type === 'rsa' && area.exponent === 65_537 ? { ...area, exponent: 0 } : area
}

function isMadeFrom(template: PublicArea, area: PublicArea): boolean {
  const whole =
    area.type === 'rsa'
      ? area.modulus.length * 8 === area.keyBits && (area.modulus[0] ?? 0) >= 0x80
      : [area.x, area.y].every(({ length }) => length === CURVES[area.curve].size)
  return whole && Buffer.from(writePublic(blank(template))).equals(writePublic(blank(area)))
}

// A certificate and a credential are of the key; which template it was made from is the request's own word.
function twinsOf(ek: PublicArea): string[] {
  const own = writePublic(ek)
  return TEMPLATES.flatMap((template): string[] => {
    const twin = as(template, ek)
    return twin === undefined || Buffer.from(writePublic(twin)).equals(own) ? [] : [sha256(writePublic(twin))]
  })
}

function as(template: PublicArea, ek: PublicArea): PublicArea | undefined {
  if (template.type === 'rsa' && ek.type === 'rsa' && template.keyBits === ek.keyBits)
    return { ...template, modulus: ek.modulus }
  if (template.type === 'ecc' && ek.type === 'ecc' && template.curve === ek.curve)
    return { ...template, x: ek.x, y: ek.y }
  return undefined
}

function blank(area: PublicArea): PublicArea {
  return area.type === 'rsa' ? { ...area, modulus: EMPTY } : { ...area, x: EMPTY, y: EMPTY }
}

/**
 * Who vouches for a TPM that no record holds yet: the subject of the pinned root that its EK certificate leads to, or the
 * profile's inventory. Throws one Refusal that names everything for which nobody does, and what the AK lacks.
 */
export function judgeHardware(
  { ek, ekSha256, faults }: NamedTpm,
  { ekCertificates = [] }: Pick<RegistrationRequest, 'ekCertificates'>,
  profile: HardwareProfile,
  nowMs: number,
): string {
  const { endorsedBy, why } = endorsement(ek, ekSha256, ekCertificates, profile, nowMs)
  const all: HardwareFault[] = [
    ...(endorsedBy === undefined ? [{ code: 'EkUntrusted' as const, message: why }] : []),
    ...faults,
  ]
  const refusal = refusalOf(all)
  if (refusal) throw refusal
  return endorsedBy ?? ''
}

/** One refusal for all of them, under the first one's code. */
export function refusalOf(faults: readonly HardwareFault[]): Refusal | undefined {
  const [first] = faults
  if (!first) return undefined
  return new Refusal(first.code, faults.map(({ message }) => message).join('; '), {
    field: first.code === 'AkUnfit' ? 'ak' : 'ek',
  })
}

// The first certificate is the EK's own; those behind it lead to its maker.
function endorsement(
  ek: PublicArea,
  ekSha256: string,
  [own, ...others]: readonly string[],
  { name, tpm }: HardwareProfile,
  nowMs: number,
): { endorsedBy?: string; why: string } {
  if (tpm.inventory.includes(ekSha256)) return { endorsedBy: `inventory of ${name}`, why: '' }
  const known = `HardwareProfile ${name} lists no EK ${ekSha256} in its inventory`
  if (own === undefined) return { why: `${known}, and no EK certificate came with it: add it to tpm.inventory` }
  const roots = tpm.roots.flatMap(certificateOf)
  const { faults, chain } = checkEkCertificate(der(own), { intermediates: others.map(der), roots, nowMs, ek })
  if (faults.length === 0) return { endorsedBy: oneLine(chain.at(-1)?.subject ?? name), why: '' }
  return { why: `${faults.map(({ message }) => message).join('; ')}; and ${known}` }
}

function certificateOf(pem: string): X509Certificate[] {
  try {
    return [new X509Certificate(pem)]
  } catch {
    // What is no certificate vouches for nobody.
    return []
  }
}

const der = (base64: string): Uint8Array => new Uint8Array(Buffer.from(base64, 'base64'))
const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')
const oneLine = (name: string): string => name.replaceAll(/[^ -~]+/g, ', ').slice(0, 200)
