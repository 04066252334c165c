import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { concat } from '../bytes.ts'
import { EVENT_TYPES, type EventTypeName } from './event-types.ts'
import { FINDINGS, type FindingCode } from './findings.ts'
import {
  changed,
  GLOBAL_GUID,
  logOf,
  type Part,
  part,
  RECORDINGS,
  recordedLog,
  SECURITY_GUID,
  text,
  utf16le,
  variableData,
} from './fixture.ts'
import { grammarOf } from './grammar.ts'
import { measuredIn } from './measured.ts'
import { type EventLog, type LogEvent, parseEventLog } from './parse.ts'

const findings = (log: EventLog, bank: 'sha256' | 'sha384' = 'sha256') => grammarOf(measuredIn(log, bank))
const codes = (log: EventLog) => findings(log).map(({ code, pcr, event }) => `${code} ${pcr ?? '-'} ${event ?? '-'}`)

describe('a recorded boot', () => {
  test.each(RECORDINGS)('%s breaks nothing, but for what is its own', (name) => {
    expect(codes(parseEventLog(recordedLog(name)))).toEqual(name === 'retry' ? ['BootRetried 4 25'] : [])
  })
  test('is as good in its other bank', () => {
    expect(findings(parseEventLog(recordedLog('two-banks')), 'sha384')).toEqual([])
  })
})

// The log of secure-boot-on, by index: 1–3 PCR 0 · 4–8 PCR 7 variables, 9 separator · 10–13 PCR 1 · 14 PCR 4 action ·
// 15–21 separators 0–6 · 22 authority · 23 GPT · 24 systemd-boot, 25 UKI · 26 command line · 27–34 sections · 35–36 PCR 9 · 37–38 exit.
type Change = (events: readonly LogEvent[]) => readonly Part[]
const without =
  (...indexes: number[]): Change =>
  (events) =>
    events.filter(({ index }) => !indexes.includes(index))
const put =
  (before: number, ...parts: Part[]): Change =>
  (events) =>
    events.flatMap((event) => (event.index === before ? [...parts, event] : [event]))
const with_ =
  (index: number, change: (event: LogEvent) => Part): Change =>
  (events) =>
    events.map((event) => (event.index === index ? change(event) : event))
const retag = (index: number, type: EventTypeName | number): Change =>
  with_(index, (event) => ({ ...event, type: typeof type === 'number' ? type : EVENT_TYPES[type] }))
const again =
  (index: number, before: number): Change =>
  (events) =>
    events.flatMap((event) => (event.index === before ? [events[index - 1] ?? event, event] : [event]))

const ZEROS = new Uint8Array(4)
const ONES = new Uint8Array(4).fill(255)
const FAILED = Uint8Array.of(0, 0, 0, 1)

