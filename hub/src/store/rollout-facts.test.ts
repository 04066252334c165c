import { expect, test } from 'vitest'
import { desiredController } from '../controllers/desired.ts'
import {
  addCluster,
  addImage,
  addPlacement,
  LIMITS,
  openWorld,
  rolloutSpec,
  sha,
  type World,
} from '../controllers/fixture.ts'
import { placementController } from '../controllers/placement.ts'
import { rolloutController } from '../controllers/rollout.ts'
import { appendAct } from './acts.ts'
import { appendResults } from './attestations.ts'
import { openMirrors } from './mirrors.ts'
import { saveSpecAuthor } from './resources.ts'
import { factsOf } from './rollout-facts.ts'
import { loadFleetOf, loadRolloutFleet } from './rollout-fleet.ts'
import { holdersOf } from './rollout-holders.ts'
import { read, write } from './store.ts'

const rollout = rolloutController(LIMITS)
const desired = desiredController()

async function oneSite() {
  const world = await openWorld()
  await addImage(world, 'os-1')
  await addPlacement(world)
  const site = await addCluster(world, 'shop')
  await site.heartbeat()
  await world.look(placementController())
  const { metadata } = await world.create('Rollout', 'r', rolloutSpec('os-1'), { namespace: 'fleet' })
  await world.look(rollout)
  await world.look(desired)
  return { world, site, uid: metadata.uid }
}
async function factsFor(world: World) {
  const fleet = await loadRolloutFleet(world.store.sql, openMirrors(world.store))
  const [entry] = [...(fleet?.entries.values() ?? [])]
  if (!fleet || !entry) throw new Error('there is no rollout')
  return factsOf(fleet, entry, LIMITS, world.now())
}
const retry = (world: World, rolloutUid: string, clusters: string[]) =>
  write(world.store, (tx) =>
    appendAct(tx, {
      verb: 'retry',
      by: 'anna',
      at: new Date(world.now()).toISOString(),
      reason: 'a loose cable',
      rolloutUid,
      manifestSha256: sha('manifest os-1'),
      clusters,
    }),
  )

test('what people did to a rollout and who changed its spec are facts of it, and of no other', async () => {
  const { world, uid } = await oneSite()
  expect(await factsFor(world)).toMatchObject({ acts: [] })
  expect(await factsFor(world)).not.toHaveProperty('changedBy')
  const made = await retry(world, uid, ['shop'])
  await retry(world, 'another', ['shop'])
  await write(world.store, (tx) => saveSpecAuthor(tx, 'Rollout', { namespace: 'fleet', name: 'r' }, 'otto'))
  expect(await factsFor(world)).toMatchObject({ acts: [made], changedBy: 'otto' })
})

test('a retry reaches the site as a member of its order, once; who it does not name is sent nothing', async () => {
  const { world, site, uid } = await oneSite()
  await retry(world, uid, ['other'])
  await world.look(rollout)
  await world.look(desired)
  const documents = async () =>
    (
      await world.store.sql<{ d: object }[]>`
        select convert_from(payload, 'UTF8')::jsonb as d from desired_state order by generation`
    ).map(({ d }) => Reflect.get(d, 'retry') as unknown)
  expect(await documents()).toEqual([undefined])
  const { id } = await retry(world, uid, ['shop'])
  for (let look = 0; look < 2; look += 1) {
    await world.look(rollout)
    await world.look(desired)
  }
  expect(await documents()).toEqual([undefined, { act: id, imageSha256: sha('os-1') }])
  // It stays while the same bytes are under way: what is not written again is not asked again.
  await site.heartbeat()
  await world.look(rollout)
  await world.look(desired)
  expect(await documents()).toHaveLength(2)
})

