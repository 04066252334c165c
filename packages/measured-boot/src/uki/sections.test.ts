import { describe, expect, test } from 'vitest'
import { toHex } from '../bytes.ts'
import { assembleUki } from './assemble.ts'
import { ascii, fuzz, haveStub, patched, readSdBoot, readStub, thrown, tinyPe } from './fixture.ts'
import { parsePe } from './pe.ts'
import { parseUki, stubOf } from './sections.ts'

const utf8 = (text: string) => Uint8Array.from(Buffer.from(text))
const of = (name: string, data: Uint8Array) => ({ name, data })
const linux = of('.linux', tinyPe())

describe('a UKI', () => {
  test('is its sections, as long as they are in memory', () => {
    const uki = parseUki(assembleUki(tinyPe(), [linux, of('.osrel', ascii('ID=edge\n'))]))
    expect([...uki.sections.keys()]).toEqual(['.linux', '.osrel'])
    expect(uki.sections.get('.linux')).toEqual(linux.data)
    expect(uki.sections.get('.linux')?.buffer).toBe(uki.file.buffer)
    expect([uki.stub, uki.commandLine, uki.osRelease]).toEqual([undefined, undefined, new Map([['ID', 'edge']])])
  })

  test.skipIf(!haveStub)('names its stub, and a boot loader names itself', () => {
    const uki = parseUki(assembleUki(readStub(), [linux]))
    expect(uki.stub).toMatchObject({ name: 'systemd-stub', version: expect.stringMatching(/^25\d\.\d+/) })
    expect(stubOf(readSdBoot(), parsePe(readSdBoot()))).toMatchObject({ name: 'systemd-boot' })
  })

  test.each<[string, string, [string, string][]]>([
    [
      'plain',
      'IMAGE_ID=edgeos\nIMAGE_VERSION=2\n',
      [
        ['IMAGE_ID', 'edgeos'],
        ['IMAGE_VERSION', '2'],
      ],
    ],
    [
      'quoted',
      'A="x \\"y\\" \\$z"\nB=\'it \\n\'',
      [
        ['A', 'x "y" $z'],
        ['B', 'it \\n'],
      ],
    ],
    ['with comments and lines that are none', '# A=1\n\nB\n=c\nlower=1\nD= ', [['D', '']]],
    ['said twice, the last counts', 'A=1\nA=2', [['A', '2']]],
    ['ended by NULs', 'A=1\n\0\0', [['A', '1']]],
  ])('has its os-release: %s', (_, text, pairs) => {
    expect([...parseUki(assembleUki(tinyPe(), [linux, of('.osrel', utf8(text))])).osRelease]).toEqual(pairs)
  })

  test.each<[string, string, string]>([
    ['as it stands', 'panic=1 ro', 'panic=1 ro'],
    ['without the newline at its end', 'panic=1\n', 'panic=1'],
    ['with spaces for what controls', 'a\tb\nc \u0001\n', 'a b c'],
    ['up to its NULs', 'panic=1\0\0', 'panic=1'],
    ['in other letters', 'name=Å', 'name=Å'],
    ['with a byte order mark, that is a character like others', '\ufeffa', '\ufeffa'],
  ])('has its command line %s', (_, raw, text) => {
    const { commandLine } = parseUki(assembleUki(tinyPe(), [linux, of('.cmdline', utf8(raw))]))
    expect(commandLine?.text).toBe(text)
    expect(toHex(commandLine?.loadOptions ?? new Uint8Array())).toBe(
      Buffer.from(`${text}\0`, 'utf16le').toString('hex'),
    )
  })

  // The table of two sections of tinyPe, then ours.
  const HEADER = 0x58 + 240 + 80
  const two = assembleUki(tinyPe(), [of('.osrel', ascii('A=1')), linux])
  test.each<[string, Uint8Array, string, RegExp]>([
    ['no kernel', assembleUki(tinyPe(), [of('.osrel', ascii('A=1'))]), 'BadValue', /no section \.linux/],
    [
      'a section twice',
      patched(two, [HEADER + 40, 4, 0x72736f2e], [HEADER + 44, 4, 0x6c65]),
      'BadValue',
      /\.osrel stands twice/,
    ],
    [
      'a name that the stub takes for another',
      assembleUki(tinyPe(), [linux, of('.linux2', ascii('x'))]),
      'BadValue',
      /\.linux2 for \.linux/,
    ],
    ['a section of no length in memory', patched(two, [HEADER + 8, 4, 0]), 'BadValue', /no length in memory/],
    [
      'a section longer in memory',
      patched(two, [HEADER + 8, 4, 0x201], [HEADER + 52, 4, 0x2600], [0x58 + 56, 4, 0x9000]),
      'BadValue',
      /longer in memory/,
    ],
    [
      'a command line that is not UTF-8',
      assembleUki(tinyPe(), [linux, of('.cmdline', Uint8Array.of(0xff))]),
      'BadValue',
      /not UTF-8/,
    ],
    [
      'a command line that goes on after its end',
      assembleUki(tinyPe(), [linux, of('.cmdline', ascii('a\0init=/bin/sh'))]),
      'BadValue',
      /after a NUL/,
    ],
    [
      'a command line that the stub would shorten',
      assembleUki(tinyPe(), [linux, of('.cmdline', utf8('a=\u{1f600}'))]),
      'BadValue',
      /UCS-2/,
    ],
    [
      'a command line of a megabyte',
      assembleUki(tinyPe(), [linux, of('.cmdline', new Uint8Array(2 ** 20).fill(65))]),
      'TooLarge',
      /1048576/,
    ],
  ])('with %s is refused', (_, uki, code, message) => {
    const error = thrown(() => parseUki(uki))
    expect(error).toMatchObject({ name: 'Malformed', code })
    expect(String(error)).toMatch(message)
  })

  test('of any bytes is a value or Malformed', () => {
    fuzz(parseUki, [two, assembleUki(tinyPe(), [linux, of('.cmdline', utf8('a=Å\0'))])], 1500)
  })
})
