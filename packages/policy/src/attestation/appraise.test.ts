import { createHash } from 'node:crypto'
import type { EvidenceBody, PcrValues, UkiBoot, Verdict } from '@skerry/api'
import { measuredIn, parseEventLog, replay } from '@skerry/measured-boot'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { appraise } from './appraise.ts'
import { asGoodAs } from './findings.ts'
import {
  CLOCK,
  evidenceOf,
  logOf,
  makeTpm,
  NONCE,
  quoteBy,
  recordsAfter,
  referenceOf,
  sha256,
  valuesAfter,
  valuesOf,
} from './fixture.ts'
import type { TpmReference } from './reference.ts'

const tpm = makeTpm()
const other = makeTpm()
const codes = (evidence: EvidenceBody, reference: TpmReference, nonce = NONCE) => {
  const { verdict, findings } = appraise(evidence, { nonce, tpm: reference })
  return [verdict, ...findings.map(({ code, pcr }) => (pcr === undefined ? code : `${code} ${pcr}`))]
}
const good = evidenceOf(tpm, 'secure-boot-off')
const reference = referenceOf(tpm)
const image = (change: (measured: NonNullable<UkiBoot['measured']['sha256']>) => object): TpmReference => {
  const { sha256: measured } = reference.image.measured
  if (!measured) throw new Error('no bank')
  return { ...reference, image: { ...reference.image, measured: { sha256: { ...measured, ...change(measured) } } } }
}
const ZERO = '0'.repeat(64)

describe('a node whose key is a file', () => {
  const evidence: EvidenceBody = {
    class: 'software-key',
    bootId: 'b',
    slot: 'a',
    imageSha256: 'b'.repeat(64),
    nonce: NONCE,
  }
  test.each<[string, Partial<EvidenceBody>, Verdict, string]>([
    ['is never better than warning', {}, 'warning', 'SoftwareKey'],
    ['with evidence made for another statement', { nonce: 'c'.repeat(64) }, 'contraindicated', 'NonceMismatch'],
    ['class tpm without a quote proves nothing', { class: 'tpm' }, 'none', 'NoQuote'],
    ['class tpm without values proves nothing', { ...good, pcrs: {} }, 'none', 'NoQuote'],
  ])('%s', (_, more, verdict, reason) => {
    expect(appraise({ ...evidence, ...more }, { nonce: NONCE })).toMatchObject({ verdict, reason })
  })

  test('that registered with a TPM is contraindicated, whatever its nonce', () => {
    expect(appraise(evidence, { nonce: NONCE, class: 'tpm' })).toMatchObject({
      verdict: 'contraindicated',
      reason: 'ClassMismatch',
    })
    expect(appraise(evidence, { nonce: NONCE, class: 'software-key' })).toMatchObject({ verdict: 'warning' })
  })

  test('whose evidence brings a quote that nobody vouched for is contraindicated', () => {
    const { akName: _, ...rest } = reference
    const tpm = { ...rest, akName: undefined }
    expect(appraise(good, { nonce: NONCE, class: 'software-key', tpm })).toMatchObject({
      verdict: 'contraindicated',
      reason: 'ClassMismatch',
    })
    expect(appraise(good, { nonce: NONCE, class: 'tpm', tpm })).toMatchObject({ verdict: 'warning' })
  })

  test.each<[Verdict, boolean, boolean]>([
    ['affirming', true, true],
    ['warning', false, true],
    ['contraindicated', false, false],
    ['none', false, false],
  ])('%s is good enough for affirming: %s, for warning: %s', (verdict, affirming, warning) => {
    expect([asGoodAs(verdict, 'affirming'), asGoodAs(verdict, 'warning')]).toEqual([affirming, warning])
  })
})

