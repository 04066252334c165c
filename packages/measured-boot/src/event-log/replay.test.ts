import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { BANKS, type Bank, extended } from '../banks.ts'
import { concat, Malformed, toHex } from '../bytes.ts'
import { RECORDINGS, recordedLog, recordedPcrs, recordingPath, text, writtenEvent, writtenHeader } from './fixture.ts'
import { bankToJudge, measuredIn } from './measured.ts'
import { parseEventLog } from './parse.ts'
import { replay, startOf } from './replay.ts'

const hexOf = (bytes: Uint8Array, bank: Bank): Record<string, string> =>
  Object.fromEntries([...replay(measuredIn(parseEventLog(bytes), bank))].map(([pcr, value]) => [pcr, toHex(value)]))

const ALL = RECORDINGS.flatMap((name) => Object.keys(recordedPcrs(name)).map((bank) => [name, bank as Bank] as const))

describe('a recorded log', () => {
  test('was recorded in one bank and in two', () => {
    expect(ALL.map(([, bank]) => bank)).toEqual(['sha256', 'sha256', 'sha256', 'sha256', 'sha384'])
  })

  test.each(ALL)('%s leads to the values that the machine had in %s', (name, bank) => {
    const { 10: _byTheKernel, ...values } = recordedPcrs(name)[bank] ?? {}
    const { 10: _, ...ours } = hexOf(recordedLog(name), bank)
    expect(Object.keys(values)).toHaveLength(23)
    expect(ours).toEqual(values)
  })

  const tool = '/usr/bin/tpm2_eventlog'
  test.skipIf(!existsSync(tool)).each(ALL)('%s leads tpm2_eventlog to the same values in %s', (name, bank) => {
    const yaml = execFileSync(tool, [recordingPath(name)], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
    const digits = BANKS[bank].size * 2
    const theirs = [...yaml.slice(yaml.indexOf('\npcrs:')).matchAll(/^ +(\d+) +: 0x([0-9a-f]+)/gm)]
      .filter(([, , value]) => value?.length === digits)
      .map(([, pcr, value]) => [pcr, value])
    expect(theirs.length).toBeGreaterThanOrEqual(11)
    expect(hexOf(recordedLog(name), bank)).toMatchObject(Object.fromEntries(theirs))
  })
})

describe('StartupLocality', () => {
  const digest = new Uint8Array(32).fill(1)
  const measured = writtenEvent(0, 8, [[0xb, digest]], text(''))
  const says = (locality: number, more = '', pcr = 0) =>
    writtenEvent(
      pcr,
      3,
      [[0xb, new Uint8Array(32)]],
      concat(text('StartupLocality\0'), Uint8Array.of(locality), text(more)),
    )
  const from = (locality: number) => {
    const start = startOf('sha256', 0, locality)
    return toHex(extended('sha256', [digest], start))
  }
  test.each<[string, Uint8Array[], number]>([
    ['none is locality 0', [measured], 0],
    ['3 is where PCR 0 starts', [says(3), measured], 3],
    ['the first counts', [says(4), says(3), measured], 4],
    ['too late', [measured, says(3)], 0],
    ['no locality that a TPM starts from', [says(2), measured], 0],
    ['two bytes are no locality', [says(3, 'x'), measured], 0],
    ["another PCR's is none", [says(3, '', 1), measured], 0],
  ])('%s', (_, events, locality) => {
    const bytes = concat(writtenHeader([{ id: 0xb, size: 32 }]), ...events)
    expect(hexOf(bytes, 'sha256')[0]).toBe(from(locality))
  })
})

describe('a bank', () => {
  const log = parseEventLog(recordedLog('two-banks'))
  const no = (act: () => unknown) => {
    try {
      return act()
    } catch (error) {
      return error
    }
  }
  test('is the one asked for, or the best there is', () => {
    expect([bankToJudge(log), bankToJudge(log, 'sha256'), bankToJudge(log, 'sha384')]).toEqual([
      'sha384',
      'sha256',
      'sha384',
    ])
  })

  test.each([
    ['sha512', /no sha512 bank, it has sha256, sha384/],
    ['sha1', /SHA-1 proves nothing/],
    ['md5', /no md5 bank/],
  ])('%s is refused by name', (bank, message) => {
    const error = no(() => bankToJudge(log, bank))
    expect(error).toBeInstanceOf(Malformed)
    expect(error).toMatchObject({ code: 'Unsupported', message: expect.stringMatching(message) })
  })

  test('that a log does not have is not replayed', () => {
    expect(no(() => measuredIn(log, 'sha512'))).toMatchObject({ code: 'Unsupported' })
    const onlySha1 = parseEventLog(writtenHeader([{ id: 4, size: 20 }]))
    expect(no(() => bankToJudge(onlySha1))).toMatchObject({ message: expect.stringContaining('sha1') })
  })
})
