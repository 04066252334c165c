import type {
  ComplianceReport,
  EvidenceBody,
  GapBody,
  RegistrationProof,
  Statement,
  TpmQuote,
  TransitionBody,
  UkiBoot,
  Verdict,
} from '@skerry/api'
import { describe, expect, test } from 'vitest'
import {
  CLOCK,
  evidenceOf,
  makeTpm,
  referenceOf,
  sha256,
  strayRecords,
  type Tpm,
  valuesOf,
} from '../attestation/fixture.ts'
import type { SignedFiles } from './again.ts'
import { assess } from './assess.ts'
import type { Proven } from './chain.ts'
import { checkReport } from './check.ts'
import { factsOf } from './facts.ts'

// What whoever checks a report can say of a boot with a TPM, once he has what people signed: the hub's verdict follows from
// that, or it is a fault.

const NOW = Date.parse('2026-06-01T12:00:00Z')
const IMAGE = 'b'.repeat(64)
const digest = (seq: number) => `${seq}`.padStart(64, '0')
const nonceOf = (seq: number) => sha256(Buffer.from(`nonce ${seq}`))
const TRANSCRIPT = 'e'.repeat(64)

const tpm = makeTpm()
const { image, profile } = referenceOf(tpm)
const signedFiles = (boot: UkiBoot = image, hardware: Partial<typeof profile> = {}): SignedFiles => ({
  manifests: [
    {
      sha256: 'c'.repeat(64),
      manifest: {
        ...{ kind: 'OSImageManifest', family: 'os', version: '1', releaseCounter: 1, hardwareIds: ['shop-box'] },
        image: { sha256: IMAGE, length: 1, mediaType: 'a/b' },
        boot,
      },
    },
  ],
  profiles: [{ sha256: 'd'.repeat(64), profile: { ...profile, ...hardware } }],
})

type Node = {
  cluster: string
  incarnation?: number
  by?: Tpm
  bodies?: (EvidenceBody | TransitionBody | GapBody)[]
  /** Numbers that are lost: its statements have the others. */
  closes?: { fromSeq: number; toSeq: number }[]
  proof?: RegistrationProof | undefined
}
const proofOf = (by: Tpm, values = valuesOf('secure-boot-off')): RegistrationProof => {
  const { akPublic, quote, signature, pcrs, eventLog, eventLogSha256 } = evidenceOf(by, 'secure-boot-off', {
    nonce: TRANSCRIPT,
    values,
  })
  const quoted = { akPublic, quote, signature, pcrs, eventLog, eventLogSha256 } as TpmQuote
  const id = 'f'.repeat(64)
  return { kind: 'RegistrationProof', id, nonce: id, transcript: TRANSCRIPT, tpm: { secret: id, quote: quoted } }
}
const boot = (seq: number, by: Tpm, more: Parameters<typeof evidenceOf>[2] = {}): EvidenceBody => ({
  ...evidenceOf(by, 'secure-boot-off', { nonce: nonceOf(seq), ...more }),
  bootId: `b${seq}`,
})

/** It ran what this manifest names, and took it for good. */
const confirms = (manifestSha256: string): TransitionBody => ({
  ...{ from: 'Confirming', to: 'Idle', reason: 'Confirmed', message: 'runs it', bootId: 'b', manifestSha256 },
})

const gapIn = (statements: readonly Statement[], upTo: number) => {
  const says = (one: Statement) => one.kind === 'gap' && one.body.toSeq === upTo
  const { cluster, node, incarnation, seq } = statements.find(says) ?? {}
  if (cluster === undefined || node === undefined || incarnation === undefined || seq === undefined)
    throw new Error('no statement')
  return { cluster, node, incarnation, seq, digest: digest(seq) }
}

