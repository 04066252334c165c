import type { HardwareProfile, PcrAppraisal } from '@skerry/api'
import { appraisalPolicyId } from '@skerry/policy'
import { CLOCK, makeTpm, referenceOf, strayRecords, valuesOf } from '@skerry/policy/testing'
import { keyRing, verifyDocument } from '@skerry/trust'
import { describe, expect, test } from 'vitest'
import { unjudgedEvidence } from '../store/attestations.ts'
import { acquireLease, LeaseLost } from '../store/leases.ts'
import { attestationController } from './attestation.ts'
import {
  addCluster,
  addMeasuredImage,
  addProfile,
  type Body,
  openWorld,
  RESULT_KEY,
  sha,
  type World,
} from './fixture.ts'

const verdicts = ({ store }: World) =>
  store.sql<{ boot_id: string; verdict: string }[]>`select boot_id, verdict from attestation_result order by boot_id`

test('every boot’s evidence is judged once, and what was judged is not read again', async () => {
  const world = await openWorld()
  const site = await addCluster(world, 'shop')
  await site.says(site.boot('b1', 'os-1'))
  await site.says({ kind: 'accepted', body: { timeline: 0, generation: 1, digest: 'a'.repeat(64) } })
  await world.look(attestationController(RESULT_KEY))
  expect([...(await verdicts(world))]).toEqual([{ boot_id: 'b1', verdict: 'warning' }])
  expect(await unjudgedEvidence(world.store.sql, { most: 10 })).toEqual([])

  await site.says(site.boot('b2', 'os-2'))
  expect((await unjudgedEvidence(world.store.sql, { most: 10 })).map(({ ref }) => ref.seq)).toEqual([3])
  await world.look(attestationController(RESULT_KEY))
  await world.look(attestationController(RESULT_KEY))
  expect((await verdicts(world)).map(({ boot_id }) => boot_id)).toEqual(['b1', 'b2'])
})

test('evidence that was made for another statement is contraindicated', async () => {
  const world = await openWorld()
  const site = await addCluster(world, 'shop')
  const early = site.boot('b1', 'os-1')
  await site.says(site.boot('b0', 'os-1'))
  await site.says(early)
  await world.look(attestationController(RESULT_KEY))
  expect((await verdicts(world)).map(({ verdict }) => verdict)).toEqual(['warning', 'contraindicated'])
})

test('an exception leaves no verdict, keeps the evidence, is told once, and keeps nobody behind it from being judged', async () => {
  const world = await openWorld()
  const [broken, whole] = [await addCluster(world, 'a'), await addCluster(world, 'b')]
  await broken.says(broken.boot('bad', 'os-1'), { text: '{"kind":"evidence"}' })
  await whole.says(whole.boot('good', 'os-1'))
  const controller = attestationController(RESULT_KEY)
  const told = async () => (await world.list('Event')).map(({ spec }) => [spec.reason, spec.regarding.name])
  for (let look = 0; look < 3; look += 1) {
    await world.look(controller)
    expect(await told()).toEqual([['EvidenceUnjudged', 'a']])
  }
  expect((await verdicts(world)).map(({ boot_id }) => boot_id)).toEqual(['good'])
  expect((await unjudgedEvidence(world.store.sql, { most: 10 })).map(({ ref }) => ref.cluster)).toEqual(['a'])
})

test('a text that the database cannot hold keeps nobody behind it from being judged', async () => {
  const world = await openWorld()
  const [odd, whole] = [await addCluster(world, 'a'), await addCluster(world, 'b')]
  await odd.says(odd.boot('b\u0000', 'os-1'))
  await whole.says(whole.boot('good', 'os-1'))
  const controller = attestationController(RESULT_KEY)
  for (let look = 0; look < 2; look += 1) await world.look(controller)
  expect((await verdicts(world)).map(({ boot_id }) => boot_id)).toEqual(['good'])
  expect((await world.list('Event')).map(({ spec }) => [spec.reason, spec.regarding.name])).toEqual([
    ['EvidenceUnjudged', 'a'],
  ])
})

