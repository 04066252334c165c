import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs'
import {
  BANK_NAMES,
  type EvidenceBody,
  HardwareProfile,
  OSImageManifest,
  type PcrValues,
  parse,
  Refusal,
  type UkiBoot,
} from '@skerry/api'
import { Malformed } from '@skerry/measured-boot'
import type { TpmReference } from '@skerry/policy'
import { parseStrictJson, sha256Hex } from '@skerry/trust'

// What `skerry attest` reads from files: evidence as a node, a story or another tool wrote it, and what to hold it against.

/** A file that is not what it was given for: told by its code, and nothing is judged. */
export class Unusable extends Error {
  override name = 'Unusable'
  readonly code: string
  readonly offset: number | undefined
  constructor(code: string, message: string, offset?: number) {
    super(message)
    this.code = code
    this.offset = offset
  }
}

/** The largest log that is read: as the parsers' own bounds. */
export const LOG_BYTES = 1_048_576
/** Characters of base64 that a log may have, and what a TPM says of itself: more is refused before it is decoded. */
const LOG_CHARACTERS = Math.ceil(LOG_BYTES / 3) * 4
const TPM_CHARACTERS = 2_048
/** Two logs, and room for all that stands beside them. */
const EVIDENCE_BYTES = 2 * LOG_CHARACTERS + 65_536
const REFERENCE_BYTES = 4_194_304
/** Values in JSON: evidence has some hundred, a reference as many SHA-256 as it has room for. */
const [EVIDENCE_VALUES, REFERENCE_VALUES] = [10_000, 65_536]

/** How often a pipe is asked into which nobody writes, every how many milliseconds, and how long whoever writes may take. */
const [ASKED, EVERY_MS, WRITER_MS] = [50, 10, 60_000]

/** A clock that can be waited by, in milliseconds. */
type Clock = { readonly now: () => number; readonly wait: (ms: number) => void }
const CLOCK: Clock = {
  now: () => performance.now(),
  wait: (ms) => void Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms),
}

/**
 * The bytes of a file up to a bound, whatever it says of its size: what a kernel shows as a file has none. A pipe without a
 * writer is given up after half a second; a writer has a minute for all that it writes, however slow it is in between.
 * Throws Unusable.
 */
export function readBounded(file: string, maxBytes: number, { now, wait }: Clock = CLOCK): Uint8Array {
  const bytes = new Uint8Array(maxBytes + 1)
  let length = 0
  try {
    // Otherwise opening a pipe waits for somebody who writes into it, and nothing ends that.
    const descriptor = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK)
    try {
      const isPipe = fstatSync(descriptor).isFIFO()
      const began = now()
      for (let asked = 0; length < bytes.length; ) {
        const read = readSome(descriptor, bytes.subarray(length))
        // A pipe that was never written into looks like one that has ended.
        if (read === 0 && !(isPipe && length === 0)) break
        asked = read === 0 ? asked + 1 : 0
        if (read) {
          length += read
          continue
        }
        if (asked > ASKED) throw new Error(`nothing came out of it for ${ASKED * EVERY_MS} ms`)
        if (now() - began >= WRITER_MS)
          throw new Error(`whoever writes into it did not come to an end in ${WRITER_MS / 1000} s`)
        wait(EVERY_MS)
      }
    } finally {
      closeSync(descriptor)
    }
  } catch (error) {
    throw new Unusable(
      'Unreadable',
      `${file} cannot be read: ${error instanceof Error ? error.message : String(error)}`,
    )
  }
  if (length > maxBytes) throw new Unusable('TooLarge', `${file} is larger than the ${maxBytes} bytes that are read`)
  return bytes.slice(0, length)
}

/** How many bytes were there; undefined where somebody writes who has none yet. */
function readSome(descriptor: number, into: Uint8Array): number | undefined {
  try {
    return readSync(descriptor, into)
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EAGAIN') return undefined
    throw error
  }
}

/** What is made of a file's bytes; those that cannot be read as what they should be are told with the file's name. */
export function reading<T>(file: string, act: () => T): T {
  try {
    return act()
  } catch (error) {
    if (error instanceof Malformed) throw new Unusable(error.code, `${file}: ${error.message}`, error.offset)
    throw error
  }
}

function jsonOf(file: string, maxBytes: number, maxValues: number): unknown {
  try {
    return parseStrictJson(readBounded(file, maxBytes), { maxBytes, maxValues })
  } catch (error) {
    if (error instanceof Refusal) throw new Unusable(error.code, `${file}: ${error.message}`)
    throw error
  }
}