describe('the boot that the manifest and the profile promise', () => {
  test.each(['secure-boot-off', 'secure-boot-on'] as const)(
    '%s: is affirming, every PCR beside what it should hold',
    (boot) => {
      const found = appraise(evidenceOf(tpm, boot), { nonce: NONCE, tpm: referenceOf(tpm, boot) })
      expect(found).toMatchObject({
        verdict: 'affirming',
        reason: 'Matches',
        findings: [],
        bank: 'sha256',
        clock: CLOCK,
      })
      expect(found.pcrs.map(({ pcr, by, ok }) => [pcr, by, ok])).toEqual([
        [0, 'profile', true],
        [2, 'profile', true],
        [3, 'profile', true],
        [4, 'log', true],
        [6, 'profile', true],
        [7, 'profile', true],
        [8, 'manifest', true],
        [9, 'manifest', true],
        [11, 'manifest', true],
        [12, 'manifest', true],
        [13, 'manifest', true],
        [14, 'manifest', true],
      ])
      expect(found.checks).toEqual(
        ['akAttributes', 'scheme', 'signature', 'structure', 'nonce', 'selection', 'pcrDigest', 'replay'].map(
          (name) => ({
            name,
            ok: true,
          }),
        ),
      )
      expect(found.vector).toEqual({
        'instance-identity': 2,
        configuration: 2,
        executables: 3,
        hardware: 2,
        'storage-opaque': 0,
      })
    },
  )

  test('without any reference honest evidence is a warning, and what was measured is told', () => {
    const found = appraise(good, { nonce: NONCE })
    expect(found).toMatchObject({ verdict: 'warning' })
    expect(found.findings.map(({ code }) => code)).toEqual(['AkUnknown', 'NoReference', 'NoProfile'])
    expect(found.pcrs.filter(({ by }) => by === 'nothing').map(({ pcr }) => pcr)).toEqual([0, 2, 3, 4, 6, 7, 9, 11, 12])
  })
})

describe('who speaks', () => {
  test.each<[string, EvidenceBody, TpmReference, string[]]>([
    ['another key than the one on record', evidenceOf(other, 'secure-boot-off'), reference, ['AkNotOnRecord']],
    [
      'a key that signs whatever it is given',
      evidenceOf(
        makeTpm(['fixedTPM', 'fixedParent', 'sensitiveDataOrigin', 'userWithAuth', 'sign']),
        'secure-boot-off',
      ),
      { ...reference, akName: undefined },
      ['AkUnknown', 'NotRestricted'],
    ],
    [
      'a quote of another key',
      { ...good, ...quoteBy(other, NONCE, valuesOf('secure-boot-off')) },
      reference,
      ['WrongSignature'],
    ],
    [
      'a quote that answers another question',
      { ...good, ...quoteBy(tpm, 'b'.repeat(64), valuesOf('secure-boot-off')) },
      reference,
      ['WrongNonce'],
    ],
  ])('%s is contraindicated', (_, evidence, given, expected) => {
    const [verdict, ...found] = codes(evidence, given)
    expect([verdict, found]).toEqual(['contraindicated', expect.arrayContaining(expected)])
  })

  test('what another TPM counts is kept of nobody', () => {
    const given = { nonce: NONCE, tpm: { ...reference, before } }
    const foreign = evidenceOf(other, 'secure-boot-off', { clock: { ...CLOCK, resetCount: 1 } })
    expect(appraise(foreign, given)).not.toHaveProperty('clock')
    expect(appraise(foreign, given).findings.map(({ code }) => code)).not.toContain('ResetCountFell')
    expect(appraise(good, given)).toHaveProperty('clock')
  })

  const before = { bootId: 'boot-0', clockMs: 50_000, resetCount: 6, restartCount: 3 }
  test.each<[string, object, object, string[]]>([
    ['the next start', {}, {}, ['affirming']],
    ['starts that nobody saw are told', {}, { resetCount: 3 }, ['affirming', 'UnattestedBoots']],
    ['fewer starts than before', { resetCount: 5 }, {}, ['contraindicated', 'ResetCountFell']],
    [
      'the same start, resumed less often',
      { resetCount: 6, restartCount: 2 },
      {},
      ['contraindicated', 'ResetCountFell'],
    ],
    [
      'an earlier clock in the same boot',
      { clockMs: 1 },
      { bootId: 'boot-1', resetCount: 7, restartCount: 0 },
      ['contraindicated', 'ClockFell'],
    ],
    [
      'another boot that the TPM counts no start of: another kernel in the same boot, or a quote made ahead',
      { resetCount: 6, restartCount: 3, clockMs: 60_000 },
      {},
      ['contraindicated', 'StartNotCounted'],
    ],
    [
      'the same boot after another start',
      { clockMs: 60_000 },
      { bootId: 'boot-1' },
      ['contraindicated', 'StartNotTold'],
    ],
    [
      'the same boot, awake again',
      { resetCount: 6, restartCount: 4, clockMs: 60_000 },
      { bootId: 'boot-1' },
      ['affirming'],
    ],
    ['an unclean stop is told and held against nobody', { safe: false }, {}, ['affirming', 'ClockUnsafe']],
  ])('%s', (_, clock, seen, expected) => {
    const evidence = evidenceOf(tpm, 'secure-boot-off', { clock: { ...CLOCK, ...clock } })
    expect(codes(evidence, { ...reference, before: { ...before, ...seen } })).toEqual(expected)
  })

  test('counts that cannot be are not what the next evidence is held against', () => {
    const of = (clock: object) =>
      appraise(evidenceOf(tpm, 'secure-boot-off', { clock: { ...CLOCK, ...clock } }), {
        nonce: NONCE,
        tpm: { ...reference, before },
      })
    expect(of({ resetCount: 5 })).not.toHaveProperty('clock')
    expect(of({ resetCount: 6, restartCount: 3, clockMs: 60_000 })).not.toHaveProperty('clock')
    expect(of({})).toHaveProperty('clock')
  })
})