test('a node that tells of boot after boot keeps nobody behind it from being judged, and fills no history of events', async () => {
  const world = await openWorld()
  const [busy, whole] = [await addCluster(world, 'a'), await addCluster(world, 'b')]
  for (let boot = 0; boot < 50; boot += 1) await busy.says(busy.boot(`b${boot}`, 'os-1', sha('another marker')))
  await whole.says(whole.boot('good', 'os-1'))
  const controller = attestationController(RESULT_KEY)
  const { recheckAtMs = 0 } = await world.look(controller)
  expect((await verdicts(world)).map(({ boot_id }) => boot_id)).toContain('good')
  expect(await verdicts(world)).toHaveLength(21)
  expect(recheckAtMs).toBeLessThanOrEqual(world.now())
  while ((await world.look(controller)).recheckAtMs !== undefined);
  expect(await verdicts(world)).toHaveLength(51)
  expect((await world.list('Event')).map(({ spec }) => spec.reason)).toEqual(['BootContraindicated'])
  world.pass(60_000)
  await busy.says(busy.boot('later', 'os-1', sha('another marker')))
  await world.look(controller)
  expect((await world.list('Event')).map(({ spec }) => spec.message)).toContainEqual(
    expect.stringMatching(/^boot later: .*; 49 more since the last such event$/),
  )
})

test('who holds an old lease judges nothing', async () => {
  const world = await openWorld()
  const site = await addCluster(world, 'shop')
  await site.says(site.boot('b1', 'os-1'))
  await world.lease.release()
  const fresh = await acquireLease(world.store, 'controllers', AbortSignal.timeout(60_000))
  await expect(world.look(attestationController(RESULT_KEY))).rejects.toThrow(LeaseLost)
  expect([...(await verdicts(world))]).toEqual([])
  await world.look(attestationController(RESULT_KEY), fresh)
  expect(await verdicts(world)).toHaveLength(1)
  await fresh.release()
})

const profile = (more: Partial<HardwareProfile> = {}): HardwareProfile => ({
  ...referenceOf(makeTpm()).profile,
  ...more,
})
const results = (world: World) =>
  world.store.sql<
    {
      cluster: string
      boot_id: string
      verdict: string
      reason: string
      revision: number
      pcrs: PcrAppraisal[]
    }[]
  >`select cluster, boot_id, verdict, reason, revision, pcrs from attestation_result order by cluster, incarnation, seq, revision`
const told = async (world: World) =>
  (await results(world)).map(({ boot_id, verdict, reason }) => [boot_id, verdict, reason])

/** A hub with a signed image and profile, and a node whose TPM they are of. */
async function measured(more: Partial<HardwareProfile> = {}) {
  const world = await openWorld()
  const tpm = makeTpm()
  const signed = { manifest: '', profile: '' }
  signed.manifest = await addMeasuredImage(world, 'os-1', referenceOf(tpm).image)
  signed.profile = await addProfile(world, profile(more))
  const controller = attestationController(RESULT_KEY)
  return { world, tpm, signed, judge: () => world.look(controller) }
}

const confirms = (manifestSha256: string, bootId: string): Body => ({
  kind: 'transition',
  body: { from: 'Confirming', to: 'Idle', reason: 'Confirmed', message: 'runs it', manifestSha256, bootId },
})

