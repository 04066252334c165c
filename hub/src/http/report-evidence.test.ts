import { execFile } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import {
  ComplianceReport,
  type HubIntroduction,
  manifestTarget,
  NodeEvidence,
  parse,
  profileTarget,
  type TpmQuote,
} from '@skerry/api'
import { checkReport, type Proven } from '@skerry/policy'
import { evidenceOf, logOf, makeTpm, referenceOf, valuesOf } from '@skerry/policy/testing'
import { testFolder } from '@skerry/supervise/testing'
import {
  createKey,
  initSigningFolder,
  openKeyFile,
  readEvidence,
  readReferences,
  type Signer,
  sha256Hex,
  signDocument,
  signerKeyFile,
} from '@skerry/trust'
import fastify from 'fastify'
import { describe, expect, onTestFinished, test } from 'vitest'
import { attestationController } from '../controllers/attestation.ts'
import {
  addCluster,
  addImage,
  addPlacement,
  LIMITS,
  openWorld,
  RESULT_KEY,
  rolloutSpec,
  sha,
  type World,
} from '../controllers/fixture.ts'
import { placementController } from '../controllers/placement.ts'
import { rolloutController } from '../controllers/rollout.ts'
import { write } from '../store/store.ts'
import { appendMetadata, saveTarget } from '../store/trust.ts'
import { reportRoutes } from './report.ts'
import { evidenceJson } from './report-evidence.ts'

// A report as it leaves the hub, checked as an auditor does who has nothing but the file; and what somebody who writes the
// hub's database can do to it.

const PATH = '/apis/skerry.dev/v1alpha1/report'
const to = (phase: 'Idle' | 'Preflight' | 'Staging' | 'Failed', bootId?: string) =>
  ({
    kind: 'transition',
    body: {
      from: 'Idle',
      to: phase,
      reason: 'Said',
      message: 'said',
      imageSha256: sha('os-1'),
      ...(bootId ? { bootId } : {}),
    },
  }) as const

/** `between` comes after the report is made and before the evidence is read. */
async function export_(world: World, query = 'evidence=true', between?: () => Promise<unknown>) {
  const app = fastify()
  onTestFinished(() => app.close())
  app.addHook('onSend', async () => {
    await between?.()
  })
  reportRoutes(app, { store: world.store, now: world.now, reachability: LIMITS })
  const answer = await app.inject(`${PATH}?${query}`)
  expect(answer.statusCode, answer.body).toBe(200)
  return parse(ComplianceReport, answer.json(), 'report')
}

async function check(report: ComplianceReport, pins: Record<string, string> = {}, root?: Uint8Array) {
  const proven = new Map<string, Proven>()
  for (const one of report.evidence ?? [])
    proven.set(`${one.cluster}/${one.node}/${one.incarnation}`, await readEvidence(one))
  const { claims, faults } = checkReport(
    report,
    proven,
    new Map(Object.entries(pins)),
    root && report.references && readReferences(report.references, root),
  )
  const outcomes = (cluster: string) =>
    Object.fromEntries(claims.filter((one) => one.cluster === cluster).map(({ claim, outcome }) => [claim, outcome]))
  return { claims, faults, outcomes }
}

/** A shop and a kiosk that run what they were assigned, and a site that is registered and silent. */
async function openFleet({ unsigned = false } = {}) {
  const world = await openWorld()
  await addImage(world, 'os-1')
  await addPlacement(world)
  const [shop, kiosk] = [await addCluster(world, 'shop'), await addCluster(world, 'kiosk')]
  const silent = await addCluster(world, 'silent')
  for (const site of [shop, kiosk]) await site.heartbeat()
  await world.create('Rollout', 'r', rolloutSpec('os-1'), { namespace: 'fleet' })
  await world.look(placementController())
  await world.look(rolloutController(LIMITS))
  const as = { unsigned }
  await shop.says(shop.boot('b1', 'os-1'), as)
  await shop.says(to('Idle', 'b1'), as)
  await shop.saysAll([to('Preflight'), to('Staging'), to('Preflight')], as)
  await shop.says(to('Preflight'), as)
  await kiosk.says(kiosk.boot('b1', 'os-1'), as)
  await kiosk.says(to('Idle', 'b1'), as)
  await world.look(attestationController(RESULT_KEY))
  return { world, sql: world.store.sql, shop, kiosk, silent }
}

const ALL = {
  HeardFrom: 'verified',
  RunsAssignedImage: 'verified',
  BootAttested: 'verified',
  ChainComplete: 'verified',
}

