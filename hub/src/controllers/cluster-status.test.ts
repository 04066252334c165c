import {
  type NodePhase,
  type NodeTrouble,
  type Reachability,
  UNREACHABLE_EFFECT_ANNOTATION,
  UNREACHABLE_TAINT,
} from '@skerry/api'
import { REMOVAL_GUARD } from '@skerry/policy'
import { CLOCK, makeTpm, referenceOf } from '@skerry/policy/testing'
import { expect, test } from 'vitest'
import { shrinkClosed } from '../store/closed-gaps.ts'
import { acquireLease, LeaseLost } from '../store/leases.ts'
import { write } from '../store/store.ts'
import { attestationController } from './attestation.ts'
import { clusterStatusController } from './cluster-status.ts'
import {
  addCluster,
  addImage,
  addMeasuredImage,
  addPlacement,
  addProfile,
  type Body,
  LIMITS,
  newest,
  openWorld,
  RESULT_KEY,
  sha,
  type World,
} from './fixture.ts'
import { placementController } from './placement.ts'

const quiet = () => clusterStatusController(LIMITS, () => {})
const reached = async (world: World, name: string) => {
  const { status } = await world.get('ManagedCluster', name)
  const conditions = new Map(status?.conditions?.map((one) => [one.type, one]))
  return [conditions.get('Reachable')?.reason, conditions.get('ManagedClusterConditionAvailable')?.status]
}

test('a cluster is as reachable as the hub’s own receive time says, whatever the clock of the site', async () => {
  const world = await openWorld()
  const site = await addCluster(world, 'shop')
  await addCluster(world, 'unheard')
  const counted: Record<string, number>[] = []
  const controller = clusterStatusController(LIMITS, (counts) => counted.push(Object.fromEntries(counts)))
  await world.look(controller)
  expect(await reached(world, 'unheard')).toEqual(['NeverSeen', 'Unknown'])
  // Its own clock is years behind.
  await site.says(
    { kind: 'accepted', body: { timeline: 0, generation: 1, digest: 'a'.repeat(64) } },
    { wall: '2001-01-01T00:00:00.000Z' },
  )
  const steps: [number, Reachability, string][] = [
    [0, 'Online', 'True'],
    [LIMITS.lateMs, 'Late', 'True'],
    [LIMITS.offlineMs, 'Offline', 'Unknown'],
    [LIMITS.staleMs, 'Stale', 'Unknown'],
  ]
  for (const [ms, state, available] of steps) {
    world.pass(ms)
    const { recheckAtMs } = await world.look(controller)
    expect(await reached(world, 'shop')).toEqual([state, available])
    expect((await world.get('EdgeNode', 'shop', 'shop')).status?.reachability).toBe(state)
    expect(counted.at(-1)).toEqual({ [state]: 1, NeverSeen: 1 })
    expect(recheckAtMs === undefined).toBe(state === 'Stale')
  }
})

test('[deviation] D-02 a site that is heard no more has a taint that no choice loses it by, until it is heard again', async () => {
  const world = await openWorld()
  const shop = await addCluster(world, 'shop')
  // What was never heard from has nothing to be cut off from.
  await addCluster(world, 'unheard')
  await addPlacement(world)
  const annotations = { [UNREACHABLE_EFFECT_ANNOTATION]: 'NoSelect' }
  await world.create('Placement', 'as-ocm', {}, { namespace: 'fleet', annotations })
  const placements = placementController({ ...REMOVAL_GUARD, maxRemovalPercent: 100 })
  const look = async () => {
    await world.look(quiet())
    await world.look(placements)
  }
  const taints = async (name: string) => (await world.get('ManagedCluster', name)).spec.taints
  const selected = async (name: string) =>
    (await world.list('PlacementDecision'))
      .filter(({ metadata }) => metadata.name === `${name}-decision-1`)
      .flatMap(({ status }) => status?.decisions?.map(({ clusterName }) => clusterName) ?? [])
      .toSorted()
  await shop.heartbeat()
  const taint = { key: 'mine', effect: 'PreferNoSelect' as const }
  await world.edit('ManagedCluster', 'shop', '', { hubAcceptsClient: true, taints: [taint] })
  await look()
  world.pass(LIMITS.lateMs)
  await look()
  expect([await taints('shop'), await taints('unheard')]).toEqual([[taint], undefined])
  world.pass(LIMITS.offlineMs)
  await look()
  const own = { key: UNREACHABLE_TAINT, effect: 'NoSelectIfNew', timeAdded: expect.any(String) }
  expect([await taints('shop'), await taints('unheard')]).toEqual([[taint, own], undefined])
  expect(await selected('all')).toEqual(['shop', 'unheard'])
  expect(await selected('as-ocm')).toEqual(['unheard'])
  // A choice that is made now is not of a site that is away.
  await world.create('Placement', 'new', {}, { namespace: 'fleet' })
  await look()
  expect(await selected('new')).toEqual(['unheard'])
  const before = await newest(world)
  await look()
  expect(await newest(world)).toBe(before)
  world.pass(-LIMITS.lateMs - LIMITS.offlineMs)
  await shop.heartbeat()
  await look()
  expect(await taints('shop')).toEqual([taint])
  for (const name of ['all', 'as-ocm', 'new']) expect(await selected(name)).toEqual(['shop', 'unheard'])
})

