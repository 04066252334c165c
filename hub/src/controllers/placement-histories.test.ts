import {
  type KindName,
  MAX_REMOVAL_PERCENT_ANNOTATION,
  type ObjectOf,
  PLACEMENT_LABEL,
  SCHEDULING_DISABLED_ANNOTATION,
} from '@skerry/api'
import { events, everybody, type FleetEvent, NOW, placements } from '@skerry/policy/testing'
import fc from 'fast-check'
import pino from 'pino'
import { describe, expect, onTestFinished, test } from 'vitest'
import { acquireLease, LeaseLost } from '../store/leases.ts'
import { openMirrors } from '../store/mirrors.ts'
import {
  compactChanges,
  createObject,
  deleteObject,
  getObject,
  listObjects,
  saveStatus,
  updateObject,
} from '../store/resources.ts'
import { openStore, type Store, type Tx, write } from '../store/store.ts'
import { openTestStore } from '../store/testing.ts'
import { placementController, WHOLE_MS } from './placement.ts'

// What a hub stores that decides what changed, beside what one stores that has just been started each time.

type Placement = ObjectOf<'Placement'>
type Step =
  | FleetEvent
  | { readonly place: Placement; readonly disabled: boolean }
  | { readonly drop: 'Placement' | 'PlacementDecision'; readonly name: string }
  | { readonly relabel: string; readonly as: string }
  | { readonly look: Look; readonly afterMs: number }
/** Who looks, and what happened before that nobody told. */
type Look =
  | 'the same'
  | 'another hub'
  | 'the same after the history was forgotten'
  | 'the same after the database was put back'
  | 'the same after it was broken half way'
const names = fc.constantFrom('p', 'q', 'r')
const steps: fc.Arbitrary<Step> = fc.oneof(
  { weight: 8, arbitrary: events.filter((event) => !isGoing(event)) },
  {
    weight: 2,
    arbitrary: fc
      .tuple(placements, names, fc.nat(5))
      .map(([placement, name, rare]): Step => ({ place: called(placement, name), disabled: rare === 0 })),
  },
  {
    weight: 1,
    arbitrary: fc.oneof(
      names.map((name): Step => ({ drop: 'Placement', name })),
      names.map((name): Step => ({ drop: 'PlacementDecision', name: `${name}-decision-1` })),
      fc.tuple(names, names).map(([one, as]): Step => ({ relabel: `${one}-decision-1`, as })),
    ),
  },
  {
    weight: 5,
    arbitrary: fc.record({
      look: fc.oneof(
        { weight: 8, arbitrary: fc.constant<Look>('the same') },
        {
          weight: 3,
          arbitrary: fc.constantFrom<Look>(
            'another hub',
            'the same after the history was forgotten',
            'the same after the database was put back',
            'the same after it was broken half way',
          ),
        },
      ),
      afterMs: fc.constantFrom(0, 0, 5_001, 31_000, WHOLE_MS),
    }),
  },
)

const called = (placement: Placement, name: string) => ({ ...placement, metadata: { ...placement.metadata, name } })
const isGoing = (event: FleetEvent) =>
  'put' in event && event.put === 'cluster' && event.cluster.metadata.deletionTimestamp !== undefined

type Term = Awaited<ReturnType<typeof openTerm>>

/** A hub on a database: its lease, what it remembers, and its controller. */
async function openTerm(store: Store) {
  const lease = await acquireLease(store, 'controllers', AbortSignal.timeout(60_000))
  const controller = placementController()
  const mirrors = openMirrors(store)
  const look = (nowMs: number) =>
    controller.reconcile({
      ...{ store, lease, mirrors, now: () => nowMs },
      log: pino({ level: 'silent' }),
      signal: AbortSignal.timeout(60_000),
    })
  return { lease, look }
}