describe('a report that nobody has touched', () => {
  test('verifies, with pinned keys and without; who signed nothing is not assessed', async () => {
    const { world, shop, kiosk } = await openFleet()
    const report = await export_(world)
    const { faults, outcomes, claims } = await check(report)
    expect(faults).toEqual([])
    expect([outcomes('shop'), outcomes('kiosk')]).toEqual([ALL, ALL])
    expect(new Set(Object.values(outcomes('silent')))).toEqual(new Set(['not-assessed']))
    expect(claims.filter(({ cluster, claim }) => cluster === 'shop' && claim === 'RunsAssignedImage')).toMatchObject([
      { result: 'pass', key: 'hub', reason: expect.stringContaining('the hub’s word') },
    ])
    const pinned = await check(report, { 'shop/shop': shop.signer.thumbprint, 'kiosk/kiosk': kiosk.signer.thumbprint })
    expect(pinned.faults).toEqual([])
    expect(pinned.claims.filter(({ key }) => key === 'pinned')).toHaveLength(8)
    // Each text stands there once, however often it was sent.
    const [evidence] = report.evidence?.filter(({ cluster }) => cluster === 'shop') ?? []
    expect(evidence?.statements.map(({ seq }) => seq)).toEqual([1, 2, 3, 4, 5, 6])
    expect(evidence?.batches.map(({ first, last }) => [first, last])).toEqual([
      [1, 1],
      [2, 2],
      [3, 5],
      [6, 6],
    ])
  })

  test('of some clusters says which, and names of nobody are not found', async () => {
    const { world } = await openFleet()
    const report = await export_(world, 'evidence=true&cluster=shop')
    expect(report).toMatchObject({ only: ['shop'], clusters: [{ cluster: 'shop' }], evidence: [{ cluster: 'shop' }] })
    expect((await check(report)).faults).toEqual([])
    const app = fastify()
    onTestFinished(() => app.close())
    reportRoutes(app, { store: world.store, now: world.now, reachability: LIMITS })
    expect((await app.inject(`${PATH}?cluster=nobody`)).body).toContain('nobody')
    expect((await export_(world, '')).evidence).toBeUndefined()
  })

  test('in which the hub itself says that a statement has not come holds: it is no pass', async () => {
    const { world, sql } = await openFleet()
    await sql`delete from statement where cluster = 'shop' and seq in (3, 4, 5)`
    await sql`delete from statement_batch where cluster = 'shop' and last_seq = 5`
    await sql`update cluster_head set watermark = 2 where cluster = 'shop'`
    const { faults, claims, outcomes } = await check(await export_(world))
    expect(faults).toEqual([])
    expect(outcomes('shop')).toEqual(ALL)
    expect(claims.find(({ cluster, claim }) => cluster === 'shop' && claim === 'ChainComplete')?.result).toBe('fail')
  })

  test('is of one moment: a gap that is filled while it is read stays the gap that it told of', async () => {
    const { world, sql, shop } = await openFleet()
    // What fills it would change the claims: a boot that nobody has judged, between what was there and in one batch.
    const late = [shop.boot('b2', 'os-1'), to('Preflight'), to('Staging')]
    await shop.saysAll(late)
    await shop.says(to('Preflight'))
    await sql`create table late_statement as select * from statement where cluster = 'shop' and seq in (7, 8, 9)`
    await sql`create table late_batch as select * from statement_batch where cluster = 'shop' and last_seq = 9`
    await sql`delete from statement where cluster = 'shop' and seq in (7, 8, 9)`
    await sql`delete from statement_batch where cluster = 'shop' and last_seq = 9`
    await sql`update statement_newest n set seq = s.seq from (select kind, max(seq) as seq from statement where cluster = 'shop' group by kind) s
      where n.cluster = 'shop' and n.kind = s.kind and n.seq in (7, 8, 9)`
    await sql`update cluster_head set watermark = 6 where cluster = 'shop'`
    const report = await export_(world, 'evidence=true', async () => {
      await sql`insert into statement select * from late_statement`
      await sql`insert into statement_batch select * from late_batch`
    })
    const [evidence] = report.evidence?.filter(({ cluster }) => cluster === 'shop') ?? []
    expect(evidence?.statements.map(({ seq }) => seq)).toEqual([1, 2, 3, 4, 5, 6, 10])
    expect(evidence?.batches.map(({ first, last }) => [first, last])).toEqual([
      [1, 1],
      [2, 2],
      [3, 5],
      [6, 6],
      [10, 10],
    ])
    const { faults, claims } = await check(report)
    expect(faults).toEqual([])
    expect(claims.find(({ cluster, claim }) => cluster === 'shop' && claim === 'ChainComplete')?.result).toBe('fail')
  })

  describe('of a node that closed what is lost', () => {
    const ofShop = <T extends { cluster: string }>(all: readonly T[]) => all.filter(({ cluster }) => cluster === 'shop')
    const results = ({ clusters }: ComplianceReport) =>
      Object.fromEntries(ofShop(clusters)[0]?.nodes[0]?.claims.map(({ claim, result }) => [claim, result]) ?? [])

    test('tells it with its numbers and reason, as no pass and no failure, and passes nothing that was said below it', async () => {
      const { world, shop } = await openFleet()
      await shop.closes(9)
      const lost = await export_(world)
      const { faults, outcomes, claims } = await check(lost, { 'shop/shop': shop.signer.thumbprint })
      expect(faults).toEqual([])
      expect(outcomes('shop')).toEqual({ ...ALL, RunsAssignedImage: 'not-assessed', BootAttested: 'not-assessed' })
      expect(results(lost)).toEqual({
        ...{ HeardFrom: 'pass', RunsAssignedImage: 'not-assessed', BootAttested: 'not-assessed' },
        ChainComplete: 'not-assessed',
      })
      expect(ofShop(lost.clusters)[0]?.nodes[0]?.hubSays).toMatchObject({
        ...{ watermark: 10, newestSeq: 10 },
        closed: [{ fromSeq: 7, toSeq: 9, seq: 10, reason: 'NotKept' }],
      })
      expect(ofShop(claims).find(({ claim }) => claim === 'ChainComplete')?.reason).toContain(
        'the node, which says itself',
      )

      // What it says since counts; what is lost stays lost.
      await shop.says(shop.boot('b2', 'os-1'))
      await shop.says(to('Idle', 'b2'))
      await world.look(attestationController(RESULT_KEY))
      const since = await export_(world)
      expect((await check(since)).faults).toEqual([])
      expect((await check(since)).outcomes('shop')).toEqual(ALL)
      expect(results(since)).toMatchObject({ RunsAssignedImage: 'pass', ChainComplete: 'not-assessed' })
    })

    test('is of one moment: what comes of it while it is read stays lost', async () => {
      const { world, sql, shop } = await openFleet()
      await shop.saysAll([shop.boot('b2', 'os-1'), to('Preflight')])
      await sql`create table late_statement as select * from statement where cluster = 'shop' and seq in (7, 8)`
      await sql`create table late_batch as select * from statement_batch where cluster = 'shop' and last_seq = 8`
      await sql`delete from statement where cluster = 'shop' and seq in (7, 8)`
      await sql`delete from statement_batch where cluster = 'shop' and last_seq = 8`
      await sql`update statement_newest n set seq = s.seq from (select kind, max(seq) as seq from statement where cluster = 'shop' group by kind) s
        where n.cluster = 'shop' and n.kind = s.kind and n.seq in (7, 8)`
      await shop.closes(9)
      await sql`update closed_gap set first_seq = 7`
      await sql`update statement set text = replace(text, '"fromSeq":9', '"fromSeq":7') where cluster = 'shop' and seq = 10`
      const report = await export_(world, 'evidence=true', async () => {
        await sql`insert into statement select * from late_statement`
        await sql`insert into statement_batch select * from late_batch`
      })
      const [evidence] = ofShop(report.evidence ?? [])
      expect(evidence?.statements.map(({ seq }) => seq)).toEqual([1, 2, 3, 4, 5, 6, 10])
      expect(evidence?.batches.map(({ first, last }) => [first, last])).toEqual([
        [1, 1],
        [2, 2],
        [3, 5],
        [6, 6],
        [10, 10],
      ])
    })

    test('and of a hub that closes more than the node did: that is missing', async () => {
      const { world, sql, shop } = await openFleet()
      await shop.closes(9)
      await sql`delete from statement where cluster = 'shop' and seq = 6`
      await sql`delete from statement_batch where cluster = 'shop' and last_seq = 6`
      await sql`update closed_gap set first_seq = 6`
      const { faults, outcomes } = await check(await export_(world))
      expect(faults).toContain(
        'shop/shop: the report says that statements 6 to 9 are lost (NotKept); statement 10, which it names for that, does not say so',
      )
      expect(faults).toContain('shop/shop: statements 6 to 9 are missing: the report counts 1 to 10 without a gap')
      expect(new Set(Object.values(outcomes('shop')))).toEqual(new Set(['not-verified']))
    })
  })

  test('ends where it says, whatever came while it was read', async () => {
    const { world } = await openFleet()
    let text = ''
    const life = { cluster: 'shop', node: 'shop', incarnation: 1, newestSeq: 4, watermark: 4, above: [] }
    for await (const piece of evidenceJson(world.store.sql, life)) text += piece
    const { batches, statements } = parse(NodeEvidence, JSON.parse(text), 'evidence')
    expect(statements.map(({ seq }) => seq)).toEqual([1, 2, 3, 4])
    expect(batches.map(({ last }) => last)).toEqual([1, 2])
  })

  test('goes past a page of statements and of batches', async () => {
    const { world, shop } = await openFleet()
    for (let n = 0; n < 5; n += 1) await shop.saysAll(Array.from({ length: 100 }, () => to('Preflight')))
    for (let n = 0; n < 500; n += 1) await shop.says(to('Preflight'))
    const report = await export_(world)
    const [evidence] = report.evidence?.filter(({ cluster }) => cluster === 'shop') ?? []
    expect([evidence?.statements.length, evidence?.batches.length]).toEqual([1_006, 509])
    expect((await check(report)).faults).toEqual([])
  })
})

