import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { digest } from '../banks.ts'
import { concat, Malformed, toHex } from '../bytes.ts'
import { recordedLog, recordedPcrs, recordedRecords, text } from './fixture.ts'
import { measuredIn } from './measured.ts'
import {
  MEASUREMENT_LOG_LIMITS,
  parseMeasurementLog,
  provenWords,
  RECORD_FINDINGS,
  recordFindings,
  replayRecords,
} from './measurement-log.ts'
import { parseEventLog } from './parse.ts'
import { type PcrValues, replay } from './replay.ts'

// As systemd 255 and later write it. `recordings/` has one that systemd wrote; these are its form, with what it never wrote.
const of = (words: string) => toHex(digest('sha256', text(words)))
const record = (pcr: number, says: string, eventType = 'phase', hex = of(says)) => ({
  pcr,
  digests: [{ hashAlg: 'sha256', digest: hex }],
  content_type: 'systemd',
  content: { string: says, bootId: 'f'.repeat(32), timestamp: 1, eventType },
})
const log = (...records: unknown[]) => concat(...records.map((one) => text(`\x1e${JSON.stringify(one)}\n`)))
const boot = log(
  record(11, 'enter-initrd'),
  record(15, 'cryptsetup:root:0123', 'volume-key', 'ab'.repeat(32)),
  record(11, 'leave-initrd'),
  record(15, 'machine-id:0123', 'machine-id'),
)

function refusal(bytes: Uint8Array) {
  try {
    parseMeasurementLog(bytes)
  } catch (error) {
    if (error instanceof Malformed) return { code: error.code, offset: error.offset, message: error.message }
    throw error
  }
  return undefined
}

describe('a boot that systemd wrote', () => {
  const hexes = (values: PcrValues) => Object.fromEntries([...values].map(([pcr, value]) => [pcr, toHex(value)]))
  const records = parseMeasurementLog(recordedRecords())
  const { sha256: held = {} } = recordedPcrs('userspace')
  const quoted = new Map(
    Object.entries(held).map(([pcr, hex]) => [Number(pcr), Uint8Array.from(Buffer.from(hex, 'hex'))]),
  )
  const firmware = replay(measuredIn(parseEventLog(recordedLog('secure-boot-off')), 'sha256'))

  test('leads from what the firmware’s log leads to to what the TPM held', () => {
    const { values, covered } = replayRecords(firmware, records, 'sha256', quoted)
    expect(hexes(values)).toEqual(held)
    expect([covered, records.length]).toEqual([5, 5])
    expect(hexes(firmware)).not.toEqual(held)
    expect(records.map((one) => provenWords(one, 'sha256'))).toEqual([
      'enter-initrd',
      'leave-initrd',
      'machine-id:0123456789abcdef0123456789abcdef',
      'sysinit',
      'ready',
    ])
    expect(recordFindings(records, 'sha256')).toEqual([])
  })

  test('was quoted in the middle: the records that came after the quote are not among the covered', () => {
    const early = replayRecords(firmware, records.slice(0, 3), 'sha256', new Map()).values
    expect(replayRecords(firmware, records, 'sha256', early)).toEqual({ values: early, covered: 3 })
    // PCR 15 was not quoted: its record may have come before or after.
    const phases = new Map([...early].filter(([pcr]) => pcr !== 15))
    expect(replayRecords(firmware, records, 'sha256', phases).covered).toBe(3)
    expect(replayRecords(firmware, records, 'sha256', firmware).covered).toBe(0)
  })

  test('leads nowhere else: where no beginning of the log leads to the quote, all of it is shown', () => {
    const strange = new Map(quoted).set(13, new Uint8Array(32).fill(1))
    const { values, covered } = replayRecords(firmware, records, 'sha256', strange)
    expect([hexes(values), covered]).toEqual([held, 5])
  })

  test('explains no PCR that is the firmware’s or the kernel’s own', () => {
    const moved = parseMeasurementLog(log(record(4, 'x'), record(9, 'x'), record(10, 'x'), record(16, 'x')))
    expect(hexes(replayRecords(firmware, moved, 'sha256', new Map()).values)).toEqual(hexes(firmware))
  })
})

test('words are proven by their digest, not by their type', () => {
  const records = parseMeasurementLog(
    log(
      record(11, 'ready', 'volume-key'),
      record(11, 'ready', 'phase', of('final')),
      record(4, 'x'),
      record(11, 'y', 'other', of('z')),
    ),
  )
  expect(records.map((one) => provenWords(one, 'sha256'))).toEqual(['ready', undefined, 'x', undefined])
  expect(records.map((one) => provenWords(one, 'sha384'))).toEqual([undefined, undefined, undefined, undefined])
  expect(recordFindings(records, 'sha256')).toEqual([
    {
      code: 'RecordNotCovered',
      record: 1,
      pcr: 11,
      expected: of('ready'),
      actual: of('final'),
      message: `PCR 11, record 1: ${RECORD_FINDINGS.RecordNotCovered}`,
    },
    {
      code: 'RecordInFirmwarePcr',
      record: 2,
      pcr: 4,
      message: `PCR 4, record 2: ${RECORD_FINDINGS.RecordInFirmwarePcr}`,
    },
  ])
})

