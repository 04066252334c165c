import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { concat, Malformed, toHex } from '../bytes.ts'
import {
  RECORDINGS,
  recordedLog,
  recordingPath,
  text,
  u16,
  u32,
  written,
  writtenEvent,
  writtenHeader,
} from './fixture.ts'
import { LOG_LIMITS, NO_PCR, parseEventLog } from './parse.ts'

const SHA256 = { id: 0xb, size: 32 }
const SHA1 = { id: 4, size: 20 }
const digest = (size: number) => new Uint8Array(size).fill(7)
const one = (pcr = 1, type = 5, data = text('x')) => writtenEvent(pcr, type, [[0xb, digest(32)]], data)
const header = writtenHeader([SHA256])

function refusal(bytes: Uint8Array) {
  try {
    parseEventLog(bytes)
  } catch (error) {
    if (error instanceof Malformed) return { code: error.code, offset: error.offset, message: error.message }
    throw error
  }
  return undefined
}

describe('a recorded log', () => {
  test.each(RECORDINGS)('%s is read whole, and written again it is the same bytes', (name) => {
    const log = parseEventLog(recordedLog(name))
    expect(toHex(written(log))).toBe(toHex(recordedLog(name)))
    expect(log.events.every(({ typeName }) => typeName !== undefined)).toBe(true)
  })

  const tool = '/usr/bin/tpm2_eventlog'
  test.skipIf(!existsSync(tool)).each(RECORDINGS)('%s is to tpm2_eventlog what it is here', (name) => {
    const yaml = execFileSync(tool, [recordingPath(name)], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
    const theirs = yaml
      .slice(0, yaml.indexOf('\npcrs:'))
      .split('- EventNum: ')
      .slice(2)
      .map((part) => ({
        index: Number.parseInt(part, 10),
        pcr: Number(/PCRIndex: (\d+)/.exec(part)?.[1]),
        type: /EventType: (\w+)/.exec(part)?.[1],
        digests: [...part.matchAll(/AlgorithmId: (\w+)\s+Digest: "([0-9a-f]+)"/g)].map((match) => match.slice(1)),
        size: Number(/EventSize: (\d+)/.exec(part)?.[1]),
      }))
    const ours = parseEventLog(recordedLog(name)).events.map(({ index, pcr, typeName, digests, data }) => ({
      index,
      pcr,
      type: typeName,
      digests: [...digests].map(([bank, bytes]) => [bank, toHex(bytes)]),
      size: data.length,
    }))
    expect(ours).toEqual(theirs)
  })
})

describe('what may be', () => {
  test('a log with no event, vendor information in its header, an algorithm that we have no name for', () => {
    const banks = [{ id: 0x12, size: 32 }, SHA256]
    expect(parseEventLog(writtenHeader(banks, text('vendor')))).toEqual({
      banks: [
        { id: 0x12, name: '0x0012', size: 32 },
        { id: 0xb, name: 'sha256', size: 32 },
      ],
      events: [],
    })
    const digests = [[0xb, digest(32)] as const, [0x12, digest(32)] as const]
    const [event] = parseEventLog(concat(writtenHeader(banks), writtenEvent(4, 0x8401, digests, text('?')))).events
    expect(event).toMatchObject({ index: 1, pcr: 4, type: 0x8401, typeName: undefined, offset: 32 + 28 + 9 })
    expect([...(event?.digests.keys() ?? [])]).toEqual(['sha256', '0x0012'])
  })

  test('no PCR at all for an event that measures nothing', () => {
    expect(parseEventLog(concat(header, one(NO_PCR, 3))).events[0]?.pcr).toBe(NO_PCR)
  })
})

describe('refused, with the byte', () => {
  const at = header.length
  const sha1Event = (pcr: number, data: Uint8Array) => concat(u32(pcr), u32(8), digest(20), u32(data.length), data)
  test.each<[string, Uint8Array, string, number, RegExp]>([
    ['nothing', new Uint8Array(0), 'Truncated', 0, /4 bytes wanted/],
    ['a header cut short', header.subarray(0, 50), 'Truncated', 32, /wanted/],
    ['something else', concat(text('MZ'), digest(60)), 'BadMagic', 0, /Spec ID Event03/],
    ['a log of TPM 1.2', concat(sha1Event(0, text('v1')), sha1Event(7, text(''))), 'Unsupported', 0, /SHA-1/],
    [
      'a log of TPM 1.2 with its header',
      concat(u32(0), u32(3), new Uint8Array(20), u32(16), text('Spec ID Event00\0')),
      'Unsupported',
      0,
      /SHA-1/,
    ],
    [
      'a log of TPM 1.2 with an event of no PCR',
      concat(sha1Event(0, text('v1')), u32(NO_PCR), u32(3), digest(20), u32(0)),
      'Unsupported',
      0,
      /SHA-1/,
    ],
    [
      'no log with an event of PCR 24',
      concat(sha1Event(0, text('v1')), sha1Event(24, text(''))),
      'BadMagic',
      0,
      /Spec/,
    ],
    ['another version of the format', header.with(32 + 21, 3), 'Unsupported', 32 + 21, /specVersionMajor/],
    [
      'a header that goes on',
      concat(header.with(28, header.length - 32 + 1), text('x')),
      'TrailingBytes',
      header.length,
      /1 bytes/,
    ],
    ['no algorithm', writtenHeader([]), 'BadValue', 56, /0 algorithms/],
    ['seventeen algorithms', writtenHeader(Array(17).fill(SHA256)), 'BadValue', 56, /17 algorithms/],
    ['an algorithm announced twice', writtenHeader([SHA256, SHA256]), 'BadValue', 64, /sha256 twice/],
    ["a size not its algorithm's", writtenHeader([{ id: 0xb, size: 20 }]), 'BadValue', 62, /20 bytes for sha256/],
    ['an unknown algorithm of no size', writtenHeader([{ id: 0x99, size: 0 }]), 'BadValue', 62, /0 bytes for 0x0099/],
    ['an unknown algorithm of any size', writtenHeader([{ id: 0x99, size: 65 }]), 'BadValue', 62, /65 bytes/],
    ['fewer digests than announced', concat(header, writtenEvent(0, 8, [], text(''))), 'BadValue', at + 8, /0 digests/],
    [
      'more digests than announced',
      concat(
        header,
        writtenEvent(
          0,
          8,
          [
            [0xb, digest(32)],
            [4, digest(20)],
          ],
          text(''),
        ),
      ),
      'BadValue',
      at + 8,
      /2 digests/,
    ],
    [
      'a digest not announced',
      concat(header, writtenEvent(0, 8, [[4, digest(32)]], text(''))),
      'BadValue',
      at + 12,
      /4/,
    ],
    [
      'a digest given twice',
      concat(
        writtenHeader([SHA1, SHA256]),
        writtenEvent(
          0,
          8,
          [
            [4, digest(20)],
            [4, digest(20)],
          ],
          digest(12),
        ),
      ),
      'BadValue',
      at + 4 + 12 + 22,
      /two digests of sha1/,
    ],
    ['PCR 24', concat(header, one(), one(24)), 'BadValue', at + one().length, /PCR 24/],
    ['no PCR for what was measured', concat(header, one(NO_PCR, 5)), 'BadValue', at, /PCR 4294967295/],
    ['a second header', concat(header, one(0, 3, header.subarray(32))), 'BadValue', at, /second header/],
    ['an event cut short', concat(header, one()).subarray(0, -1), 'Truncated', at + 50, /wanted/],
    ['zeros behind the last event', concat(header, one(), new Uint8Array(3)), 'TrailingBytes', at + one().length, /3/],
    ['many zeros behind it', concat(header, one(), new Uint8Array(999)), 'TrailingBytes', at + one().length, /filling/],
    ['erased flash behind it', concat(header, one(), digest(99).fill(255)), 'TrailingBytes', at + one().length, /fill/],
    [
      'more data than any event has',
      concat(header, one(1, 5, digest(LOG_LIMITS.dataBytes + 1))),
      'TooLarge',
      at + 46,
      /./,
    ],
    ['more bytes than any log has', new Uint8Array(LOG_LIMITS.bytes + 1), 'TooLarge', 0, /at most/],
  ])('%s', (_, bytes, code, offset, message) => {
    expect(refusal(bytes)).toMatchObject({ code, offset, message: expect.stringMatching(message) })
  })

  test('an event too many', () => {
    const events = Array(LOG_LIMITS.events).fill(writtenEvent(0, 5, [[0x99, digest(1)]], text('')))
    const banks = [{ id: 0x99, size: 1 }]
    expect(parseEventLog(concat(writtenHeader(banks), ...events)).events).toHaveLength(LOG_LIMITS.events)
    const more = concat(writtenHeader(banks), ...events, ...events.slice(0, 1))
    expect(refusal(more)).toMatchObject({ code: 'TooLarge', message: expect.stringContaining('events') })
  })
})

describe('any bytes', () => {
  const logs = RECORDINGS.map(recordedLog)
  const damaged: fc.Arbitrary<Uint8Array> = fc
    .tuple(
      fc.constantFrom(...logs),
      fc.array(fc.tuple(fc.nat(), fc.nat(255), fc.constantFrom('flip', 'cut', 'put', 'lift'))),
    )
    .map(([log, damages]) => {
      let bytes: Uint8Array = log
      for (const [where, value, how] of damages) {
        const at = where % (bytes.length + 1)
        if (how === 'cut') bytes = bytes.subarray(0, at)
        else if (how === 'put') bytes = concat(bytes.subarray(0, at), Uint8Array.of(value), bytes.subarray(at))
        else if (how === 'lift') bytes = concat(bytes.subarray(0, at), bytes.subarray(at + value))
        else bytes = bytes.map((byte, index) => (index === at ? byte ^ (1 << (value % 8)) : byte))
      }
      return bytes
    })

  test.each<[string, fc.Arbitrary<Uint8Array>]>([
    ['raw', fc.uint8Array({ maxLength: 400 })],
    ['raw behind a good header', fc.uint8Array({ maxLength: 400 }).map((bytes) => concat(header, bytes))],
    ['a good log, damaged', damaged],
  ])('%s: a log within its limits, or Malformed within the bytes', (_, arbitrary) => {
    fc.assert(
      fc.property(arbitrary, (bytes) => {
        const no = refusal(bytes)
        if (no !== undefined) expect(no.offset).toBeLessThanOrEqual(bytes.length)
        else expect(written(parseEventLog(bytes)).length).toBeLessThanOrEqual(bytes.length)
      }),
      { numRuns: 1000 },
    )
  })

  test('the log with the most digests is read', () => {
    const banks = Array.from({ length: 16 }, (_, id) => ({ id: 0x100 + id, size: 1 }))
    const event = writtenEvent(
      0,
      5,
      banks.map(({ id }) => [id, digest(1)] as const),
      text(''),
    )
    const events = Math.min(LOG_LIMITS.events, Math.floor((LOG_LIMITS.bytes - 200) / event.length))
    const bytes = concat(writtenHeader(banks), ...Array<Uint8Array>(events).fill(event))
    expect(parseEventLog(bytes).events).toHaveLength(events)
    expect(bytes.length).toBeGreaterThan(LOG_LIMITS.bytes / 3)
  })
})

test('the numbers of the fixtures are little-endian', () => {
  expect([toHex(u16(0x0102)), toHex(u32(0x80000001))]).toEqual(['0201', '01000080'])
})