test('a failure counts until the node has begun the same bytes again, and a new one counts anew', async () => {
  const { world, site } = await oneSite()
  const goes = (from: 'Failed' | 'RollingBack', to: 'Failed' | 'Preflight', image: string, more: object = {}) =>
    site.says({
      kind: 'transition',
      body: { from, to, reason: to, message: `went to ${to}`, imageSha256: sha(image), ...more },
    })
  const failure = async () => (await factsFor(world)).clusters[0]?.nodes[0]?.failure?.statement.seq
  const first = await goes('RollingBack', 'Failed', 'os-1', { outcome: 'RolledBack' })
  expect(await failure()).toBe(first)
  await goes('Failed', 'Preflight', 'os-2')
  expect(await failure()).toBe(first)
  await goes('Failed', 'Preflight', 'os-1')
  expect(await failure()).toBeUndefined()
  const second = await goes('RollingBack', 'Failed', 'os-1', { outcome: 'RolledBack' })
  expect(await failure()).toBe(second)
})

test('a failure that is only said anew ends no retry that was ordered since: the node has not heard of it', async () => {
  const { world, site, uid } = await oneSite()
  const failure = async () => {
    const { clusters, orders } = await factsFor(world)
    return [clusters[0]?.nodes[0]?.failure?.statement.seq, orders?.[0]?.isSettled]
  }
  const fails = (from: 'RollingBack' | 'Failed', generation: number) =>
    site.says({
      kind: 'transition',
      body: {
        ...{ from, to: 'Failed', reason: 'GatesFailed', message: 'm', imageSha256: sha('os-1'), outcome: 'RolledBack' },
        position: { timeline: 0, generation },
      },
    })
  const first = await fails('RollingBack', 1)
  expect(await failure()).toEqual([first, true])
  await retry(world, uid, ['shop'])
  await world.look(rollout)
  expect(await world.store.sql`select generation from desired_state`).toEqual([{ generation: '1' }])
  // Before the order is composed, and after it.
  await site.closes(9)
  await fails('Failed', 1)
  expect(await failure()).toEqual([undefined, false])
  await world.look(desired)
  expect(await failure()).toEqual([undefined, false])
  // It heard of the retry and failed again, and says that anew, though newer terms have come since; or says it at once.
  const { spec } = await world.get('Rollout', 'r', 'fleet')
  await world.edit('Rollout', 'r', 'fleet', { ...spec, gates: { healthySeconds: 5, timeoutSeconds: 60 } })
  await world.look(rollout)
  await world.look(desired)
  expect(await world.store.sql`select generation from desired_state`).toHaveLength(3)
  expect(await failure()).toEqual([undefined, false])
  const again = await fails('Failed', 2)
  expect(await failure()).toEqual([again, true])
  const once = await fails('RollingBack', 2)
  expect(await failure()).toEqual([once, true])
  // It is asked once more, which is not composed yet.
  await world.look(rollout)
  await retry(world, uid, ['shop'])
  await world.look(rollout)
  await fails('Failed', 2)
  expect(await failure()).toEqual([undefined, false])
})

test('a rollout that is asked about has its edit, the status that is stored now, and the facts that a look has', async () => {
  const { world, site, uid } = await oneSite()
  const asked = await world.get('Rollout', 'r', 'fleet')
  await site.says({ kind: 'accepted', body: { timeline: 0, generation: 1, digest: '0'.repeat(64) } })
  await world.look(rollout)
  const now = world.now()
  const edited = { ...asked, spec: { ...asked.spec, strategy: { type: 'All' as const } } }
  const { fleet, entry } = await read(world.store, (tx) => loadFleetOf(tx, edited))
  const stored = await world.get('Rollout', 'r', 'fleet')
  expect(stored.status).not.toEqual(asked.status)
  const known = await loadRolloutFleet(world.store.sql, openMirrors(world.store))
  const looked = known?.entries.get(uid)
  if (!known || !looked) throw new Error('there is no rollout')
  expect(factsOf(fleet, entry, LIMITS, now)).toEqual({
    ...factsOf(known, looked, LIMITS, now),
    rollout: { ...edited, status: stored.status },
  })
})

test('one that is not stored yet is the newest, in the place of the one of its name', async () => {
  const { world, uid } = await oneSite()
  const asked = await world.get('Rollout', 'r', 'fleet')
  const remade = { ...asked, metadata: { ...asked.metadata, uid: 'new' } }
  const { fleet, entry } = await read(world.store, (tx) => loadFleetOf(tx, remade))
  expect([...fleet.entries.keys()]).toEqual(['new'])
  expect(entry.rollout).not.toHaveProperty('status')
  const { fleet: two } = await read(world.store, (tx) =>
    loadFleetOf(tx, { ...remade, metadata: { ...remade.metadata, name: 'other' } }),
  )
  expect([...two.entries.keys()]).toEqual(['new', uid])
})