test('a cluster that is denied is neither reachable nor available, however lately it was heard, until it is accepted again', async () => {
  const world = await openWorld()
  const site = await addCluster(world, 'shop')
  await world.create('ManagedCluster', 'waiting', { hubAcceptsClient: false })
  await site.says(site.boot('b1', 'os-1'))
  await world.look(quiet())
  expect(await reached(world, 'shop')).toEqual(['Online', 'True'])
  expect(await reached(world, 'waiting')).toEqual(['NeverSeen', 'Unknown'])
  await world.edit('ManagedCluster', 'shop', '', { hubAcceptsClient: false })
  for (const ms of [0, LIMITS.lateMs, LIMITS.offlineMs]) {
    world.pass(ms)
    await world.look(quiet())
    const { conditions = [] } = (await world.get('ManagedCluster', 'shop')).status ?? {}
    const told = conditions.map(({ type, status, reason }) => `${type}=${status} ${reason}`)
    expect(told).toEqual(
      expect.arrayContaining([
        'Reachable=False Denied',
        'ManagedClusterConditionAvailable=False HubClusterAdminDenied',
      ]),
    )
  }
  await world.edit('ManagedCluster', 'shop', '', { hubAcceptsClient: true })
  await site.heartbeat()
  await world.look(quiet())
  expect((await reached(world, 'shop'))[0]).not.toBe('Denied')
})

test('nothing is written when nothing changed: heartbeats, looks, and a hub that starts again', async () => {
  const world = await openWorld()
  const site = await addCluster(world, 'shop')
  await addImage(world, 'os-1')
  await site.says(site.boot('b1', 'os-1'))
  await world.look(attestationController(RESULT_KEY))
  await world.look(quiet())
  const before = await newest(world)
  await site.heartbeat()
  await world.look(quiet())
  world.pass(1_000)
  await world.look(quiet())
  expect(await newest(world)).toBe(before)
  world.pass(LIMITS.lateMs)
  await world.look(quiet())
  expect(await newest(world)).toBeGreaterThan(before)
})

test('a hub that restarts after a long sleep says what its rows say, and goes on when the site is heard again', async () => {
  const world = await openWorld()
  const site = await addCluster(world, 'shop')
  await site.heartbeat()
  await world.look(quiet())
  world.pass(LIMITS.offlineMs)
  await world.look(quiet())
  expect(await reached(world, 'shop')).toEqual(['Offline', 'Unknown'])
  world.pass(-LIMITS.offlineMs)
  await site.heartbeat()
  await world.look(quiet())
  expect(await reached(world, 'shop')).toEqual(['Online', 'True'])
})

