import { describe, expect, test } from 'vitest'
import { concat } from '../bytes.ts'
import { describeLog } from './describe.ts'
import { logOf, type Part, part, RECORDINGS, recordedLog, recordedPcrs, text, u32, utf16le } from './fixture.ts'
import { NO_PCR, parseEventLog } from './parse.ts'

describe('a recorded log', () => {
  test.each(RECORDINGS)('%s is described in the bank asked for, and is JSON', (name) => {
    const log = parseEventLog(recordedLog(name))
    const described = describeLog(log, 'sha256')
    expect(JSON.parse(JSON.stringify(described))).toEqual(described)
    const machine = recordedPcrs(name).sha256 ?? {}
    expect(Object.keys(described.pcrs)).toEqual(['sha256'])
    expect(Object.keys(described.pcrs.sha256 ?? {})).toEqual(['0', '1', '2', '3', '4', '5', '6', '7', '9', '11', '12'])
    for (const [pcr, value] of Object.entries(described.pcrs.sha256 ?? {})) expect(value).toBe(machine[pcr])
    expect(described.secureBoot).toBe(name === 'secure-boot-on' || name === 'retry')
    expect(described.events).toHaveLength(log.events.length)
  })

  test('in the best bank there is, if none is asked for', () => {
    const { banks, pcrs } = describeLog(parseEventLog(recordedLog('two-banks')))
    expect([banks, Object.keys(pcrs)]).toEqual([['sha256', 'sha384'], ['sha384']])
  })

  test('says what its events say of themselves', () => {
    const says = new Map(describeLog(parseEventLog(recordedLog('retry'))).events.map((event) => [event.index, event]))
    expect([4, 9, 14, 24, 27, 30, 31, 39].map((index) => says.get(index)?.says)).toEqual([
      '8be4df61-93ca-11d2-aa0d-00e098032b8c-SecureBoot (1 bytes)',
      '00000000',
      'Calling EFI Application from Boot Option',
      'Path(2,1)/Pci(1,0)/HD(aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee)/\\EFI\\BOOT\\BOOTX64.EFI',
      'Fv(7cb8bdc9-f8eb-4f34-aaea-3ee4af6516a1)/FvFile(7c04a583-9e3e-4f1c-ad65-e05268d0b4d1)',
      'console=ttyS0 panic=1 quiet',
      '.linux',
      '0x8f3b22ed LOADED_IMAGE::LoadOptions',
    ])
    expect(says.get(30)?.covered).toBe('yes')
    expect(says.get(31)?.covered).toBe('not-by-data')
  })
})

describe('what an event says', () => {
  const says = (...parts: readonly Part[]) => describeLog(logOf(...parts)).events[0]?.says
  const path = (nodes: Uint8Array) => concat(new Uint8Array(24), u32(nodes.length), u32(0), nodes)
  const end = Uint8Array.of(0x7f, 0xff, 4, 0)
  test.each<[string, Part, string | null]>([
    ['control characters are shown as dots', part(4, 'EV_EFI_ACTION', text('a\x1b[31m\nb')), 'a·[31m·b'],
    ['marks that turn a line around too', part(12, 'EV_IPL', utf16le('abcdefgh\u202e')), 'abcdefgh·'],
    ['it may be long, and is cut', part(4, 'EV_EFI_ACTION', text('x'.repeat(9999))), `${'x'.repeat(255)}…`],
    ['a path that goes on behind its end', part(4, 'EV_EFI_BOOT_SERVICES_APPLICATION', path(concat(end, end))), null],
    ['a path without end', part(4, 'EV_EFI_BOOT_SERVICES_APPLICATION', path(Uint8Array.of(1, 1, 4, 0))), null],
    ['a path of empty nodes', part(4, 'EV_EFI_BOOT_SERVICES_APPLICATION', path(Uint8Array.of(1, 1, 0, 0))), null],
    [
      'a path of too many nodes',
      part(
        4,
        'EV_EFI_BOOT_SERVICES_APPLICATION',
        path(concat(...Array<Uint8Array>(65).fill(Uint8Array.of(1, 9, 4, 0)), end)),
      ),
      null,
    ],
    [
      'a path longer than its event',
      part(4, 'EV_EFI_BOOT_SERVICES_APPLICATION', concat(new Uint8Array(24), u32(0), u32(1))),
      null,
    ],
    ['a tag longer than its event', part(9, 'EV_EVENT_TAG', concat(u32(1), u32(99))), null],
    ['nothing', part(0, 'EV_EFI_PLATFORM_FIRMWARE_BLOB', text('0123456789abcdef')), null],
  ])('%s', (_, one, expected) => {
    expect(says(one)).toBe(expected)
  })

  test('a finding is one line of what the log says, and however long that is, no more than a line', () => {
    const line = (words: string) => part(12, 'EV_IPL', utf16le(`${words}\0`))
    const long = 'x'.repeat(100_000)
    const many = Array.from({ length: 1_000 }, (_, at) => line(`${at}`))
    const { findings } = describeLog(logOf(line(long), line('a\nSecure Boot: on\u202e'), ...many))
    const differ = findings.filter(({ code }) => code === 'CommandLinesDiffer')
    expect(differ).toHaveLength(1_001)
    expect(differ[0]).toMatchObject({ expected: `${'x'.repeat(255)}…`, actual: 'a·Secure Boot: on·' })
    expect(JSON.stringify(findings).length).toBeLessThan(2_000_000)
  })

  test('an event of no PCR has none, a type without a name has its number', () => {
    const none = { ...part(0, 'EV_NO_ACTION', text('SP800-155 Event\0')), pcr: NO_PCR }
    const { events } = describeLog(logOf(none, part(2, 0x8401, text('?'))))
    expect(events).toMatchObject([
      { pcr: null, says: 'SP800-155 Event', covered: 'not-by-data' },
      { pcr: 2, type: '0x00008401', says: null },
    ])
  })

  test('Secure Boot is null where no digest proves it', () => {
    expect(describeLog(logOf()).secureBoot).toBeNull()
  })
})
