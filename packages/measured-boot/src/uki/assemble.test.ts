import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { assembleUki } from './assemble.ts'
import { ascii, haveStub, haveTool, patched, readStub, run, thrown, tinyPe } from './fixture.ts'
import { parsePe } from './pe.ts'

const sections = [
  { name: '.osrel', data: ascii('ID=edge\n') },
  { name: '.cmdline', data: ascii('panic=1') },
  { name: '.linux', data: tinyPe() },
  { name: '.initrd', data: new Uint8Array(700).fill(7) },
]

describe('a UKI put together', () => {
  test('is the stub with the sections behind it, in order, aligned, and the same bytes each time', () => {
    const stub = tinyPe({ trailing: 33 })
    const before = Uint8Array.from(stub)
    const uki = assembleUki(stub, sections.slice(0, 2))
    expect(assembleUki(stub, sections.slice(0, 2))).toEqual(uki)
    expect(stub).toEqual(before)
    const pe = parsePe(uki)
    expect(pe.sections.slice(2)).toMatchObject([
      { name: '.osrel', virtualAddress: 0x2200, virtualSize: 8, pointerToRawData: 0x600, sizeOfRawData: 0x200 },
      { name: '.cmdline', virtualAddress: 0x2400, virtualSize: 7, pointerToRawData: 0x800, sizeOfRawData: 0x200 },
    ])
    expect([pe.sizeOfImage, uki.length]).toEqual([0x2600, 0xa00])
    expect(uki.subarray(0x600, 0x608)).toEqual(sections[0]?.data)
    // What followed the stub's sections is gone, and so are its time, symbols and checksum.
    expect(uki.includes(0xee)).toBe(false)
    const dated = patched(stub, [0x48, 4, 1], [0x4c, 4, 2], [0x50, 4, 3], [0x98, 4, 4])
    expect(assembleUki(dated, sections.slice(0, 2))).toEqual(uki)
  })

  test.skipIf(!haveStub || !haveTool('objcopy'))('gives objcopy back what went in behind the real stub', () => {
    const dir = mkdtempSync(join(tmpdir(), 'skerry-uki-'))
    try {
      writeFileSync(join(dir, 'uki'), assembleUki(readStub(), sections))
      for (const { name, data } of sections) {
        run('objcopy', ['--dump-section', `${name}=${join(dir, 'out')}`, join(dir, 'uki'), join(dir, 'copy')])
        expect(Uint8Array.from(readFileSync(join(dir, 'out')))).toEqual(Uint8Array.from(data))
      }
    } finally {
      rmSync(dir, { recursive: true })
    }
  })

  const [first, second] = [
    { name: '.a', data: ascii('a') },
    { name: '.b', data: ascii('b') },
  ]
  const signed = patched(tinyPe({ trailing: 8 }), [0x58 + 144, 4, 0x600], [0x58 + 148, 4, 8])
  test.each<[string, Uint8Array, { name: string; data: Uint8Array }[], RegExp]>([
    ['a signed stub', signed, [first], /signed/],
    [
      'more sections than the headers hold',
      tinyPe(),
      [first, second, { ...first, name: '.c' }],
      /room for 2 .* not for 3/,
    ],
    ['a section twice', tinyPe(), [first, first], /\.a would stand twice/],
    ['a section that the stub has', tinyPe(), [{ ...first, name: '.text' }], /\.text would stand twice/],
    ['a long name', tinyPe(), [{ ...first, name: '.toolong9' }], /no section name/],
    ['an empty section', tinyPe(), [{ name: '.a', data: new Uint8Array() }], /\.a is empty/],
    ['an alignment of 3', patched(tinyPe(), [0x58 + 36, 4, 3]), [first], /power of two/],
  ])('is refused with %s', (_, stub, extra, message) => {
    const error = thrown(() => assembleUki(stub, extra))
    expect(error).toMatchObject({ name: 'Malformed', code: 'BadValue' })
    expect(String(error)).toMatch(message)
  })
})
