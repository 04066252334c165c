import { createHash, generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import type { EvidenceBody, HardwareProfile, TpmQuote, UkiBoot } from '@skerry/api'
import {
  assembleUki,
  factsOf,
  measuredIn,
  nameOf,
  type PublicArea,
  parseEventLog,
  parsePublic,
  writePublic,
  writeSelection,
} from '@skerry/measured-boot'
import { QUOTED_PCRS, type TpmReference } from './reference.ts'

// Evidence of boots that were recorded on real machines (packages/measured-boot), quoted by a key made here: what a
// restricted key of a TPM signs, byte for byte. That a TPM signs so is held in measured-boot and in the machine's stories.

export type Boot = 'secure-boot-off' | 'secure-boot-on' | 'retry'
const recording = (name: string): Buffer =>
  readFileSync(new URL(`../../../measured-boot/src/event-log/recordings/${name}`, import.meta.url))

export const sha256 = (...parts: readonly Uint8Array[]): string => {
  const hash = createHash('sha256')
  for (const part of parts) hash.update(part)
  return hash.digest('hex')
}

const u16 = (value: number) => Uint8Array.of(value >> 8, value & 0xff)
const u32 = (value: number) => Uint8Array.from(Buffer.from(value.toString(16).padStart(8, '0'), 'hex'))
const u64 = (value: number) => Uint8Array.from(Buffer.from(value.toString(16).padStart(16, '0'), 'hex'))
const sized = (bytes: Uint8Array) => Buffer.concat([u16(bytes.length), bytes])

export type Tpm = { readonly area: PublicArea; readonly name: string; readonly privateKey: KeyObject }

/** A TPM's attestation key: the template of the agent's AK, ECC P-256 with ECDSA over SHA-256. */
export function makeTpm(attributes: PublicArea['attributes'] = ATTRIBUTES): Tpm {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const { x = '', y = '' } = publicKey.export({ format: 'jwk' })
  const area: PublicArea = {
    type: 'ecc',
    nameAlg: 'sha256',
    attributes,
    authPolicy: new Uint8Array(),
    symmetric: null,
    scheme: { algorithm: 'ecdsa', hash: 'sha256' },
    curve: 'P-256',
    kdf: null,
    x: new Uint8Array(Buffer.from(x, 'base64url')),
    y: new Uint8Array(Buffer.from(y, 'base64url')),
  }
  return { area, privateKey, name: Buffer.from(nameOf(area)).toString('hex') }
}

const ATTRIBUTES = ['fixedTPM', 'fixedParent', 'sensitiveDataOrigin', 'userWithAuth', 'restricted', 'sign'] as const

export type Clock = { clockMs: number; resetCount: number; restartCount: number; safe: boolean }
export const CLOCK: Clock = { clockMs: 10_000, resetCount: 7, restartCount: 0, safe: true }

/** TPMS_ATTEST of a quote over one bank, and its TPMT_SIGNATURE. */
export function quoteBy(
  tpm: Tpm,
  nonce: string,
  values: ReadonlyMap<number, string>,
  { clockMs, resetCount, restartCount, safe }: Clock = CLOCK,
): { quote: string; signature: string } {
  const order = [...values.keys()].toSorted((a, b) => a - b)
  const attest = Buffer.concat([
    u32(0xff544347),
    u16(0x8018),
    sized(new Uint8Array(34)),
    sized(Buffer.from(nonce, 'hex')),
    u64(clockMs),
    u32(resetCount),
    u32(restartCount),
    Uint8Array.of(safe ? 1 : 0),
    u64(1),
    writeSelection([{ bank: 'sha256', pcrs: order }]),
    sized(Buffer.from(sha256(...order.map((pcr) => Buffer.from(values.get(pcr) ?? '', 'hex'))), 'hex')),
  ])
  const raw = sign('sha256', attest, { key: tpm.privateKey, dsaEncoding: 'ieee-p1363' })
  const signature = Buffer.concat([u16(0x18), u16(0x0b), sized(raw.subarray(0, 32)), sized(raw.subarray(32))])
  return { quote: attest.toString('base64'), signature: signature.toString('base64') }
}

export const logOf = (boot: Boot): Uint8Array => new Uint8Array(recording(`${boot}.bin`))
export const valuesOf = (boot: Boot): Map<number, string> => {
  const all = JSON.parse(recording(`${boot}.pcrs.json`).toString('utf8')).sha256 as Record<string, string>
  return new Map(QUOTED_PCRS.map((pcr) => [pcr, all[pcr] ?? '']))
}

/** What systemd extended after the boot `secure-boot-off`, and what the TPM held then. */
export const recordsAfter = (): Uint8Array => new Uint8Array(recording('userspace.jsonseq'))
export const valuesAfter = (): Map<number, string> => {
  const all = JSON.parse(recording('userspace.pcrs.json').toString('utf8')).sha256 as Record<string, string>
  return new Map(QUOTED_PCRS.map((pcr) => [pcr, all[pcr] ?? '']))
}

/** A log of systemd's with so many records of a PCR that is the firmware's own: none extends anything, each is a finding. */
export const strayRecords = (count: number): Uint8Array => {
  const digests = [{ hashAlg: 'sha256', digest: '0'.repeat(64) }]
  return new Uint8Array(Buffer.from(`\x1e${JSON.stringify({ pcr: 4, digests })}\n`.repeat(count)))
}

export const NONCE = 'a'.repeat(64)

/** Good evidence of a recorded boot. */
export function evidenceOf(
  tpm: Tpm,
  boot: Boot,
  more: { nonce?: string; values?: Map<number, string>; log?: Uint8Array; records?: Uint8Array; clock?: Clock } = {},
): EvidenceBody {
  const { nonce = NONCE, values = valuesOf(boot), log = logOf(boot), records, clock = CLOCK } = more
  return {
    class: 'tpm',
    bootId: 'boot-1',
    slot: 'edgeos_1',
    imageSha256: 'b'.repeat(64),
    nonce,
    akPublic: Buffer.from(writePublic(tpm.area)).toString('base64'),
    ...quoteBy(tpm, nonce, values, clock),
    pcrs: { sha256: Object.fromEntries(values) },
    eventLog: Buffer.from(log).toString('base64'),
    eventLogSha256: sha256(log),
    ...(records === undefined ? {} : { measurementLog: Buffer.from(records).toString('base64') }),
  }
}

/**
 * What a manifest and a profile would say of the recorded machine, read off its good boot: the images themselves are too
 * large to keep here. That reference values can be told from the images alone is held where they are computed.
 */
export function referenceOf(
  tpm: Pick<Tpm, 'name'>,
  boot: 'secure-boot-off' | 'secure-boot-on' = 'secure-boot-off',
): Omit<TpmReference, 'image' | 'profile'> & { image: UkiBoot; profile: HardwareProfile } {
  const values = valuesOf(boot)
  const facts = factsOf(measuredIn(parseEventLog(logOf(boot)), 'sha256'))
  const [loader = '', uki = '', kernel = '0'.repeat(64)] =
    facts.boot.value?.applications.map(({ digest }) => digest) ?? []
  const on = boot === 'secure-boot-on'
  const list = (fact: typeof facts.pk) => Buffer.from(fact.value?.value ?? new Uint8Array()).toString('base64')
  const pcr = (index: number) => values.get(index) ?? ''
  return {
    akName: tpm.name,
    image: {
      kind: 'uki',
      stub: { vendor: 'systemd', version: '252.39' },
      sections: [{ name: '.linux', length: 1, sha256: 'a'.repeat(64) }],
      commandLine: 'console=ttyS0 panic=1 quiet',
      signers: [],
      measured: {
        sha256: {
          applications: { loaders: [loader], uki, kernel },
          pcr9: pcr(9),
          pcr11: { phases: [{ phase: '', value: pcr(11) }] },
          pcr12: on ? { on: pcr(12), off: '0'.repeat(64) } : { on: '0'.repeat(64), off: pcr(12) },
        },
      },
    },
    others: [],
    profile: {
      kind: 'HardwareProfile',
      name: 'shop-box',
      hardwareIds: ['shop-box'],
      tpm: { roots: [], inventory: [] },
      banks: ['sha256'],
      firmware: [{ pcrs: { 0: pcr(0), 2: pcr(2), 3: pcr(3), 6: pcr(6) } }],
      learn: 'off',
      ...(on
        ? { secureBoot: { pk: list(facts.pk), kek: list(facts.kek), db: list(facts.db), dbx: [list(facts.dbx)] } }
        : {}),
    },
    firmware: { atRegistration: undefined, shownBy: [] },
    before: undefined,
  }
}

/** Evidence that a TPM signed, and all that it is held against (`recorded/`). */
export function recordedEvidence(boot: 'secure-boot-off' | 'secure-boot-on'): {
  evidence: EvidenceBody
  nonce: string
  tpm: ReturnType<typeof referenceOf>
} {
  const file = readFileSync(new URL(`recorded/${boot}.json`, import.meta.url), 'utf8')
  const quoted = JSON.parse(file) as TpmQuote & { nonce: string }
  const akName = Buffer.from(nameOf(parsePublic(Buffer.from(quoted.akPublic, 'base64')))).toString('hex')
  const tpm = referenceOf({ name: akName }, boot)
  const { sha256: measured } = tpm.image.measured
  const value = quoted.pcrs.sha256?.[11] ?? ''
  // The good boot went on after the firmware's log: its last phase is promised too.
  measured?.pcr11.phases.push({ phase: 'enter-initrd:leave-initrd:sysinit:ready', value })
  const evidence = { ...quoted, class: 'tpm' as const, bootId: 'boot-1', slot: 'edgeos_1', imageSha256: 'b'.repeat(64) }
  return { evidence, nonce: quoted.nonce, tpm }
}

/** One bit of evidence: of a member's bytes, or of the value of a PCR. */
export type Bit = {
  readonly member: 'akPublic' | 'quote' | 'signature' | 'nonce' | 'eventLog' | 'measurementLog' | `PCR ${number}`
  readonly bit: number
}

/** Evidence with one bit turned; the node has signed for the log as it is then. */
export function flipped(evidence: EvidenceBody, { member, bit }: Bit): EvidenceBody {
  const turned = (text = '', form: 'hex' | 'base64') => {
    const bytes = Buffer.from(text, form)
    bytes[bit >> 3] = (bytes[bit >> 3] ?? 0) ^ (1 << (bit & 7))
    return bytes.toString(form)
  }
  switch (member) {
    case 'nonce':
      return { ...evidence, nonce: turned(evidence.nonce, 'hex') }
    case 'akPublic':
    case 'quote':
    case 'signature':
    case 'measurementLog':
      return { ...evidence, [member]: turned(evidence[member], 'base64') }
    case 'eventLog': {
      const eventLog = turned(evidence.eventLog, 'base64')
      return { ...evidence, eventLog, eventLogSha256: sha256(Buffer.from(eventLog, 'base64')) }
    }
    default: {
      const pcr = member.slice('PCR '.length)
      const values = evidence.pcrs?.sha256
      return { ...evidence, pcrs: { sha256: { ...values, [pcr]: turned(values?.[pcr], 'hex') } } }
    }
  }
}

/** Every bit on which something signed rests: of quote, signature, key, nonce and values all; of logs what digests are, and what they cover. */
export function bitsThatCount(evidence: EvidenceBody): { whole: Bit[]; ofLogs: Bit[] } {
  const all = (member: Bit['member'], bytes: number) =>
    Array.from({ length: bytes * 8 }, (_, bit): Bit => ({ member, bit }))
  const whole = [
    ...(['akPublic', 'quote', 'signature'] as const).flatMap((member) =>
      all(member, Buffer.from(evidence[member] ?? '', 'base64').length),
    ),
    ...all('nonce', 32),
    ...Object.keys(evidence.pcrs?.sha256 ?? {}).flatMap((pcr) => all(`PCR ${Number(pcr)}`, 32)),
  ]
  const bitsOf = (member: Bit['member'], places: readonly number[]) =>
    places.flatMap((place) => Array.from({ length: 8 }, (_, bit): Bit => ({ member, bit: place * 8 + bit })))
  return {
    whole,
    ofLogs: [
      ...bitsOf('eventLog', coveredPlaces(evidence)),
      ...bitsOf('measurementLog', recordedPlaces(evidence.measurementLog)),
    ],
  }
}

/** Bytes of the event log that no digest covers, as far as their place in the file goes: types, sizes, free text. */
export function bitsThatDoNot(evidence: EvidenceBody): Bit[] {
  const covered = new Set(coveredPlaces(evidence))
  const { length } = Buffer.from(evidence.eventLog ?? '', 'base64')
  return Array.from({ length: length * 8 }, (_, bit): Bit => ({ member: 'eventLog', bit })).filter(
    ({ bit }) => !covered.has(bit >> 3),
  )
}

function coveredPlaces({ eventLog = '' }: EvidenceBody): number[] {
  const log = new Uint8Array(Buffer.from(eventLog, 'base64'))
  const span = (from: number, to: number) => Array.from({ length: to - from }, (_, at) => from + at)
  return measuredIn(parseEventLog(log), 'sha256').extends.flatMap(({ event, digest, coverage }) => [
    ...span(digest.byteOffset, digest.byteOffset + 32),
    ...(coverage.covered === 'yes'
      ? span(event.data.byteOffset + coverage.start, event.data.byteOffset + coverage.end)
      : []),
  ])
}

/** In systemd's log: the digests of quoted PCRs, and the words that they are of. */
function recordedPlaces(measurementLog = ''): number[] {
  const text = Buffer.from(measurementLog, 'base64').toString('latin1')
  return text.split(/(?<=\n)/).flatMap((line, at, lines) => {
    if (!line.includes('"pcr":11,')) return []
    const begins = lines.slice(0, at).join('').length
    return [/"digest":"([0-9a-f]{64})"/, /"string":"([^"]*)"/].flatMap((form) => {
      const [, found = ''] = form.exec(line) ?? []
      return Array.from({ length: found.length }, (_, nth) => begins + line.indexOf(`"${found}"`) + 1 + nth)
    })
  })
}

const EFI = '/usr/lib/systemd/boot/efi'
/** What a UKI is made of here, and its boot loader: Debian's systemd-boot-efi. */
const STUB = `${EFI}/linuxx64.efi.stub`
export const LOADER = `${EFI}/systemd-bootx64.efi`
export const canMakeUki = existsSync(STUB)

/** A UKI whose kernel is another EFI program: it measures as any does. */
export function makeUki(commandLine: string): Uint8Array {
  const text = (body: string) => new TextEncoder().encode(body)
  return assembleUki(readFileSync(STUB), [
    { name: '.osrel', data: text('ID=edge\nIMAGE_ID=edge-os\nIMAGE_VERSION=1\n') },
    { name: '.cmdline', data: text(commandLine) },
    { name: '.linux', data: readFileSync(LOADER) },
    { name: '.initrd', data: text('an initrd') },
  ])
}
