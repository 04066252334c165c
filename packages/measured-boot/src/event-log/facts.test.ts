import { describe, expect, test } from 'vitest'
import { digest, extended } from '../banks.ts'
import { concat, toHex } from '../bytes.ts'
import { EVENT_TYPES } from './event-types.ts'
import { type Facts, factsOf, isEmptyBank } from './facts.ts'
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
import { measuredIn } from './measured.ts'
import { type EventLog, parseEventLog } from './parse.ts'
import { replay, startOf } from './replay.ts'

const facts = (log: EventLog) => factsOf(measuredIn(log, 'sha256'))
const recorded = (name: (typeof RECORDINGS)[number]) => facts(parseEventLog(recordedLog(name)))
const digests = (fact: Facts['kernel' | 'authorities' | 'commandLines']) => fact.value?.map((one) => one.digest)
const BOOT_LOADER = '7843e376e57323bcdfebcffc8d5109eb39721c83d8bedab1dfd6431596875c2c'
const SIGNED_BOOT_LOADER = '9bf2519c746ec66b569300e423127a9361b47af7f66783c7e1378fb055671ad4'
const LINE = 'console=ttyS0 panic=1 quiet'

describe('a boot without Secure Boot', () => {
  const off = recorded('secure-boot-off')
  test('says so, and that there are no keys', () => {
    expect(off.secureBoot).toEqual({ value: false })
    expect([off.pk, off.kek, off.db, off.dbx].map(({ value }) => value?.value.length)).toEqual([0, 0, 0, 0])
    expect(off.authorities).toEqual({ value: [] })
  })
  test('started boot loader, UKI and inner kernel, each measuring the command line', () => {
    expect(off.boot.value?.applications.map((one) => one.event)).toEqual([23, 24, 35])
    expect(off.boot.value?.applications[0]?.digest).toBe(BOOT_LOADER)
    expect(off.boot.value).toMatchObject({ called: true, retries: 0 })
    expect(off.commandLines.value?.map((one) => one.text)).toEqual([LINE, LINE])
  })
  test('measured the command line and the initrd as the stub and the kernel did', () => {
    const { value: sections } = off.sections
    expect(sections?.map(({ name }) => name)).toEqual(['.linux', '.osrel', '.cmdline', '.initrd'])
    expect(sections?.[2]?.digest).toBe(toHex(digest('sha256', text(LINE))))
    expect(digests(off.kernel)).toEqual([toHex(digest('sha256', utf16le(`${LINE}\0`))), sections?.[3]?.digest])
    expect(off.exitBootServices).toEqual({ value: true })
  })
})

test('a log in a Buffer, whose slice() is no copy, is read the same and left as it was', () => {
  const buffer = Buffer.from(recordedLog('secure-boot-on'))
  expect(JSON.stringify(facts(parseEventLog(buffer)).secureBoot)).toBe(
    JSON.stringify(recorded('secure-boot-on').secureBoot),
  )
  expect(toHex(buffer)).toBe(toHex(recordedLog('secure-boot-on')))
})

describe('a boot with Secure Boot', () => {
  const on = recorded('secure-boot-on')
  test('says so, and names the keys and the authority that was used', () => {
    expect(on.secureBoot).toEqual({ value: true })
    const [authority] = on.authorities.value ?? []
    const { db } = on
    expect(authority?.variable?.name).toBe('db')
    // The authority is the entry of db that verified the image: its one list, without the list's header.
    expect(toHex(authority?.variable?.value ?? text(''))).toBe(toHex(db.value?.value.subarray(28) ?? text('?')))
  })
  test('started boot loader and UKI, and the inner kernel without the firmware', () => {
    expect(on.boot.value?.applications).toHaveLength(2)
    expect(on.boot.value?.applications[0]?.digest).toBe(SIGNED_BOOT_LOADER)
    expect(on.commandLines.value?.map((one) => one.text)).toEqual([LINE])
  })
  test('tells a retry, with every application that was measured on the way', () => {
    const { value: boot } = recorded('retry').boot as Facts['boot']
    expect(boot?.retries).toBe(1)
    expect(boot?.applications.map((one) => one.digest === SIGNED_BOOT_LOADER)).toEqual([true, false, true, false])
  })
})

describe('no fact rests on a type', () => {
  test.each(RECORDINGS)('%s says the same with every event retagged', (name) => {
    const { EV_NO_ACTION, ...types } = EVENT_TYPES
    for (const type of [...Object.values(types), 0x8401]) {
      expect(facts(changed(name, (events) => events.map((event) => ({ ...event, type }))))).toEqual(recorded(name))
    }
  })
})

