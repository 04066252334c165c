import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import {
  buildImage,
  type Ceremony,
  createJoinToken,
  ENTRIES,
  eventually,
  FAMILY,
  type HubProcess,
  type Image,
  type Program,
  releaseOf,
  startAgent,
} from '@skerry/demo'
import { testFolder } from '@skerry/supervise/testing'
import { sha256Hex } from '@skerry/trust'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Ground, hubGround, siteStatus } from './testing.ts'

// A hub is put back to a backup that is older than what a site keeps: real processes, and the whole database put back.

const SITE = 'shop-1'
let dir: string
let ground: Ground
let hub: HubProcess
let ceremony: Ceremony
let image: Image
let secret: string
let agent: Program | undefined

beforeAll(async () => {
  dir = testFolder()
  ground = await hubGround(dir)
  hub = await ground.serve()
  ceremony = ground.ceremony()
  image = buildImage(join(dir, 'images'), '1', { healthy: true, ballastBytes: 1_000 })
  await ceremony.publish(hub.client, [releaseOf(image, 1)])
  secret = await createJoinToken(hub.client, 'token', { maxUses: 1 }, Date.now())
})
afterAll(async () => {
  await agent?.kill()
  await hub.program.stop(20_000)
  await hub.client.close()
  await ground.drop()
})

const data = () => join(dir, SITE)
const startSite = () => {
  const bundle = ceremony.bundle([hub.apiUrl], hub.caPem, secret)
  const args = ['--hub-url', hub.apiUrl, '--nats-url', hub.natsUrl, '--heartbeat-seconds', '1']
  agent = startAgent({ name: SITE, dir: data(), bundle, factoryImage: image.file, args })
}
const stopSite = () => agent?.stop(20_000)
async function stopHub(): Promise<void> {
  await hub.program.stop(20_000)
  await hub.client.close()
}

/** What lies in the site's database while nobody runs on it. */
function inSite<T>(act: (sql: DatabaseSync) => T): T {
  const sql = new DatabaseSync(join(data(), 'agent.db'))
  try {
    return act(sql)
  } finally {
    sql.close()
  }
}
/** Says `count` things more, as the agent does, and sends none of them. */
const says = (count: number) =>
  inSite((sql) => {
    const insert = sql.prepare('insert into statement (seq, kind, text, digest, at) values (?, ?, ?, ?, ?)')
    let head = sql.prepare('select seq, digest, text from statement order by seq desc limit 1').get() as {
      seq: number
      digest: string
      text: string
    }
    sql.exec('begin')
    for (let n = 0; n < count; n += 1) {
      const seq = head.seq + 1
      const body = { document: 'DesiredState', code: 'BadSignature', message: `${seq}`, digest: head.digest }
      const text = JSON.stringify({ ...JSON.parse(head.text), kind: 'refused', seq, prev: head.digest, body })
      head = { seq, digest: sha256Hex(text), text }
      insert.run(seq, 'refused', text, head.digest, new Date().toISOString())
    }
    sql.exec('commit')
  })
const keptGaps = () =>
  inSite((sql) =>
    sql
      .prepare("select text from statement where kind = 'gap' order by seq")
      .all()
      .map(({ text }) => JSON.parse(String(text)) as { seq: number; body: { fromSeq: number; toSeq: number } }),
  )

const everyTable = (act: string) => `do $$ declare t text; begin
  for t in select tablename from pg_tables where schemaname = 'public' loop execute format('${act}', t); end loop; end $$`
const backUp = async () => {
  await ground.query('create schema backup', [])
  await ground.query(everyTable('create table backup.%1$I as table public.%1$I'), [])
  // As it is of one that is older than a minute.
  await ground.query('delete from backup.epoch_marker', [])
}
const putBack = () =>
  ground.query(
    everyTable('truncate public.%1$I; insert into public.%1$I overriding system value select * from backup.%1$I'),
    [],
  )

type View = {
  readonly nodeKey: string
  readonly statementsWaiting: number
  readonly newestStatement: { readonly seq: number } | null
}
const head = async () => {
  const [row] = await ground.query<{ watermark: number; newest: number }>(
    'select watermark::int, newest_seq::int as newest from cluster_head where cluster = $1',
    [SITE],
  )
  return row
}
/** Waits until nothing of the site waits to be taken, and the hub has what it said last; how far that is. */
const everythingTaken = (least: number) =>
  eventually(
    async () => {
      const view = siteStatus<View>(data())
      const seq = view?.newestStatement?.seq ?? 0
      const hubs = await head()
      return view?.statementsWaiting === 0 && seq >= least && hubs?.watermark === seq && hubs.newest === seq && seq
    },
    'everything that the site said being taken',
    180_000,
  )

test('what is above what is lost is taken, what is lost is told, and the same once more', async () => {
  startSite()
  const known = await everythingTaken(1)
  await stopSite()
  await stopHub()
  await backUp()

  hub = await ground.serve()
  says(150)
  startSite()
  const forgotten = await everythingTaken(known + 150)
  await stopSite()
  await stopHub()
  // A week later the newest thirty are kept; and in the dark more was said than a hub takes above a gap.
  const oldest = forgotten - 29
  inSite((sql) => sql.prepare('delete from statement where seq < ?').run(oldest))
  says(2_300)

  let closedBy = 0
  for (const time of ['once', 'once more']) {
    await putBack()
    hub = await ground.serve()
    expect((await head())?.watermark, time).toBe(known)
    startSite()
    await everythingTaken(forgotten + 2_300)
    const [closed] = await ground.query<{ fromSeq: number; toSeq: number; by: number }>(
      'select first_seq::int as "fromSeq", last_seq::int as "toSeq", gap_seq::int as by from closed_gap where cluster = $1',
      [SITE],
    )
    expect(closed, time).toMatchObject({ fromSeq: known + 1, toSeq: oldest - 1 })
    closedBy = closed?.by ?? 0

    // What it runs is told anew, and with it everything that a person and an auditor see.
    const node = await eventually(
      async () => {
        const [found] = await hub.client.list('EdgeNode', { namespace: SITE })
        return found?.status?.attestation && found.status.watermark === (await head())?.watermark && found.status
      },
      'the node being shown',
      60_000,
    )
    expect(node.conditions).toMatchObject([
      {
        ...{ type: 'ChainComplete', status: 'Unknown', reason: 'StatementsLost' },
        message: expect.stringContaining(`${known + 1} to ${oldest - 1} (NotKept, statement ${closedBy})`),
      },
    ])
    expect(node.image?.name).toBe(`${FAMILY}-1`)
    const report = await hub.client.report({ evidence: true })
    const file = join(dir, 'report.json')
    writeFileSync(file, JSON.stringify(report))
    const key = siteStatus<View>(data())?.nodeKey
    const told = execFileSync(
      process.execPath,
      [ENTRIES.cli, 'report', 'verify', file, '--key', `${SITE}/${SITE}=${key}`, '-o', 'json'],
      { encoding: 'utf8', maxBuffer: 64 * 1024 ** 2 },
    )
    const { claims, faults } = JSON.parse(told) as {
      claims: { claim: string; result: string; outcome: string }[]
      faults: string[]
    }
    expect(faults, time).toEqual([])
    expect(claims.find(({ claim }) => claim === 'ChainComplete')).toMatchObject({
      ...{ result: 'not-assessed', outcome: 'verified' },
    })
    await stopSite()
    await stopHub()
    expect(keptGaps(), time).toMatchObject([{ seq: closedBy, body: { fromSeq: known + 1, toSeq: oldest - 1 } }])
  }
  hub = await ground.serve()
})
