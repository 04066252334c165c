import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Malformed, toHex } from '../bytes.ts'
import { type Facts, factsOf } from './facts.ts'
import { RECORDINGS, recordedLog } from './fixture.ts'
import { grammarOf } from './grammar.ts'
import { measuredIn } from './measured.ts'
import { parseEventLog } from './parse.ts'
import { replay } from './replay.ts'

// Issue "Bad input": flipping any bit of a digest of the quoted bank, or of data that a digest covers, never leaves a
// log good; bytes that no digest covers decide no fact.

type Judged = { readonly pcrs: string; readonly findings: string; readonly facts: Facts }

function judged(bytes: Uint8Array): Judged | 'Malformed' {
  try {
    const measured = measuredIn(parseEventLog(bytes), 'sha256')
    const pcrs = [...replay(measured).values()].map(toHex).join()
    return { pcrs, findings: JSON.stringify(grammarOf(measured)), facts: factsOf(measured) }
  } catch (error) {
    if (error instanceof Malformed) return 'Malformed'
    throw error
  }
}

/** Which bytes of a log something quoted proves: digests of the bank, and what they cover of the data. */
function provenBytes(bytes: Uint8Array): Uint8Array {
  const proven = new Uint8Array(bytes.length)
  const measured = measuredIn(parseEventLog(bytes), 'sha256')
  for (const { event, digest, coverage } of measured.extends) {
    proven.fill(1, digest.byteOffset - bytes.byteOffset, digest.byteOffset - bytes.byteOffset + digest.length)
    if (coverage.covered !== 'yes') continue
    const at = event.data.byteOffset - bytes.byteOffset
    proven.fill(1, at + coverage.start, at + coverage.end)
  }
  return proven
}

const flipped = (bytes: Uint8Array, at: number, bit: number) => bytes.with(at, (bytes[at] ?? 0) ^ (1 << bit))
const logs = RECORDINGS.map((name) => {
  const bytes = recordedLog(name)
  const good = judged(bytes)
  if (good === 'Malformed') throw new Error(`${name} is no log`)
  return { name, bytes, good, proven: provenBytes(bytes) }
})
type Log = (typeof logs)[number]

/** What one flipped bit leads to, or a sentence about what it must not. */
function wrongAfter({ bytes, good, proven }: Log, at: number, bit: number): string | undefined {
  const bad = judged(flipped(bytes, at, bit))
  if (bad === 'Malformed' || bad.pcrs !== good.pcrs) return undefined
  if (proven[at] === 1) {
    return bad.findings === good.findings
      ? `byte ${at}, bit ${bit}: a digest or its data, and nobody noticed`
      : undefined
  }
  const same = JSON.stringify(bad.facts) === JSON.stringify(good.facts)
  return same ? undefined : `byte ${at}, bit ${bit}: nothing proves it, and it changed a fact`
}

describe.each(logs)('$name', (log) => {
  test('a bit of every byte', () => {
    const wrong = [...log.bytes.keys()].map((at) => wrongAfter(log, at, at % 8)).filter((one) => one !== undefined)
    expect(wrong).toEqual([])
  })

  test('any bit', () => {
    fc.assert(
      fc.property(fc.nat(log.bytes.length - 1), fc.nat(7), (at, bit) => {
        expect(wrongAfter(log, at, bit)).toBeUndefined()
      }),
      { numRuns: 1000 },
    )
  })

  test('much of a log proves nothing: its digest must be in something signed', () => {
    const free = log.proven.filter((byte) => byte === 0).length / log.bytes.length
    expect(free).toBeGreaterThan(0.15)
    expect(free).toBeLessThan(0.75)
  })
})
