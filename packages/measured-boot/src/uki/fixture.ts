import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { expect } from 'vitest'
import { Malformed } from '../bytes.ts'
import { assembleUki } from './assemble.ts'

// What the tests of this room share: images small enough to make on the spot, systemd's own stub, and the tools of others.

const EFI = '/usr/lib/systemd/boot/efi'
/** systemd-stub and systemd-boot as Debian's systemd-boot-efi has them. */
export const haveStub = existsSync(`${EFI}/linuxx64.efi.stub`)
export const readStub = (): Uint8Array => readFileSync(`${EFI}/linuxx64.efi.stub`)
export const readSdBoot = (): Uint8Array => readFileSync(`${EFI}/systemd-bootx64.efi`)

const PATH = (process.env['PATH'] ?? '').split(':')
export function haveTool(name: string): boolean {
  return name.startsWith('/') ? existsSync(name) : PATH.some((dir) => existsSync(`${dir}/${name}`))
}

export function run(tool: string, args: readonly string[], input?: Uint8Array): string {
  return execFileSync(tool, args, { encoding: 'utf8', stdio: ['pipe', 'pipe', 'pipe'], ...(input ? { input } : {}) })
}

/** A folder that goes with the test file's run. */
export function scratch(): string {
  const dir = mkdtempSync(join(tmpdir(), 'skerry-uki-'))
  process.once('exit', () => rmSync(dir, { recursive: true, force: true }))
  return dir
}

/** A self-signed certificate `name.crt` and its key `name.key`, made in `dir` for this run. `kind` is openssl's -newkey. */
export function makeKey(
  dir: string,
  name: string,
  kind: readonly string[] = ['rsa:2048'],
  more: readonly string[] = [],
) {
  const [key, crt] = [join(dir, `${name}.key`), join(dir, `${name}.crt`)]
  run('openssl', [
    'req',
    '-new',
    '-x509',
    '-newkey',
    ...kind,
    '-nodes',
    '-sha256',
    '-days',
    '30',
    '-subj',
    `/CN=Edge ${name}/`,
    // Of a length that does not change: one serial number in 256 would make a certificate shorter than its like.
    '-set_serial',
    `0x40${randomBytes(15).toString('hex')}`,
    '-keyout',
    key,
    '-out',
    crt,
    ...more,
  ])
  return {
    key,
    crt,
    der: Uint8Array.from(Buffer.from(readFileSync(crt, 'utf8').replace(/-----[^-]+-----|\s/g, ''), 'base64')),
  }
}

let written = 0
/** A file of these bytes, for a tool that wants a path. */
export function fileOf(dir: string, bytes: Uint8Array): string {
  written += 1
  const path = join(dir, `bytes-${written}`)
  writeFileSync(path, bytes)
  return path
}

/** `image` as sbsign signs it. */
export function sbsigned(dir: string, key: { key: string; crt: string }, image: Uint8Array): Uint8Array {
  const path = fileOf(dir, image)
  run('sbsign', ['--key', key.key, '--cert', key.crt, '--output', `${path}.signed`, path])
  return Uint8Array.from(readFileSync(`${path}.signed`))
}

export const ascii = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, 'latin1'))