/** Makes the second placement that is written in a look fail, as when the hub or its PostgreSQL ends right there. */
async function breakSecondWrite(store: Store): Promise<() => Promise<void>> {
  await store.sql.unsafe(`
    create sequence written;
    create function refuse() returns trigger language plpgsql as $$ begin
      if nextval('written') > 1 then raise exception 'broken half way'; end if; return new; end $$;
    create trigger refuse before update of status on resource for each row when (new.kind = 'Placement') execute function refuse()`)
  return async () => {
    await store.sql.unsafe('drop trigger refuse on resource; drop function refuse; drop sequence written')
  }
}

const TABLES = ['resource', 'resource_change', 'hub_state']
async function backUp({ sql }: Store): Promise<void> {
  for (const table of TABLES) {
    await sql.unsafe(`drop table if exists kept_${table}`)
    await sql.unsafe(`create table kept_${table} as select * from ${table}`)
  }
  await sql.unsafe(
    'drop table if exists kept_version; create table kept_version as select last_value as v from resource_version',
  )
}
async function putBack({ sql }: Store): Promise<void> {
  for (const table of TABLES) await sql.unsafe(`delete from ${table}; insert into ${table} select * from kept_${table}`)
  await sql.unsafe("select setval('resource_version', (select v from kept_version))")
}

/** The other database becomes as this one is; without its history, which a hub that starts does not ask for. */
async function copy(from: Store, to: Store): Promise<void> {
  const [row] = await from.sql<{ all: string }[]>`select coalesce(jsonb_agg(r), '[]')::text as all from resource r`
  for (const table of TABLES) await to.sql.unsafe(`delete from ${table}`)
  await to.sql`insert into resource select * from jsonb_populate_recordset(null::resource, ${row?.all ?? '[]'}::text::jsonb)`
  await to.sql`select setval('resource_version', (select coalesce(max(resource_version), 0) + 1 from resource))`
}

/** Everything that placements left: made and written with no regard to the order of versions. */
async function stored({ sql }: Store): Promise<unknown> {
  const rows = await sql`
    select kind, namespace, name, generation, labels, annotations, meta, spec, status from resource
    where kind in ('Placement', 'PlacementDecision') order by 1, 2, 3`
  return [...rows]
}

async function newest({ sql }: Store): Promise<unknown> {
  return [...(await sql`select max(resource_version) as v from resource_change`)]
}

async function put<K extends KindName>(
  tx: Tx,
  kind: K,
  object: {
    metadata: {
      name: string
      namespace?: string
      labels?: Record<string, string>
      annotations?: Record<string, string>
    }
    spec?: unknown
  },
  status?: NonNullable<ObjectOf<K>['status']>,
): Promise<void> {
  const { name, namespace, labels, ...more } = object.metadata as ObjectOf<K>['metadata']
  const { annotations, ownerReferences } = more
  const metadata = {
    name,
    ...(namespace === undefined ? {} : { namespace }),
    ...(labels === undefined ? {} : { labels }),
    ...(annotations === undefined ? {} : { annotations }),
    ...(ownerReferences === undefined ? {} : { ownerReferences }),
  }
  const made = { metadata, ...('spec' in object ? { spec: object.spec } : {}) }
  if (!(await updateObject(tx, kind, made))) await createObject(tx, kind, made)
  if (status) await saveStatus(tx, kind, namespace ?? '', name, status)
}