test('what is proven to be bad is not hidden behind what is missing', () => {
  const { eventLog: _, ...logless } = evidenceOf(tpm, 'secure-boot-off')
  expect(codes(logless, reference)).toEqual(['none', 'EventLogMissing'])
  expect(
    codes(
      logless,
      image(() => ({ pcr9: ZERO })),
    )[0],
  ).toBe('contraindicated')
})

test.each([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14])('without PCR %i in the quote nothing is affirmed', (pcr) => {
  const values = valuesOf('secure-boot-off')
  values.delete(pcr)
  const evidence = evidenceOf(tpm, 'secure-boot-off', { values })
  const { verdict, findings } = appraise(evidence, { nonce: NONCE, selection: [...values.keys()], tpm: reference })
  expect([verdict, findings.map(({ code, pcr: of }) => [code, of])]).toEqual([
    'warning',
    expect.arrayContaining([['PcrNotQuoted', pcr]]),
  ])
})

describe('what ran', () => {
  test.each<[string, TpmReference, string[]]>([
    [
      'no signed manifest names the bytes',
      { ...reference, image: 'unknown' },
      ['contraindicated', 'ImageUnknown', 'UnknownApplication 4', 'UnknownApplication 4', 'UnknownApplication 4'],
    ],
    [
      'the manifest says that nothing measures it',
      { ...reference, image: { kind: 'none' } },
      ['contraindicated', 'ImageNotMeasured'],
    ],
    [
      'no reference values of the quoted bank',
      { ...reference, image: { ...reference.image, measured: {} } },
      ['contraindicated', 'BankNotPredicted'],
    ],
    ['another initrd or command line', image(() => ({ pcr9: ZERO })), ['contraindicated', 'PcrMismatch 9']],
    [
      'other sections',
      image(() => ({ pcr11: { phases: [{ phase: '', value: ZERO }] } })),
      ['contraindicated', 'PcrMismatch 11'],
    ],
    [
      'more than the command line',
      image(({ pcr12 }) => ({ pcr12: { ...pcr12, off: ZERO } })),
      ['contraindicated', 'PcrMismatch 12'],
    ],
    [
      'another image',
      image(({ applications }) => ({ applications: { ...applications, uki: ZERO } })),
      ['contraindicated', 'UnknownApplication 4', 'ImageNotStarted 4'],
    ],
    [
      'another boot loader',
      image(({ applications }) => ({ applications: { ...applications, loaders: [ZERO] } })),
      ['contraindicated', 'UnknownApplication 4'],
    ],
    [
      'another kernel',
      image(({ applications }) => ({ applications: { ...applications, kernel: ZERO } })),
      ['contraindicated', 'UnknownApplication 4', 'ImageNotStarted 4'],
    ],
  ])('%s', (_, given, expected) => {
    expect(codes(good, given)).toEqual(expected)
  })

  test('a kernel that was started before its image is not the image’s: whoever it is can extend the image’s digest later', () => {
    const log = Buffer.from(logOf('secure-boot-off'))
    const events = measuredIn(parseEventLog(log), 'sha256').extends
    const apps = (digest: string) => events.find(({ event, hex }) => event.pcr === 4 && hex === digest)?.event
    const { uki, kernel } = reference.image.measured.sha256?.applications ?? { uki: '', kernel: '' }
    const [one, two] = [apps(uki), apps(kernel)]
    if (!one || !two) throw new Error('the recording has neither')
    const at = (offset: number) => log.subarray(offset + 4 + 4 + 4 + 2, offset + 4 + 4 + 4 + 2 + 32)
    const [first, second] = [Buffer.from(at(one.offset)), Buffer.from(at(two.offset))]
    second.copy(at(one.offset))
    first.copy(at(two.offset))
    const value = replay(measuredIn(parseEventLog(log), 'sha256')).get(4) ?? new Uint8Array()
    const values = valuesOf('secure-boot-off').set(4, Buffer.from(value).toString('hex'))
    expect(codes(evidenceOf(tpm, 'secure-boot-off', { log, values }), reference)).toEqual([
      'contraindicated',
      'KernelNotOfImage 4',
    ])
  })

  test('of more findings than a verdict holds the last says how many are left out, and how bad they are', () => {
    const log = Buffer.from(logOf('secure-boot-off'))
    const { events } = parseEventLog(log)
    const { kernel } = reference.image.measured.sha256?.applications ?? {}
    const at = events.findIndex(({ digests }) => Buffer.from(digests.get('sha256') ?? []).toString('hex') === kernel)
    const [from = 0, to = 0] = [events[at]?.offset, events[at + 1]?.offset]
    const again = Array.from({ length: 100 }, () => log.subarray(from, to))
    const longer = Buffer.concat([log.subarray(0, to), ...again, log.subarray(to)])
    const value = replay(measuredIn(parseEventLog(longer), 'sha256')).get(4) ?? new Uint8Array()
    const values = valuesOf('secure-boot-off').set(4, Buffer.from(value).toString('hex'))
    const told = appraise(evidenceOf(tpm, 'secure-boot-off', { log: longer, values }), {
      nonce: NONCE,
      tpm: { ...reference, image: 'unknown' },
    })
    expect(told.verdict).toBe('contraindicated')
    const more = Number(/and (\d+) more$/.exec(told.message)?.[1])
    expect(more).toBeGreaterThan(100)
    expect(told.findings).toHaveLength(64)
    // However often one is repeated, every code is there.
    const left = new Set(told.findings.map(({ code }) => code))
    expect([...told.codes].filter((code) => !left.has(code))).toEqual([])
    expect(told.findings.at(-1)).toEqual({
      code: 'FindingsLeftOut',
      tier: 'contraindicated',
      message: `${more + 1 - 63} more findings are left out here`,
      actual: `${more + 1 - 63}`,
    })
  })

  test('a firmware that tried something else first says so: never affirming, each event by its index', () => {
    const on = referenceOf(tpm, 'secure-boot-on')
    const [verdict, ...found] = codes(evidenceOf(tpm, 'retry'), on)
    expect(asGoodAs(verdict as Verdict, 'affirming')).toBe(false)
    expect(found.some((code) => code?.startsWith('UnknownApplication'))).toBe(true)
  })

  test('an image that another signed manifest names and that did not stay is a warning, before this one', () => {
    const { sha256: mine } = reference.image.measured
    if (!mine) throw new Error('no bank')
    const tried = { ...reference.image, measured: { sha256: { ...mine, applications: { ...mine.applications } } } }
    const given = {
      ...image(({ applications }) => ({ applications: { ...applications, loaders: [ZERO] } })),
      others: [tried],
    }
    expect(codes(good, given)).toEqual(['warning', 'OtherImageTried 4'])
  })
})

