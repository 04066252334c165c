import { execFileSync } from 'node:child_process'
import { mkdirSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { recordedBoots } from './fixture.ts'

// What somebody hands to `skerry attest` who wants it to fail badly: files that are made one at a time, in one folder.

/** The arguments behind `skerry attest`, for files that are there once this has run. */
export type Hostile = { readonly name: string; readonly make: (dir: string) => readonly string[] }

/** The bounds as the documentation has them, so that an input is at one or just above it. */
const MIB = 2 ** 20
const MOST_EVENTS = 8_192
const MOST_RECORDS = 4_096
const MOST_DATA = 2 ** 18
const MOST_EVIDENCE = 2 * Math.ceil(MIB / 3) * 4 + 65_536
const MOST_REFERENCE = 4 * MIB
const [EVIDENCE_VALUES, REFERENCE_VALUES] = [10_000, 65_536]

export function hostileInputs(): Hostile[] {
  const [boot, , other] = recordedBoots(3)
  if (!boot || !other) throw new Error('no boots were recorded')
  const { akPublic = '', quote = '', signature = '', pcrs = {}, eventLog = '', nonce } = boot.evidence
  const good = { akPublic, quote, signature, pcrs, eventLog, nonce }
  const log = bytes(eventLog)
  const header = log.subarray(0, 32 + log.readUInt32LE(28))

  const evidence = (name: string, members: object | string | Buffer): Hostile => ({
    name,
    make: (dir) => ['verify', '--evidence', written(dir, 'evidence.json', members)],
  })
  const reference = (name: string, text: object | string): Hostile => ({
    name: `reference: ${name}`,
    make: (dir) => [
      ...['verify', '--evidence', written(dir, 'evidence.json', good)],
      ...['--reference', written(dir, 'reference.json', text)],
    ],
  })
  const changed = (name: string, members: object): Hostile => evidence(name, { ...good, ...members })
  const logs = (name: string, made: () => Buffer, ...more: string[]): Hostile[] => [
    {
      name: `log: ${name}`,
      make: (dir) => ['eventlog', written(dir, 'log.bin', made()), '-o', 'json', ...more],
    },
    {
      name: `evidence with a log: ${name}`,
      make: (dir) => {
        const eventLog = made().toString('base64')
        return ['verify', '--evidence', written(dir, 'evidence.json', { ...good, eventLog })]
      },
    },
  ]

  return [
    evidence('honest evidence, for comparison', good),
    ...logs('honest, for comparison', () => log),

    changed('a quote that is cut', { quote: cut(quote) }),
    changed('a quote with a byte behind it', { quote: behind(quote) }),
    changed('a quote at the bound for texts', { quote: 'A'.repeat(2_048) }),
    changed('a quote just above it', { quote: 'A'.repeat(2_052) }),
    changed('a quote with another magic', { quote: with16(quote, 0, 0x1234) }),
    changed('an attestation of another type', { quote: with16(quote, 4, 0x8017) }),
    changed('a signature that is cut', { signature: cut(signature) }),
    changed('a signature over SHA-1', { signature: with16(signature, 2, 0x0004) }),
    changed('a signature of another scheme', { signature: with16(signature, 0, 0x0014) }),
    changed('a key that is cut', { akPublic: cut(akPublic) }),
    changed('another key', { akPublic: other.evidence.akPublic }),
    changed('a key in PEM that is none', { akPublic: `-----BEGIN PUBLIC KEY-----\n${'A'.repeat(2_000)}` }),
    { name: 'another nonce', make: (dir) => ['verify', '--evidence', written(dir, 'e.json', good), '--nonce', '00'] },
    {
      name: 'a nonce that is no hex',
      make: (dir) => ['verify', '--evidence', written(dir, 'e.json', good), '--nonce', 'zz'],
    },
    changed('a bank of SHA-1', { pcrs: { sha1: { 0: '0'.repeat(40) } } }),
    changed('a bank of SHA-1 beside another', { pcrs: { ...pcrs, sha1: { 0: '0'.repeat(40) } } }),
    changed('no bank', { pcrs: {} }),
    changed('an empty bank', { pcrs: { sha256: {} } }),
    changed('a bank more', { pcrs: { ...pcrs, sha384: { 0: '0'.repeat(96) } } }),
    changed('a PCR more', { pcrs: { sha256: { ...pcrs.sha256, 16: '0'.repeat(64) } } }),
    changed('a PCR that no TPM has', { pcrs: { sha256: { ...pcrs.sha256, 24: '0'.repeat(64) } } }),
    changed('ten thousand PCRs', {
      pcrs: { sha256: Object.fromEntries(Array.from({ length: 10_000 }, (_, pcr) => [pcr, '0'.repeat(64)])) },
    }),
    changed('base64 with a character that is none', { quote: `${quote.slice(0, 100)}*${quote.slice(101)}` }),
    changed('base64 of a log, wrong in its last character', { eventLog: `${'A'.repeat(4 * Math.ceil(MIB / 3) - 1)}*` }),
    changed('base64 of a log, just above the bound', { eventLog: 'A'.repeat(4 * Math.ceil(MIB / 3) + 4) }),
    changed('a log of systemd’s, just above the bound', { measurementLog: 'A'.repeat(4 * Math.ceil(MIB / 3) + 4) }),
    changed('a log of systemd’s that is none', { measurementLog: 'AAAA' }),
    changed('a log of systemd’s with as many records as there may be', {
      measurementLog: records(MOST_RECORDS).toString('base64'),
    }),
    changed('a log of systemd’s with one record more', {
      measurementLog: records(MOST_RECORDS + 1).toString('base64'),
    }),
    changed('both logs as long and as many as they may be', {
      eventLog: events(header, MOST_EVENTS, (MIB - header.length) / MOST_EVENTS).toString('base64'),
      measurementLog: records(MOST_RECORDS).toString('base64'),
    }),

    evidence('an empty file', ''),
    evidence('no JSON', 'nonsense'),
    evidence('bytes that are no UTF-8', Buffer.alloc(1_000, 0xff)),
    evidence('JSON that is no object', '[]'),
    evidence('JSON that is cut', JSON.stringify(good).slice(0, -1)),
    evidence('a member twice', '{"nonce":"00","nonce":"01"}'),
    evidence('JSON a million deep', '['.repeat(1_000_000)),
    evidence('JSON of members alone, as many as there may be', members(EVIDENCE_VALUES - 1)),
    evidence('JSON of members alone, one more', members(EVIDENCE_VALUES)),
    evidence('JSON of empty objects, as long as it may be', `[${'{},'.repeat(MOST_EVIDENCE / 3 - 2)}{}]`),
    evidence('JSON of one string, as long as it may be', `{"a":"${'a'.repeat(MOST_EVIDENCE - 8)}"}`),
    evidence('JSON of one string of escapes', `{"a":"${String.raw`\u0041`.repeat((MOST_EVIDENCE - 8) / 6)}"}`),
    evidence('JSON of one name of escapes', `{"${String.raw`\"`.repeat((MOST_EVIDENCE - 8) / 2)}":0}`),
    evidence('JSON of one number', `{"a":${'1'.repeat(MOST_EVIDENCE - 6)}}`),
    evidence('JSON of blanks', `{${' '.repeat(MOST_EVIDENCE - 2)}}`),
    evidence('a byte more than is read', `{${' '.repeat(MOST_EVIDENCE - 1)}}`),
    {
      name: 'JSON of 100 MB',
      make: (dir) => ['verify', '--evidence', written(dir, 'evidence.json', Buffer.alloc(100_000_000, '[0],'))],
    },
    reference('no JSON', 'nonsense'),
    reference('a member that there is none of', { manifets: {} }),
    reference('JSON a million deep', '['.repeat(1_000_000)),
    reference('JSON of members alone', `{"manifest":${members(REFERENCE_VALUES - 2)}}`),
    reference('a list of manifests that are none', `{"others":[${'{},'.repeat(REFERENCE_VALUES - 4)}{}]}`),
    reference('one string, as long as it may be', `{"akName":"${'a'.repeat(MOST_REFERENCE - 14)}"}`),
    reference('a byte more than is read', `{${' '.repeat(MOST_REFERENCE - 1)}}`),

    ...(['verify --evidence', 'eventlog -o json'] as const).flatMap((command): Hostile[] => {
      const of = (what: string, make: (path: string) => void): Hostile => ({
        name: `${command}: ${what}`,
        make: (dir) => {
          const path = join(dir, 'strange')
          make(path)
          return [...command.split(' '), path]
        },
      })
      return [
        of('no file', () => {}),
        of('a folder', (path) => mkdirSync(path)),
        of('a pipe that nobody writes into', (path) => void execFileSync('mkfifo', [path])),
        of('a hole of 8 GiB', (path) => {
          writeFileSync(path, '')
          truncateSync(path, 2 ** 33)
        }),
        { name: `${command}: a device without an end`, make: () => [...command.split(' '), '/dev/zero'] },
      ]
    }),

    ...logs('empty', () => Buffer.alloc(0)),
    ...logs('cut', () => log.subarray(0, -1)),
    ...logs('a byte behind it', () => Buffer.concat([log, Buffer.of(1)])),
    ...logs('no log', () => Buffer.from('this is no event log, whatever its name says')),
    ...logs('the SHA-1 format', () => Buffer.alloc(32)),
    ...logs('zeros as long as it may be', () => Buffer.alloc(MIB)),
    ...logs('a header of 4 GiB', () => with32(log, 28, 0xffffffff)),
    ...logs('4 Gi algorithms', () => with32(log, 32 + 24, 0xffffffff)),
    ...logs('an event of 4 Gi digests', () => with32(log, header.length + 8, 0xffffffff)),
    ...logs('an event of 4 GiB', () => with32(log, header.length + 12 + 34, 0xffffffff)),
    ...logs('as many tiny events as there may be', () => events(header, MOST_EVENTS, 50)),
    ...logs('one tiny event more', () => events(header, MOST_EVENTS + 1, 50)),
    ...logs('tiny events, as long as it may be', () => events(header, Math.floor((MIB - header.length) / 50), 50)),
    ...logs('as many events as there may be, as long as it may be', () =>
      events(header, MOST_EVENTS, Math.floor((MIB - header.length) / MOST_EVENTS)),
    ),
    ...logs('as many variables as there may be', () => events(header, MOST_EVENTS, 120, 0x80000001)),
    ...logs('as many boot services as there may be', () => events(header, MOST_EVENTS, 120, 0x80000003)),
    ...logs('as many events as there may be, each of sixteen banks', () => sixteenBanks(MOST_EVENTS)),
    ...logs('the longest events', () => events(header, 3, MOST_DATA + 50)),
    ...logs('an event just above the longest', () => events(header, 1, MOST_DATA + 51)),
    ...logs('a byte above the longest', () => Buffer.alloc(MIB + 1)),
    {
      name: 'log: --bank sha1',
      make: (dir) => ['eventlog', written(dir, 'log.bin', log), '-o', 'json', '--bank', 'sha1'],
    },
    {
      name: 'log: a bank that it lacks',
      make: (dir) => ['eventlog', written(dir, 'log.bin', log), '-o', 'json', '--bank', 'sha512'],
    },
  ]
}

function written(dir: string, name: string, content: object | string | Buffer): string {
  const file = join(dir, name)
  const isText = typeof content === 'string' || Buffer.isBuffer(content)
  writeFileSync(file, isText ? content : JSON.stringify(content))
  return file
}

/** A log of events that are each so many bytes long and of one type, in PCR 0 to 15 by turns, no digest of which covers its data. */
function events(header: Buffer, count: number, length: number, type = 0x0000000d): Buffer {
  const size = Math.floor(length) - 50
  return Buffer.concat([
    header,
    ...Array.from({ length: count }, (_, index) => {
      const event = Buffer.alloc(50 + size, 1)
      event.writeUInt32LE(index % 16, 0)
      event.writeUInt32LE(type, 4)
      event.writeUInt32LE(1, 8)
      event.writeUInt16LE(0x000b, 12)
      event.writeUInt32LE(size, 46)
      return event
    }),
  ])
}

/** A log of events that are measured into sixteen banks, of which one is known. */
function sixteenBanks(count: number): Buffer {
  const banks = [[0x000b, 32], ...Array.from({ length: 15 }, (_, index) => [0x1000 + index, 1])] as [number, number][]
  const spec = Buffer.alloc(28 + banks.length * 4 + 1)
  spec.write('Spec ID Event03\0', 'latin1')
  spec.writeUInt8(2, 21)
  spec.writeUInt32LE(banks.length, 24)
  banks.forEach(([id, size], index) => {
    spec.writeUInt16LE(id, 28 + index * 4)
    spec.writeUInt16LE(size, 30 + index * 4)
  })
  const header = Buffer.alloc(32)
  header.writeUInt32LE(3, 4)
  header.writeUInt32LE(spec.length, 28)
  const digests = banks.map(([id, size]) => Buffer.concat([Buffer.of(id & 0xff, id >> 8), Buffer.alloc(size, 1)]))
  const event = Buffer.concat([Buffer.alloc(12), ...digests, Buffer.alloc(4)])
  event.writeUInt32LE(0x0d, 4)
  event.writeUInt32LE(banks.length, 8)
  return Buffer.concat([header, spec, ...Array.from({ length: count }, () => event)])
}

/** systemd's log of so many words in PCR 11, none of which its digest is of. */
function records(count: number): Buffer {
  const sha256 = 'ab'.repeat(32)
  const content = { string: 'enter-initrd', eventType: 'phase' }
  const record = JSON.stringify({
    pcr: 11,
    digests: [{ hashAlg: 'sha256', digest: sha256 }],
    content_type: 'systemd',
    content,
  })
  return Buffer.from(`\u001e${record}\n`.repeat(count))
}

const members = (count: number): string => `{${Array.from({ length: count }, (_, at) => `"member-${at}":0`).join(',')}}`

const bytes = (text: string): Buffer => Buffer.from(text, 'base64')
const cut = (text: string): string => bytes(text).subarray(0, -1).toString('base64')
const behind = (text: string): string => Buffer.concat([bytes(text), Buffer.of(0)]).toString('base64')

function with16(text: string, at: number, value: number): string {
  const changed = bytes(text)
  changed.writeUInt16BE(value, at)
  return changed.toString('base64')
}

function with32(log: Buffer, at: number, value: number): Buffer {
  const changed = Buffer.from(log)
  changed.writeUInt32LE(value, at)
  return changed
}
