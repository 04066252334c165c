import { describe, expect, test } from 'vitest'
import { fuzz, haveStub, haveTool, patched, readSdBoot, readStub, run, thrown, tinyPe } from './fixture.ts'
import { parsePe } from './pe.ts'

const OPTIONAL = 0x58
const TABLE = OPTIONAL + 240

describe('the headers of a PE image', () => {
  test.each([true, false])('are read from PE32+ and PE32 (%s)', (plus) => {
    expect(parsePe(tinyPe({ plus }))).toMatchObject({
      format: plus ? 'PE32+' : 'PE32',
      machine: plus ? 0x8664 : 0x14c,
      subsystem: 10,
      checksumOffset: OPTIONAL + 64,
      securityDirectoryOffset: OPTIONAL + (plus ? 112 : 96) + 32,
      certificateTable: undefined,
      sizeOfHeaders: 0x200,
      sections: [
        { name: '.text', virtualAddress: 0x1000, virtualSize: 17, pointerToRawData: 0x200, sizeOfRawData: 0x200 },
        { name: '.data', virtualAddress: 0x2000, virtualSize: 4, pointerToRawData: 0x400, sizeOfRawData: 0x200 },
      ],
    })
  })

  test.skipIf(!haveStub || !haveTool('objdump'))('are what objdump reads from systemd-stub and systemd-boot', () => {
    for (const [path, bytes] of [
      ['linuxx64.efi.stub', readStub()],
      ['systemd-bootx64.efi', readSdBoot()],
    ] as const) {
      const listed = run('objdump', ['-h', `/usr/lib/systemd/boot/efi/${path}`])
      const theirs = [...listed.matchAll(/^ +\d+ (\S+) +(\w+) +(\w+) +\w+ +(\w+) /gm)].map(([, name, ...numbers]) => [
        name,
        ...numbers.map((hex) => Number.parseInt(hex, 16)),
      ])
      const ours = parsePe(bytes).sections
      expect(theirs.length).toBeGreaterThan(7)
      // objdump says a section is as long as the shorter of its two sizes.
      expect(
        ours.map((one) => [
          one.name,
          Math.min(one.virtualSize, one.sizeOfRawData),
          one.virtualAddress,
          one.pointerToRawData,
        ]),
      ).toEqual(theirs)
    }
  })

  test.each<[string, Parameters<typeof patched>[1][], string, number, RegExp]>([
    ['no MZ', [[0, 2, 0]], 'BadMagic', 0, /MZ/],
    ['a PE header outside the file', [[0x3c, 4, 0xffffffff]], 'Truncated', 0x3c, /4294967295/],
    ['no PE', [[0x40, 4, 0]], 'BadMagic', 0x40, /PE/],
    ['no sections', [[0x46, 2, 0]], 'BadValue', 0x46, /no sections/],
    ['too many sections', [[0x46, 2, 97]], 'TooLarge', 0x46, /97 sections/],
    ['a ROM image', [[OPTIONAL, 2, 0x107]], 'BadMagic', OPTIONAL, /0x107/],
    ['a huge image', [[OPTIONAL + 56, 4, 0x80000001]], 'TooLarge', OPTIONAL + 56, /2147483649/],
    ['an entry point outside', [[OPTIONAL + 16, 4, 0x3000]], 'BadValue', OPTIONAL + 16, /entry point/],
    ['17 directories', [[OPTIONAL + 108, 4, 17]], 'TooLarge', OPTIONAL + 108, /17 data directories/],
    ['fewer directories than bytes', [[OPTIONAL + 108, 4, 4]], 'BadValue', OPTIONAL + 112, /4 data directories/],
    ['headers that end before they do', [[OPTIONAL + 60, 4, 0x100]], 'BadValue', OPTIONAL + 60, /256 bytes of headers/],
    ['headers longer than the file', [[OPTIONAL + 60, 4, 0x2000]], 'BadValue', OPTIONAL + 60, /8192/],
    ['a section out of the file', [[TABLE + 16, 4, 0xfffffff0]], 'Truncated', TABLE + 20, /\.text/],
    ['a section out of the image', [[TABLE + 48, 4, 0xf0000000]], 'BadValue', TABLE + 48, /\.data/],
    [
      'sections over each other in the file',
      [[TABLE + 60, 4, 0x300]],
      'BadValue',
      TABLE + 60,
      /\.data lies over \.text/,
    ],
    ['a section over the headers', [[TABLE + 20, 4, 0x100]], 'BadValue', TABLE + 20, /\.text lies over the headers/],
    [
      'sections over each other in memory',
      [[TABLE + 52, 4, 0x1010]],
      'BadValue',
      TABLE + 52,
      /\.data lies over \.text/,
    ],
    ['a section loaded over the headers', [[TABLE + 12, 4, 0]], 'BadValue', TABLE + 12, /\.text lies over the headers/],
    ['a name that is no text', [[TABLE, 1, 7]], 'BadValue', TABLE, /name of section 0/],
    ['a name that goes on after its end', [[TABLE + 7, 1, 65]], 'BadValue', TABLE, /name of section 0/],
    [
      'certificates not at the end',
      [
        [OPTIONAL + 144, 4, 0x400],
        [OPTIONAL + 148, 4, 8],
      ],
      'BadValue',
      OPTIONAL + 144,
      /certificate table/,
    ],
    ['certificates of no bytes', [[OPTIONAL + 144, 4, 0x600]], 'BadValue', OPTIONAL + 144, /empty/],
    [
      'a section in the certificates',
      [
        [OPTIONAL + 144, 4, 0x5f8],
        [OPTIONAL + 148, 4, 8],
      ],
      'Truncated',
      TABLE + 60,
      /\.data/,
    ],
  ])('with %s are refused by name and offset', (_, writes, code, offset, message) => {
    const error = thrown(() => parsePe(patched(tinyPe(), ...writes)))
    expect(error).toMatchObject({ name: 'Malformed', code, offset })
    expect(String(error)).toMatch(message)
  })

  test('that stop anywhere are refused', () => {
    const whole = tinyPe()
    for (let length = 0; length < whole.length; length += length < 0x200 ? 1 : 64)
      expect(thrown(() => parsePe(whole.subarray(0, length)))).toMatchObject({ name: 'Malformed' })
  })

  test('of any bytes are a value or Malformed', () => {
    fuzz(parsePe, [tinyPe(), tinyPe({ plus: false })], 2000)
  })
})