describe('what came before signatures were kept', () => {
  test('says so and is no proof; a statement that is signed later reaches all before it', async () => {
    const { world, shop } = await openFleet({ unsigned: true })
    const before = await check(await export_(world))
    expect(new Set(Object.values(before.outcomes('shop')))).toEqual(new Set(['not-verified']))
    expect(before.faults).toContain(
      'shop/shop: HeardFrom: signature not kept: statement 6 came before signatures were, and none reaches it',
    )
    await shop.says(to('Preflight'))
    const after = await check(await export_(world))
    expect(after.outcomes('shop')).toEqual(ALL)
    expect(after.faults.every((fault) => fault.startsWith('kiosk/'))).toBe(true)
  })
})

type Fleet = Awaited<ReturnType<typeof openFleet>>

/** Every statement of the shop under a new key, with whatever in it: the most that the database can say. */
async function signAnew({ sql }: Fleet, by: Signer): Promise<void> {
  const id = { cluster: 'shop', node: 'shop', incarnation: 1 }
  const rows = await sql<{ text: string }[]>`select text from statement where cluster = 'shop' order by seq`
  const statements = rows.map(({ text }) => text)
  const [header = '', , signature = ''] = (
    await signDocument('StatementBatch', { kind: 'StatementBatch', ...id, statements }, by)
  ).split('.')
  const proof = { kind: 'RegistrationProof', id: sha('x'), nonce: sha('y'), transcript: '0'.repeat(64) } as const
  await sql`delete from statement_batch where cluster = 'shop'`
  await sql`insert into statement_batch (cluster, node, incarnation, first_seq, last_seq, header, signature)
    values ('shop', 'shop', 1, 1, ${statements.length}, ${header}, ${signature})`
  await sql`update node_life set node_key = ${sql.json(by.jwk)}, proof = ${await signDocument('RegistrationProof', proof, by)} where cluster = 'shop'`
}

