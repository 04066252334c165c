import { execFile, execFileSync, spawnSync } from 'node:child_process'
import { existsSync, readFileSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { EvidenceBody } from '@skerry/api'
import { assembleUki } from '@skerry/measured-boot'
import {
  bitsThatCount,
  evidenceOf,
  flipped,
  logOf,
  makeTpm,
  recordedEvidence,
  recordsAfter,
  referenceOf,
  valuesAfter,
} from '@skerry/policy/testing'
import { testFolder } from '@skerry/supervise/testing'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { exitCodeOf } from '../errors.ts'
import { buildProgram } from '../program.ts'

/** What a command printed and said beside it, and the exit code that a shell would see. */
async function run(...args: string[]): Promise<{ out: string; said: string; exit: number; why: string }> {
  const [out, said]: [string[], string[]] = [[], []]
  const shell = {
    out: (text: string) => void out.push(text),
    err: (text: string) => void said.push(text),
    now: () => 0,
    env: {},
    signal: new AbortController().signal,
    stdin: async () => '',
  }
  const found = (exit: number, why = '') => ({ out: out.join(''), said: said.join(''), exit, why })
  return buildProgram(shell)
    .parseAsync(args, { from: 'user' })
    .then(() => found(0))
    .catch((error: unknown) => found(exitCodeOf(error), String(error)))
}

const dir = testFolder()
let files = 0
const written = (value: unknown): string => {
  const file = join(dir, `${++files}.json`)
  writeFileSync(file, typeof value === 'string' ? value : JSON.stringify(value))
  return file
}

describe('attest verify', () => {
  const tpm = makeTpm()
  const { akPublic, quote, signature, pcrs, eventLog, nonce }: EvidenceBody = evidenceOf(tpm, 'secure-boot-off')
  const evidence = { akPublic, quote, signature, pcrs, eventLog, nonce }
  const { akName, profile, image } = referenceOf(tpm)
  const manifest = {
    kind: 'OSImageManifest',
    family: 'edge-os',
    version: '1',
    releaseCounter: 1,
    hardwareIds: ['shop-box'],
    image: { sha256: 'b'.repeat(64), length: 1, mediaType: 'a/b' },
    boot: image,
  }
  const verify = async (given: unknown, ...more: string[]) => {
    const { out, exit } = await run('attest', 'verify', '--evidence', written(given), ...more)
    return {
      exit,
      ...(JSON.parse(out) as {
        verdict?: string
        checks?: object[]
        findings?: { code: string }[]
        error?: { code: string }
      }),
    }
  }

  test('honest evidence is a warning without a reference, and affirming with one', async () => {
    const alone = await verify(evidence)
    expect(alone).toMatchObject({ exit: 0, verdict: 'warning' })
    expect(alone.checks).toEqual(
      ['akAttributes', 'scheme', 'signature', 'structure', 'nonce', 'selection', 'pcrDigest', 'replay'].map((name) => ({
        name,
        ok: true,
      })),
    )
    const held = await verify(evidence, '--reference', written({ manifest, profile, akName }))
    expect(held).toMatchObject({ exit: 0, verdict: 'affirming', findings: [] })
    const machine = await verify(evidence, '--reference', written(profile))
    expect(machine.findings?.map(({ code }) => code)).toEqual(['AkUnknown', 'NoReference'])
    // A manifest alone says nothing of the machine, nor whose key it is.
    const half = await verify(evidence, '--reference', written(manifest))
    expect([half.exit, half.verdict, half.findings?.map(({ code }) => code)]).toEqual([
      0,
      'warning',
      ['AkUnknown', 'NoProfile'],
    ])
  })

  test('systemd’s log explains what was extended after the firmware was gone, and nothing without it', async () => {
    const records = recordsAfter()
    const later = evidenceOf(tpm, 'secure-boot-off', { values: valuesAfter(), records })
    const { akPublic, quote, signature, pcrs, eventLog, measurementLog, nonce } = later
    const given = { akPublic, quote, signature, pcrs, eventLog, measurementLog, nonce }
    expect(await verify(given)).toMatchObject({ exit: 0, verdict: 'warning' })
    const { measurementLog: _, ...without } = given
    const unexplained = await verify(without)
    expect([unexplained.exit, unexplained.findings?.map(({ code }) => code)]).toEqual([
      2,
      expect.arrayContaining(['ReplayMismatch']),
    ])
    const cut = Buffer.from(records.subarray(0, -1)).toString('base64')
    const found = await verify({ ...given, measurementLog: cut })
    expect([found.exit, found.findings?.map(({ code }) => code)]).toEqual([
      2,
      expect.arrayContaining(['MeasurementLogMalformed', 'ReplayMismatch']),
    ])
  })

  test('a key in PEM is taken, and what it cannot say is told', async () => {
    const { publicKey } = await import('node:crypto').then(({ createPublicKey }) => ({
      publicKey: createPublicKey(tpm.privateKey),
    }))
    const found = await verify({ ...evidence, akPublic: publicKey.export({ format: 'pem', type: 'spki' }) })
    expect([found.exit, found.verdict, found.findings?.some(({ code }) => code === 'AttributesUnknown')]).toEqual([
      0,
      'warning',
      true,
    ])
  })

  test.each<[string, object, string[], string]>([
    ['another nonce than the one that was asked', {}, ['--nonce', 'ff'.repeat(32)], 'WrongNonce'],
    [
      'a value that was not quoted',
      { pcrs: { sha256: { ...pcrs?.sha256, 16: '0'.repeat(64) } } },
      [],
      'WrongSelection',
    ],
    ['a changed value', { pcrs: { sha256: { ...pcrs?.sha256, 11: '0'.repeat(64) } } }, [], 'WrongPcrs'],
    ['a quote of another key', { signature: evidenceOf(makeTpm(), 'secure-boot-off').signature }, [], 'WrongSignature'],
    [
      'a log of another boot',
      { eventLog: Buffer.from(logOf('secure-boot-on')).toString('base64') },
      [],
      'ReplayMismatch',
    ],
  ])('%s: contraindicated, exit code 2, by its code', async (_, more, args, code) => {
    const found = await verify({ ...evidence, ...more }, ...args)
    expect([found.exit, found.verdict, found.findings?.map((one) => one.code)]).toEqual([
      2,
      'contraindicated',
      expect.arrayContaining([code]),
    ])
  })

  test.each<[string, unknown, string]>([
    ['no JSON', 'nonsense', 'MalformedJson'],
    ['a member twice', '{"nonce":"00","nonce":"01"}', 'DuplicateMember'],
    ['no object', '[]', 'InvalidField'],
    ['no quote', { ...evidence, quote: undefined }, 'InvalidField'],
    ['no log', { ...evidence, eventLog: undefined }, 'InvalidField'],
    ['a number for a text', { ...evidence, nonce: 1 }, 'InvalidField'],
    ['only SHA-1', { ...evidence, pcrs: { sha1: { 0: '0'.repeat(40) } } }, 'UntrustedBank'],
    ['SHA-1 beside', { ...evidence, pcrs: { ...pcrs, sha1: { 0: '0'.repeat(40) } } }, 'UntrustedBank'],
    ['no values', { ...evidence, pcrs: {} }, 'NoPcrs'],
    ['an empty bank', { ...evidence, pcrs: { sha256: {} } }, 'NoPcrs'],
    ['a PCR that no TPM has', { ...evidence, pcrs: { sha256: { 24: '0'.repeat(64) } } }, 'InvalidField'],
  ])('%s: unusable, exit code 1, by its code', async (_, given, code) => {
    const found = await verify(given)
    expect([found.exit, found.error?.code, found.verdict]).toEqual([1, code, undefined])
  })

  const base64 = (text = '') => Buffer.from(text, 'base64')
  const cutBy = (text: string | undefined, bytes: number) => base64(text).subarray(0, -bytes).toString('base64')
  const with16 = (text: string | undefined, at: number, value: number) => {
    const bytes = base64(text)
    bytes.writeUInt16BE(value, at)
    return bytes.toString('base64')
  }
  test.each<[string, object, string]>([
    ['a quote that is cut', { quote: cutBy(quote, 1) }, 'Truncated'],
    [
      'a quote with a byte behind it',
      { quote: Buffer.concat([base64(quote), Buffer.of(0)]).toString('base64') },
      'TrailingBytes',
    ],
    ['a quote of another magic', { quote: with16(quote, 2, 0x4346) }, 'BadMagic'],
    ['an attestation that is no quote', { quote: with16(quote, 4, 0x8017) }, 'WrongType'],
    ['a signature that is cut', { signature: cutBy(signature, 1) }, 'Truncated'],
    ['a signature by SHA-1', { signature: with16(signature, 2, 0x0004) }, 'WrongScheme'],
    ['a key that is cut', { akPublic: cutBy(akPublic, 1) }, 'Truncated'],
    ['a log that is cut', { eventLog: cutBy(eventLog, 1) }, 'EventLogMalformed'],
    ['a log of the SHA-1 format', { eventLog: Buffer.alloc(32).toString('base64') }, 'EventLogMalformed'],
    ['a log of systemd’s that is none', { measurementLog: 'AAAA' }, 'MeasurementLogMalformed'],
    ['values of a bank that was not quoted', { pcrs: { ...pcrs, sha384: { 0: '0'.repeat(96) } } }, 'ExtraBank'],
    [
      'a value that was quoted and is not there',
      { pcrs: { sha256: { ...pcrs?.sha256, 14: undefined } } },
      'WrongSelection',
    ],
    ['a value that is too short', { pcrs: { sha256: { ...pcrs?.sha256, 14: '00' } } }, 'WrongSize'],
  ])('%s: contraindicated, by its code', async (_, more, code) => {
    const found = await verify({ ...evidence, ...more })
    expect([found.exit, found.verdict, found.findings?.map((one) => one.code)]).toEqual([
      2,
      'contraindicated',
      expect.arrayContaining([code]),
    ])
  })

  test.each<[string, object, string]>([
    ['a quote', { quote: 'A'.repeat(2_052) }, 'quote has 2052 characters, at most 2048'],
    ['a signature', { signature: 'A'.repeat(1_000_000) }, 'signature has 1000000 characters'],
    ['a key', { akPublic: `-----BEGIN PUBLIC KEY-----${'A'.repeat(4_000)}` }, 'akPublic has 4026 characters'],
    ['a log', { eventLog: 'A'.repeat(1_398_108) }, 'eventLog has 1398108 characters, at most 1398104'],
    ['a log of systemd’s', { measurementLog: 'A'.repeat(1_398_108) }, 'measurementLog has 1398108 characters'],
    ['a nonce', { nonce: 'a'.repeat(4_000) }, 'nonce has 4000 characters'],
  ])('%s of any size is refused before it is decoded', async (_, more, why) => {
    expect(await verify({ ...evidence, ...more })).toMatchObject({
      exit: 1,
      error: { code: 'TooLarge', message: expect.stringContaining(why) },
    })
  })

  test.each(['secure-boot-off', 'secure-boot-on'] as const)(
    'evidence that a TPM signed (%s) is affirming as it is, and with no other bit where one counts',
    async (boot) => {
      const { evidence: whole, tpm: known } = recordedEvidence(boot)
      const given = { manifest: { ...manifest, boot: known.image }, profile: known.profile, akName: known.akName }
      const reference = written(given)
      const file = ({ class: _, bootId: __, slot: ___, imageSha256: ____, ...members }: EvidenceBody) => members
      const judged = async (one: EvidenceBody) => verify(file(one), '--reference', reference)
      expect(await judged(whole)).toMatchObject({ exit: 0, verdict: 'affirming', findings: [] })
      const { whole: bits, ofLogs } = bitsThatCount(whole)
      const one = fc.oneof(fc.constantFrom(...bits), fc.constantFrom(...ofLogs))
      await fc.assert(
        fc.asyncProperty(one, async (bit) => {
          const found = await judged(flipped(whole, bit))
          expect([found.exit, found.verdict]).toEqual([2, 'contraindicated'])
          expect(found.findings?.length).toBeGreaterThan(0)
        }),
        { numRuns: 150 },
      )
    },
  )

  test('a device without an end is told to be too large, and read no further', async () => {
    for (const args of [
      ['verify', '--evidence'],
      ['eventlog', '-o', 'json'],
    ]) {
      const { out, exit } = await run('attest', ...args, '/dev/zero')
      expect([exit, JSON.parse(out).error.code]).toEqual([1, 'TooLarge'])
    }
    expect(await run('image', 'inspect', '/dev/zero')).toMatchObject({
      exit: 2,
      why: expect.stringContaining('not a file'),
    })
  })

  describe('a pipe', () => {
    const skerry = fileURLToPath(new URL('../../bin/skerry.mjs', import.meta.url))
    /** A process of its own, for one that waited for ever would take this one with it. */
    const shell = (script: string, ...files: string[]) =>
      new Promise<{ code: unknown; killed: boolean; out: { error?: { code: string; message: string } } }>((resolve) => {
        execFile('sh', ['-c', script, process.execPath, skerry, ...files], { timeout: 120_000 }, (error, out) =>
          resolve({ code: error ? error.code : 0, killed: error?.killed ?? false, out: JSON.parse(out || '{}') }),
        )
      })

    test('that nobody writes into is given up, by name', async () => {
      const pipe = join(dir, 'pipe')
      execFileSync('mkfifo', [pipe])
      for (const command of ['verify --evidence', 'eventlog -o json']) {
        const { code, killed, out } = await shell(`exec "$0" "$1" attest ${command} "$2"`, pipe)
        expect([killed, code, out.error]).toEqual([
          false,
          1,
          { code: 'Unreadable', message: expect.stringContaining('nothing came out of it for 500 ms') },
        ])
      }
    })

    test('is read to its end, whoever comes first', async () => {
      const [pipe, file] = [join(dir, 'pipe-with-writer'), written(evidence)]
      execFileSync('mkfifo', [pipe])
      const named = await shell('cat "$3" > "$2" & exec "$0" "$1" attest verify --evidence "$2"', pipe, file)
      expect(named).toMatchObject({ code: 0, out: { verdict: 'warning' } })
      const piped = await shell('cat "$2" | "$0" "$1" attest verify --evidence /dev/stdin', file)
      expect(piped).toMatchObject({ code: 0, out: { verdict: 'warning' } })
    })
  })

  test('a file of a million empty objects, which would fill the memory, is refused as it is read', async () => {
    const found = await verify(`[${'{},'.repeat(900_000)}{}]`)
    expect(found).toMatchObject({ exit: 1, error: { code: 'TooLarge', message: expect.stringContaining('values') } })
    // Of what a quote can hold there are some hundred; an inventory in a reference has many more.
    const many = `[${'0,'.repeat(10_000)}0]`
    expect(await verify(many)).toMatchObject({
      error: { code: 'TooLarge', message: expect.stringContaining('more than 10000 values') },
    })
    expect(await verify(evidence, '--reference', written(many))).toMatchObject({ error: { code: 'InvalidField' } })
  })

  test('a reference that is none, and a file of any size, are told before anything is judged', async () => {
    expect(await verify(evidence, '--reference', written({ manifets: manifest }))).toMatchObject({
      exit: 1,
      error: { code: 'InvalidField' },
    })
    expect(await verify(evidence, '--reference', written({ profile: { ...profile, learn: 'all' } }))).toMatchObject({
      exit: 1,
      error: { code: 'InvalidField' },
    })
    const large = written('')
    truncateSync(large, 8_000_000)
    const { out, exit } = await run('attest', 'verify', '--evidence', large)
    expect([exit, JSON.parse(out).error.code]).toEqual([1, 'TooLarge'])
    const missing = await run('attest', 'verify', '--evidence', join(dir, 'nothing'))
    expect([missing.exit, JSON.parse(missing.out).error.code]).toEqual([1, 'Unreadable'])
  })
})

describe('attest eventlog', () => {
  const log = join(dir, 'log.bin')
  writeFileSync(log, logOf('secure-boot-on'))

  test('shows events, values, Secure Boot and findings, as JSON and for people', async () => {
    const { out, exit } = await run('attest', 'eventlog', log, '-o', 'json')
    const seen = JSON.parse(out) as {
      banks: string[]
      events: object[]
      pcrs: { sha256: Record<string, string> }
      secureBoot: boolean
      findings: object[]
    }
    expect([exit, seen.banks, seen.secureBoot, seen.findings, seen.events.length]).toEqual([
      0,
      ['sha256'],
      true,
      [],
      38,
    ])
    const text = await run('attest', 'eventlog', log)
    expect(text.out).toContain(`sha256:11 ${seen.pcrs.sha256['11']}`)
    expect(text.out).toContain('Secure Boot: on')
  })

  test.each<[string, Uint8Array | undefined, string[], string]>([
    ['SHA-1', undefined, ['--bank', 'sha1'], 'Unsupported'],
    ['a bank that it lacks', undefined, ['--bank', 'sha512'], 'Unsupported'],
    ['a log that is cut', logOf('secure-boot-on').subarray(0, 3_000), [], 'Truncated'],
    ['nothing', new Uint8Array(), [], 'Truncated'],
    ['no log', Buffer.from('this is no event log, whatever its name says'), [], 'BadMagic'],
  ])('%s: exit code 1, with code and offset as JSON, and a sentence for people', async (_, bytes, args, code) => {
    const file = bytes ? join(dir, `${code}.bin`) : log
    if (bytes) writeFileSync(file, bytes)
    const { out, exit } = await run('attest', 'eventlog', file, ...args, '-o', 'json')
    expect([exit, JSON.parse(out)]).toEqual([
      1,
      { error: { code, message: expect.any(String), offset: expect.any(Number) } },
    ])
    const text = await run('attest', 'eventlog', file, ...args)
    expect([text.exit, text.out, text.why]).toEqual([1, '', expect.stringContaining(`${code}: `)])
  })
})

describe('a UKI at the signers’ desk', () => {
  const EFI = '/usr/lib/systemd/boot/efi'
  const [stub, loader] = [`${EFI}/linuxx64.efi.stub`, `${EFI}/systemd-bootx64.efi`]
  const can = existsSync(stub) && spawnSync('pesign', ['--version']).error === undefined
  const uki = join(dir, 'edge-os-1.efi')
  const make = (commandLine: string, osRelease = 'ID=edge\nIMAGE_ID=edge-os\nIMAGE_VERSION=1\n') => {
    const text = (body: string) => new TextEncoder().encode(body)
    const bytes = assembleUki(readFileSync(stub), [
      { name: '.osrel', data: text(osRelease) },
      { name: '.cmdline', data: text(commandLine) },
      { name: '.linux', data: readFileSync(loader) },
      { name: '.initrd', data: text('an initrd') },
    ])
    writeFileSync(uki, bytes)
  }
  const MANIFEST = ['--family', 'edge-os', '--version', '1', '--release-counter', '1', '--hardware-id', 'x']
  const manifestOf = (...more: string[]) => run('image', 'manifest', uki, ...MANIFEST, ...more)

  test.skipIf(!can)(
    'its manifest promises what pesign and the boot loader’s own digest say, in each bank that is asked for',
    async () => {
      make('console=ttyS0 panic=1')
      const { out, exit } = await manifestOf('--boot-loader', loader, '--bank', 'sha256', '--bank', 'sha384')
      expect(exit).toBe(0)
      const { boot } = JSON.parse(out)
      const pesign = (file: string) =>
        execFileSync('pesign', ['-h', '-i', file], { encoding: 'utf8' }).match(/[0-9a-f]{64}/)?.[0]
      expect(boot.measured.sha256.applications).toEqual({
        loaders: [pesign(loader)],
        uki: pesign(uki),
        kernel: pesign(loader),
      })
      expect(Object.keys(boot.measured)).toEqual(['sha256', 'sha384'])
      expect(boot.measured.sha384.pcr9).toHaveLength(96)
    },
  )

  test.skipIf(!can)('without its boot loader nothing is promised, and what is no EFI program has none', async () => {
    make('console=ttyS0 panic=1')
    expect(await manifestOf()).toMatchObject({ exit: 2, why: expect.stringContaining('--boot-loader FILE') })
    const plain = written('bytes')
    const given = ['--family', 'a', '--version', '1', '--release-counter', '1', '--hardware-id', 'x']
    const { out } = await run('image', 'manifest', plain, ...given)
    expect(JSON.parse(out).boot).toEqual({ kind: 'none' })
    expect(await run('image', 'manifest', plain, ...given, '--boot-loader', loader)).toMatchObject({ exit: 2 })
  })

  test.skipIf(!can)('inspect names what a reviewer should look at, and the same values as the manifest', async () => {
    make('console=ttyS0 init=/bin/sh systemd.debug_shell')
    const { out } = await run('image', 'inspect', uki, '--boot-loader', loader, '-o', 'json')
    const seen = JSON.parse(out)
    expect(seen.findings.map(({ code }: { code: string }) => code)).toEqual([
      'Unsigned',
      'InitOnCommandLine',
      'DebugOnCommandLine',
      'NoPanic',
    ])
    const { boot } = JSON.parse((await manifestOf('--boot-loader', loader)).out)
    expect(seen.boot.pcr.predicted.sha256['9']).toBe(boot.measured.sha256.pcr9)
    const text = await run('image', 'inspect', uki, '--boot-loader', loader)
    expect(text.out).toContain(boot.measured.sha256.pcr12.off)
    expect(text.out).toMatch(/PCR 7 +Secure Boot on +with --secure-boot-keys/)
    const alone = await run('image', 'inspect', uki)
    expect(alone.out).toMatch(/PCR 4 +altogether +with --boot-loader/)
  })

  test.skipIf(!can)('what cannot be read is told by its name', async () => {
    make('panic=1')
    const plain = written('no program')
    const why = async (...args: string[]) => {
      const found = await run(...args)
      expect(found.exit).not.toBe(0)
      return found.why
    }
    expect(await why('image', 'inspect', plain)).toContain(`${plain}: IMAGE_DOS_HEADER, byte 0: no "MZ"`)
    expect(await why('image', 'inspect', uki, '--boot-loader', plain)).toContain(`${plain}: IMAGE_DOS_HEADER`)
    expect(await why('image', 'inspect', uki, '--boot-loader', uki)).toContain(`${uki}: boot loader, byte 0`)
    expect(await why('image', 'inspect', dir)).toContain(`${dir} is a folder`)
    const keys = testFolder()
    for (const name of ['PK', 'KEK', 'db']) writeFileSync(join(keys, `${name}.esl`), name === 'db' ? 'no list' : '')
    const given = ['--boot-loader', loader, '--secure-boot-keys', keys]
    expect(await why('image', 'inspect', uki, ...given)).toContain(`${join(keys, 'db.esl')}: EFI_SIGNATURE_LIST`)
    writeFileSync(join(keys, 'db.esl'), '')
    expect((await run('image', 'inspect', uki, ...given)).out).toMatch(/PCR 7 +Secure Boot on +none: a machine with/)
    expect(await manifestOf('--boot-loader', plain)).toMatchObject({ why: expect.stringContaining(plain) })
    expect(await why('image', 'manifest', dir, ...MANIFEST)).toContain(`${dir} is a folder`)
    expect(await why('attest', 'eventlog', plain)).toContain(`${plain}: TCG_PCR_EVENT`)
  })

  test.skipIf(!can)(
    'a UKI that no machine would take gets no manifest, and what to look at is said beside it',
    async () => {
      make('quiet')
      const { exit, said } = await manifestOf('--boot-loader', loader)
      expect([exit, said]).toEqual([0, expect.stringMatching(/look before you sign: Unsigned: .*\n.*NoPanic: /)])
      expect(await run('image', 'manifest', uki, ...MANIFEST, '--version', '2', '--boot-loader', loader)).toMatchObject(
        {
          exit: 2,
          why: expect.stringMatching(/--version 2: .* is 1 by its own os-release/),
        },
      )
      make('quiet', 'ID=edge\nIMAGE_VERSION=1\n')
      expect(await manifestOf('--boot-loader', loader)).toMatchObject({
        exit: 2,
        why: expect.stringContaining('IMAGE_ID'),
      })
    },
  )
})