test('what a node confirmed below what is lost is not what it confirmed last, and an order that it carried out stays carried out', async () => {
  const { world, site } = await oneSite()
  const facts = async () => {
    const { clusters, orders } = await factsFor(world)
    const [found] = clusters
    const [node] = found?.nodes ?? []
    return {
      ...{ confirmed: node?.confirmed?.bootId, boot: node?.boot?.bootId, isLost: node?.lostAtMs !== undefined },
      ...{
        once: found?.assignment?.confirmed,
        isSettled: orders?.[0]?.isSettled,
        lastGood: found?.lastGood?.imageSha256,
      },
    }
  }
  const confirms = (bootId: string) =>
    site.says({
      kind: 'transition',
      body: { from: 'Confirming', to: 'Idle', reason: 'R', message: '', imageSha256: sha('os-1'), bootId },
    })
  await site.says(site.boot('b1', 'os-1'))
  await confirms('b1')
  const known = { once: true, isSettled: true, lastGood: sha('os-1') }
  expect(await facts()).toEqual({ ...known, confirmed: 'b1', boot: 'b1', isLost: false })
  await site.closes(9)
  expect(await facts()).toEqual({ ...known, confirmed: undefined, boot: undefined, isLost: true, lastGood: undefined })
  // As an agent says it anew: where it stands, and then the boot that runs.
  await confirms('b1')
  await site.says(site.boot('b2', 'os-1'))
  expect(await facts()).toEqual({ ...known, confirmed: 'b1', boot: 'b2', isLost: false })
})

test('of losses the first since the assignment that it did not answer is waited for: losing again gives no more time', async () => {
  const { world, site } = await oneSite()
  const lostAtMs = async () => (await factsFor(world)).clusters[0]?.nodes[0]?.lostAtMs
  const { sql } = world.store
  await site.closes(3)
  await sql`update closed_gap set closed_at = now() - interval '1 day'`
  await site.says(site.boot('b1', 'os-1'))
  // That was before it was assigned anything.
  expect(await lostAtMs()).toBeUndefined()
  await site.closes(9)
  const first = await lostAtMs()
  expect(first).toBeGreaterThan(0)
  await site.closes(20)
  await sql`update closed_gap set closed_at = closed_at + interval '1 hour' where last_seq = 20`
  await site.says(site.boot('b1', 'os-1'))
  expect(await lostAtMs()).toBe(first)
  // What it says of what it has confirmed answers for those, and for none that comes after it.
  const idle = { from: 'Idle', to: 'Idle', reason: 'R', message: '' } as const
  await site.says({ kind: 'transition', body: idle })
  expect(await lostAtMs()).toBe(first)
  await site.says({ kind: 'transition', body: { ...idle, bootId: 'b1', imageSha256: sha('os-0') } })
  expect(await lostAtMs()).toBeUndefined()
  await site.closes(30)
  await sql`update closed_gap set closed_at = closed_at + interval '2 hours' where last_seq = 30`
  await site.says(site.boot('b1', 'os-1'))
  expect(await lostAtMs()).toBeGreaterThan((first ?? Number.POSITIVE_INFINITY) + 3_600_000)
})

test('a bad boot is not hidden by a confirmation that is said anew above it', async () => {
  const { world, site } = await oneSite()
  const manifestSha256 = sha('manifest os-1')
  const confirms = (from: 'Confirming' | 'Idle', bootId: string) =>
    site.says({
      kind: 'transition',
      body: { from, to: 'Idle', reason: 'R', message: '', imageSha256: sha('os-1'), manifestSha256, bootId },
    })
  const bad = async () => (await factsFor(world)).clusters[0]?.nodes[0]?.bad?.statement.seq
  const boots = async (bootId: string, verdict: 'affirming' | 'contraindicated') => {
    const body = site.boot(bootId, 'os-1')
    const seq = await site.says(body)
    if (body.kind !== 'evidence') throw new Error('no evidence')
    const place = { cluster: 'shop', node: 'shop', incarnation: 1, seq }
    const made = { bootId, verdict, reason: 'R', message: '', evidence: body.body, findings: [], pcrs: [] }
    await write(world.store, (tx) => appendResults(tx, [{ ...place, ...made, policyId: 'p', ear: 'e' }]))
    return seq
  }
  // What was bad before it was confirmed at all is its own affair.
  await boots('b0', 'contraindicated')
  await boots('b1', 'affirming')
  await confirms('Confirming', 'b1')
  expect(await bad()).toBeUndefined()
  const found = await boots('b2', 'contraindicated')
  expect(await bad()).toBe(found)
  await site.closes(9)
  await confirms('Idle', 'b1')
  expect(await bad()).toBe(found)
  await boots('b3', 'affirming')
  expect(await bad()).toBe(found)
})