/** One step as its writers write it. */
async function happen(tx: Tx, step: Exclude<Step, { look: Look }>): Promise<void> {
  if ('place' in step) {
    const { metadata, spec } = step.place
    const annotations = step.disabled ? { annotations: { [SCHEDULING_DISABLED_ANNOTATION]: 'true' } } : {}
    return put(tx, 'Placement', { metadata: { ...metadata, ...annotations }, spec })
  }
  if ('drop' in step) return void (await deleteObject(tx, step.drop, 'fleet', step.name))
  if ('relabel' in step) {
    const slice = await getObject(tx, 'PlacementDecision', 'fleet', step.relabel)
    if (!slice) return
    const labels = { ...slice.metadata.labels, [PLACEMENT_LABEL]: step.as }
    return put(tx, 'PlacementDecision', { metadata: { ...slice.metadata, labels } })
  }
  if ('remove' in step) {
    const { remove, name, namespace } = step
    if (remove === 'cluster') await deleteObject(tx, 'ManagedCluster', '', name)
    else if (remove === 'set') await deleteObject(tx, 'ManagedClusterSet', '', name)
    else if (remove === 'binding') await deleteObject(tx, 'ManagedClusterSetBinding', namespace, name)
    else await deleteObject(tx, 'AddOnPlacementScore', namespace, name)
    return
  }
  if (step.put === 'cluster') return put(tx, 'ManagedCluster', step.cluster, step.cluster.status)
  if (step.put === 'set') return put(tx, 'ManagedClusterSet', step.set)
  if (step.put === 'binding') return put(tx, 'ManagedClusterSetBinding', step.binding)
  if (step.put === 'scores') {
    const { namespace, name, validUntil, scores } = step.scores
    const status = { scores: [...scores], ...(validUntil === undefined ? {} : { validUntil }) }
    return put(tx, 'AddOnPlacementScore', { metadata: { name, namespace } }, status)
  }
  // Somebody else's decisions: over those of the hub where it has made some.
  const { namespace, placement, clusters } = step.decided
  const name = `${placement}-decision-1`
  const there = await getObject(tx, 'PlacementDecision', namespace, name)
  const metadata = there?.metadata ?? { name, namespace, labels: { [PLACEMENT_LABEL]: placement } }
  const decisions = clusters.map((clusterName) => ({ clusterName, reason: 'Selected' }))
  return put(tx, 'PlacementDecision', { metadata }, { decisions })
}

/** Looks, and so does a hub that has just been started on a copy: what they leave is the same. */
async function lookAsFresh(term: Term, following: Store, fresh: Store, nowMs: number): Promise<void> {
  await copy(following, fresh)
  await term.look(nowMs)
  const anyone = await openTerm(fresh)
  await anyone.look(nowMs)
  await anyone.lease.release()
  expect(await stored(following)).toEqual(await stored(fresh))
}

test('after any history of writes, a hub that follows them stores what one that was just started stores', async () => {
  const following = await openTestStore()
  const fresh = await openTestStore()
  const second = openStore(following.connection)
  onTestFinished(() => second.close())
  const histories = fc.tuple(
    fc.array(placements, { minLength: 3, maxLength: 3 }),
    fc.array(steps, { minLength: 20, maxLength: 50 }),
  )
  await fc.assert(
    fc.asyncProperty(histories, async ([first, then]) => {
      for (const table of TABLES) await following.sql.unsafe(`delete from ${table}`)
      await backUp(following)
      const hubs = [following, second]
      let nowMs = NOW
      let term = await openTerm(following)
      const before: Readonly<Record<Look, () => Promise<unknown>>> = {
        'the same': async () => {},
        'another hub': async () => {
          await term.lease.release()
          const late = term
          term = await openTerm(hubs.reverse()[0] ?? following)
          const version = await newest(following)
          await late.look(nowMs).catch((error) => expect(error).toBeInstanceOf(LeaseLost))
          expect(await newest(following)).toEqual(version)
        },
        'the same after the history was forgotten': () => write(following, (tx) => compactChanges(tx, 0)),
        'the same after the database was put back': () => putBack(following),
        'the same after it was broken half way': async () => {
          const mend = await breakSecondWrite(following)
          await term.look(nowMs).catch((error) => expect(error).toMatchObject({ message: 'broken half way' }))
          await mend()
        },
      }
      const take = async (step: Step) => {
        if (!('look' in step)) return write(following, (tx) => happen(tx, step))
        nowMs += step.afterMs
        await before[step.look]()
        await lookAsFresh(term, following, fresh, nowMs)
        await backUp(following)
      }
      try {
        for (const event of everybody) await take(event)
        for (const [at, placement] of first.entries())
          await take({ place: called(placement, 'pqr'.charAt(at)), disabled: false })
        await take({ look: 'the same', afterMs: 0 })
        for (const step of then) await take(step)
        await take({ look: 'the same', afterMs: 0 })
      } finally {
        await term.lease.release()
      }
    }),
    // A history is hundreds of transactions: to find a smaller one takes longer than to read this one.
    { numRuns: 10, endOnFailure: true },
  )
})