describe('the machine', () => {
  const values = valuesOf('secure-boot-off')
  const firmware = { 0: values.get(0), 2: values.get(2), 3: values.get(3), 6: values.get(6) } as PcrValues
  const profiled = (more: object, learned: Partial<TpmReference['firmware']> = {}): TpmReference => ({
    ...reference,
    profile: { ...reference.profile, firmware: [], ...more },
    firmware: { ...reference.firmware, ...learned },
  })
  test.each<[string, TpmReference, string[]]>([
    ['no profile', { ...reference, profile: undefined }, ['warning', 'NoProfile']],
    [
      'a bank that the firmware is not known to fill',
      { ...reference, profile: { ...reference.profile, banks: ['sha384'] } },
      ['contraindicated', 'BankNotTrusted'],
    ],
    ['an unknown firmware, nothing learned', profiled({ learn: 'off' }), ['contraindicated', 'FirmwareUnknown 0']],
    [
      'a row that names no PCR knows no firmware',
      profiled({ learn: 'off', firmware: [{ pcrs: {} }] }),
      ['contraindicated', 'FirmwareUnknown 0'],
    ],
    ['the firmware it registered with', profiled({ learn: 'tofu' }, { atRegistration: firmware }), ['affirming']],
    [
      'another firmware than it registered with',
      profiled({ learn: 'tofu' }, { atRegistration: { ...firmware, 0: ZERO } }),
      ['contraindicated', 'FirmwareChanged 0'],
    ],
    ['a registration that showed none', profiled({ learn: 'tofu' }), ['contraindicated', 'FirmwareChanged 0']],
    [
      'too few others show it',
      profiled({ learn: 'quorum', quorum: 3 }, { shownBy: ['one/one'] }),
      ['warning', 'FirmwareUnconfirmed 0'],
    ],
    [
      'as many show it as were asked for',
      profiled({ learn: 'quorum', quorum: 3 }, { shownBy: ['one/one', 'two/two'] }),
      ['affirming', 'FirmwareLearned 0'],
    ],
    [
      'Secure Boot is asked for and off',
      { ...reference, profile: referenceOf(tpm, 'secure-boot-on').profile },
      ['contraindicated', 'SecureBootOff 7', 'PcrMismatch 7'],
    ],
  ])('%s', (_, given, expected) => {
    const [verdict, ...found] = codes(good, given)
    const wanted = expected.slice(1)
    expect([verdict, ...found.filter((code) => wanted.length === 0 || wanted.includes(code ?? ''))]).toEqual(expected)
  })

  test('a firmware that was learned by a quorum is expected: each value, and from whom it is', () => {
    const many = Array.from({ length: 20 }, (_, at) => `c${at}/n`)
    for (const shownBy of [['one/one', 'two/two'], many]) {
      const given = profiled({ learn: 'quorum', quorum: shownBy.length + 1 }, { shownBy })
      const { verdict, pcrs, findings } = appraise(good, { nonce: NONCE, tpm: given })
      const learnedFrom = shownBy.slice(0, 16)
      expect(verdict).toBe('affirming')
      expect(pcrs.filter(({ by }) => by === 'quorum')).toEqual(
        [0, 2, 3, 6].map((pcr) => {
          const value = values.get(pcr)
          return { pcr, actual: value, expected: [value], by: 'quorum', ok: true, learnedFrom }
        }),
      )
      expect(findings.map(({ message }) => message)).toEqual([
        `no profile lists this firmware; it is expected because ${learnedFrom.join(', ')}${shownBy === many ? ' and 4 more' : ''} show it too`,
      ])
    }
  })

  test('Secure Boot that the profile does not ask for, or with another list, is contraindicated', () => {
    const on = referenceOf(tpm, 'secure-boot-on')
    const evidence = evidenceOf(tpm, 'secure-boot-on')
    const { secureBoot: lists, ...open } = on.profile
    if (!lists) throw new Error('no lists')
    const listed = (more: object): TpmReference => ({
      ...on,
      profile: { ...on.profile, secureBoot: { ...lists, ...more } },
    })
    expect(codes(evidence, { ...on, profile: open })).toEqual(['contraindicated', 'SecureBootOn 7', 'PcrMismatch 7'])
    expect(codes(evidence, listed({ db: '' }))).toEqual(['contraindicated', 'PcrMismatch 7', 'AuthorityUnknown 7'])
    expect(codes(evidence, listed({ kek: lists.pk }))).toEqual(['contraindicated', 'PcrMismatch 7'])
    expect(codes(evidence, listed({ dbx: [lists.db, ...lists.dbx] }))).toEqual(['affirming'])
  })
})

