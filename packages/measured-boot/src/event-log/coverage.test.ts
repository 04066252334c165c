import { describe, expect, test } from 'vitest'
import { concat, toHex } from '../bytes.ts'
import {
  GLOBAL_GUID,
  logOf,
  type Part,
  part,
  RECORDINGS,
  recordedLog,
  SECURITY_GUID,
  text,
  u32,
  utf16le,
  variableData,
} from './fixture.ts'
import { measuredIn } from './measured.ts'
import { type LogEvent, parseEventLog } from './parse.ts'

const coverage = (one: Part) => measuredIn(logOf(one), 'sha256').extends[0]?.coverage
const of = (start: number, end: number) => ({ covered: 'yes', start, end })

test.each(RECORDINGS)('%s: every digest covers the data that it must, by its type', (name) => {
  const { extends: all } = measuredIn(parseEventLog(recordedLog(name)), 'sha256')
  const kinds = new Map<string, Set<string>>()
  for (const { event, coverage } of all) {
    const type = `${event.typeName}${event.typeName === 'EV_IPL' ? ` ${event.pcr}` : ''}`
    kinds.set(type, (kinds.get(type) ?? new Set()).add(coverage.covered))
  }
  expect(kinds.get('EV_EFI_BOOT_SERVICES_APPLICATION')).toEqual(new Set(['not-by-data']))
  const notByData = ['EV_EFI_PLATFORM_FIRMWARE_BLOB', 'EV_EFI_BOOT_SERVICES_APPLICATION', 'EV_IPL 11', 'EV_EVENT_TAG']
  for (const [type, covered] of kinds)
    expect([type, [...covered]]).toEqual([type, [notByData.includes(type) ? 'not-by-data' : 'yes']])
})

test('a digest that everybody knows proves what hashing would: the bytes that it is of, and no others', () => {
  const texts = [new Uint8Array(4), Uint8Array.of(0xff, 0xff, 0xff, 0xff), text('.linux\0'), text('.linux')]
  const calling = text('Calling EFI Application from Boot Option')
  for (const measured of [...texts, calling])
    for (const data of [...texts, calling, concat(calling, Uint8Array.of(0)), new Uint8Array(0), new Uint8Array(5)]) {
      const [one] = measuredIn(logOf(part(4, 'EV_EFI_ACTION', data, measured)), 'sha256').extends
      const same = toHex(data) === toHex(measured)
      expect(one?.coverage).toEqual(same ? of(0, data.length) : { covered: 'no' })
      for (let end = 0; end <= data.length; end++)
        expect(one?.proof.of(0, end)).toBe(toHex(data.subarray(0, end)) === toHex(measured))
    }
})

describe('what a digest proves', () => {
  const boot = variableData(GLOBAL_GUID, 'Boot0001', text('value'))
  const old = variableData(SECURITY_GUID, 'db', text('certificate'))
  const shim = concat(old, text('123456'))
  const line = utf16le('quiet\0')
  test.each<[string, Part, unknown]>([
    ['all of an action', part(4, 'EV_EFI_ACTION', text('act')), of(0, 3)],
    ['nothing of another action', part(4, 'EV_EFI_ACTION', text('act'), text('Act')), { covered: 'no' }],
    ["a boot variable's value", part(1, 'EV_EFI_VARIABLE_BOOT', boot, text('value')), of(48, 53)],
    ['a whole boot variable', part(1, 'EV_EFI_VARIABLE_BOOT', boot), of(0, 53)],
    ["no boot variable's name alone", part(1, 'EV_EFI_VARIABLE_BOOT', boot, utf16le('Boot0001')), { covered: 'no' }],
    ['a boot variable that is none', part(1, 'EV_EFI_VARIABLE_BOOT', text('x'), text('y')), { covered: 'no' }],
    [
      'all but the last byte of an old shim',
      part(7, 'EV_EFI_VARIABLE_AUTHORITY', shim, shim.subarray(0, -1)),
      of(0, 52),
    ],
    [
      'not all but the last byte of others',
      part(7, 'EV_EFI_VARIABLE_AUTHORITY', old, old.subarray(0, -1)),
      { covered: 'no' },
    ],
    [
      'not so for configuration',
      part(7, 'EV_EFI_VARIABLE_DRIVER_CONFIG', shim, shim.subarray(0, -1)),
      { covered: 'no' },
    ],
    ['a command line with its NUL', part(12, 'EV_IPL', line), of(0, 12)],
    ['a command line without it', part(12, 'EV_IPL', line, line.subarray(0, -2)), of(0, 10)],
    ["a command of GRUB's, without prefix and NUL", part(8, 'EV_IPL', text('grub_cmd: ls\0'), text('ls')), of(10, 12)],
    ["a command of RHEL 8's GRUB, with its NUL", part(8, 'EV_IPL', text('grub_cmd ls\0'), text('ls\0')), of(9, 12)],
    [
      "nothing of GRUB's that was not measured",
      part(8, 'EV_IPL', text('grub_cmd: ls\0'), text('cat')),
      { covered: 'no' },
    ],
    ["not GRUB's prefix", part(8, 'EV_IPL', text('grub_cmd: ls\0')), { covered: 'no' }],
    ['nothing where the data is a label', part(11, 'EV_IPL', utf16le('.linux\0')), { covered: 'not-by-data' }],
    ['nothing of a type that nobody knows', part(2, 0x8401, text('x')), { covered: 'not-by-data' }],
  ])('%s', (_, one, expected) => {
    expect(coverage(one)).toEqual(expected)
  })
})

test('a name of more characters than there are bytes costs nothing', () => {
  const vast = concat(GLOBAL_GUID, u32(0xffffffff), u32(0xffffffff), u32(0xffffffff), u32(0xffffffff))
  const [event] = logOf(part(1, 'EV_EFI_VARIABLE_BOOT', vast, text('x'))).events as readonly LogEvent[]
  expect(event?.data).toHaveLength(32)
  expect(coverage(part(1, 'EV_EFI_VARIABLE_BOOT', vast, text('x')))).toEqual({ covered: 'no' })
})
