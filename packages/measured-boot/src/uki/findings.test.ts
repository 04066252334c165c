import { beforeAll, describe, expect, test } from 'vitest'
import { assembleUki } from './assemble.ts'
import { findings, kernelParameters } from './findings.ts'
import {
  ascii,
  haveStub,
  haveTool,
  makeKey,
  patched,
  readStub,
  run,
  sbsigned,
  scratch,
  smallUki,
  tinyPe,
} from './fixture.ts'
import { parsePe } from './pe.ts'
import { parseUki } from './sections.ts'

const dir = scratch()
const codes = (uki: Uint8Array) => findings(parseUki(uki)).map(({ code }) => code)
const line = (text: string) => smallUki({ '.cmdline': ascii(text) })
/** The same image with a section marked otherwise. */
const marked = (uki: Uint8Array, name: string, characteristics: number) => {
  const section = parsePe(uki).sections.find((one) => one.name === name)
  return patched(uki, [(section?.headerOffset ?? 0) + 36, 4, characteristics])
}

describe.skipIf(!haveStub)('what a reviewer of a UKI is told', () => {
  test.each<[string, string[], () => Uint8Array]>([
    ['nothing but that it is unsigned', [], () => smallUki()],
    ['init=', ['InitOnCommandLine'], () => line('panic=1 init=/bin/sh')],
    ['rdinit=', ['InitOnCommandLine'], () => line('panic=1 rdinit=/bin/sh')],
    ['debug', ['DebugOnCommandLine'], () => line('debug panic=1')],
    ['a break', ['DebugOnCommandLine'], () => line('break=premount panic=1')],
    ["dracut's break", ['DebugOnCommandLine'], () => line('rd.break panic=1')],
    ["dracut's shell", ['DebugOnCommandLine'], () => line('rd.shell=1 panic=1')],
    [
      "systemd's shell, with dashes or underscores",
      ['DebugOnCommandLine', 'DebugOnCommandLine'],
      () => line('systemd.debug-shell systemd.debug_shell=1 panic=1'),
    ],
    ['another unit', ['DebugOnCommandLine'], () => line('systemd.unit=emergency.target panic=1')],
    ['a word in quotes', ['InitOnCommandLine'], () => line('"init=/bin/sh -c x" panic=1')],
    ['no words that only look like it', [], () => line('noinit=1 debugfs=off initcall=2 panic=1')],
    ['no panic=', ['NoPanic'], () => line('ro')],
    ['panic=0', ['NoPanic'], () => line('panic=0')],
    ['a panic= that a later one takes back', ['NoPanic'], () => line('panic=1 panic=0')],
    ['no fault in panic=-1', [], () => line('panic=-1')],
    ['a panic= that is handed to init', ['NoPanic'], () => line('ro -- panic=1')],
    ['a panic= that is no number of the kernel’s', ['NoPanic'], () => line('panic=99999999999')],
    [
      'init= behind a letter whose last byte the kernel takes for a space',
      ['InitOnCommandLine'],
      () => smallUki({ '.cmdline': new TextEncoder().encode('quiet\u00e0init=/bin/sh panic=1') }),
    ],
    ['no command line', ['NoCommandLine', 'NotPredictable'], () => smallUki({ '.cmdline': undefined })],
    ['no os-release', ['NoImageId', 'NoImageVersion'], () => smallUki({ '.osrel': undefined })],
    ['no version', ['NoImageVersion'], () => smallUki({ '.osrel': ascii('IMAGE_ID=x') })],
    ['a section to write and run', ['WritableAndExecutable'], () => marked(smallUki(), '.text', 0xe0000020)],
    ['a command line to write', ['PayloadNotReadOnly'], () => marked(smallUki(), '.cmdline', 0xc0000040)],
    ['an initrd to run', ['PayloadNotReadOnly'], () => marked(smallUki(), '.initrd', 0x60000040)],
    ['no fault in a kernel marked as code', [], () => marked(smallUki(), '.linux', 0x60000020)],
    [
      'a stub that nobody knows',
      ['NotPredictable'],
      () =>
        assembleUki(tinyPe(), [
          { name: '.linux', data: tinyPe() },
          { name: '.cmdline', data: ascii('panic=1') },
        ]),
    ],
    ['a section of later stubs', ['NotPredictable'], () => smallUki({ '.uname': ascii('6.1') })],
    ['a .pcrsig that is none', ['PcrSignatureNotGood'], () => smallUki({ '.pcrsig': ascii('x') })],
  ])('is %s', (_, expected, uki) => {
    const own = new Set(['Unsigned', 'NoImageId', 'NoImageVersion'].filter((code) => !expected.includes(code)))
    const stubless = expected.includes('NotPredictable')
    expect(codes(uki()).filter((code) => code !== 'Unsigned' && !(stubless && own.has(code)))).toEqual(expected)
    expect(codes(uki())).toContain('Unsigned')
  })

  test('says why, with the word or section in question', () => {
    const [unsigned, debug] = findings(parseUki(line('rd.shell panic=1')))
    expect(unsigned?.message).toBe('the image has no signature')
    expect(debug?.message).toBe('the command line opens a way in for debugging: rd.shell')
  })

  describe.skipIf(!haveTool('openssl') || !haveTool('sbsign'))('of a signed one', () => {
    let signed: Uint8Array
    let key: ReturnType<typeof makeKey>
    beforeAll(() => {
      key = makeKey(dir, 'db')
      signed = sbsigned(dir, key, smallUki())
    })

    test('is nothing where all is good', () => {
      expect(codes(signed)).toEqual([])
    })

    test('is whose signature is not good, and why', () => {
      const cmdline = parsePe(signed).sections.find(({ name }) => name === '.cmdline')
      const [only, ...others] = findings(parseUki(patched(signed, [cmdline?.pointerToRawData ?? 0, 1, 0x43])))
      expect(others).toEqual([])
      expect(only?.code).toBe('SignatureNotGood')
      expect(only?.message).toMatch(/CN=Edge db, made for bytes that are not this image/)
    })

    test('is a .pcrsig without the key to it', () => {
      const entry = { pcrs: [11], pkfp: '00'.repeat(32), pol: '00'.repeat(32), sig: 'AAAA' }
      const pcrsig = ascii(JSON.stringify({ sha256: [entry] }))
      const pem = ascii(run('openssl', ['x509', '-in', key.crt, '-noout', '-pubkey']))
      expect(findings(parseUki(sbsigned(dir, key, smallUki({ '.pcrsig': pcrsig }))))).toMatchObject([
        { code: 'PcrSignatureNotGood', message: expect.stringContaining('sha256[0] there is no .pcrpkey') },
      ])
      expect(findings(parseUki(sbsigned(dir, key, smallUki({ '.pcrsig': pcrsig, '.pcrpkey': pem }))))).toMatchObject([
        { code: 'PcrSignatureNotGood', message: expect.stringContaining('names another key') },
      ])
    })
  })

  test('is there for the real stub alone as for any other: no payload, no UKI', () => {
    expect(() => parseUki(readStub())).toThrow(/no section \.linux/)
  })
})

test('kernel parameters are words, with quotes, dashes and the last of equals', () => {
  expect(kernelParameters('  a b-c="d e" "f=g h" i=j=k  l"')).toEqual([
    { name: 'a', value: undefined, text: 'a' },
    { name: 'b_c', value: 'd e', text: 'b-c="d e"' },
    { name: 'f', value: 'g h', text: '"f=g h"' },
    { name: 'i', value: 'j=k', text: 'i=j=k' },
    { name: 'l', value: undefined, text: 'l"' },
  ])
})