describe('what a writer of the database does is seen', () => {
  const cases: [string, string, (fleet: Fleet) => Promise<unknown>][] = [
    [
      'another word in a statement',
      'shop/shop: the signature over statement 2 does not verify: a text among them is not what the node signed',
      ({ sql }) =>
        sql`update statement set text = replace(text, '"said"', '"lied"') where cluster = 'shop' and seq = 2`,
    ],
    [
      'another word, with its digest put right',
      'shop/shop: statement 3 does not follow from statement 2 as it stands here: one of them is not what the node made',
      ({ sql }) =>
        sql`update statement set text = replace(text, '"said"', '"lied"'),
          digest = encode(sha256(convert_to(replace(text, '"said"', '"lied"'), 'UTF8')), 'hex') where cluster = 'shop' and seq = 2`,
    ],
    [
      'another time of a statement',
      'shop/shop: the signature over statements 3 to 5 does not verify: a text among them is not what the node signed',
      ({ sql }) =>
        sql`update statement set text = regexp_replace(text, '"wall":"[^"]+"', '"wall":"2001-01-01T00:00:00.000Z"') where cluster = 'shop' and seq = 4`,
    ],
    [
      'a statement less',
      'shop/shop: statements 3 to 5 were signed together, and 4 is missing',
      ({ sql }) => sql`delete from statement where cluster = 'shop' and seq = 4`,
    ],
    [
      'a statement less, and its signature with it',
      'shop/shop: statement 2 is missing: the report counts 1 to 6 without a gap',
      async ({ sql }) => {
        await sql`delete from statement where cluster = 'shop' and seq = 2`
        await sql`delete from statement_batch where cluster = 'shop' and last_seq = 2`
      },
    ],
    [
      'a failure of the past gone, and the numbers closed up',
      'shop/shop: the text under number 3 calls itself statement 4',
      async ({ sql }) => {
        await sql`delete from statement where cluster = 'shop' and seq = 3`
        for (const seq of [4, 5, 6])
          await sql`update statement set seq = ${seq - 1} where cluster = 'shop' and seq = ${seq}`
      },
    ],
    [
      'a statement moved to another node',
      'kiosk/kiosk: the text under number 3 speaks for shop/shop (1), and stands under kiosk/kiosk (1)',
      async ({ sql }) => {
        await sql`update statement set cluster = 'kiosk', node = 'kiosk' where cluster = 'shop' and seq = 3`
        await sql`update cluster_head set watermark = 3, newest_seq = 3 where cluster = 'kiosk'`
      },
    ],
    [
      'the signature of another batch',
      'shop/shop: the signature over statement 2 does not verify: a text among them is not what the node signed',
      ({ sql }) =>
        sql`update statement_batch set signature = (select signature from statement_batch where cluster = 'shop' and last_seq = 1) where cluster = 'shop' and last_seq = 2`,
    ],
    [
      'a statement made up on top',
      'shop/shop: HeardFrom: signature not kept: statement 7 came before signatures were, and none reaches it',
      ({ shop }) => shop.says(to('Preflight'), { unsigned: true }),
    ],
    [
      'all signatures gone',
      'shop/shop: RunsAssignedImage: signature not kept: statement 1 came before signatures were, and none reaches it',
      ({ sql }) => sql`delete from statement_batch`,
    ],
    [
      'a better verdict',
      'shop/shop: the evidence of boot b1 is warning (SoftwareKey), the report says affirming (Matches)',
      ({ sql }) => sql`update attestation_result set verdict = 'affirming', reason = 'Matches' where cluster = 'shop'`,
    ],
    [
      'a better class',
      'shop/shop: its evidence says class software-key, the report says tpm',
      ({ sql }) => sql`update node_identity set class = 'tpm' where cluster = 'shop'`,
    ],
    [
      'the proof of another registration',
      'shop/shop: the proof of registration covers another exchange than the one the chain begins with',
      async ({ sql, shop }) => {
        const other = { kind: 'RegistrationProof', id: sha('x'), nonce: sha('y'), transcript: sha('z') } as const
        await sql`update node_life set proof = ${await signDocument('RegistrationProof', other, shop.signer)} where cluster = 'shop'`
      },
    ],
    [
      'another registration altogether',
      'shop/shop: statement 1 does not follow from the registration',
      ({ sql }) => sql`update node_life set transcript = ${sha('z')}, proof = null where cluster = 'shop'`,
    ],
  ]
  test.each(cases)('%s: "%s"', async (_, sentence, act) => {
    const fleet = await openFleet()
    await act(fleet)
    const { faults, claims } = await check(await export_(fleet.world))
    expect(faults).toContain(sentence)
    expect(claims.some(({ outcome }) => outcome === 'not-verified')).toBe(true)
    // The silent site is as it was.
    expect(
      claims.filter(({ cluster }) => cluster === 'silent').every(({ outcome }) => outcome === 'not-assessed'),
    ).toBe(true)
  })

  test('another key of a node does not verify what the node signed', async () => {
    const fleet = await openFleet()
    const other = createKey('ES256')
    await fleet.sql`update node_life set node_key = ${fleet.sql.json(other.jwk)} where cluster = 'shop'`
    const { faults, outcomes } = await check(await export_(fleet.world))
    const by = `signed by key ${fleet.shop.signer.thumbprint}, which is not listed`
    expect(faults).toContain(`shop/shop: statement 1: ${by} for StatementBatch; the node's key is ${other.thumbprint}`)
    expect(faults).toContain(
      `shop/shop: the proof of registration does not hold: ${by} for RegistrationProof; the node's key is ${other.thumbprint}`,
    )
    expect(new Set(Object.values(outcomes('shop')))).toEqual(new Set(['not-verified']))
    expect(outcomes('kiosk')).toEqual(ALL)
  })

  test('a whole new history under another key is seen by whoever knows the key, and by nobody else', async () => {
    const fleet = await openFleet()
    const other = createKey('ES256')
    await signAnew(fleet, other)
    const report = await export_(fleet.world)
    expect((await check(report)).faults).toEqual([])
    const { faults, outcomes } = await check(report, { 'shop/shop': fleet.shop.signer.thumbprint })
    expect(faults[0]).toBe(
      `shop/shop: its statements stand under the key ${other.thumbprint}; the node's key, as --key says, is ${fleet.shop.signer.thumbprint}`,
    )
    expect(new Set(Object.values(outcomes('shop')))).toEqual(new Set(['not-verified']))
  })

  test('a node that is gone is seen by whoever knows its key; the newest that is held back shows in its number alone', async () => {
    const fleet = await openFleet()
    await fleet.sql`delete from statement where cluster = 'shop' and seq = 6`
    await fleet.sql`delete from statement_batch where cluster = 'shop' and last_seq = 6`
    await fleet.sql`update cluster_head set watermark = 5, newest_seq = 5 where cluster = 'shop'`
    await fleet.sql`update statement_newest set seq = 5 where cluster = 'shop' and phase = 'Preflight'`
    const cut = await export_(fleet.world)
    expect((await check(cut)).faults).toEqual([])
    expect(cut.clusters.find(({ cluster }) => cluster === 'shop')?.nodes[0]?.hubSays.newestSeq).toBe(5)
    await fleet.sql`update node_identity set state = 'Left' where cluster = 'shop'`
    expect((await check(await export_(fleet.world), { 'shop/shop': fleet.shop.signer.thumbprint })).faults).toContain(
      'shop/shop: the report has no such node',
    )
  })
})