describe('unknown, with the reason', () => {
  const secureBoot = (...value: number[]) =>
    part(7, 'EV_EFI_VARIABLE_DRIVER_CONFIG', variableData(GLOBAL_GUID, 'SecureBoot', Uint8Array.from(value)))
  const separator = (pcr: number) => part(pcr, 'EV_SEPARATOR', new Uint8Array(4))
  const uncovered = { ...secureBoot(1), data: secureBoot(0).data }
  const longer = concat(secureBoot(1).data, text('123456'))
  test.each<[string, Part[], string | boolean]>([
    ['1 is on', [secureBoot(1), separator(7)], true],
    ['0 is off', [secureBoot(0), separator(7)], false],
    ['nothing is off: firmware without keys', [secureBoot(), separator(7)], false],
    ['2 is neither', [secureBoot(2), separator(7)], 'event 1: SecureBoot is neither 0 nor 1'],
    ['two bytes are neither', [secureBoot(1, 0), separator(7)], 'event 1: SecureBoot is neither 0 nor 1'],
    [
      'after the separator',
      [separator(7), secureBoot(1)],
      "no digest before PCR 7's separator proves a variable SecureBoot",
    ],
    ['twice', [secureBoot(1), secureBoot(1), separator(7)], 'PCR 7 has SecureBoot 2 times before its separator'],
    [
      'twice, once on',
      [secureBoot(0), secureBoot(1), separator(7)],
      'PCR 7 has SecureBoot 2 times before its separator',
    ],
    ['no separator', [secureBoot(1)], 'PCR 7 has 0 separators'],
    ['two separators', [secureBoot(1), separator(7), separator(7)], 'PCR 7 has 2 separators'],
    [
      'in another PCR',
      [{ ...secureBoot(1), pcr: 6 }, separator(7)],
      "no digest before PCR 7's separator proves a variable SecureBoot",
    ],
    [
      'data that no digest covers',
      [uncovered, separator(7)],
      "no digest before PCR 7's separator proves a variable SecureBoot",
    ],
    [
      'longer than it says, as only authorities may be',
      [part(7, 'EV_EFI_VARIABLE_AUTHORITY', longer, longer.subarray(0, -1)), separator(7)],
      "no digest before PCR 7's separator proves a variable SecureBoot",
    ],
    [
      "another vendor's",
      [
        part(7, 'EV_EFI_VARIABLE_DRIVER_CONFIG', variableData(SECURITY_GUID, 'SecureBoot', Uint8Array.of(1))),
        separator(7),
      ],
      "no digest before PCR 7's separator proves a variable SecureBoot",
    ],
  ])('Secure Boot: %s', (_, parts, expected) => {
    const { value, why } = facts(logOf(...parts)).secureBoot
    expect(value ?? why).toBe(expected)
  })

  test('an authority that no digest covers is a digest, and one of an old shim is read', () => {
    const data = concat(variableData(SECURITY_GUID, 'db', text('certificate')), text('123456'))
    const old = part(7, 'EV_EFI_VARIABLE_AUTHORITY', data, data.subarray(0, -1))
    const other = part(7, 'EV_EFI_VARIABLE_AUTHORITY', text('?'), text('!'))
    expect(facts(logOf(separator(7), old, other)).authorities.value).toMatchObject([
      { event: 2, variable: { name: 'db', value: text('certificate') } },
      { event: 3, digest: toHex(digest('sha256', text('!'))) },
    ])
    const elsewhere = { ...old, data: data.with(-1, 0) }
    expect(facts(logOf(separator(7), elsewhere)).authorities).toEqual(facts(logOf(separator(7), old)).authorities)
  })

  test.each<[string, Part[], keyof Facts, RegExp]>([
    ['applications without a separator', [part(4, 'EV_EFI_ACTION', text('x'))], 'boot', /PCR 4 has 0 separators/],
    ['the end without a separator', [], 'exitBootServices', /PCR 5 has 0 separators/],
    ['sections out of step', [part(11, 'EV_IPL', text('x'))], 'sections', /event 1: no section's name/],
    ['a section without content', [part(11, 'EV_IPL', text('.linux\0'))], 'sections', /event 1: .linux without/],
  ])('%s', (_, parts, name, why) => {
    expect(facts(logOf(...parts))[name].why).toMatch(why)
  })

  test('an application before the separator is not left out, it is early', () => {
    const app = (image: string) => part(4, 'EV_EFI_BOOT_SERVICES_APPLICATION', text('path'), text(image))
    expect(facts(logOf(app('a'), separator(4), app('b'))).boot.value).toMatchObject({
      applications: [{ early: true }, { early: false }],
      called: false,
      retries: 0,
    })
  })

  test('boot services that were not left are not left', () => {
    expect(facts(logOf(separator(5))).exitBootServices).toEqual({ value: false })
  })
})

describe('an empty bank', () => {
  const values = (log: EventLog) => replay(measuredIn(log, 'sha256'))
  test('is one that firmware never extended, from whatever locality the TPM started', () => {
    expect(isEmptyBank(values(logOf(part(11, 'EV_IPL', text('x')))), 'sha256')).toBe(true)
    expect(isEmptyBank(new Map([[0, startOf('sha256', 0, 3)]]), 'sha256')).toBe(true)
    expect(isEmptyBank(new Map([[0, extended('sha256', [digest('sha256', text('x'))])]]), 'sha256')).toBe(false)
  })
  test.each(RECORDINGS)('%s is none', (name) => {
    expect(isEmptyBank(values(parseEventLog(recordedLog(name))), 'sha256')).toBe(false)
  })
})