describe('the log', () => {
  test.each<[string, Partial<EvidenceBody>, string[]]>([
    ['none came: nobody can judge', { eventLog: undefined as unknown as string }, ['none', 'EventLogMissing']],
    ['another file than the node signed for', { eventLogSha256: ZERO }, ['contraindicated', 'EventLogReplaced']],
    [
      'one that cannot be read',
      { eventLog: 'AAAA', eventLogSha256: createHash('sha256').update(Buffer.from('AAAA', 'base64')).digest('hex') },
      ['contraindicated', 'EventLogMalformed'],
    ],
  ])('%s', (_, more, expected) => {
    expect(codes({ ...good, ...more }, reference)).toEqual(expected)
  })

  test('a log of another boot leads elsewhere: each PCR is named', () => {
    const evidence = evidenceOf(tpm, 'secure-boot-off', { log: logOf('secure-boot-on') })
    const [verdict, ...found] = codes(evidence, reference)
    expect(verdict).toBe('contraindicated')
    expect(found).toEqual(expect.arrayContaining(['ReplayMismatch 4', 'ReplayMismatch 7']))
  })

  test('a bank that the firmware left empty and somebody filled with zeros is no evidence', () => {
    const empty = new Map([...valuesOf('secure-boot-off')].map(([pcr, value]) => [pcr, pcr <= 7 ? ZERO : value]))
    const [verdict, ...found] = codes(evidenceOf(tpm, 'secure-boot-off', { values: empty }), reference)
    expect([verdict, found.includes('EmptyBank')]).toEqual(['contraindicated', true])
  })
})