test('nor does an old loss count a boot that was bad before it was confirmed', async () => {
  const { world, site } = await oneSite()
  const about = { imageSha256: sha('os-1'), manifestSha256: sha('manifest os-1'), bootId: 'b1' }
  await site.closes(4)
  const body = site.boot('b0', 'os-1')
  if (body.kind !== 'evidence') throw new Error('no evidence')
  const place = { cluster: 'shop', node: 'shop', incarnation: 1, seq: await site.says(body) }
  const made = { bootId: 'b0', reason: 'R', message: '', evidence: body.body, findings: [], pcrs: [] }
  const result = { ...place, ...made, verdict: 'contraindicated', policyId: 'p', ear: 'e' } as const
  await write(world.store, (tx) => appendResults(tx, [result]))
  await site.says({ kind: 'transition', body: { from: 'Confirming', to: 'Idle', reason: 'R', message: '', ...about } })
  await site.closes(19)
  await site.says({ kind: 'transition', body: { from: 'Idle', to: 'Idle', reason: 'R', message: '', ...about } })
  const [node] = (await factsFor(world)).clusters[0]?.nodes ?? []
  expect([node?.confirmed?.bootId, node?.bad]).toEqual(['b1', undefined])
})

test('nor where the first confirmation is lost: what it told of since comes after that', async () => {
  const { world, site } = await oneSite()
  await site.closes(9)
  const body = site.boot('b2', 'os-1')
  const seq = await site.says(body)
  if (body.kind !== 'evidence') throw new Error('no evidence')
  const place = { cluster: 'shop', node: 'shop', incarnation: 1, seq }
  const made = { bootId: 'b2', reason: 'R', message: '', evidence: body.body, findings: [], pcrs: [] }
  const result = { ...place, ...made, verdict: 'contraindicated', policyId: 'p', ear: 'e' } as const
  await write(world.store, (tx) => appendResults(tx, [result]))
  const about = { imageSha256: sha('os-1'), manifestSha256: sha('manifest os-1'), bootId: 'b1' }
  // It also comes back to Idle from an order that asks for what it runs.
  for (const [from, lostUpTo] of [['Failed'], ['Idle', 19], ['Idle', 29]] as const) {
    if (lostUpTo !== undefined) await site.closes(lostUpTo)
    await site.says({ kind: 'transition', body: { from, to: 'Idle', reason: 'R', message: '', ...about } })
    expect((await factsFor(world)).clusters[0]?.nodes[0]?.bad?.statement.seq).toBe(seq)
  }
})

test('of a cluster that a pause may miss it is told where each of its nodes stands', async () => {
  const { world, site, uid } = await oneSite()
  const nodes = async () => (await holdersOf(world.store, uid, LIMITS, world.now())).map((holder) => holder.nodes)
  expect(await nodes()).toEqual([[{ phase: 'Idle' }]])
  const went = { from: 'Staging', to: 'Staged', reason: 'R', message: 'm' } as const
  await site.says({ kind: 'transition', body: went })
  expect(await nodes()).toEqual([[{ phase: 'Staged' }]])
  await site.says({ kind: 'transition', body: { ...went, imageSha256: sha('os-0') } })
  expect(await nodes()).toEqual([[{ phase: 'Staged', about: sha('os-0') }]])
  expect((await factsFor(world)).clusters[0]?.nodes[0]).toMatchObject({ phase: 'Staged', about: sha('os-0') })
})