test('what others wrote into a cluster’s status stays', async () => {
  const world = await openWorld()
  const site = await addCluster(world, 'shop')
  const joined = {
    type: 'ManagedClusterJoined',
    status: 'True',
    reason: 'Joined',
    message: 'x',
    lastTransitionTime: new Date().toISOString(),
  }
  await world.store
    .sql`update resource set status = ${world.store.sql.json({ conditions: [joined], clusterClaims: [{ name: 'a', value: 'b' }] })} where kind = 'ManagedCluster'`
  await site.heartbeat()
  await world.look(quiet())
  const { status } = await world.get('ManagedCluster', 'shop')
  expect(status?.conditions?.find(({ type }) => type === joined.type)).toEqual(joined)
  expect(status?.clusterClaims).toEqual([{ name: 'a', value: 'b' }])
})

test('a node runs what its newest boot is, with that boot’s verdict and no other’s', async () => {
  const world = await openWorld()
  const site = await addCluster(world, 'shop')
  await addImage(world, 'os-1')
  await addImage(world, 'os-2', 2)
  await site.says(site.boot('b1', 'os-1'))
  await world.look(attestationController(RESULT_KEY))
  await site.says(site.boot('b2', 'os-2'))
  await world.look(quiet())
  const shown = async () => (await world.get('EdgeNode', 'shop', 'shop')).status
  expect(await shown()).toMatchObject({ image: { sha256: sha('os-2'), name: 'os-2' } })
  expect((await shown())?.attestation).toBeUndefined()
  await world.look(attestationController(RESULT_KEY))
  await world.look(quiet())
  expect(await shown()).toMatchObject({ attestation: { bootId: 'b2', verdict: 'warning' } })
  expect((await world.get('OSImage', 'os-1')).status?.nodesRunning).toBe(0)
  expect((await world.get('OSImage', 'os-2')).status?.nodesRunning).toBe(1)
})

test('a node with a TPM shows what its verdict rests on: each finding with PCR and event, each PCR beside what it should be', async () => {
  const world = await openWorld()
  const tpm = makeTpm()
  const { image, profile } = referenceOf(tpm)
  const { sha256: real } = image.measured
  if (!real) throw new Error('no bank')
  await addMeasuredImage(world, 'os-1', image)
  await addMeasuredImage(world, 'os-2', { ...image, measured: { sha256: { ...real, pcr9: '0'.repeat(64) } } }, 2)
  await addProfile(world, profile)
  const site = await addCluster(world, 'shop', { tpm })
  const shown = async () => {
    await world.look(attestationController(RESULT_KEY))
    await world.look(quiet())
    return (await world.get('EdgeNode', 'shop', 'shop')).status?.attestation
  }
  await site.says(site.quotes('b1', 'os-1'))
  const good = await shown()
  expect(good).toMatchObject({ verdict: 'affirming', bank: 'sha256', findings: [] })
  expect(good?.pcrs?.map(({ pcr, ok }) => [pcr, ok])).toEqual(
    [0, 2, 3, 4, 6, 7, 8, 9, 11, 12, 13, 14].map((n) => [n, true]),
  )

  // A verdict that is made anew is shown anew, though the node said nothing.
  await addProfile(world, { ...profile, banks: ['sha384'] })
  const distrusted = { verdict: 'contraindicated', reason: 'BankNotTrusted', findings: [{ code: 'BankNotTrusted' }] }
  expect(await shown()).toMatchObject(distrusted)
  await addProfile(world, profile)
  expect(await shown()).toMatchObject({ verdict: 'affirming', reason: 'Matches' })

  await site.says(site.quotes('b2', 'os-2', { clock: { ...CLOCK, resetCount: 8 } }))
  const bad = await shown()
  expect(bad).toMatchObject({ verdict: 'contraindicated', reason: 'PcrMismatch', bootId: 'b2' })
  const finding = { pcr: 9, expected: ['0'.repeat(64)], actual: real.pcr9 }
  expect(bad?.findings).toMatchObject([{ code: 'PcrMismatch', tier: 'contraindicated', ...finding }])
  expect(bad?.pcrs?.filter(({ ok }) => !ok)).toEqual([{ ...finding, by: 'manifest', ok: false }])
})