describe('what systemd extended after the firmware was gone', () => {
  const records = recordsAfter()
  const values = valuesAfter()
  const { sha256: mine } = reference.image.measured
  const phase = 'enter-initrd:leave-initrd:sysinit:ready' as const
  const phases = [...(mine?.pcr11.phases ?? []), { phase, value: values.get(11) ?? '' }]
  const promised = image(() => ({ pcr11: { phases } }))
  const text = Buffer.from(records).toString('latin1')
  const lines = text.split(/(?<=\n)/)
  const after = (given: string | Uint8Array | undefined, held = values) =>
    codes(
      evidenceOf(tpm, 'secure-boot-off', {
        values: held,
        ...(given === undefined ? {} : { records: Buffer.from(given as string, 'latin1') }),
      }),
      promised,
    )
  const line = (pcr: number, words: string, more: object = {}) =>
    `\x1e${JSON.stringify({ pcr, digests: [{ hashAlg: 'sha256', digest: sha256(Buffer.from(words)) }], ...more })}\n`
  const extended = (pcr: number, words: string) => {
    const held = Buffer.from(values.get(pcr) ?? '', 'hex')
    return new Map(values).set(pcr, sha256(held, Buffer.from(sha256(Buffer.from(words)), 'hex')))
  }

  test('is explained by its log: a boot in its last phase is affirming, and not without the log', () => {
    expect(after(records)).toEqual(['affirming'])
    expect(after(undefined)).toEqual(['contraindicated', 'ReplayMismatch 11'])
    // Without a log, and with one that says nothing, a boot that ends with the firmware is what it was.
    expect(after(undefined, valuesOf('secure-boot-off'))).toEqual(['affirming'])
  })

  test.each<[string, string | Uint8Array, Map<number, string>, string[]]>([
    ['a record that is missing', lines.slice(1).join(''), values, ['ReplayMismatch 11']],
    ['records in another order', [...lines.slice(1), lines[0]].join(''), values, ['ReplayMismatch 11']],
    ['a record that the TPM never saw, before the others', line(11, 'x') + text, values, ['ReplayMismatch 11']],
    ['a PCR that the log says was extended, and was not', line(13, 'x') + text, values, ['ReplayMismatch 13']],
    ['a PCR that was extended beside the log', text, extended(12, 'x'), ['ReplayMismatch 12', 'PcrMismatch 12']],
    ['a phase that no manifest promises', text + line(11, 'x'), extended(11, 'x'), ['PcrMismatch 11']],
    ['a credential that no manifest promises', text + line(12, 'x'), extended(12, 'x'), ['PcrMismatch 12']],
    [
      'an application that is told as userspace’s own',
      text + line(4, 'x'),
      extended(4, 'x'),
      ['RecordInFirmwarePcr 4', 'ReplayMismatch 4'],
    ],
    [
      'an initrd that is told as userspace’s own',
      text + line(9, 'x'),
      extended(9, 'x'),
      ['ReplayMismatch 9', 'PcrMismatch 9'],
    ],
    ['a record of a PCR that is not userspace’s', text + line(4, 'x'), values, ['RecordInFirmwarePcr 4']],
    ['words that are not those of the digest', text.replace('"sysinit"', '"sysexit"'), values, ['RecordNotCovered 11']],
    ['a log that was not written whole', text.slice(0, -1), values, ['MeasurementLogMalformed', 'ReplayMismatch 11']],
    [
      'a log without the bank',
      text.replaceAll('sha256', 'sha384').replaceAll(/[0-9a-f]{64}/g, '0'.repeat(96)),
      values,
      ['MeasurementLogMalformed', 'ReplayMismatch 11'],
    ],
    ['no log at all', 'nonsense', values, ['MeasurementLogMalformed', 'ReplayMismatch 11']],
  ])('%s: contraindicated, by name and PCR', (_, given, held, expected) => {
    expect(after(given, held)).toEqual(['contraindicated', ...expected])
  })

  test('and what came after the quote is told, and decides nothing', () => {
    const early = new Map(values).set(11, phasesUpTo(3))
    const found = codes(evidenceOf(tpm, 'secure-boot-off', { values: early, records }), {
      ...promised,
      image: image(() => ({ pcr11: { phases: [{ phase: '', value: phasesUpTo(3) }] } })).image,
    })
    expect(found).toEqual(['affirming', 'RecordsAfterQuote'])
    expect(after(text + line(11, 'x', { content: { string: 'y', eventType: 'phase' } }))).toEqual([
      'affirming',
      'RecordsAfterQuote',
    ])
  })

  /** PCR 11 after so many phases. */
  function phasesUpTo(count: number): string {
    const words = ['enter-initrd', 'leave-initrd', 'sysinit', 'ready'].slice(0, count)
    return words.reduce(
      (held, word) => sha256(Buffer.from(held, 'hex'), Buffer.from(sha256(Buffer.from(word)), 'hex')),
      valuesOf('secure-boot-off').get(11) ?? '',
    )
  }
})

test('evidence of any form has a verdict: it never throws, and never affirms', () => {
  const text = fc.oneof(
    fc.base64String({ maxLength: 400 }),
    fc.constantFrom(good.quote ?? '', good.signature ?? '', good.akPublic ?? '', good.eventLog ?? ''),
  )
  const value = fc.oneof(fc.constantFrom(ZERO, NONCE), fc.stringMatching(/^[0-9a-f]{64}$/))
  const values = fc.dictionary(fc.integer({ min: 0, max: 23 }).map(String), value, { maxKeys: 24 })
  fc.assert(
    fc.property(
      fc.record(
        {
          akPublic: text,
          quote: text,
          signature: text,
          eventLog: text,
          eventLogSha256: value,
          pcrs: fc.record({ sha256: values }, { requiredKeys: [] }),
        },
        { requiredKeys: [] },
      ),
      (more) => {
        const { verdict } = appraise({ ...good, ...more, nonce: NONCE }, { nonce: NONCE, tpm: reference })
        const same = JSON.stringify({ ...good, ...more }) === JSON.stringify(good)
        expect(verdict === 'affirming' && !same && more.pcrs !== undefined).toBe(false)
      },
    ),
    { numRuns: 300 },
  )
})
