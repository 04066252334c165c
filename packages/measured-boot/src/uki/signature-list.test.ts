import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { concat, toHex } from '../bytes.ts'
import { fuzz, haveTool, makeKey, patched, run, scratch, thrown } from './fixture.ts'
import { encodeSignatureLists, parseSignatureLists, type SignatureList } from './signature-list.ts'

const owner = '11112222-3333-4444-5555-666677778888'
const dir = scratch()
const hashes: SignatureList = {
  kind: 'sha256',
  entries: [
    { owner, data: new Uint8Array(32).fill(1) },
    { owner, data: new Uint8Array(32).fill(2) },
  ],
}
const certificates: SignatureList = { kind: 'x509', entries: [{ owner, data: Uint8Array.of(0x30, 1, 2) }] }
const both = encodeSignatureLists([hashes, certificates])

describe('signature lists', () => {
  test('come back as they were written, and nothing is no list', () => {
    expect(parseSignatureLists(both)).toEqual([hashes, certificates])
    expect(parseSignatureLists(new Uint8Array())).toEqual([])
    expect(encodeSignatureLists([])).toEqual(new Uint8Array())
  })

  test.skipIf(!haveTool('cert-to-efi-sig-list'))('are byte for byte what cert-to-efi-sig-list writes', () => {
    const db = makeKey(dir, 'db')
    run('cert-to-efi-sig-list', ['-g', owner, db.crt, `${dir}/db.esl`])
    const theirs = readFileSync(`${dir}/db.esl`)
    const lists = parseSignatureLists(theirs)
    expect(lists).toMatchObject([{ kind: 'x509', entries: [{ owner }] }])
    expect(toHex(lists[0]?.entries[0]?.data ?? new Uint8Array())).toBe(toHex(db.der))
    expect(toHex(encodeSignatureLists(lists))).toBe(toHex(theirs))
  })

  test.each<[string, Uint8Array, string, number]>([
    ['of another kind', patched(both, [0, 1, 0]), 'Unsupported', 0],
    ['with a header', patched(both, [20, 4, 4]), 'BadValue', 20],
    ['of hashes that are not 32 bytes long', patched(both, [24, 4, 49]), 'BadValue', 24],
    ['of certificates of no bytes', patched(both, [124 + 24, 4, 16]), 'BadValue', 124 + 24],
    ['of half an entry', patched(both, [16, 4, 100]), 'BadValue', 16],
    ['of no entries', patched(both, [16, 4, 28]), 'BadValue', 16],
    ['longer than what there is', patched(both, [124 + 16, 4, 28 + 19 * 1000]), 'Truncated', 124 + 16],
    ['with bytes behind it', concat(both, Uint8Array.of(0)), 'Truncated', both.length],
    ['of a megabyte and more', new Uint8Array(2 ** 20 + 1), 'TooLarge', 0],
  ])('%s are refused', (_, bytes, code, offset) => {
    expect(thrown(() => parseSignatureLists(bytes))).toMatchObject({ name: 'Malformed', code, offset })
  })

  test('of entries of unlike length are not written', () => {
    const unlike: SignatureList = {
      kind: 'x509',
      entries: [...certificates.entries, { owner, data: new Uint8Array(9) }],
    }
    expect(thrown(() => encodeSignatureLists([unlike]))).toMatchObject({ code: 'BadValue' })
  })

  test('of any bytes are lists that come back as they were, or Malformed', () => {
    fuzz((bytes) => expect(toHex(encodeSignatureLists(parseSignatureLists(bytes)))).toBe(toHex(bytes)), [both], 1000)
  })
})
