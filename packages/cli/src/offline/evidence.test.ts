import { execFileSync } from 'node:child_process'
import { closeSync, openSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { testFolder } from '@skerry/supervise/testing'
import { describe, expect, test } from 'vitest'
import { readBounded } from './evidence.ts'

const dir = testFolder()
let pipes = 0
/** A pipe and somebody who writes into it; what he does each time that its reader waits, by a clock that only waiting moves. */
function written(each: (times: number, writer: number) => void) {
  const pipe = join(dir, `pipe-${++pipes}`)
  execFileSync('mkfifo', [pipe])
  // For reading too: otherwise this would wait for a reader.
  const writer = openSync(pipe, 'r+')
  let [nowMs, times] = [0, 0]
  const wait = (ms: number) => {
    nowMs += ms
    each(++times, writer)
  }
  return { pipe, writer, clock: { now: () => nowMs, wait }, waitedMs: () => nowMs }
}

describe('a pipe', () => {
  test('whose writer is slow, before its first byte and between others, is read to its end', () => {
    // Half a minute before the first, some seconds before the second.
    const { pipe, clock, waitedMs } = written((times, writer) => {
      if (times === 3_000) writeSync(writer, 'a')
      if (times === 3_500) writeSync(writer, 'b')
      if (times === 4_000) closeSync(writer)
    })
    expect(Buffer.from(readBounded(pipe, 10, clock)).toString()).toBe('ab')
    expect(waitedMs()).toBe(40_000)
  })

  test.each<[string, (times: number, writer: number) => void]>([
    ['nothing', () => {}],
    ['a byte every 400 ms', (times, writer) => void (times % 40 === 0 && writeSync(writer, 'a'))],
  ])('whose writer writes %s is given up after a minute, by name', (_, each) => {
    const { pipe, writer, clock, waitedMs } = written(each)
    try {
      expect(() => readBounded(pipe, 1_000, clock)).toThrow(
        expect.objectContaining({
          code: 'Unreadable',
          message: `${pipe} cannot be read: whoever writes into it did not come to an end in 60 s`,
        }),
      )
      expect(waitedMs()).toBe(60_000)
    } finally {
      closeSync(writer)
    }
  })

  test('whose writer went without a word is given up after half a second', () => {
    const { pipe, clock, waitedMs } = written((times, writer) => {
      if (times === 100) closeSync(writer)
    })
    expect(() => readBounded(pipe, 10, clock)).toThrow('nothing came out of it for 500 ms')
    expect(waitedMs()).toBe(1_500)
  })
})