/** Evidence of class tpm, as the file has it; members that it has beside are left alone. Throws Unusable. */
export function readEvidenceFile(file: string): EvidenceBody {
  const members = new Map(Object.entries(objectOf(jsonOf(file, EVIDENCE_BYTES, EVIDENCE_VALUES), file)))
  const text = (name: string, form: RegExp, what: string, most = TPM_CHARACTERS): string => {
    const value = members.get(name)
    if (typeof value === 'string' && value.length > most)
      throw new Unusable('TooLarge', `${file}: ${name} has ${value.length} characters, at most ${most} are read`)
    if (typeof value !== 'string' || !form.test(value))
      throw new Unusable('InvalidField', `${file}: ${name} is no ${what}`)
    return value
  }
  const akPublic = text(
    'akPublic',
    /^(-----BEGIN PUBLIC KEY-----[\s\S]+|[A-Za-z0-9+/]+={0,2})$/,
    'TPM2B_PUBLIC in base64, nor a public key in PEM',
  )
  const eventLog = text('eventLog', BASE64, 'base64', LOG_CHARACTERS)
  const measurementLog = members.has('measurementLog')
    ? text('measurementLog', BASE64, 'base64', LOG_CHARACTERS)
    : undefined
  return {
    class: 'tpm',
    bootId: '',
    slot: '',
    imageSha256: '0'.repeat(64),
    akPublic,
    quote: text('quote', BASE64, 'base64'),
    signature: text('signature', BASE64, 'base64'),
    pcrs: pcrsOf(members.get('pcrs'), file),
    eventLog,
    // A file that does not say it binds nothing more than its log's replay.
    eventLogSha256: members.has('eventLogSha256')
      ? text('eventLogSha256', /^[0-9a-f]{64}$/, 'SHA-256 in hex')
      : sha256Hex(Buffer.from(eventLog, 'base64')),
    ...(measurementLog === undefined ? {} : { measurementLog }),
    nonce: text('nonce', /^([0-9a-fA-F]{2}){1,64}$/, 'nonce in hex').toLowerCase(),
  }
}

const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/

function pcrsOf(value: unknown, file: string): NonNullable<EvidenceBody['pcrs']> {
  const banks = Object.entries(objectOf(value, `${file}: pcrs`))
  if (banks.length === 0) throw new Unusable('NoPcrs', `${file}: pcrs is empty: comparing nothing proves nothing`)
  return Object.fromEntries(
    banks.map(([bank, values]) => {
      const known = BANK_NAMES.find((name) => name === bank)
      if (!known)
        throw new Unusable('UntrustedBank', `${file}: pcrs.${bank}: only ${BANK_NAMES.join(', ')} can be evidence`)
      const entries = Object.entries(objectOf(values, `${file}: pcrs.${bank}`))
      if (entries.length === 0)
        throw new Unusable('NoPcrs', `${file}: pcrs.${bank} is empty: comparing nothing proves nothing`)
      for (const [pcr, hex] of entries)
        if (!/^([0-9]|1[0-9]|2[0-3])$/.test(pcr) || typeof hex !== 'string' || !/^([0-9a-fA-F]{2}){1,64}$/.test(hex))
          throw new Unusable('InvalidField', `${file}: pcrs.${bank}.${pcr} is no PCR with a value in hex`)
      return [known, Object.fromEntries(entries.map(([pcr, hex]) => [pcr, String(hex).toLowerCase()])) as PcrValues]
    }),
  )
}

/**
 * What evidence is held against: an image's manifest, a hardware profile, or `{manifest, profile, akName, firmware,
 * others}` with what there is. Throws Unusable.
 */
export function readReferenceFile(file: string): TpmReference {
  const value = objectOf(jsonOf(file, REFERENCE_BYTES, REFERENCE_VALUES), file)
  const members = 'kind' in value ? { [value.kind === 'HardwareProfile' ? 'profile' : 'manifest']: value } : value
  const known = ['manifest', 'profile', 'akName', 'firmware', 'others']
  const strange = Object.keys(members).find((name) => !known.includes(name))
  if (strange)
    throw new Unusable('InvalidField', `${file}: ${strange} is no member of a reference; there are ${known.join(', ')}`)
  const { manifest, profile, akName, others = [] } = members as Record<string, unknown>
  if (akName !== undefined && (typeof akName !== 'string' || !/^[0-9a-f]{8,132}$/.test(akName)))
    throw new Unusable('InvalidField', `${file}: akName is no Name in hex`)
  if (!Array.isArray(others)) throw new Unusable('InvalidField', `${file}: others is no list of manifests`)
  const boot = manifest === undefined ? undefined : manifestOf(manifest, `${file}: manifest`).boot
  return {
    akName,
    image: boot ?? 'not-given',
    others: others.flatMap((one, at): UkiBoot[] => {
      const { boot: other } = manifestOf(one, `${file}: others[${at}]`)
      return other.kind === 'uki' ? [other] : []
    }),
    profile: profile === undefined ? undefined : profileOf(profile, `${file}: profile`),
    firmware: { atRegistration: firmwareOf(members, file), shownBy: [] },
    before: undefined,
  }
}

function firmwareOf(members: object, file: string): PcrValues | undefined {
  const value = 'firmware' in members ? members.firmware : undefined
  if (value === undefined) return undefined
  return pcrsOf({ sha256: value }, `${file}: firmware`).sha256
}

function manifestOf(value: unknown, what: string): OSImageManifest {
  return parsed(() => parse(OSImageManifest, value, what))
}

function profileOf(value: unknown, what: string): HardwareProfile {
  return parsed(() => parse(HardwareProfile, value, what))
}

function parsed<T>(read: () => T): T {
  try {
    return read()
  } catch (error) {
    if (error instanceof Refusal) throw new Unusable(error.code, error.message)
    throw error
  }
}

function objectOf(value: unknown, what: string): object {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new Unusable('InvalidField', `${what} is no JSON object`)
  return value
}