describe('what is done to the file is seen', () => {
  type Report = ComplianceReport
  const shopOf = (report: Report) => report.clusters.find(({ cluster }) => cluster === 'shop')
  const cases: [string, string, (report: Report) => Report][] = [
    [
      'another result of a claim',
      'shop/shop: BootAttested: from the statements follows "not-assessed: warning (SoftwareKey) for boot b1", the report says "pass: warning (SoftwareKey) for boot b1"',
      (report) => edit(report, (claim) => (claim.claim === 'BootAttested' ? { ...claim, result: 'pass' } : claim)),
    ],
    [
      'another digest in a claim',
      `shop/shop: HeardFrom: statement 6 has the digest`,
      (report) =>
        edit(report, (claim) => ({
          ...claim,
          statements: claim.statements.map((ref) => ({ ...ref, digest: sha('x') })),
        })),
    ],
    [
      'a claim left out',
      'shop/shop: the report does not make the claim ChainComplete',
      (report) => ({
        ...report,
        clusters: report.clusters.map((cluster) => ({
          ...cluster,
          nodes: cluster.nodes.map((node) => ({
            ...node,
            claims: node.claims.filter(({ claim }) => claim !== 'ChainComplete'),
          })),
        })),
      }),
    ],
    [
      'other totals',
      '0 clusters are pass, the report counts 3',
      (report) => ({ ...report, totals: { pass: 3, fail: 0, 'not-assessed': 0 } }),
    ],
    [
      'another result of a cluster',
      'shop: its claims make it not-assessed, the report says pass',
      (report) => ({ ...report, clusters: report.clusters.map((one) => ({ ...one, result: 'pass' as const })) }),
    ],
    [
      'an assignment that was another',
      'shop/shop: RunsAssignedImage: from the statements follows "fail: boot b1 runs other bytes',
      (report) => ({
        ...report,
        clusters: report.clusters.map((one) =>
          one.assigned ? { ...one, assigned: { ...one.assigned, imageSha256: sha('os-9') } } : one,
        ),
      }),
    ],
    [
      'no evidence of a node',
      'shop/shop: statements 1 to 6 are missing: the report counts 1 to 6 without a gap',
      (report) => ({ ...report, evidence: report.evidence?.filter(({ cluster }) => cluster !== 'shop') }),
    ],
    [
      'a number that is out of this world',
      'shop/shop: statements 7 to 9007199254740990 are missing: the report counts 1 to 9007199254740990 without a gap',
      (report) => {
        const node = shopOf(report)?.nodes[0]
        if (node) node.hubSays = { ...node.hubSays, watermark: Number.MAX_SAFE_INTEGER - 1 }
        return report
      },
    ],
  ]
  test.each(cases)('%s: "%s"', async (_, sentence, act) => {
    const { world } = await openFleet()
    const { faults } = await check(act(await export_(world)))
    expect(
      faults.find((fault) => fault.startsWith(sentence)),
      faults.join('\n'),
    ).toBeDefined()
  })

  function edit(report: Report, claim: (claim: Claim) => Claim): Report {
    return {
      ...report,
      clusters: report.clusters.map((cluster) => ({
        ...cluster,
        nodes: cluster.nodes.map((node) => ({ ...node, claims: node.claims.map(claim) })),
      })),
    }
  }
  type Claim = Report['clusters'][number]['nodes'][number]['claims'][number]
})