describe('a hub that follows is told of', () => {
  const cluster = (name: string, env: string) => ({
    metadata: { name, labels: { env } },
    spec: { hubAcceptsClient: true },
  })
  const scored = (tx: Tx, name: string, value: number) =>
    put(
      tx,
      'AddOnPlacementScore',
      { metadata: { name: 'usage', namespace: name } },
      { scores: [{ name: 'free', value }] },
    )
  const everyone = (labelSelector: object) => ({
    metadata: { name: 'all' },
    spec: { clusterSelector: { selectorType: 'LabelSelector', labelSelector } },
  })
  const best = (numberOfClusters: number) => ({
    metadata: { name: 'best', namespace: 'fleet' },
    spec: {
      numberOfClusters,
      prioritizerPolicy: {
        mode: 'Exact',
        configurations: [{ scoreCoordinate: { type: 'AddOn', addOn: { resourceName: 'usage', scoreName: 'free' } } }],
      },
    },
  })

  async function setting() {
    const [following, fresh] = [await openTestStore(), await openTestStore()]
    const term = await openTerm(following)
    onTestFinished(() => term.lease.release())
    await write(following, async (tx) => {
      for (const event of everybody) await happen(tx, event)
      for (const [name, env] of [
        ['a', 'dev'],
        ['b', 'prod'],
        ['c', 'prod'],
      ] as const)
        await put(tx, 'ManagedCluster', cluster(name, env))
      await scored(tx, 'b', 50)
      await scored(tx, 'c', 90)
      await put(tx, 'Placement', best(1))
      const annotations = { [MAX_REMOVAL_PERCENT_ANNOTATION]: '100' }
      await put(tx, 'Placement', { metadata: { name: 'every', namespace: 'fleet', annotations }, spec: {} })
    })
    const selected = async () => {
      const slices = await listObjects(following.sql, 'PlacementDecision')
      return slices.map(({ metadata, status }) =>
        [metadata.name, ...(status?.decisions ?? []).map(({ clusterName }) => clusterName)].join(' '),
      )
    }
    // Twice: what it stored itself comes back as a change.
    for (let n = 0; n < 2; n += 1) await lookAsFresh(term, following, fresh, NOW)
    return { following, fresh, term, selected }
  }

  test.each<[string, (tx: Tx) => Promise<unknown>, string[]]>([
    [
      'a cluster that was made',
      (tx) => put(tx, 'ManagedCluster', cluster('d', 'dev')),
      ['best-decision-1 c', 'every-decision-1 a b c d'],
    ],
    [
      'one that was deleted',
      (tx) => deleteObject(tx, 'ManagedCluster', '', 'c'),
      ['best-decision-1 b', 'every-decision-1 a b'],
    ],
    [
      'a set that was changed',
      (tx) => put(tx, 'ManagedClusterSet', everyone({ matchLabels: { env: 'dev' } })),
      ['best-decision-1 a', 'every-decision-1 a'],
    ],
    [
      'one that was deleted',
      (tx) => deleteObject(tx, 'ManagedClusterSet', '', 'all'),
      ['best-decision-1', 'every-decision-1'],
    ],
    [
      'a binding that was deleted',
      (tx) => deleteObject(tx, 'ManagedClusterSetBinding', 'fleet', 'all'),
      ['best-decision-1', 'every-decision-1'],
    ],
    ['a score that was changed', (tx) => scored(tx, 'a', 91), ['best-decision-1 a', 'every-decision-1 a b c']],
    [
      'one that was deleted',
      (tx) => deleteObject(tx, 'AddOnPlacementScore', 'c', 'usage'),
      ['best-decision-1 b', 'every-decision-1 a b c'],
    ],
    [
      'a placement that was edited',
      (tx) => put(tx, 'Placement', best(2)),
      ['best-decision-1 b c', 'every-decision-1 a b c'],
    ],
    ['one that was deleted', (tx) => deleteObject(tx, 'Placement', 'fleet', 'best'), ['every-decision-1 a b c']],
    [
      'a slice that was deleted by hand',
      (tx) => deleteObject(tx, 'PlacementDecision', 'fleet', 'best-decision-1'),
      ['best-decision-1 c', 'every-decision-1 a b c'],
    ],
    [
      'a status that was written by hand',
      (tx) => saveStatus(tx, 'Placement', 'fleet', 'best', { numberOfSelectedClusters: 7 }),
      ['best-decision-1 c', 'every-decision-1 a b c'],
    ],
    [
      'decisions that somebody else stored',
      (tx) =>
        saveStatus(tx, 'PlacementDecision', 'fleet', 'best-decision-1', {
          decisions: [{ clusterName: 'a', reason: 'Selected' }],
        }),
      ['best-decision-1 c', 'every-decision-1 a b c'],
    ],
    [
      'what somebody else says of the right decisions',
      (tx) =>
        saveStatus(tx, 'PlacementDecision', 'fleet', 'best-decision-1', {
          decisions: [{ clusterName: 'c', reason: 'Mine' }],
        }),
      ['best-decision-1 c', 'every-decision-1 a b c'],
    ],
  ])('%s', async (_, act, decided) => {
    const { following, fresh, term, selected } = await setting()
    expect(await selected()).toEqual(['best-decision-1 c', 'every-decision-1 a b c'])
    await write(following, act)
    await lookAsFresh(term, following, fresh, NOW)
    expect(await selected()).toEqual(decided)
  })

  test('what it could not store itself', async () => {
    const { following, fresh, term, selected } = await setting()
    await write(following, (tx) => put(tx, 'ManagedCluster', cluster('0', 'dev')))
    await write(following, (tx) => put(tx, 'Placement', best(2)))
    const mend = await breakSecondWrite(following)
    await expect(term.look(NOW)).rejects.toThrow('broken half way')
    await mend()
    expect(await selected()).toEqual(['best-decision-1 b c', 'every-decision-1 a b c'])
    await lookAsFresh(term, following, fresh, NOW)
    expect(await selected()).toEqual(['best-decision-1 b c', 'every-decision-1 0 a b c'])
  })
})