describe('a node with a TPM', () => {
  test('that booted what is signed is affirming; the result is an EAR by the hub’s result key, and keeps what it rests on', async () => {
    const { world, tpm, signed, judge } = await measured()
    const site = await addCluster(world, 'shop', { tpm })
    await site.says(site.quotes('b1', 'os-1'))
    await judge()
    const [row] = await world.store.sql`select * from attestation_result`
    expect(row).toMatchObject({
      verdict: 'affirming',
      reason: 'Matches',
      findings: [],
      bank: 'sha256',
      clock: CLOCK,
      profile: 'shop-box',
      policy_id: appraisalPolicyId({ manifestSha256: signed.manifest, profileSha256: signed.profile }),
    })
    expect(row?.['pcrs']).toContainEqual(expect.objectContaining({ pcr: 11, by: 'manifest', ok: true }))
    // Quote and log are in the statement; the row has no second copy.
    expect(Object.keys(row?.['evidence'])).not.toContain('eventLog')
    const { payload } = await verifyDocument('AttestationResult', row?.['ear'], keyRing([RESULT_KEY.jwk]))
    expect(payload.submods['shop/shop']).toMatchObject({
      'ear.status': 'affirming',
      'ear.appraisal-policy-id': row?.['policy_id'],
      'skerry.statement': { incarnation: 1, seq: 1 },
      'skerry.boot': { bootId: 'b1', imageSha256: sha('os-1') },
    })
  })

  type Site = Awaited<ReturnType<typeof addCluster>>
  test.each<[string, string, string, (site: Site) => ReturnType<Site['quotes']>, object]>([
    ['an image that nobody signed', 'contraindicated', 'ImageUnknown', (site) => site.quotes('b1', 'os-9'), {}],
    [
      'the quote of another TPM',
      'contraindicated',
      'AkNotOnRecord',
      (site) => site.quotes('b1', 'os-1', {}, makeTpm()),
      {},
    ],
    ['its word without a TPM', 'contraindicated', 'ClassMismatch', (site) => site.boot('b1', 'os-1'), {}],
    ['no key on record', 'warning', 'AkUnknown', (site) => site.quotes('b1', 'os-1'), { akName: undefined }],
    [
      'hardware without a profile',
      'warning',
      'NoProfile',
      (site) => site.quotes('b1', 'os-1'),
      { hardwareId: 'kiosk' },
    ],
    [
      'a replayed quote',
      'contraindicated',
      'NonceMismatch',
      (site) => site.quotes('b1', 'os-1', { nonce: 'b'.repeat(64) }),
      {},
    ],
    [
      'no event log',
      'none',
      'EventLogMissing',
      (site) => {
        const said = site.quotes('b1', 'os-1')
        if (said.kind !== 'evidence') throw new Error('no evidence')
        const { eventLog: _, ...body } = said.body
        return { kind: 'evidence', body }
      },
      {},
    ],
  ])('that shows %s is %s (%s)', async (_, verdict, reason, says, more) => {
    const { world, tpm, judge } = await measured()
    const site = await addCluster(world, 'shop', { tpm, ...more })
    await site.says(says(site))
    await judge()
    expect(await told(world)).toEqual([['b1', verdict, reason]])
    const bad = { contraindicated: ['BootContraindicated'], none: ['BootUnproven'] }[verdict] ?? []
    expect((await world.list('Event')).map(({ spec }) => spec.reason)).toEqual(bad)
  })

  test('that booted another image is contraindicated, with PCR and event, and an event of the node says so once', async () => {
    const { world, tpm, judge } = await measured()
    const { sha256: real } = referenceOf(tpm).image.measured
    if (!real) throw new Error('no bank')
    const applications = { ...real.applications, uki: '0'.repeat(64) }
    const other = { ...referenceOf(tpm).image, measured: { sha256: { ...real, applications } } }
    await addMeasuredImage(world, 'os-2', other, 2)
    const site = await addCluster(world, 'shop', { tpm })
    await site.says(site.quotes('b1', 'os-2'))
    await judge()
    await judge()
    const [row] = await world.store.sql`select verdict, findings from attestation_result`
    expect(row).toMatchObject({ verdict: 'contraindicated' })
    // What ran is os-1, which is signed as well: named, with its place in the log.
    expect(row?.['findings']).toContainEqual(
      expect.objectContaining({
        code: 'ImageNotStarted',
        pcr: 4,
        event: expect.any(Number),
        expected: ['0'.repeat(64)],
      }),
    )
    const events = (await world.list('Event')).map(({ spec }) => [spec.reason, spec.regarding.name, spec.message])
    expect(events).toEqual([['BootContraindicated', 'shop', expect.stringContaining('boot b1: ')]])
  })

  test('that boots an image older than one it confirmed is contraindicated, however good its signature; the confirmed one is not', async () => {
    const { world, tpm, judge } = await measured()
    const newer = await addMeasuredImage(world, 'os-2', referenceOf(tpm).image, 2)
    const site = await addCluster(world, 'shop', { tpm })
    const starts = (resetCount: number) => ({ clock: { ...CLOCK, resetCount } })
    await site.says(site.quotes('b1', 'os-1', starts(1)))
    await site.says(site.quotes('b2', 'os-2', starts(2)))
    await site.says(confirms(newer, 'b2'))
    await site.says(site.quotes('b3', 'os-2', starts(3)))
    await site.says(site.quotes('b4', 'os-1', starts(4)))
    // That it says now that the older one is what it runs takes nothing back.
    await site.says(confirms(sha('os-1'), 'b4'))
    await site.says(site.quotes('b5', 'os-1', starts(5)))
    await judge()
    expect(await told(world)).toEqual([
      ['b1', 'affirming', 'Matches'],
      ['b2', 'affirming', 'Matches'],
      ['b3', 'affirming', 'Matches'],
      ['b4', 'contraindicated', 'OlderThanConfirmed'],
      ['b5', 'contraindicated', 'OlderThanConfirmed'],
    ])
    // The same bytes, signed once more under a counter that is high enough, whichever of their manifests is read first.
    const again: string[] = []
    for (const [name, counter] of [
      ['os-3', 2],
      ['os-4', 1],
      ['os-5', 1],
    ] as const)
      again.push(await addMeasuredImage(world, 'os-1', referenceOf(tpm).image, counter, name))
    expect(again.toSorted()[0]).not.toBe(again[0])
    await judge()
    expect((await told(world)).at(-1)).toEqual(['b5', 'affirming', 'Matches'])
  })

  test('whose confirmation comes below a boot that was judged, or while it is, has that boot judged again within ten minutes, once', async () => {
    const { world, tpm, judge } = await measured()
    const newer = await addMeasuredImage(world, 'os-2', referenceOf(tpm).image, 2)
    const site = await addCluster(world, 'shop', { tpm })
    const codes = async () =>
      (
        await world.store.sql<
          { findings: { code: string }[] }[]
        >`select findings from attestation_result order by revision`
      ).map(({ findings }) => findings.map(({ code }) => code))
    const late = ['NonceMismatch', 'WrongNonce']
    await site.says(site.quotes('b1', 'os-1'), { at: 2 })
    await judge()
    await site.says(confirms(newer, 'b0'))
    await judge()
    expect(await codes()).toEqual([late])
    for (let minutes = 10; minutes <= 40; minutes += 10) {
      world.pass(10 * 60_000)
      await judge()
    }
    expect(await codes()).toEqual([late, [...late, 'OlderThanConfirmed']])
  })

  test('that confirms no more than its own image, or quotes nothing, is judged once, however often that is looked at', async () => {
    const { world, tpm, judge } = await measured()
    const newer = await addMeasuredImage(world, 'os-2', referenceOf(tpm).image, 2)
    const [fine, mute] = [await addCluster(world, 'fine', { tpm }), await addCluster(world, 'mute', { tpm: makeTpm() })]
    await fine.says(confirms(newer, 'b0'))
    await fine.says(fine.quotes('b1', 'os-2'))
    await mute.says(confirms(newer, 'b0'))
    await mute.says(mute.boot('b1', 'os-1'))
    for (let looks = 0; looks < 3; looks += 1) {
      await judge()
      world.pass(10 * 60_000)
    }
    expect((await results(world)).map(({ cluster, verdict, revision }) => [cluster, verdict, revision])).toEqual([
      ['fine', 'affirming', 1],
      ['mute', 'contraindicated', 1],
    ])
  })

  test('whose confirmation a hub of an older version took in is held to it as well, and to none of another life', async () => {
    const { world, tpm, judge } = await measured()
    const newer = await addMeasuredImage(world, 'os-2', referenceOf(tpm).image, 2)
    const sites = [await addCluster(world, 'old-hub', { tpm }), await addCluster(world, 'wiped', { tpm: makeTpm() })]
    for (const site of sites) {
      await site.says(confirms(newer, 'b0'))
      await site.says(site.quotes('b1', 'os-1'))
    }
    const { sql } = world.store
    await sql`delete from confirmed_manifest where cluster = 'old-hub'`
    await sql`update confirmed_manifest set incarnation = 9 where cluster = 'wiped'`
    await sql`update statement_newest set incarnation = 9 where cluster = 'wiped'`
    await judge()
    expect((await results(world)).map(({ cluster, reason }) => [cluster, reason])).toEqual([
      ['old-hub', 'OlderThanConfirmed'],
      ['wiped', 'Matches'],
    ])
  })

  test('of which what it had confirmed is lost is a warning, until what it confirms since shows that its image is not older', async () => {
    const { world, tpm, signed, judge } = await measured()
    const newer = await addMeasuredImage(world, 'os-2', referenceOf(tpm).image, 2)
    const sites = {
      silent: await addCluster(world, 'silent', { tpm }),
      anew: await addCluster(world, 'anew', { tpm: makeTpm() }),
      older: await addCluster(world, 'older', { tpm: makeTpm() }),
      newer: await addCluster(world, 'newer', { tpm: makeTpm() }),
    }
    for (const [name, site] of Object.entries(sites)) {
      await site.says(confirms(name === 'anew' ? signed.manifest : newer, 'b0'))
      await site.closes(4)
    }
    await sites.anew.says(confirms(signed.manifest, 'b0'))
    await sites.newer.says(confirms(newer, 'b0'))
    for (const [name, site] of Object.entries(sites)) {
      const runs = name === 'newer' || name === 'silent' ? 'os-2' : 'os-1'
      await site.says(site.quotes('b1', runs))
    }
    await judge()
    const found = async () => (await results(world)).map(({ cluster, verdict, reason }) => [cluster, verdict, reason])
    expect(await found()).toEqual([
      ['anew', 'affirming', 'Matches'],
      ['newer', 'affirming', 'Matches'],
      // Below the loss it had confirmed a newer one, whatever it confirmed in it.
      ['older', 'contraindicated', 'OlderThanConfirmed'],
      ['silent', 'warning', 'ConfirmedLost'],
    ])
    const silent = async () => (await found()).filter(([cluster]) => cluster === 'silent').map(([, , reason]) => reason)
    await sites.silent.says(confirms(newer, 'b1'))
    // Without waiting for ten minutes, and not for ever where the database takes nothing for once.
    const { sql } = world.store
    await sql`create function fails() returns trigger language plpgsql as $$ begin raise 'no'; end $$`
    await sql`create trigger fails before insert on evidence_queue execute function fails()`
    await expect(judge()).rejects.toThrow('no')
    await sql`drop trigger fails on evidence_queue`
    for (let looks = 0; looks < 3; looks += 1) await judge()
    expect(await silent()).toEqual(['ConfirmedLost', 'Matches'])
    // A second loss below the same boot takes what was confirmed since; and one above it all, below the next one.
    await sql`delete from statement where cluster = 'silent' and seq > 6`
    await sql`update confirmed_manifest set last_seq = seq where cluster = 'silent'`
    await sql`delete from statement_newest where cluster = 'silent' and phase = 'Idle'`
    await sql`update closed_gap set closed_at = now() where cluster = 'silent'`
    for (let looks = 0; looks < 3; looks += 1) await judge()
    expect(await silent()).toEqual(['ConfirmedLost', 'Matches', 'ConfirmedLost'])
    await sites.silent.says(
      sites.silent.quotes('b2', 'os-2', { clock: { ...CLOCK, resetCount: CLOCK.resetCount + 1 } }),
    )
    for (let looks = 0; looks < 3; looks += 1) await judge()
    expect(await silent()).toEqual(['ConfirmedLost', 'Matches', 'ConfirmedLost', 'ConfirmedLost'])
  })

  test('below which numbers are closed once it was judged is judged again, once', async () => {
    const { world, tpm, judge } = await measured()
    const site = await addCluster(world, 'shop', { tpm })
    await site.says(site.quotes('b1', 'os-1'), { at: 5 })
    await judge()
    await world.store.sql`insert into closed_gap (cluster, node, incarnation, first_seq, last_seq, gap_seq, closed_at)
      values ('shop', 'shop', 1, 2, 4, 6, now())`
    for (let looks = 0; looks < 3; looks += 1) await judge()
    const rows = await world.store.sql<{ findings: { code: string }[] }[]>`
      select findings from attestation_result order by revision`
    const late = ['NonceMismatch', 'WrongNonce']
    expect(rows.map(({ findings }) => findings.map(({ code }) => code))).toEqual([late, [...late, 'ConfirmedLost']])
  })

  test('that runs what people signed for other hardware is contraindicated, and judged no more often for that', async () => {
    const { world, tpm, judge } = await measured({ hardwareIds: ['shop-box', 'till'] })
    const site = await addCluster(world, 'till', { tpm, hardwareId: 'till' })
    await site.says(site.quotes('b1', 'os-1'))
    await judge()
    await judge()
    expect(await told(world)).toEqual([['b1', 'contraindicated', 'ImageForOtherHardware']])
    await world.look(attestationController(RESULT_KEY))
    expect(await told(world)).toHaveLength(1)
  })

  test('whose TPM counts fewer starts than it did is contraindicated, within one look and from one to the next', async () => {
    const { world, tpm, judge } = await measured()
    const site = await addCluster(world, 'shop', { tpm })
    const clock = (resetCount: number) => ({ clock: { ...CLOCK, resetCount } })
    await site.says(site.quotes('b1', 'os-1', clock(7)))
    await site.says(site.quotes('b2', 'os-1', clock(5)))
    await judge()
    await site.says(site.quotes('b3', 'os-1', clock(4)))
    await judge()
    expect(await told(world)).toEqual([
      ['b1', 'affirming', 'Matches'],
      ['b2', 'contraindicated', 'ResetCountFell'],
      ['b3', 'contraindicated', 'ResetCountFell'],
    ])
    // A life begins with a proof of its own, by a TPM that may be another one.
    await world.store.sql`update attestation_result set incarnation = 0`
    await site.says(site.quotes('b4', 'os-1', clock(1)))
    await judge()
    expect((await told(world)).at(-1)).toEqual(['b4', 'affirming', 'Matches'])
  })

  test('whose TPM counts no start for a boot is contraindicated, and does not talk itself out of it by saying it again', async () => {
    const { world, tpm, judge } = await measured()
    const site = await addCluster(world, 'shop', { tpm })
    const at = (resetCount: number, clockMs: number) => ({ clock: { ...CLOCK, resetCount, clockMs } })
    await site.says(site.quotes('b1', 'os-1', at(7, 10_000)))
    await site.says(site.quotes('b2', 'os-1', at(7, 20_000)))
    await judge()
    await site.says(site.quotes('b2', 'os-1', at(7, 30_000)))
    await judge()
    await site.says(site.quotes('b3', 'os-1', at(8, 1_000)))
    await judge()
    expect(await told(world)).toEqual([
      ['b1', 'affirming', 'Matches'],
      ['b2', 'contraindicated', 'StartNotCounted'],
      ['b2', 'contraindicated', 'StartNotCounted'],
      ['b3', 'affirming', 'Matches'],
    ])
  })

  test('whose TPM once counted fewer starts is held against the most that it counted', async () => {
    const { world, tpm, judge } = await measured()
    const site = await addCluster(world, 'shop', { tpm })
    for (const [bootId, resetCount] of [
      ['b1', 7],
      ['b2', 5],
      ['b3', 6],
      ['b4', 8],
    ] as const) {
      await site.says(site.quotes(bootId, 'os-1', { clock: { ...CLOCK, resetCount } }))
      await judge()
    }
    expect(await told(world)).toEqual([
      ['b1', 'affirming', 'Matches'],
      ['b2', 'contraindicated', 'ResetCountFell'],
      ['b3', 'contraindicated', 'ResetCountFell'],
      ['b4', 'affirming', 'Matches'],
    ])
  })

  test('that came before its profile is judged again when that is signed, and when it changes: each verdict stays', async () => {
    const world = await openWorld()
    const tpm = makeTpm()
    await addMeasuredImage(world, 'os-1', referenceOf(tpm).image)
    const [site, bare] = [await addCluster(world, 'shop', { tpm }), await addCluster(world, 'bare')]
    await site.says(site.quotes('b1', 'os-1'))
    await bare.says(bare.boot('b1', 'os-1'))
    const controller = attestationController(RESULT_KEY)
    const seen = async () =>
      (await results(world)).filter(({ cluster }) => cluster === 'shop').map(({ verdict, reason }) => [verdict, reason])
    await world.look(controller)
    expect(await seen()).toEqual([['warning', 'NoProfile']])
    await addProfile(world, profile())
    await world.look(controller)
    await world.look(controller)
    expect(await seen()).toEqual([
      ['warning', 'NoProfile'],
      ['affirming', 'Matches'],
    ])
    await addProfile(world, profile({ firmware: [] }))
    // A hub that starts meanwhile looks as well.
    await world.look(attestationController(RESULT_KEY))
    await world.look(controller)
    expect((await seen()).at(-1)).toEqual(['contraindicated', 'FirmwareUnknown'])
    expect((await results(world)).map(({ cluster, revision }) => [cluster, revision])).toEqual([
      ['bare', 1],
      ['shop', 1],
      ['shop', 2],
      ['shop', 3],
    ])
  })

  test('shows a firmware that was learned: what it registered with, or what so many clusters show, each once', async () => {
    const { world, tpm, judge } = await measured({ firmware: [], learn: 'tofu' })
    const values = valuesOf('secure-boot-off')
    const firmware = Object.fromEntries([0, 2, 3, 6].map((pcr) => [pcr, values.get(pcr) ?? '']))
    const site = await addCluster(world, 'tofu', { tpm, firmware })
    await site.says(site.quotes('b1', 'os-1'))
    await judge()
    expect(await told(world)).toEqual([['b1', 'affirming', 'Matches']])

    const { learn: _, ...rest } = profile({ firmware: [] })
    await addProfile(world, { ...rest, learn: 'quorum', quorum: 4 })
    const verdicts = async () => {
      await judge()
      // Those who confirm each other are judged in the next look.
      await judge()
      const newest = new Map((await results(world)).map(({ cluster, verdict, reason }) => [cluster, [verdict, reason]]))
      return Object.fromEntries(newest)
    }
    const unconfirmed = ['warning', 'FirmwareUnconfirmed']
    expect(await verdicts()).toEqual({ tofu: unconfirmed })
    const more = ['one', 'two', 'three'].map((name) => ({ name, tpm: makeTpm() }))
    const sites = []
    for (const { name, tpm: own } of more) sites.push(await addCluster(world, name, { tpm: own }))
    for (const one of sites.slice(0, 2)) await one.says(one.quotes('b1', 'os-1'))
    // Twice from one cluster is one.
    await sites[0]?.says(sites[0].quotes('b2', 'os-1', { clock: { ...CLOCK, resetCount: 8 } }))
    expect(await verdicts()).toEqual({ tofu: unconfirmed, one: unconfirmed, two: unconfirmed })
    // And nobody confirms itself.
    await sites[0]?.says(sites[0].quotes('b3', 'os-1', { clock: { ...CLOCK, resetCount: 9 } }))
    expect(await verdicts()).toEqual({ tofu: unconfirmed, one: unconfirmed, two: unconfirmed })
    await sites[2]?.says(sites[2].quotes('b1', 'os-1'))
    const good = ['affirming', 'Matches']
    expect(await verdicts()).toEqual({ tofu: good, one: good, two: good, three: good })
    const learned = new Map((await results(world)).map(({ cluster, pcrs }) => [cluster, pcrs[0]]))
    expect(learned.get('one')).toMatchObject({ pcr: 0, by: 'quorum', expected: [values.get(0)] })
    expect(learned.get('one')?.learnedFrom).toEqual(['three', 'tofu', 'two'].map((name) => `${name}/${name}`))
    const count = (await results(world)).length
    expect(await verdicts()).toEqual({ tofu: good, one: good, two: good, three: good })
    expect(await results(world)).toHaveLength(count)
    // Who was put out, or is bad now, teaches nobody what its firmware showed.
    await world.store.sql`update node_identity set state = 'Revoked' where cluster = 'two'`
    await sites[2]?.says(sites[2].quotes('b9', 'os-9', { clock: { ...CLOCK, resetCount: 9 } }))
    await sites[0]?.says(sites[0].quotes('b4', 'os-1', { clock: { ...CLOCK, resetCount: 10 } }))
    expect(await verdicts()).toMatchObject({ one: unconfirmed, three: ['contraindicated', 'ImageUnknown'] })
  })

  test('with more to tell than a result holds is judged again all the same once a quorum shows its firmware', async () => {
    const allowed = ['RecordInFirmwarePcr']
    const { world, tpm, judge } = await measured({ firmware: [], learn: 'quorum', quorum: 2, allowed })
    const records = strayRecords(102)
    const one = await addCluster(world, 'one', { tpm })
    await one.says(one.quotes('b1', 'os-1', { records }))
    await judge()
    expect(await told(world)).toEqual([['b1', 'warning', 'FirmwareUnconfirmed']])
    const two = await addCluster(world, 'two', { tpm: makeTpm() })
    await two.says(two.quotes('b2', 'os-1', { records }))
    await judge()
    await judge()
    expect(await told(world)).toEqual([
      ['b1', 'warning', 'FirmwareUnconfirmed'],
      ['b1', 'affirming', 'Matches'],
      ['b2', 'affirming', 'Matches'],
    ])
  })

  test('whose signed manifest is not to be read has no verdict, and is told; the boot before it keeps its own', async () => {
    const { world, tpm, judge } = await measured()
    const site = await addCluster(world, 'shop', { tpm })
    await site.says(site.quotes('b1', 'os-1'))
    await judge()
    await addMeasuredImage(world, 'os-2', referenceOf(tpm).image, 2)
    await world.store.sql`delete from tuf_target where path = 'images/os/os-2.json'`
    await site.says(site.quotes('b2', 'os-2', { clock: { ...CLOCK, resetCount: 8 } }))
    await judge()
    await judge()
    expect(await told(world)).toEqual([['b1', 'affirming', 'Matches']])
    expect((await world.list('Event')).map(({ spec }) => [spec.reason, spec.message])).toEqual([
      ['EvidenceUnjudged', expect.stringContaining('the signed manifest images/os/os-2.json')],
    ])
  })
})
