import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { auditHead } from '../store/audit.ts'
import { type TestApi, testApi } from './testing.ts'

const PATH = '/apis/skerry.dev/v1alpha1/auditrecords'
const SETS = '/apis/cluster.open-cluster-management.io/v1beta2/managedclustersets'

async function withRecords(count: number): Promise<TestApi> {
  const api = await testApi()
  for (let n = 0; n < count; n += 1)
    await api.ask('POST', SETS, {
      body: {
        apiVersion: 'cluster.open-cluster-management.io/v1beta2',
        kind: 'ManagedClusterSet',
        metadata: { name: `s${n}` },
        spec: {},
      },
    })
  return api
}

describe('the audit chain', () => {
  test('a whole chain is said to be whole, with its head; an empty one too', async () => {
    const { ask } = await withRecords(5)
    const { body } = await ask('GET', `${PATH}/verdict`)
    const last = (await ask('GET', PATH)).body.items.at(-1)
    expect(body).toMatchObject({
      kind: 'AuditVerdict',
      whole: true,
      head: { count: 5, hash: Reflect.get(last ?? {}, 'hash') },
    })
    expect((await (await testApi()).ask('GET', `${PATH}/verdict`)).body).toMatchObject({
      whole: true,
      head: { count: 0 },
    })
  })

  test.each([
    ['a changed actor', "update audit_record set actor = 'somebody' where id = 3"],
    ['a changed time', "update audit_record set at = at + interval '1 ms' where id = 3"],
    ['a changed digest', "update audit_record set after_digest = repeat('0', 64) where id = 1"],
    ['a missing first record', 'delete from audit_record where id = 1'],
    ['a missing record in the middle', 'delete from audit_record where id = 3'],
    ['a missing last record', 'delete from audit_record where id = 5'],
    ['no record left at all', 'delete from audit_record'],
    [
      'two records in each other’s place',
      'update audit_record set id = case id when 2 then 103 when 3 then 102 else id end',
    ],
  ])('%s is noticed', async (_, tampering) => {
    const { ask, store } = await withRecords(5)
    await store.sql.unsafe(tampering)
    expect((await ask('GET', `${PATH}/verdict`)).body).toMatchObject({ whole: false, reason: expect.any(String) })
  })

  test.each([
    ['one', 'id = 5', '5 records were written and 4 are there: the newest is missing'],
    ['several', 'id > 1', '5 records were written and 1 is there: the newest are missing'],
  ])('%s of the newest missing is told as that', async (_, which, reason) => {
    const { ask, store } = await withRecords(5)
    await store.sql.unsafe(`delete from audit_record where ${which}`)
    expect((await ask('GET', `${PATH}/verdict`)).body).toMatchObject({ whole: false, reason })
  })

  test('a newest record that was written anew, and follows, is not said to be missing', async () => {
    const { ask, store } = await withRecords(5)
    const head = await auditHead(store.sql)
    await store.sql`update hub_state set value = ${store.sql.json({ ...head, hash: '0'.repeat(64) })} where key = 'audit-head'`
    expect((await ask('GET', `${PATH}/verdict`)).body).toMatchObject({
      whole: false,
      reason: '5 records were written and 5 are there: the newest is not the one that was written last',
    })
  })

  test('of more records than were written none is said to be missing', async () => {
    const { ask, store } = await withRecords(5)
    const head = await auditHead(store.sql)
    await store.sql`update hub_state set value = ${store.sql.json({ ...head, count: 4 })} where key = 'audit-head'`
    expect((await ask('GET', `${PATH}/verdict`)).body).toMatchObject({
      whole: false,
      reason: '4 records were written and 5 are there: the newest is not the one that was written last',
    })
  })

  test('records of a hub that did not keep the head yet are whole after its migration, and go on', async () => {
    const { ask, store } = await withRecords(2)
    await store.sql`delete from hub_state where key = 'audit-head'`
    await store.sql.unsafe(readFileSync(new URL('../migrations/0004_audit_head.sql', import.meta.url), 'utf8'))
    await ask('DELETE', `${SETS}/s0`)
    expect((await ask('GET', `${PATH}/verdict`)).body).toMatchObject({ whole: true, head: { count: 3 } })
  })

  test('is read in pages, oldest first', async () => {
    const { ask } = await withRecords(5)
    const first = await ask('GET', `${PATH}?limit=3`)
    expect(first.body).toMatchObject({ kind: 'AuditRecordList', next: 3, head: { count: 5 } })
    const rest = await ask('GET', `${PATH}?limit=3&after=3`)
    expect([...first.body.items, ...rest.body.items]).toMatchObject(
      [0, 1, 2, 3, 4].map((n) => ({ name: `s${n}`, actor: 'admin', verb: 'create', sourceIp: '127.0.0.1' })),
    )
    expect(rest.body).not.toHaveProperty('next')
  })
})