describe('broken', () => {
  test.each<[string, Change, string[]]>([
    ['a separator gone', without(19), ['SeparatorMissing 4 -', 'ApplicationEarly 4 23', 'ApplicationEarly 4 24']],
    ['a separator of ones', with_(15, () => part(0, 'EV_SEPARATOR', ONES)), []],
    [
      'a separator of ones with the digest of zeros',
      with_(15, () => part(0, 'EV_SEPARATOR', ONES, ZEROS)),
      ['SeparatorMismatch 0 15'],
    ],
    [
      'a separator of text',
      with_(15, () => part(0, 'EV_SEPARATOR', text('none'))),
      ['SeparatorMismatch 0 15', 'SeparatorMissing 0 -'],
    ],
    [
      "the firmware's error mark",
      with_(16, () => part(1, 'EV_SEPARATOR', FAILED)),
      ['SeparatorFailed 1 16', 'SeparatorMissing 1 -'],
    ],
    ['a second separator', put(24, part(4, 'EV_SEPARATOR', ZEROS)), ['SeparatorRepeated 4 24']],
    [
      'a second separator, disguised by its type',
      put(24, part(2, 'EV_EFI_ACTION', ZEROS)),
      ['SeparatorDisguised 2 24', 'SeparatorRepeated 2 24'],
    ],
    ['a second separator, of the other value', put(24, part(3, 'EV_SEPARATOR', ONES)), ['SeparatorRepeated 3 24']],
    [
      "a separator's data with another digest",
      with_(1, () => part(0, 'EV_S_CRTM_CONTENTS', ZEROS, text('crtm'))),
      ['SeparatorDisguised 0 1'],
    ],
    ['a separator retagged', retag(20, 'EV_S_CRTM_CONTENTS'), ['TypeNotExpected 5 20', 'SeparatorDisguised 5 20']],
  ])('separators: %s', (_, change, expected) => {
    expect(codes(changed('secure-boot-on', change))).toEqual(expected)
  })

  const variable = (name: string, value = text('x'), guid = SECURITY_GUID) => variableData(guid, name, value)
  test.each<[string, Change, string[]]>([
    ['a variable gone', without(8), ['VariableMissing 7 -']],
    ['two in another order', (events) => swap(events, 5, 6), ['VariableOutOfOrder 7 5', 'VariableOutOfOrder 7 6']],
    ['one twice', again(7, 9), ['VariableRepeated 7 9']],
    ['one after the separator', again(4, 22), ['VariableLate 7 22']],
    [
      'one after the separator as an authority',
      put(22, part(7, 'EV_EFI_VARIABLE_AUTHORITY', variable('SecureBoot', Uint8Array.of(1), GLOBAL_GUID))),
      ['VariableLate 7 22'],
    ],
    ['one more', put(9, part(7, 'EV_EFI_VARIABLE_DRIVER_CONFIG', variable('dbt'))), ['VariableNotExpected 7 9']],
    [
      "one of another vendor's",
      put(9, part(7, 'EV_EFI_VARIABLE_DRIVER_CONFIG', variable('PK'))),
      ['VariableNotExpected 7 9'],
    ],
    [
      'an authority before the separator',
      put(9, part(7, 'EV_EFI_VARIABLE_AUTHORITY', variable('db'))),
      ['AuthorityEarly 7 9'],
    ],
    [
      'a variable that is none',
      put(9, part(7, 'EV_EFI_VARIABLE_DRIVER_CONFIG', text('none'))),
      ['VariableUnreadable 7 9'],
    ],
    [
      'another value under the same digest',
      with_(4, (event) => ({ ...event, data: event.data.with(-1, 0) })),
      [
        'DataNotCovered 7 4',
        'VariableOutOfOrder 7 5',
        'VariableOutOfOrder 7 6',
        'VariableOutOfOrder 7 7',
        'VariableOutOfOrder 7 8',
        'VariableMissing 7 -',
      ],
    ],
    ['a variable retagged as a blob', retag(4, 'EV_EFI_PLATFORM_FIRMWARE_BLOB'), ['TypeNotExpected 7 4']],
  ])('PCR 7: %s', (_, change, expected) => {
    expect(codes(changed('secure-boot-on', change))).toEqual(expected)
  })

  const calling = part(4, 'EV_EFI_ACTION', text('Calling EFI Application from Boot Option'))
  const returning = part(4, 'EV_EFI_ACTION', text('Returning from EFI Application from Boot Option'))
  const app = part(4, 'EV_EFI_BOOT_SERVICES_APPLICATION', text('path'), text('image'))
  test.each<[string, Change, string[]]>([
    ['no call', without(14), ['ApplicationEarly 4 23', 'ApplicationEarly 4 24', 'BootActionMissing 4 -']],
    ['a second call', put(25, calling), ['BootActionRepeated 4 25']],
    ['a return and a second call', put(25, returning, calling), ['BootRetried 4 25']],
    ['an application before the call', put(14, app), ['ApplicationEarly 4 14']],
    ['an application before the separator', put(15, app), ['ApplicationEarly 4 15']],
    ['an action that no specification has', put(25, part(4, 'EV_EFI_ACTION', text('Booting'))), ['ActionUnknown 4 25']],
    [
      "PCR 5's action",
      put(25, part(4, 'EV_EFI_ACTION', text('Exit Boot Services Invocation'))),
      ['ActionUnknown 4 25'],
    ],
    ['the call retagged', retag(14, 'EV_EFI_BOOT_SERVICES_APPLICATION'), ['TypeNotExpected 4 14']],
    [
      'applications retagged as blobs',
      (events) =>
        retag(24, 'EV_EFI_PLATFORM_FIRMWARE_BLOB')(retag(25, 'EV_EFI_PLATFORM_FIRMWARE_BLOB')(events) as LogEvent[]),
      ['TypeNotExpected 4 24', 'TypeNotExpected 4 25'],
    ],
    ['an application retagged as an action', retag(24, 'EV_EFI_ACTION'), ['DataNotCovered 4 24', 'ActionUnknown 4 24']],
    ['an application of unknown type', retag(24, 0x8401), ['UnknownType 4 24']],
  ])('PCR 4: %s', (_, change, expected) => {
    expect(codes(changed('secure-boot-on', change))).toEqual(expected)
  })

  const invocation = part(5, 'EV_EFI_ACTION', text('Exit Boot Services Invocation'))
  const failure = part(5, 'EV_EFI_ACTION', text('Exit Boot Services Returned with Failure'))
  test.each<[string, Change, string[]]>([
    ['the end gone', without(38), ['ExitBootServicesMissing 5 -']],
    ['both gone', without(37, 38), ['ExitBootServicesMissing 5 -', 'ExitBootServicesMissing 5 -']],
    ['a first try that failed', put(37, invocation, failure), []],
    ['something between them', put(38, failure), ['ExitBootServicesNotLast 5 39']],
    ['in another order', (events) => swap(events, 37, 38), ['ExitBootServicesNotLast 5 38']],
    [
      'something behind them',
      (events) => [...events, part(5, 'EV_EVENT_TAG', text('x'))],
      ['ExitBootServicesNotLast 5 39'],
    ],
    [
      'the same words with another digest',
      with_(38, (event) => ({ ...event, digests: new Map([['sha256', new Uint8Array(32).fill(1)]]) })),
      ['DataNotCovered 5 38', 'ExitBootServicesMissing 5 -'],
    ],
  ])('PCR 5: %s', (_, change, expected) => {
    expect(codes(changed('secure-boot-on', change))).toEqual(expected)
  })

  const line = (value: string) => part(12, 'EV_IPL', utf16le(`${value}\0`))
  test.each<[string, Change, string[]]>([
    [
      'PCR 11 with a content gone',
      without(28),
      ['SectionNotNamed 11 29', 'SectionNotNamed 11 31', 'SectionNotNamed 11 33', 'SectionNotPaired 11 33'],
    ],
    [
      'PCR 11 with a phase',
      (events) => [...events, part(11, 'EV_IPL', text('x'), text('enter-initrd'))],
      ['SectionNotNamed 11 39', 'SectionNotPaired 11 39'],
    ],
    [
      'PCR 11 with a section twice',
      (events) => [...events, part(11, 'EV_IPL', text('x'), text('.linux\0')), part(11, 'EV_IPL', text('x'))],
      ['SectionRepeated 11 39'],
    ],
    ['PCR 12 with the same line again', put(27, line('console=ttyS0 panic=1 quiet')), []],
    ['PCR 12 with another line', put(27, line('init=/bin/sh')), ['CommandLinesDiffer 12 27']],
    [
      'PCR 12 with three',
      put(27, line('console=ttyS0 panic=1 quiet'), line('console=ttyS0 panic=1 quiet')),
      ['CommandLinesTooMany 12 28'],
    ],
    ['PCR 12 with half a character', put(26, part(12, 'EV_IPL', text('x'))), ['CommandLineUnreadable 12 26']],
    [
      'PCR 12 with two lines in one',
      put(26, line('console=ttyS0 panic=1 quiet\0init=/bin/sh')),
      ['CommandLineUnreadable 12 26'],
    ],
    [
      'PCR 12 with a line that was not measured',
      put(27, part(12, 'EV_IPL', utf16le('a\0'), text('b'))),
      ['DataNotCovered 12 27'],
    ],
    ['PCR 12 with an add-on', put(27, part(12, 'EV_EVENT_TAG', text('x'))), []],
    [
      'PCR 8 as GRUB fills it',
      put(
        27,
        part(8, 'EV_IPL', text('grub_cmd: ls\0'), text('ls')),
        part(8, 'EV_IPL', text('kernel_cmdline: a\0'), text('a')),
      ),
      [],
    ],
    [
      'PCR 8 with two kernel command lines',
      put(
        27,
        part(8, 'EV_IPL', text('kernel_cmdline: a\0'), text('a')),
        part(8, 'EV_IPL', text('kernel_cmdline: b\0'), text('b')),
      ),
      ['KernelCommandLineRepeated 8 28'],
    ],
    [
      'PCR 8 with something else',
      put(27, part(8, 'EV_IPL', text('shell'))),
      ['DataNotCovered 8 27', 'GrubPrefix 8 27'],
    ],
    ['PCR 8 with another type', put(27, part(8, 'EV_EFI_ACTION', text('grub_cmd: ls'))), ['TypeNotExpected 8 27']],
    [
      'a type that nobody knows in a PCR that is not interpreted',
      put(14, part(2, 0x8401, text('?'))),
      ['UnknownType 2 14'],
    ],
    [
      'a digest of zeros',
      with_(2, (event) => ({ ...event, digests: new Map([['sha256', new Uint8Array(32)]]) })),
      ['ZeroDigest 0 2'],
    ],
    ['no action, but a digest', put(1, part(0, 'EV_NO_ACTION', text('x'))), ['NoActionDigest 0 1']],
    [
      'a StartupLocality too late',
      put(2, {
        ...part(0, 'EV_NO_ACTION', concat(text('StartupLocality\0'), Uint8Array.of(3))),
        digests: new Map([['sha256', new Uint8Array(32)]]),
      }),
      ['StartupLocality 0 2'],
    ],
  ])('%s', (_, change, expected) => {
    expect(codes(changed('secure-boot-on', change))).toEqual(expected)
  })
})

