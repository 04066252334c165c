import { describe, expect, test } from 'vitest'
import { TRUSTED_BANKS } from '../banks.ts'
import { toHex } from '../bytes.ts'
import { authenticodeDigest } from './authenticode.ts'
import {
  fileOf,
  fuzz,
  haveStub,
  haveTool,
  patched,
  readSdBoot,
  readStub,
  run,
  scratch,
  thrown,
  tinyPe,
} from './fixture.ts'
import { parsePe } from './pe.ts'

const dir = scratch()
const pesign = (bytes: Uint8Array) => /hash: ([0-9a-f]+)/.exec(run('pesign', ['-h', '-i', fileOf(dir, bytes)]))?.[1]

describe('the Authenticode digest', () => {
  test.skipIf(!haveTool('pesign'))('is what pesign computes', () => {
    const images = [tinyPe(), tinyPe({ plus: false }), tinyPe({ trailing: 8 }), tinyPe({ trailing: 1000 })]
    if (haveStub) images.push(readStub(), readSdBoot())
    for (const image of images) expect(toHex(authenticodeDigest(image, 'sha256'))).toBe(pesign(image))
  })

  test('leaves out the checksum, the certificate table and the entry that names it, and nothing else', () => {
    const signed = patched(tinyPe({ trailing: 16 }), [0x58 + 144, 4, 0x600], [0x58 + 148, 4, 16])
    const pe = parsePe(signed)
    const plain = toHex(authenticodeDigest(signed, 'sha256'))
    const uncovered: number[] = []
    for (let at = 0; at < signed.length; at++) {
      const other = patched(signed, [at, 1, (signed[at] ?? 0) ^ 0xff])
      // The headers of the untouched file: what is asked is which bytes are hashed.
      if (toHex(authenticodeDigest(other, 'sha256', pe)) === plain) uncovered.push(at)
    }
    const run = (from: number, length: number) => Array.from({ length }, (_, index) => from + index)
    expect(uncovered).toEqual([
      ...run(pe.checksumOffset, 4),
      ...run(pe.securityDirectoryOffset ?? 0, 8),
      ...run(0x600, 16),
    ])
    expect(plain).toBe(toHex(authenticodeDigest(tinyPe(), 'sha256')))
  })

  test('of a file that ends unaligned is over its bytes as they are, and a signer that pads makes another image', () => {
    const [bare, padded] = [tinyPe({ trailing: 3 }), tinyPe({ trailing: 8 })]
    padded.fill(0, bare.length)
    expect(toHex(authenticodeDigest(bare, 'sha256'))).not.toBe(toHex(authenticodeDigest(padded, 'sha256')))
  })

  test('is there for every bank that counts as evidence', () => {
    expect(TRUSTED_BANKS.map((bank) => authenticodeDigest(tinyPe(), bank).length)).toEqual([64, 48, 32])
  })

  test('refuses bytes between sections, that readers disagree about', () => {
    const TABLE = 0x58 + 240
    const gap = patched(tinyPe({ trailing: 0x200 }), [TABLE + 60, 4, 0x600])
    expect(thrown(() => authenticodeDigest(gap, 'sha256'))).toMatchObject({ code: 'Unsupported', offset: TABLE + 60 })
  })

  test('of any bytes is a value or Malformed', () => {
    fuzz((bytes) => authenticodeDigest(bytes, 'sha256'), [tinyPe(), tinyPe({ plus: false, trailing: 5 })])
  })
})