test('a boot that a node names and brings no evidence of has no verdict, least of all the one before’s', async () => {
  const world = await openWorld()
  const site = await addCluster(world, 'shop')
  await site.says(site.boot('b1', 'os-1'))
  await world.look(attestationController(RESULT_KEY))
  const shown = async (bootId: string, seq: number) => {
    await site.reports({ bootId, seq })
    await world.look(quiet())
    return (await world.get('EdgeNode', 'shop', 'shop')).status?.attestation?.bootId
  }
  expect(await shown('b0', 0)).toBe('b1')
  expect(await shown('b1', 1)).toBe('b1')
  expect(await shown('b2', 1)).toBeUndefined()
  expect(await shown('b1', 1)).toBe('b1')
})

test('a node is Degraded for as long as it says so, with its own reason and time, whatever its last statement said', async () => {
  const world = await openWorld()
  const site = await addCluster(world, 'shop')
  await site.says(site.boot('b1', 'os-1'))
  const shown = async (...troubles: NodeTrouble[]) => {
    await site.reports({ troubles })
    await world.look(quiet())
    return (await world.get('EdgeNode', 'shop', 'shop')).status?.conditions
  }
  const since = '1970-01-01T00:10:00.000Z'
  const boot = { of: 'boot', reason: 'EspNotVfat', message: '/efi is a ext4', since } as const
  const tpm = {
    of: 'tpm',
    reason: 'Lockout',
    message: 'too many wrong passwords',
    since: '1970-01-01T00:20:00.000Z',
  } as const
  expect(await shown()).toBeUndefined()
  expect(await shown(tpm)).toEqual([
    { type: 'Degraded', status: 'True', reason: 'Lockout', message: tpm.message, lastTransitionTime: tpm.since },
  ])
  expect(await shown(boot, tpm)).toEqual([
    {
      ...{ type: 'Degraded', status: 'True', reason: 'EspNotVfat', lastTransitionTime: since },
      message: 'EspNotVfat: /efi is a ext4; Lockout: too many wrong passwords',
    },
  ])
  expect(await shown()).toBeUndefined()
})

const GAP_STANDS_MS = 300_000
const went = (to: NodePhase): Body => ({
  kind: 'transition',
  body: { from: 'Staging', to, reason: to === 'Idle' ? 'Confirmed' : 'Failed', message: 'x' },
})
const chainOf = async (world: World, by = quiet()) => {
  const { recheckAtMs = 0 } = await world.look(by)
  const { conditions = [] } = (await world.get('EdgeNode', 'shop', 'shop')).status ?? {}
  return { recheckAtMs, chain: conditions.find(({ type }) => type === 'ChainComplete') }
}
const gapEvents = async (world: World) =>
  (await world.list('Event'))
    .filter(({ spec }) => spec.component === 'cluster-status')
    .map(({ spec }) => `${spec.type} ${spec.reason} of ${spec.regarding.name}: ${spec.message}`)

test('numbers that are missing in a chain are told on the node once they have been so for minutes, as one event, until they are there', async () => {
  const world = await openWorld()
  const site = await addCluster(world, 'shop')
  await site.says(went('Idle'))
  await site.says(went('Idle'), { at: 4 })
  // Nothing else wakes it: it looks again by itself, and not before.
  const day = 86_400_000
  const following = clusterStatusController({ lateMs: day, offlineMs: 2 * day, staleMs: 3 * day }, () => {})
  await chainOf(world, following)
  const young = await chainOf(world, following)
  expect(young.chain).toBeUndefined()
  expect(young.recheckAtMs).toBeLessThanOrEqual(world.now() + GAP_STANDS_MS)
  world.pass(young.recheckAtMs - world.now())
  const { chain, recheckAtMs } = await chainOf(world, following)
  expect(recheckAtMs).toBeGreaterThan(world.now() + GAP_STANDS_MS)
  expect(chain).toMatchObject({ status: 'False', reason: 'StatementsMissing' })
  expect(chain?.message).toMatch(/^statements 2 to 3 are missing below 4, and the newest is 4: .*skerry node revoke/)
  expect(await gapEvents(world)).toEqual([`Warning StatementsMissing of shop: ${chain?.message}`])

  // Neither more above it, nor half of what is missing, nor another hub's first look is another event.
  await site.says(went('Failed'), { at: 5 })
  await chainOf(world)
  await site.says(went('Idle'))
  const { chain: half } = await chainOf(world)
  expect(half?.message).toMatch(/^statement 3 is missing below 4, and the newest is 5: /)
  expect(half?.lastTransitionTime).toBe(chain?.lastTransitionTime)
  expect(await gapEvents(world)).toHaveLength(1)

  await site.says(went('Idle'))
  expect((await chainOf(world)).chain).toBeUndefined()
  expect(await gapEvents(world)).toHaveLength(1)
})