/** An image of two sections that says it is an EFI application; nothing in it would run. */
export function tinyPe({ plus = true, text = ascii('nothing runs here'), trailing = 0 } = {}): Uint8Array {
  const [pe, headers, alignment] = [0x40, 0x200, 0x200]
  const optional = plus ? 240 : 224
  const rawSize = Math.ceil(text.length / alignment) * alignment
  const file = new Uint8Array(headers + rawSize + alignment + trailing).fill(0xee, headers + rawSize + alignment)
  const view = new DataView(file.buffer)
  const u16 = (at: number, value: number) => view.setUint16(at, value, true)
  const u32 = (at: number, value: number) => view.setUint32(at, value, true)
  u16(0, 0x5a4d)
  u32(0x3c, pe)
  u32(pe, 0x4550)
  u16(pe + 4, plus ? 0x8664 : 0x14c)
  u16(pe + 6, 2)
  u16(pe + 20, optional)
  u16(pe + 22, plus ? 0x206 : 0x306)
  const at = pe + 24
  u16(at, plus ? 0x20b : 0x10b)
  u32(at + 16, 0x1000)
  u32(at + 32, alignment)
  u32(at + 36, alignment)
  u32(at + 56, 0x3000)
  u32(at + 60, headers)
  u16(at + 68, 10)
  u32(at + (plus ? 108 : 92), 16)
  for (const [index, [name, address, size, raw]] of (
    [
      ['.text', 0x1000, text.length, headers],
      ['.data', 0x2000, 4, headers + rawSize],
    ] as const
  ).entries()) {
    const section = at + optional + index * 40
    file.set(ascii(name), section)
    u32(section + 8, size)
    u32(section + 12, address)
    u32(section + 16, index === 0 ? rawSize : alignment)
    u32(section + 20, raw)
    u32(section + 36, 0x40000040)
  }
  file.set(text, headers)
  return file
}

/** A UKI of the real stub with little in it. A section of `undefined` is left out. */
export function smallUki(more: Readonly<Record<string, Uint8Array | undefined>> = {}): Uint8Array {
  const sections = {
    '.osrel': ascii('IMAGE_ID=edgeos\nIMAGE_VERSION=1\n'),
    '.cmdline': ascii('console=ttyS0 panic=1\n'),
    '.linux': tinyPe(),
    '.initrd': ascii('no archive, and nobody opens it'),
    ...more,
  }
  return assembleUki(
    readStub(),
    Object.entries(sections).flatMap(([name, data]) => (data ? [{ name, data }] : [])),
  )
}

/** `bytes` with little-endian numbers written over it: [offset, bytes, value]. */
export function patched(bytes: Uint8Array, ...writes: readonly (readonly [number, 1 | 2 | 4, number])[]): Uint8Array {
  const copy = Uint8Array.from(bytes)
  const view = new DataView(copy.buffer)
  for (const [at, size, value] of writes) {
    if (size === 1) view.setUint8(at, value)
    else if (size === 2) view.setUint16(at, value, true)
    else view.setUint32(at, value, true)
  }
  return copy
}

export function thrown(act: () => unknown): unknown {
  try {
    return act()
  } catch (error) {
    return error
  }
}

/** Raw bytes, and good bytes with flips, cuts and inserts: `read` gives a value or throws Malformed, nothing else. */
export function fuzz(read: (bytes: Uint8Array) => unknown, good: readonly Uint8Array[], numRuns = 400): void {
  const damaged = fc
    .tuple(
      fc.constantFrom(...good),
      fc.array(fc.tuple(fc.constantFrom('flip', 'set', 'cut', 'insert', 'drop'), fc.nat(), fc.nat()), {
        minLength: 1,
        maxLength: 6,
      }),
    )
    .map(([bytes, wounds]) =>
      wounds.reduce<Uint8Array>((before, [kind, where, what]) => {
        const at = before.length === 0 ? 0 : where % before.length
        if (kind === 'cut') return before.subarray(0, at)
        if (kind === 'drop') return Uint8Array.from([...before.subarray(0, at), ...before.subarray(at + (what % 9))])
        if (kind === 'insert')
          return Uint8Array.from([...before.subarray(0, at), ...ascii(String(what)), ...before.subarray(at)])
        const after = Uint8Array.from(before)
        if (at < after.length) after[at] = kind === 'flip' ? (after[at] ?? 0) ^ (1 << (what % 8)) : what & 0xff
        return after
      }, bytes),
    )
  fc.assert(
    fc.property(
      fc.oneof({ weight: 1, arbitrary: fc.uint8Array({ maxLength: 600 }) }, { weight: 6, arbitrary: damaged }),
      (bytes) => {
        try {
          read(bytes)
        } catch (error) {
          expect(error).toBeInstanceOf(Malformed)
        }
      },
    ),
    { numRuns },
  )
}