describe('TPM Carte Blanche', () => {
  test('a bank of zeros is empty, whatever the other bank says', () => {
    const log = changed('two-banks', (events) =>
      events.map((event) => ({
        ...event,
        digests: new Map(
          [...event.digests].map(([bank, digest]) => [bank, bank === 'sha256' ? new Uint8Array(32) : digest]),
        ),
      })),
    )
    expect(findings(log)[0]).toEqual({ code: 'EmptyBank', message: FINDINGS.EmptyBank })
    expect(findings(log, 'sha384')).toEqual([])
  })
  test('so is a bank with nothing in PCR 0 to 7, and a log of nothing', () => {
    expect(codes(logOf(part(11, 'EV_IPL', text('x'), text('.linux\0')), part(11, 'EV_IPL', text('y'))))).toContain(
      'EmptyBank - -',
    )
    expect(codes(logOf())).toContain('EmptyBank - -')
  })
})

test('a finding says what, where, and what there should have been', () => {
  const messages = findings(changed('secure-boot-on', without(8))).map(({ message }) => message)
  expect(messages).toEqual(['PCR 7: a Secure Boot variable was not measured before the separator (expected dbx)'])
})

test('every code is found by a test of this file', () => {
  const own = readFileSync(new URL(import.meta.url), 'utf8')
  expect((Object.keys(FINDINGS) as FindingCode[]).filter((code) => !own.includes(`'${code} `))).toEqual([])
})

function swap(events: readonly LogEvent[], one: number, other: number): readonly LogEvent[] {
  return events.map((event) => {
    if (event.index === one) return events[other - 1] ?? event
    return event.index === other ? (events[one - 1] ?? event) : event
  })
}