test('a gap that is filled within minutes, as after a restore, is no word to anybody', async () => {
  const world = await openWorld()
  const site = await addCluster(world, 'shop')
  await site.says(went('Idle'), { at: 3 })
  await chainOf(world)
  world.pass(GAP_STANDS_MS / 2)
  await site.saysAll([went('Idle'), went('Idle')])
  world.pass(GAP_STANDS_MS)
  const { chain } = await chainOf(world)
  expect(chain).toBeUndefined()
  expect(await gapEvents(world)).toEqual([])
})

test('[attack] who has a node’s key and speaks above all that it will ever say is told of, and found out by the node’s next word', async () => {
  const world = await openWorld()
  const { sql } = world.store
  const site = await addCluster(world, 'shop')
  const madeAt = (digest: string, minutes: number) =>
    sql`insert into epoch_marker (number, at, jws, digest) values (${minutes}, now() + ${minutes} * interval '1 minute', ${digest}, ${digest})`
  await madeAt(sha('before'), 1)
  await madeAt(sha('since'), 10)
  await site.says(went('Staging'), { marker: sha('before') })
  await site.saysAll([went('Idle'), went('Idle')], { at: Number.MAX_SAFE_INTEGER - 1, marker: sha('made up') })
  world.pass(2 * GAP_STANDS_MS)
  const { chain } = await chainOf(world)
  expect(chain?.reason).toBe('StatementsMissing')
  expect(chain?.message).toMatch(
    /^statements 2 to 9007199254740989 are missing below 9007199254740990, and the newest is 9007199254740991: /,
  )
  await site.says(went('Failed'), { marker: sha('since') })
  expect((await chainOf(world)).chain).toMatchObject({
    reason: 'StatementsContradict',
    message: expect.stringMatching(/^statements 3 to 9007199254740989 .*two speak with this node's key/),
  })
  // However often the words of either change what stands below the gap.
  for (const marker of [sha('made up'), sha('since'), sha('before')]) {
    await site.says(went('Failed'), { marker })
    expect((await chainOf(world)).chain?.reason).toBe('StatementsContradict')
  }
  expect(await gapEvents(world)).toHaveLength(2)
  // What is shown is still the newest by number: DESIGN.md says why.
  expect((await world.get('EdgeNode', 'shop', 'shop')).status).toMatchObject({ phase: 'Idle', watermark: 5 })
})

test('what is lost by a node’s own word is told for good and as one event, and what it ran below that is not shown any more', async () => {
  const world = await openWorld()
  await addImage(world, 'os-1')
  const site = await addCluster(world, 'shop')
  const shown = async () => (await world.get('EdgeNode', 'shop', 'shop')).status
  await site.says(site.boot('b1', 'os-1'))
  await site.says({
    kind: 'transition',
    body: { from: 'Confirming', to: 'Idle', reason: 'R', message: '', imageSha256: sha('os-1'), bootId: 'b1' },
  })
  await chainOf(world)
  expect((await shown())?.image?.name).toBe('os-1')
  await site.closes(9)
  const { chain } = await chainOf(world)
  expect(chain).toMatchObject({ status: 'Unknown', reason: 'StatementsLost' })
  expect(chain?.message).toMatch(/^3 to 9 \(NotKept, statement 10\), lost by the node's own word: /)
  expect(await shown()).toMatchObject({ watermark: 10 })
  expect((await shown())?.image).toBeUndefined()
  expect(await gapEvents(world)).toEqual([`Warning StatementsLost of shop: ${chain?.message}`])

  await site.says(site.boot('b1', 'os-1'))
  world.pass(GAP_STANDS_MS)
  expect((await chainOf(world)).chain?.reason).toBe('StatementsLost')
  expect((await shown())?.image?.name).toBe('os-1')
  // A gap above is a gap.
  await site.says(went('Idle'), { at: 14 })
  world.pass(GAP_STANDS_MS)
  expect((await chainOf(world)).chain).toMatchObject({ status: 'False', reason: 'StatementsMissing' })
  await site.saysAll([went('Idle'), went('Idle')])
  expect((await chainOf(world)).chain).toMatchObject({ status: 'Unknown', reason: 'StatementsLost' })
})

test('[attack] who has a node’s key and closes all that it will ever say is found out by the node’s next word', async () => {
  const world = await openWorld()
  const { sql } = world.store
  const site = await addCluster(world, 'shop')
  const madeAt = (digest: string, minutes: number) =>
    sql`insert into epoch_marker (number, at, jws, digest) values (${minutes}, now() + ${minutes} * interval '1 minute', ${digest}, ${digest})`
  await madeAt(sha('before'), 1)
  await madeAt(sha('since'), 10)
  await site.says(went('Staging'), { marker: sha('before') })
  await site.closes(Number.MAX_SAFE_INTEGER - 1)
  expect((await chainOf(world)).chain?.reason).toBe('StatementsLost')
  /** What the node itself says next, as ingest takes it. */
  const comes = async (seq: number, marker: string) => {
    await site.says(went('Failed'), { marker, at: seq })
    await write(world.store, (tx) =>
      shrinkClosed(tx, { cluster: 'shop', node: 'shop', incarnation: 1 }, [
        { first: seq + 1, last: Number.MAX_SAFE_INTEGER - 1 },
      ]),
    )
    return (await chainOf(world)).chain
  }
  expect((await comes(2, sha('before')))?.reason).toBe('StatementsLost')
  expect(await comes(3, sha('since'))).toMatchObject({
    ...{ status: 'False', reason: 'StatementsContradict' },
    message: expect.stringContaining("two speak with this node's key"),
  })
  expect((await comes(4, sha('before')))?.reason).toBe('StatementsContradict')
  expect(await gapEvents(world)).toHaveLength(2)
})

test('a boot that is told of without a quote has no verdict until the quote comes, in the same boot', async () => {
  const world = await openWorld()
  const tpm = makeTpm()
  const { image, profile } = referenceOf(tpm)
  await addMeasuredImage(world, 'os-1', image)
  await addProfile(world, profile)
  const site = await addCluster(world, 'shop', { tpm })
  const shown = async () => {
    await world.look(attestationController(RESULT_KEY))
    await world.look(quiet())
    return (await world.get('EdgeNode', 'shop', 'shop')).status?.attestation
  }
  const bare = site.boot('b1', 'os-1')
  if (bare.kind !== 'evidence') throw new Error('no evidence')
  await site.says({ ...bare, body: { ...bare.body, class: 'tpm' } })
  expect(await shown()).toMatchObject({ verdict: 'none', bootId: 'b1' })
  await site.says(site.quotes('b1', 'os-1'))
  expect(await shown()).toMatchObject({ verdict: 'affirming', bootId: 'b1', statement: { seq: 2 } })
})

test('how far a download has come is shown while the node is staging, by its newest statement', async () => {
  const world = await openWorld()
  const site = await addCluster(world, 'shop')
  const shown = async () => {
    await world.look(quiet())
    return (await world.get('EdgeNode', 'shop', 'shop')).status?.progress
  }
  const goes = (from: NodePhase, to: NodePhase) =>
    site.says({ kind: 'transition', body: { from, to, reason: to, message: '' } })
  await goes('Preflight', 'Staging')
  await site.reports({ phase: 'Staging', progress: { done: 5, total: 20 } })
  expect(await shown()).toEqual({ done: 5, total: 20 })
  await goes('Staging', 'Staged')
  expect(await shown()).toBeUndefined()
})

test('who holds an old lease shows nothing', async () => {
  const world = await openWorld()
  const site = await addCluster(world, 'shop')
  await site.heartbeat()
  await world.lease.release()
  const fresh = await acquireLease(world.store, 'controllers', AbortSignal.timeout(60_000))
  await expect(world.look(quiet())).rejects.toThrow(LeaseLost)
  expect((await world.get('ManagedCluster', 'shop')).status).toBeUndefined()
  await fresh.release()
})