describe('a report of machines with a TPM', () => {
  /** A shop that booted what people signed, judged by the hub; the root is of their folder. */
  async function openMeasured(booted: Parameters<typeof evidenceOf>[2] = {}) {
    const world = await openWorld()
    const tpm = makeTpm()
    const { image, profile } = referenceOf(tpm)
    const made = { hardwareIds: ['shop-box'], image: { sha256: sha('os-1'), length: 1, mediaType: 'a/b' } }
    const manifest = { kind: 'OSImageManifest', family: 'os', version: 'os-1', releaseCounter: 1, ...made, boot: image }
    const text = (value: object) => Buffer.from(JSON.stringify(value))
    const files = [
      { path: manifestTarget('os', 'os-1'), bytes: text(manifest) },
      { path: profileTarget('shop-box'), bytes: text(profile) },
    ]
    const dir = testFolder()
    const key = () => [{ jwk: createKey('ES256').jwk, notBefore: '1970-01-01T00:00:00Z' }]
    const hub = {
      keys: { desiredState: key(), ack: key(), acceptance: key() },
      caPem: 'pem',
      apiUrls: ['https://127.0.0.1:7443'],
    }
    const introduction: HubIntroduction = {
      kind: 'HubIntroduction',
      hub: { kind: 'HubDescription', ...hub, natsUrls: ['nats://127.0.0.1:4222'] },
      tuf: { snapshot: createKey('EdDSA').jwk, timestamp: createKey('EdDSA').jwk },
    }
    const expires = '2100-01-01T00:00:00Z'
    const folder = initSigningFolder(dir, { introduction, names: ['one'], threshold: 1, expires })
    folder.add(files, expires)
    const release = folder.sign([openKeyFile(signerKeyFile(dir, 'one', 'targets'), 'EdDSA')])
    await write(world.store, async (tx) => {
      await appendMetadata(tx, 'root', 1, folder.root)
      await appendMetadata(tx, 'targets', 1, release.bytes)
      for (const { path, bytes } of files) await saveTarget(tx, path, bytes)
    })
    const [manifestFile, profileFile] = files.map(({ bytes }) => sha256Hex(bytes))
    const target = manifestTarget('os', 'os-1')
    const shown = { family: 'os', version: 'os-1', releaseCounter: 1, ...made, boot: { kind: 'uki' as const } }
    await world.create('OSImage', 'os-1', { target, manifestSha256: manifestFile ?? '', ...shown, signers: [] })
    const { kind: _, name: __, ...says } = profile
    const profileSha256 = profileFile ?? ''
    await world.create('HardwareProfile', 'shop-box', {
      target: profileTarget('shop-box'),
      profileSha256,
      signers: [],
      ...says,
    })
    const shop = await addCluster(world, 'shop', { tpm })
    // It registered by its TPM, whose first quote answers the exchange.
    const transcript = '0'.repeat(64)
    const { akPublic, quote, signature, pcrs, eventLog, eventLogSha256 } = evidenceOf(tpm, 'secure-boot-off', {
      nonce: transcript,
    })
    const quoted = { akPublic, quote, signature, pcrs, eventLog, eventLogSha256 } as TpmQuote
    const exchange = {
      id: sha('shop'),
      nonce: sha('challenge of shop'),
      transcript,
      tpm: { secret: sha('secret'), quote: quoted },
    }
    const proof = await signDocument('RegistrationProof', { kind: 'RegistrationProof', ...exchange }, shop.signer)
    await world.store.sql`update node_life set proof = ${proof}`
    await addCluster(world, 'plain')
    await shop.says(shop.quotes('b1', 'os-1', booted))
    await shop.says(to('Idle', 'b1'))
    await world.look(attestationController(RESULT_KEY))
    return { world, root: folder.root, trust: dir, sql: world.store.sql }
  }
  const boot = (claims: Awaited<ReturnType<typeof check>>['claims']) =>
    claims.find(({ cluster, claim }) => cluster === 'shop' && claim === 'BootAttested')

  test('carries what people signed of them, and its verdicts follow from that by the root of whoever asks', async () => {
    const { world, root } = await openMeasured()
    const report = await export_(world)
    expect(report.references?.files.map(({ path }) => path)).toEqual(['hardware/shop-box.json', 'images/os/os-1.json'])
    expect(JSON.stringify(report.references).length).toBeLessThan(32_768)
    const { faults, claims } = await check(report, {}, root)
    expect(faults).toEqual([])
    expect(boot(claims)).toMatchObject({
      result: 'pass',
      outcome: 'verified',
      reason: expect.stringContaining('by what people signed'),
    })
    expect(boot((await check(report)).claims)).toMatchObject({ outcome: 'not-assessed' })
  })

  test('of others carries nothing of it', async () => {
    const { world } = await openMeasured()
    expect((await export_(world, 'evidence=true&cluster=plain')).references).toBeUndefined()
    expect((await export_(world, '')).references).toBeUndefined()
  })

  test('in which the hub calls a boot good that what people signed does not make good is refused by name', async () => {
    const { world, root, sql } = await openMeasured()
    await sql`update attestation_result set verdict = 'warning', reason = 'NoProfile'`
    const { faults } = await check(await export_(world), {}, root)
    expect(faults[0]).toBe(
      'shop/shop: the evidence of boot b1 is affirming (Matches), the report says warning (NoProfile)',
    )
  })

  describe('as an auditor checks it, with the command and the folder of those who signed', () => {
    /** A machine that says it booted os-1 while its TPM and its log agree on another boot: only what people signed tells. */
    const another = { values: valuesOf('secure-boot-on'), log: logOf('secure-boot-on') }
    const forged = "update attestation_result set verdict = 'affirming', reason = 'Matches'"

    async function command(report: ComplianceReport, ...args: string[]) {
      const file = join(testFolder(), 'report.json')
      writeFileSync(file, JSON.stringify(report))
      const skerry = fileURLToPath(new URL('../../../packages/cli/bin/skerry.mjs', import.meta.url))
      return new Promise<{ exit: unknown; out: string; err: string }>((resolve) => {
        execFile(process.execPath, [skerry, 'report', 'verify', file, ...args], (error, out, err) =>
          resolve({ exit: error ? error.code : 0, out, err }),
        )
      })
    }

    test('a good boot is verified by what people signed', async () => {
      const { world, trust } = await openMeasured()
      const { exit, out, err } = await command(await export_(world), '--trust', trust)
      expect({ exit, err }).toEqual({ exit: 0, err: '' })
      expect(out).toMatch(/shop +shop +BootAttested +pass +hub’s word +verified +.*by what people signed/)
    })

    test('a bad boot that the hub judged is told as it was judged, and is no fault of the report', async () => {
      const { world, trust } = await openMeasured(another)
      const { exit, out, err } = await command(await export_(world), '--trust', trust)
      expect({ exit, err }).toEqual({ exit: 0, err: '' })
      expect(out).toMatch(
        /shop +shop +BootAttested +fail +hub’s word +verified +judged again from its evidence by what people signed/,
      )
    })

    test('a verdict that was forged to affirming: exit code 1, with the boot and what it really is', async () => {
      const { world, trust, sql } = await openMeasured(another)
      await sql.unsafe(forged)
      const report = await export_(world)
      const shop = report.clusters.find(({ cluster }) => cluster === 'shop')?.nodes[0]
      expect(shop?.claims.find(({ claim }) => claim === 'BootAttested')?.result).toBe('pass')
      const { exit, out, err } = await command(report, '--trust', trust)
      expect(exit).toBe(1)
      expect(out).toMatch(/shop +shop +BootAttested +pass +hub’s word +not-verified/)
      expect(err).toMatch(
        /^skerry: shop\/shop: the evidence of boot b1 is contraindicated \(\w+\), the report says affirming \(Matches\)$/m,
      )
      // Whoever names nobody to believe is told that nothing was judged again.
      expect((await command(report)).out).toMatch(/shop +shop +BootAttested +pass +hub’s word +not-assessed/)
    })
  })
})