test("a record of a register in an NV index extends no PCR, and another algorithm's digest is passed over", () => {
  const { pcr: _, ...nv } = record(0, 'product-id:1', 'product-id')
  const other = {
    ...record(11, 'ready'),
    digests: [{ hashAlg: 'sm3_256', digest: 'zz' }, ...record(11, 'ready').digests],
  }
  const records = parseMeasurementLog(log({ ...nv, nv_index: 0x1d10200 }, other))
  expect(records.map(({ pcr, digests }) => [pcr, [...digests.keys()]])).toEqual([
    [undefined, ['sha256']],
    [11, ['sha256']],
  ])
  expect([...replayRecords(new Map(), records, 'sha256', new Map()).values.keys()]).toEqual([11])
  expect(recordFindings(records.slice(0, 1), 'sha256')).toEqual([])
})

test('a record that lacks the bank is not replayed', () => {
  expect(() => replayRecords(new Map(), parseMeasurementLog(boot), 'sha512', new Map())).toThrow(
    /record 0 has no sha512 digest/,
  )
})

describe('refused, with the byte at which the record begins', () => {
  const good = log(record(11, 'ready'))
  const digests = (value: unknown) => log({ ...record(11, 'ready'), digests: value })
  const sha256 = record(11, 'ready').digests[0]
  test.each<[string, Uint8Array, string, number, RegExp]>([
    ['JSON lines', text(JSON.stringify(record(11, 'ready'))), 'BadMagic', 0, /record separator/],
    ['a record cut short', concat(good, good.subarray(0, -1)), 'Truncated', good.length, /line feed/],
    ['half a record', concat(good, text('\x1e{"pcr":\n')), 'BadValue', good.length, /JSON/],
    ['bytes that are no text', concat(text('\x1e"'), Uint8Array.of(0xff), text('"\n')), 'BadValue', 0, /JSON/],
    ['nothing between two', text('\x1e\n'), 'BadValue', 0, /JSON/],
    ['no object', log([]), 'BadValue', 0, /no object/],
    ['PCR 24', log(record(24, 'x')), 'BadValue', 0, /0 to 23/],
    ['PCR -1', log(record(-1, 'x')), 'BadValue', 0, /0 to 23/],
    ['PCR "11"', log({ ...record(11, 'x'), pcr: '11' }), 'BadValue', 0, /0 to 23/],
    ['PCR null', log({ ...record(11, 'x'), pcr: null }), 'BadValue', 0, /0 to 23/],
    ['no digests', digests([]), 'BadValue', 0, /list of 1/],
    ['seventeen digests', digests(Array(17).fill(sha256)), 'BadValue', 0, /list of 1/],
    ['one digest twice', digests([sha256, sha256]), 'BadValue', 0, /two digests of sha256/],
    ['a digest too short', digests([{ hashAlg: 'sha256', digest: 'abcd' }]), 'BadValue', 0, /32 bytes in hex/],
    ['a digest not in hex', digests([{ hashAlg: 'sha256', digest: 'z'.repeat(64) }]), 'BadValue', 0, /32 bytes in hex/],
    [
      'a digest in capitals, which would be two spellings of one log',
      digests([{ hashAlg: 'sha256', digest: 'AB'.repeat(32) }]),
      'BadValue',
      0,
      /32 bytes in hex/,
    ],
    ['a digest that is none', digests(['sha256']), 'BadValue', 0, /hashAlg/],
    [
      'too large a record',
      log(record(11, 'x'.repeat(MEASUREMENT_LOG_LIMITS.recordBytes))),
      'TooLarge',
      0,
      /a record of/,
    ],
    ['too large a log', new Uint8Array(MEASUREMENT_LOG_LIMITS.bytes + 1), 'TooLarge', 0, /at most/],
    [
      'too many records',
      concat(
        ...Array<Uint8Array>(MEASUREMENT_LOG_LIMITS.records + 1).fill(log({ digests: [{ hashAlg: 'x', digest: '' }] })),
      ),
      'TooLarge',
      MEASUREMENT_LOG_LIMITS.records * 43,
      /records/,
    ],
  ])('%s', (_, bytes, code, offset, message) => {
    expect(refusal(bytes)).toMatchObject({ code, offset, message: expect.stringMatching(message) })
  })

  test('nothing at all is a boot without measurements', () => {
    expect(parseMeasurementLog(new Uint8Array(0))).toEqual([])
  })
})

describe('any bytes are a log or Malformed', () => {
  const nasty = fc.json({ depthSize: 'large' }).map((one) => text(`\x1e${one}\n`))
  const damaged = fc
    .array(fc.tuple(fc.nat(boot.length - 1), fc.nat(7)), { minLength: 1, maxLength: 5 })
    .map((flips) => flips.reduce<Uint8Array>((bytes, [at, bit]) => bytes.with(at, (bytes[at] ?? 0) ^ (1 << bit)), boot))
  test.each<[string, fc.Arbitrary<Uint8Array>]>([
    ['raw', fc.uint8Array({ maxLength: 200 })],
    ['any JSON', nasty],
    ['a good log with flips', damaged],
    [
      'a good log, cut and joined',
      fc.tuple(fc.nat(boot.length), fc.nat(boot.length)).map(([a, b]) => concat(boot.subarray(0, a), boot.subarray(b))),
    ],
    ['deeply nested', fc.nat(60_000).map((depth) => text(`\x1e${'['.repeat(depth)}\n`))],
  ])('%s', (_, arbitrary) => {
    fc.assert(
      fc.property(arbitrary, (bytes) => {
        const no = refusal(bytes)
        if (no === undefined) recordFindings(parseMeasurementLog(bytes), 'sha256')
        else expect(no.offset).toBeLessThanOrEqual(bytes.length)
      }),
      { numRuns: 500 },
    )
  })
})