/** A report of nodes that booted, with what a hub said of each newest boot, and what its statements prove. */
function world(
  nodes: readonly Node[],
  said: { verdict: Verdict; reason: string },
  more: Partial<ComplianceReport> = {},
  hardwareId: string | null = 'shop-box',
) {
  const evidence = new Map<string, Proven>()
  const inventory = nodes.map(({ cluster, by = tpm, bodies = [boot(1, by)], ...rest }) => {
    const { incarnation = 1, closes } = rest
    const isLost = (seq: number) => closes?.some(({ fromSeq, toSeq }) => fromSeq <= seq && seq <= toSeq) === true
    const seqs = bodies.reduce<number[]>((all) => {
      let next = (all.at(-1) ?? 0) + 1
      while (isLost(next)) next += 1
      return [...all, next]
    }, [])
    const id = { cluster, node: 'n', incarnation }
    const statements = bodies.map(
      (body, at): Statement => ({
        ...{ ...id, seq: seqs[at] ?? 0, prev: digest((seqs[at] ?? 0) - 1) },
        ...{ marker: digest(0), time: { wall: '2026-06-01T11:00:00Z' } },
        ...('to' in body
          ? { kind: 'transition', body }
          : 'toSeq' in body
            ? { kind: 'gap', body }
            : { kind: 'evidence', body }),
      }),
    )
    const known = statements.map((statement) => ({ statement, digest: digest(statement.seq) }))
    const proof = 'proof' in rest ? rest.proof : proofOf(by)
    evidence.set(`${cluster}/n/${incarnation}`, {
      ...{ key: 'KEY', faults: [], ...(proof ? { proof } : {}) },
      // The newest first, as they are read.
      statements: new Map(
        known.toReversed().map((one) => {
          const { seq } = one.statement
          return [seq, { ...one, nonce: nonceOf(seq), reached: 'signed' }] as const
        }),
      ),
    })
    const newest = seqs.at(-1) ?? 0
    const booted = statements.findLast(({ kind }) => kind === 'evidence')?.seq ?? 0
    const statement = { ...id, seq: booted, digest: digest(booted) }
    const verdict = { bootId: `b${booted}`, ...said, statement }
    return {
      cluster,
      reachability: 'Online' as const,
      nodes: [
        {
          ...{ node: 'n', class: 'tpm' as const, incarnation, watermark: newest, newestSeq: newest },
          ...(hardwareId === null ? {} : { hardwareId }),
          ...factsOf(known, Math.max(0, ...(closes ?? []).map(({ toSeq }) => toSeq))),
          ...(closes
            ? { closed: closes.map((one) => ({ ...one, reason: 'NotKept', statement: gapIn(statements, one.toSeq) })) }
            : {}),
          verdict,
        },
      ],
    }
  })
  const report: ComplianceReport = {
    ...{ kind: 'ComplianceReport', apiVersion: 'skerry.dev/v1alpha1', ...assess(inventory, NOW) },
    ...more,
  }
  return (signed?: SignedFiles, cluster = 'shop') => {
    const { faults, claims } = checkReport(report, evidence, new Map(), signed)
    const found = claims.find((one) => one.claim === 'BootAttested' && one.cluster === cluster)
    return { faults, outcome: found?.outcome, why: found?.reason }
  }
}

