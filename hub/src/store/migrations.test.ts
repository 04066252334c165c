import { cpSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { toOptions } from '@skerry/supervise'
import { testDatabase, testFolder } from '@skerry/supervise/testing'
import { createKey, sha256Hex } from '@skerry/trust'
import { drizzle } from 'drizzle-orm/postgres-js'
import { migrate } from 'drizzle-orm/postgres-js/migrator'
import postgres from 'postgres'
import { expect, onTestFinished, test } from 'vitest'
import { listActs } from './acts.ts'
import { appendResults, listMade, resultDetails } from './attestations.ts'
import { loadLife } from './lives.ts'
import { listSpecAuthors } from './resources.ts'
import { listBatches, listStatements } from './statements.ts'
import { migrateStore, openStore } from './store.ts'

/** The migrations as they were before the one of this name. */
function migrationsBefore(tag: string): string {
  const folder = join(testFolder(), 'migrations')
  cpSync(fileURLToPath(new URL('../migrations', import.meta.url)), folder, { recursive: true })
  const file = join(folder, 'meta', '_journal.json')
  const journal = JSON.parse(readFileSync(file, 'utf8')) as { entries: { tag: string }[] }
  writeFileSync(
    file,
    JSON.stringify({
      ...journal,
      entries: journal.entries.slice(
        0,
        journal.entries.findIndex((entry) => entry.tag === tag),
      ),
    }),
  )
  return folder
}

/** A store as it was before the migration of this name, and how it takes the rest. */
async function storeBefore(tag: string) {
  const database = await testDatabase()
  const { sql, close } = openStore(database.connection)
  onTestFinished(async () => {
    await close()
    await database.drop()
  })
  // A connection that drizzle has had reads and writes JSON its own way.
  const own = postgres(toOptions(database.connection, { max: 1, onnotice: () => {} }))
  await migrate(drizzle(own), { migrationsFolder: migrationsBefore(tag) })
  await own.end()
  return { sql, migrateOn: () => migrateStore(database.connection) }
}

test('what a hub held before it kept signatures stays, with the key of each node and without what was never kept', async () => {
  const { sql, migrateOn } = await storeBefore('0009_proofs')
  const { jwk, thumbprint } = createKey('ES256')
  const life = { cluster: 'shop', node: 'a', incarnation: 3 }
  const transcript = sha256Hex('exchange')
  await sql`insert into node_identity (cluster, node, state, class, node_key, node_key_thumbprint, nats_key, incarnation, request_id, transcript, acceptance,
      nats_jwt, credential_issued_at, credential_expires_at, decided_by, decided_at)
    values ('shop', 'a', 'Accepted', 'software-key', ${sql.json(jwk)}, ${thumbprint}, 'U', 3, 'r', ${transcript}, '', '', now(), now(), 'anna', now())`
  await sql`insert into statement (cluster, node, incarnation, seq, kind, digest, text, received_at)
    values ('shop', 'a', 3, 1, 'refused', ${sha256Hex('{}')}, '{}', now())`
  await migrateOn()
  expect(await loadLife(sql, life)).toMatchObject({ nodeKey: jwk, transcript, proof: null, decidedBy: 'anna' })
  expect(await listStatements(sql, { ...life, fromSeq: 1, limit: 9 })).toMatchObject([{ seq: 1, text: '{}' }])
  expect(await listBatches(sql, { ...life, newestSeq: 9, after: undefined, limit: 9 })).toEqual([])
})

test('who may approve a rollout from before acts were kept is told by the audit: not whoever changed it last', async () => {
  const { sql, migrateOn } = await storeBefore('0014_acts')
  for (const [name, uid] of [
    ['edge-os', 'u1'],
    ['unheard-of', 'u2'],
  ] as const)
    await sql`insert into resource (kind, namespace, name, uid, generation, resource_version, created_at)
      values ('Rollout', 'fleet', ${name}, ${uid}, 2, nextval('resource_version'), now())`
  for (const [actor, verb] of [
    ['anna', 'create'],
    ['bert', 'patch'],
    ['carl', 'delete'],
  ] as const)
    await sql`insert into audit_record (at, actor, source_ip, verb, kind, namespace, name, request_id, hash)
      values (now(), ${actor}, '', ${verb}, 'Rollout', 'fleet', 'edge-os', 'r', '')`
  await migrateOn()
  expect(await listSpecAuthors(sql, 'Rollout')).toEqual(new Map([['u1', 'bert']]))
  expect(await listActs(sql, 'u1')).toEqual([])
})

test('what was judged before results were signed stays as it was, and a verdict may be made anew beside it', async () => {
  const { sql, migrateOn } = await storeBefore('0010_attested')
  const evidence = {
    class: 'software-key',
    bootId: 'b1',
    slot: 'a',
    imageSha256: sha256Hex('i'),
    nonce: sha256Hex('n'),
  } as const
  // A verdict is never without the statement that it is on.
  await sql`insert into statement (cluster, node, incarnation, seq, kind, digest, text, received_at)
    values ('shop', 'a', 1, 1, 'evidence', ${sha256Hex('{}')}, '{}', now())`
  await sql`insert into attestation_result (cluster, node, incarnation, seq, boot_id, verdict, reason, message, evidence, judged_at)
    values ('shop', 'a', 1, 1, 'b1', 'warning', 'SoftwareKey', 'm', ${sql.json(evidence)}, now())`
  await migrateOn()
  const place = { cluster: 'shop', node: 'a', incarnation: 1, seq: 1 }
  expect(await resultDetails(sql, [place])).toEqual(new Map())
  const anew = { bootId: 'b1', verdict: 'affirming', reason: 'Matches', message: 'm', evidence } as const
  await sql.begin((tx) => appendResults(tx, [{ ...place, ...anew, findings: [], pcrs: [], policyId: 'p', ear: 'e' }]))
  expect(await listMade(sql, place, 9)).toMatchObject([
    { revision: 2, verdict: 'affirming', ear: 'e' },
    { revision: 1, verdict: 'warning', ear: null, policyId: null },
  ])
  expect((await resultDetails(sql, [place])).size).toBe(1)
})

test('of a chain of which something is lost it is read where each manifest was confirmed last', async () => {
  const { sql, migrateOn } = await storeBefore('0018_confirmed_last')
  const manifest = sha256Hex('manifest')
  for (const node of ['whole', 'lossy'])
    for (const [seq, body] of [
      [2, { to: 'Idle', manifestSha256: manifest, bootId: 'b1' }],
      [8, { to: 'Idle', manifestSha256: manifest, bootId: 'b1' }],
      [9, { to: 'Staged', manifestSha256: manifest }],
      [10, { to: 'Idle', manifestSha256: manifest }],
    ] as const)
      await sql`insert into statement (cluster, node, incarnation, seq, kind, digest, text, received_at)
        values ('shop', ${node}, 1, ${seq}, 'transition', ${`${seq}`}, ${JSON.stringify({ body })}, now())`
  await sql`insert into confirmed_manifest values ('shop', 'whole', 1, ${manifest}, 2), ('shop', 'lossy', 1, ${manifest}, 2)`
  await sql`insert into closed_gap (cluster, node, incarnation, first_seq, last_seq, gap_seq, closed_at)
    values ('shop', 'lossy', 1, 3, 6, 7, now())`
  await migrateOn()
  expect(await sql`select node, seq, last_seq from confirmed_manifest order by node`).toEqual([
    { node: 'lossy', seq: '2', last_seq: '8' },
    { node: 'whole', seq: '2', last_seq: '0' },
  ])
})

test('of what a node refused the newest order in force is found behind what was played to it since', async () => {
  const { sql, migrateOn } = await storeBefore('0019_orders_refused')
  const position = { timeline: 0, generation: 2 }
  for (const [node, bodies] of [
    [
      'played',
      [{ code: 'ReleaseCounterTooLow', position }, { code: 'PositionReused', position }, { code: 'NotSigned' }],
    ],
    [
      'plain',
      [
        { code: 'OlderPosition', position },
        { code: 'ReleaseCounterTooLow', position },
      ],
    ],
    ['never', [{ code: 'OlderPosition', position }]],
  ] as const) {
    for (const [at, body] of bodies.entries())
      await sql`insert into statement (cluster, node, incarnation, seq, kind, digest, text, received_at)
        values ('shop', ${node}, 1, ${at + 1}, 'refused', ${`${node} ${at}`}, ${JSON.stringify({ body })}, now())`
    await sql`insert into statement_newest (cluster, node, kind, phase, incarnation, seq)
      values ('shop', ${node}, 'refused', 'order', 1, ${node === 'never' ? 1 : 2})`
  }
  await migrateOn()
  expect(await sql`select node, seq from statement_newest order by node`).toEqual([
    { node: 'never', seq: '1' },
    { node: 'plain', seq: '2' },
    { node: 'played', seq: '1' },
  ])
})

test('what nodes confirmed before it was kept by itself is read out of their statements', async () => {
  const { sql, migrateOn } = await storeBefore('0016_confirmed_manifest')
  const [first, second] = [sha256Hex('first'), sha256Hex('second')]
  const bodies = [
    { to: 'Staged', manifestSha256: first },
    { to: 'Idle', manifestSha256: first, bootId: 'b1' },
    { to: 'Idle', manifestSha256: second },
    { to: 'Idle', manifestSha256: first, bootId: 'b2' },
  ]
  for (const [at, body] of bodies.entries())
    await sql`insert into statement (cluster, node, incarnation, seq, kind, digest, text, received_at)
      values ('shop', 'a', 1, ${at + 1}, 'transition', ${`${at}`}, ${JSON.stringify({ body })}, now())`
  await migrateOn()
  expect(await sql`select * from confirmed_manifest`).toEqual([
    { cluster: 'shop', node: 'a', incarnation: 1, manifest_sha256: first, seq: '2', last_seq: '0' },
  ])
})