test('what nobody told of is found by the next whole look', async () => {
  const store = await openTestStore()
  const term = await openTerm(store)
  onTestFinished(() => term.lease.release())
  const cluster = (name: string) => ({ metadata: { name, labels: { env: name } }, spec: { hubAcceptsClient: true } })
  await write(store, async (tx) => {
    for (const event of everybody) await happen(tx, event)
    for (const name of ['a', 'b']) await put(tx, 'ManagedCluster', cluster(name))
    await put(tx, 'Placement', { metadata: { name: 'all', namespace: 'fleet' }, spec: {} })
  })
  const selected = async () => {
    const slice = await getObject(store.sql, 'PlacementDecision', 'fleet', 'all-decision-1')
    return slice?.status?.decisions?.map(({ clusterName }) => clusterName)
  }
  await term.look(NOW)
  expect(await selected()).toEqual(['a', 'b'])
  await store.sql`delete from resource where name = 'b'`
  await write(store, (tx) => put(tx, 'ManagedCluster', cluster('c')))
  // It follows what it is told, and reads nothing else.
  await term.look(NOW + WHOLE_MS - 1)
  expect(await selected()).toEqual(['a', 'b', 'c'])
  await term.look(NOW + WHOLE_MS)
  expect(await selected()).toEqual(['a', 'c'])
})