const GOOD = { verdict: 'affirming', reason: 'Matches' } as const
const shop = { cluster: 'shop' }
const { sha256: measured } = image.measured
const otherImage = { ...image, measured: { sha256: measured && { ...measured, pcr9: '0'.repeat(64) } } } as UkiBoot
const verified = {
  faults: [],
  outcome: 'verified',
  why: expect.stringContaining('judged again from its evidence by what people signed'),
}
describe('a boot with a TPM, judged again by what people signed', () => {
  test('is verified where the hub said what follows; without the signed files it is the hub’s judgement', () => {
    expect(world([shop], GOOD)(signedFiles())).toEqual(verified)
    expect(world([shop], GOOD)()).toEqual({
      ...{ faults: [], outcome: 'not-assessed' },
      why: expect.stringContaining('judged by the hub, not by this report'),
    })
    const bad = { verdict: 'contraindicated', reason: 'PcrMismatch' } as const
    expect(world([shop], bad)(signedFiles(otherImage))).toEqual(verified)
  })

  test.each<[string, Node, { verdict: Verdict; reason: string }, SignedFiles, string]>([
    ['good, and another image was signed', shop, GOOD, signedFiles(otherImage), 'contraindicated (PcrMismatch)'],
    [
      'good, and nothing of its image was signed',
      shop,
      GOOD,
      { ...signedFiles(), manifests: [] },
      'contraindicated (ImageUnknown)',
    ],
    ['good, and no profile is of its hardware', shop, GOOD, { ...signedFiles(), profiles: [] }, 'warning (NoProfile)'],
    [
      'good, and the profile knows another firmware',
      shop,
      GOOD,
      signedFiles(image, { firmware: [] }),
      'contraindicated (FirmwareUnknown)',
    ],
    [
      'bad, and it is good',
      shop,
      { verdict: 'contraindicated', reason: 'PcrMismatch' },
      signedFiles(),
      'affirming (Matches)',
    ],
    [
      'good, of another TPM than registered',
      { ...shop, proof: proofOf(makeTpm()) },
      GOOD,
      signedFiles(),
      'contraindicated (AkNotOnRecord)',
    ],
    [
      'good, of a TPM that counts fewer starts than before',
      { ...shop, bodies: [boot(1, tpm, { clock: { ...CLOCK, resetCount: 9 } }), boot(2, tpm)] },
      GOOD,
      signedFiles(),
      'contraindicated (ResetCountFell)',
    ],
  ])('said to be %s: a fault that names what follows', (_, node, said, signed, due) => {
    const { faults, outcome } = world([node], said)(signed)
    expect([
      outcome,
      faults.some(
        (fault) =>
          fault.startsWith('shop/n: the evidence of boot') &&
          fault.includes(`is ${due}, the report says ${said.verdict}`),
      ),
    ]).toEqual(['not-verified', true])
  })

  test('of an image that is older than one it confirmed is contraindicated here as at the hub', () => {
    const [first] = signedFiles().manifests
    if (!first) throw new Error('no manifest')
    const newer = { sha256: '9'.repeat(64), manifest: { ...first.manifest, version: '2', releaseCounter: 2 } }
    const both = {
      ...signedFiles(),
      manifests: [
        first,
        { ...newer, manifest: { ...newer.manifest, image: { ...first.manifest.image, sha256: TRANSCRIPT } } },
      ],
    }
    const downgraded = { ...shop, bodies: [confirms(newer.sha256), boot(2, tpm)] }
    expect(world([downgraded], { verdict: 'contraindicated', reason: 'OlderThanConfirmed' })(both)).toEqual(verified)
    expect(world([downgraded], GOOD)(both)).toMatchObject({ outcome: 'not-verified' })
    // The same bytes under the newer manifest are no older ones; what it confirms afterwards says nothing of this boot.
    expect(world([downgraded], GOOD)({ ...signedFiles(), manifests: [first, newer] })).toEqual(verified)
    expect(world([{ ...shop, bodies: [confirms(first.sha256), boot(2, tpm)] }], GOOD)(both)).toEqual(verified)
    expect(world([{ ...shop, bodies: [boot(1, tpm), confirms(newer.sha256)] }], GOOD)(both)).toEqual(verified)
    // Who leaves the newer one out of the file makes nothing better, and no older targets do.
    expect(world([downgraded], GOOD)({ ...both, manifests: [first] })).toMatchObject({
      ...{ faults: [], outcome: 'not-assessed' },
      why: expect.stringMatching(/9{64}, which the node confirmed in statement 1, is not in this file/),
    })
    // What was signed for other hardware is neither the image nor a floor.
    const kiosk = (one: typeof first, releaseCounter: number) => ({
      sha256: '8'.repeat(64),
      manifest: { ...one.manifest, releaseCounter, hardwareIds: ['kiosk'] },
    })
    const elsewhere = { ...both, manifests: [...both.manifests, kiosk(first, 7)] }
    expect(world([downgraded], GOOD)(elsewhere)).toMatchObject({ outcome: 'not-verified' })
    const [, second = first] = both.manifests
    const foreign = { ...both, manifests: [first, { ...kiosk(second, 2), sha256: newer.sha256 }] }
    expect(world([downgraded], GOOD)(foreign)).toEqual(verified)
    const onlyElsewhere = { verdict: 'contraindicated', reason: 'ImageForOtherHardware' } as const
    expect(world([shop], onlyElsewhere)({ ...signedFiles(), manifests: [kiosk(first, 1)] })).toEqual(verified)
  })

  test('of which what it had confirmed is lost is a warning here as at the hub, until it confirms anew', () => {
    const [first] = signedFiles().manifests
    if (!first) throw new Error('no manifest')
    const lossy = (...bodies: NonNullable<Node['bodies']>) => ({ ...shop, bodies, closes: [{ fromSeq: 1, toSeq: 1 }] })
    const gap = { fromSeq: 1, toSeq: 1, reason: 'NotKept' } as const
    const doubt = { verdict: 'warning', reason: 'ConfirmedLost' } as const
    expect(world([lossy(gap, boot(3, tpm))], doubt)(signedFiles())).toEqual(verified)
    expect(world([lossy(gap, boot(3, tpm))], GOOD)(signedFiles())).toMatchObject({ outcome: 'not-verified' })
    expect(world([lossy(gap, confirms(first.sha256), boot(4, tpm))], GOOD)(signedFiles())).toEqual(verified)
    expect(world([lossy(gap, boot(3, tpm), confirms(first.sha256))], GOOD)(signedFiles())).toEqual(verified)
    // Of several stretches the last below the boot counts, in whatever order a file has them.
    const second = { ...gap, fromSeq: 4, toSeq: 4 }
    const said = [gap, confirms(first.sha256), second, boot(6, tpm)]
    for (const closes of [
      [gap, second],
      [second, gap],
    ]) {
      const stretches = closes.map(({ fromSeq, toSeq }) => ({ fromSeq, toSeq }))
      const { faults } = world([{ ...shop, bodies: said, closes: stretches }], GOOD)(signedFiles())
      expect(faults).toContainEqual(expect.stringContaining('ConfirmedLost'))
    }
    // What it confirmed after the boot may be what shows it, and is not there to be read.
    expect(world([lossy(gap, boot(3, tpm), confirms('9'.repeat(64)))], GOOD)(signedFiles())).toMatchObject({
      ...{ faults: [], outcome: 'not-assessed' },
      why: expect.stringMatching(/9{64}, which the node confirmed in statement 4, is not in this file/),
    })
  })

  test.each<[string, Node, string | null, string]>([
    [
      'its registration was not kept',
      { ...shop, proof: undefined },
      'shop-box',
      'does not hold what the node signed when it registered',
    ],
    ['its hardware is not told', shop, null, 'does not say which hardware'],
    [
      'its registration’s quote answers another exchange',
      { ...shop, proof: { ...proofOf(tpm), transcript: 'a'.repeat(64) } },
      'shop-box',
      'quote of its registration does not hold (nonce)',
    ],
  ])('is the hub’s judgement where %s', (_, node, hardwareId, why) => {
    expect(world([node], GOOD, {}, hardwareId)(signedFiles())).toEqual({
      ...{ faults: [], outcome: 'not-assessed' },
      why: expect.stringContaining(why),
    })
  })

  test('a firmware that it registered with counts as the profile lets it be learned', () => {
    const learning = signedFiles(image, { firmware: [], learn: 'tofu' })
    expect(world([shop], GOOD)(learning)).toEqual(verified)
    expect(world([{ ...shop, incarnation: 2 }], GOOD)(learning)).toMatchObject({
      ...{ faults: [], outcome: 'not-assessed' },
      why: expect.stringContaining('in its first life is not in this file'),
    })
    expect(world([{ ...shop, incarnation: 2 }], GOOD)(signedFiles())).toEqual(verified)
    // What it showed then, quoted as it was; the log of that day is nobody's business any more.
    const other = new Map(
      [...valuesOf('secure-boot-off')].map(([pcr, value]) => [pcr, pcr === 2 ? '1'.repeat(64) : value]),
    )
    const { faults } = world([{ ...shop, proof: proofOf(tpm, other) }], GOOD)(learning)
    expect(faults.some((fault) => fault.includes('is contraindicated (FirmwareChanged)'))).toBe(true)
  })

  test('of two manifests that name its bytes the better verdict counts, and of equal ones the first one’s reason', () => {
    const [one] = signedFiles().manifests
    const [two] = signedFiles(otherImage).manifests
    if (!one || !two) throw new Error('a manifest each')
    const unmeasured = { ...two, manifest: { ...two.manifest, boot: { kind: 'none' as const } } }
    const both = (...manifests: SignedFiles['manifests']) => ({ ...signedFiles(), manifests })
    expect(world([shop], GOOD)(both(two, { ...one, sha256: 'd'.repeat(64) }))).toEqual(verified)
    const bad = { verdict: 'contraindicated', reason: 'PcrMismatch' } as const
    expect(world([shop], bad)(both({ ...unmeasured, sha256: 'd'.repeat(64) }, two))).toEqual(verified)
  })

  test('a quorum is made of the other clusters of the report, and of one alone nobody can tell', () => {
    const learning = signedFiles(image, { firmware: [], learn: 'quorum', quorum: 3 })
    const all = [shop, { cluster: 'kiosk', by: makeTpm() }, { cluster: 'depot', by: makeTpm() }]
    expect(world(all, GOOD)(learning)).toEqual(verified)
    const few = world(all.slice(0, 2), GOOD)(learning)
    expect([few.outcome, few.faults[0]]).toEqual([
      'not-verified',
      expect.stringContaining('warning (FirmwareUnconfirmed)'),
    ])
    const untold = {
      ...{ faults: [], outcome: 'not-assessed' },
      why: expect.stringContaining('learned from clusters that are not all in this report'),
    }
    expect(world(all.slice(0, 1), GOOD, { only: ['shop'] })(learning)).toEqual(untold)
    // Also behind more findings than a verdict lists.
    const allowed = signedFiles(image, { firmware: [], learn: 'quorum', quorum: 3, allowed: ['RecordInFirmwarePcr'] })
    const long = { cluster: 'shop', bodies: [boot(1, tpm, { records: strayRecords(102) })] }
    expect(world([long], GOOD, { only: ['shop'] })(allowed)).toEqual(untold)
  })
})
