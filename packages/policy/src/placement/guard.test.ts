import {
  APPROVED_REMOVAL_ANNOTATION,
  CLUSTER_SET_LABEL,
  MAX_REMOVAL_PERCENT_ANNOTATION,
  type ObjectOf,
  ON_MISCONFIGURATION_ANNOTATION,
  type PlacementSpec,
  type PlacementStatus,
  REMOVAL_WINDOW_ANNOTATION,
} from '@skerry/api'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { admitPlacement } from './admission.ts'
import { explain } from './explain.ts'
import { clusterOf } from './fixture.ts'
import { Fleet } from './fleet.ts'
import { REMOVAL_GUARD, type RemovalGuard } from './guard.ts'
import { type PlacementOutcome, schedule } from './schedule.ts'
import { everybody, historian, histories, meta, NOW, placements } from './test-histories.ts'

const names = (count: number, from = 0) =>
  Array.from({ length: count }, (_, at) => `c${String(from + at).padStart(3, '0')}`)
const placementOf = (spec: PlacementSpec = {}, annotations: Record<string, string> = {}): ObjectOf<'Placement'> => ({
  apiVersion: 'cluster.open-cluster-management.io/v1beta1',
  kind: 'Placement',
  metadata: { ...meta('p', 'fleet'), annotations },
  spec,
})
const prod: PlacementSpec = {
  predicates: [{ requiredClusterSelector: { labelSelector: { matchLabels: { env: 'prod' } } } }],
}

/** `all` are selected; of them these have become something else. */
function fleetOf(all: readonly string[], { dev = [], gone = [], going = [] }: Record<string, readonly string[]> = {}) {
  const fleet = new Fleet()
  for (const event of everybody) historian(fleet).happen(event)
  for (const name of all) {
    const options = { labels: { env: dev.includes(name) ? 'dev' : 'prod' } }
    if (!gone.includes(name))
      fleet.putCluster(
        clusterOf(name, going.includes(name) ? { ...options, deletedAt: '2026-06-01T00:00:00Z' } : options),
      )
  }
  fleet.putDecisions({ namespace: 'fleet', placement: 'p', clusters: all })
  return fleet
}
const condition = ({ conditions }: PlacementOutcome, type: string) => conditions.find((one) => one.type === type)

describe('[deviation] D-06 the guard against large removals', () => {
  const all = names(50)

  test('one look that would take more than a fifth changes nothing, and says how many, whom and by which name they go', () => {
    const outcome = schedule(fleetOf(all, { dev: names(11) }), placementOf(prod), NOW)
    expect(outcome).toMatchObject({ kind: 'Held', selected: all, slices: [] })
    const { hash, ...rest } = outcome.heldRemoval ?? {}
    expect(rest).toEqual({ count: 11, of: 50, sample: names(10) })
    expect(condition(outcome, 'RemovalHeld')).toEqual({
      type: 'RemovalHeld',
      status: 'True',
      reason: 'TooManyRemovals',
      message: `11 of 50 selected clusters would leave, more than 20 %: ${names(10).join(', ')} and 1 more; approve removal ${hash} to let them go ("skerry placement approve p -n fleet")`,
    })
    expect(condition(outcome, 'PlacementSatisfied')).toBeUndefined()
  })

  test('a fifth itself may go, and so may fewer than three of whatever number', () => {
    expect(schedule(fleetOf(all, { dev: names(10) }), placementOf(prod), NOW)).toMatchObject({ kind: 'Decided' })
    const few = names(3)
    expect(schedule(fleetOf(few, { dev: names(2) }), placementOf(prod), NOW).selected).toEqual(['c002'])
    expect(schedule(fleetOf(few, { dev: few }), placementOf(prod), NOW)).toMatchObject({ kind: 'Held', selected: few })
  })

  test('who is gone or going leaves, and counts neither as a removal nor among those there were', () => {
    const fleet = fleetOf(all, { gone: names(20), going: names(10, 20), dev: names(4, 30) })
    const outcome = schedule(fleet, placementOf(prod), NOW)
    expect(outcome).toMatchObject({ kind: 'Decided', selected: names(16, 34) })
    const more = fleetOf(all, { gone: names(20), going: names(10, 20), dev: names(5, 30) })
    expect(schedule(more, placementOf(prod), NOW)).toMatchObject({
      kind: 'Held',
      selected: names(20, 30),
      heldRemoval: { count: 5, of: 20 },
    })
  })

  test('additions alone never trigger it, and wait with a removal that is held', () => {
    const fleet = fleetOf(all)
    for (const name of names(500, 100)) fleet.putCluster(clusterOf(name, { labels: { env: 'prod' } }))
    expect(schedule(fleet, placementOf(prod), NOW)).toMatchObject({ kind: 'Decided' })
    for (const name of names(20)) fleet.putCluster(clusterOf(name))
    expect(schedule(fleet, placementOf(prod), NOW)).toMatchObject({ kind: 'Held', selected: all })
  })

  const removed: readonly (readonly [string, (fleet: Fleet) => ObjectOf<'Placement'>])[] = [
    [
      'a relabelled fleet',
      (fleet) => {
        for (const name of all) fleet.putCluster(clusterOf(name))
        return placementOf(prod)
      },
    ],
    [
      'a deleted binding',
      (fleet) => {
        fleet.removeBinding('fleet', 'all')
        return placementOf(prod)
      },
    ],
    [
      'a deleted set',
      (fleet) => {
        fleet.removeSet('all')
        return placementOf(prod)
      },
    ],
    ['an edited spec', () => placementOf({ ...prod, numberOfClusters: 10 })],
    [
      'a taint on many',
      (fleet) => {
        for (const name of all)
          fleet.putCluster(clusterOf(name, { labels: { env: 'prod' }, taints: [{ key: 'x', effect: 'NoSelect' }] }))
        return placementOf(prod)
      },
    ],
  ]
  test.each(removed)('it covers %s', (_, change) => {
    const fleet = fleetOf(all)
    const placement = change(fleet)
    expect(schedule(fleet, placement, NOW)).toMatchObject({ kind: 'Held', selected: all })
    const override = {
      ...placement,
      metadata: { ...placement.metadata, annotations: { [MAX_REMOVAL_PERCENT_ANNOTATION]: '100' } },
    }
    expect(schedule(fleet, override, NOW)).toMatchObject({ kind: 'Decided' })
  })

  test('a set that is gone is named as the reason', () => {
    const fleet = fleetOf(all)
    fleet.removeBinding('fleet', 'all')
    expect(condition(schedule(fleet, placementOf(prod), NOW), 'RemovalHeld')?.message).toContain(
      '(NoManagedClusterSetBindings: No valid ManagedClusterSetBindings found in placement namespace)',
    )
  })

  test('an approval of exactly these lets them go, and of others nobody', () => {
    const held = (dev: readonly string[]) => fleetOf(all, { dev })
    const hash = schedule(held(names(20)), placementOf(prod), NOW).heldRemoval?.hash ?? ''
    expect(hash).toMatch(/^[0-9a-f]{64}$/)
    const approved = placementOf(prod, { [APPROVED_REMOVAL_ANNOTATION]: hash })
    expect(schedule(held(names(20)), approved, NOW)).toMatchObject({ kind: 'Decided', selected: names(30, 20) })
    for (const other of [names(21), names(19), names(20, 1)])
      expect(schedule(held(other), approved, NOW)).toMatchObject({ kind: 'Held', selected: all })
    // Whoever comes meanwhile is no part of it.
    const fleet = held(names(20))
    fleet.putCluster(clusterOf('new', { labels: { env: 'prod' } }))
    expect(schedule(fleet, approved, NOW).selected).toEqual([...names(30, 20), 'new'])
  })

  test('it ends by itself once a look takes less', () => {
    const fleet = fleetOf(all, { dev: names(30) })
    expect(schedule(fleet, placementOf(prod), NOW).kind).toBe('Held')
    for (const name of names(25)) fleet.putCluster(clusterOf(name, { labels: { env: 'prod' } }))
    const outcome = schedule(fleet, placementOf(prod), NOW)
    expect(outcome).toMatchObject({ kind: 'Decided', selected: [...names(25), ...names(20, 30)] })
    expect([outcome.heldRemoval, condition(outcome, 'RemovalHeld')]).toEqual([undefined, undefined])
  })

  test('each cluster that would come or go says so, and all others what they are', () => {
    const fleet = fleetOf(names(5), { dev: names(3) })
    fleet.putCluster(clusterOf('new', { labels: { env: 'prod' } }))
    fleet.putCluster(clusterOf('out'))
    const placement = placementOf(prod)
    const lines = [...explain(fleet, placement, schedule(fleet, placement, NOW), NOW)]
    expect(lines.map(({ cluster, reason }) => [cluster, reason])).toEqual([
      ...names(3).map((name) => [name, 'HeldByGuard']),
      ...names(2, 3).map((name) => [name, 'Selected']),
      ['new', 'HeldByGuard'],
      ['out', 'PredicateMismatch'],
    ])
    expect(lines[0]?.message).toBe('stays selected until the removal is approved: label env is dev, not prod')
    expect(lines.find(({ cluster }) => cluster === 'new')?.message).toMatch(
      /^stays unselected until .*: rank \d of 3, score/,
    )
  })

  test("a placement's own percentage counts, and one that is none is refused when it is written", () => {
    const with_ = (percent: string) => placementOf(prod, { [MAX_REMOVAL_PERCENT_ANNOTATION]: percent })
    expect(schedule(fleetOf(all, { dev: names(5) }), with_('9'), NOW).kind).toBe('Held')
    expect(schedule(fleetOf(all, { dev: names(5) }), with_('10'), NOW).kind).toBe('Decided')
    expect(
      schedule(fleetOf(all, { dev: names(5) }), placementOf(prod), NOW, {
        ...REMOVAL_GUARD,
        maxRemovalPercent: 5,
        minimum: 5,
      }).kind,
    ).toBe('Held')
    expect(
      schedule(fleetOf(all, { dev: names(5) }), placementOf(prod), NOW, {
        ...REMOVAL_GUARD,
        maxRemovalPercent: 5,
        minimum: 6,
      }).kind,
    ).toBe('Decided')
    for (const bad of ['101', '-1', '20%', '', '1.5'])
      expect(admitPlacement('p', {}, { [MAX_REMOVAL_PERCENT_ANNOTATION]: bad })).toEqual([
        {
          field: `metadata.annotations[${MAX_REMOVAL_PERCENT_ANNOTATION}]`,
          message: `"${bad}" is no whole number from 0 to 100`,
        },
      ])
    expect(
      admitPlacement('p', {}, { [MAX_REMOVAL_PERCENT_ANNOTATION]: '0', [ON_MISCONFIGURATION_ANNOTATION]: 'Evict' }),
    ).toEqual([])
  })

  test('whatever happened, no look that was not approved takes more than it may', () => {
    let held = 0
    fc.assert(
      fc.property(histories, placements, (happened, placement) => {
        const fleet = new Fleet()
        const { happen } = historian(fleet)
        for (const event of happened) happen(event)
        const clusters = Array.from({ length: 6 }, (_, at) => `c${at}`)
        happen({ put: 'decisions', decided: { namespace: 'fleet', placement: 'p', clusters } })
        const outcome = schedule(fleet, placement, NOW)
        if (outcome.kind === 'Skipped') return
        const before = [...new Set(fleet.decidedBy('fleet', 'p'))].filter(
          (slot) => fleet.present[slot] && !fleet.deleting[slot],
        )
        const left = before.filter((slot) => !outcome.selected.includes(fleet.nameOf(slot)))
        expect(left.length < 3 || left.length * 5 <= before.length).toBe(true)
        if (outcome.kind === 'Held') held += 1
      }),
      { numRuns: 1_000 },
    )
    expect(held).toBeGreaterThan(5)
  })
})

describe('[deviation] D-06 the guard counts over time', () => {
  const MINUTE = 60_000
  const HOUR = 60 * MINUTE

  /** A fleet whose placement is looked at and stored, as a hub does. */
  function hub(all: readonly string[], annotations: Record<string, string> = {}, guard: RemovalGuard = REMOVAL_GUARD) {
    const fleet = fleetOf(all)
    let status: PlacementStatus = {}
    let nowMs = NOW
    const placement = (more: Record<string, string> = {}) => ({
      ...placementOf(prod, { ...annotations, ...more }),
      status,
    })
    const put = (names: readonly string[], env: string) => {
      for (const name of names) fleet.putCluster(clusterOf(name, { labels: { env } }))
    }
    return {
      fleet,
      placement,
      relabel: (names: readonly string[], env = 'dev') => put(names, env),
      pass: (ms: number) => {
        nowMs += ms
      },
      now: () => nowMs,
      look(more?: Record<string, string>) {
        const outcome = schedule(fleet, placement(more), nowMs, guard)
        const { heldRemoval, recentRemovals, selected } = outcome
        status = JSON.parse(JSON.stringify({ heldRemoval, recentRemovals }))
        fleet.putDecisions({ namespace: 'fleet', placement: 'p', clusters: [...selected] })
        return outcome
      },
    }
  }
  /** One of these after the other leaves, a minute apart; how many did. */
  function trickle({ relabel, look, pass }: ReturnType<typeof hub>, names: readonly string[]): number {
    let gone = 0
    for (const name of names) {
      relabel([name])
      if (look().kind === 'Decided') gone += 1
      pass(MINUTE)
    }
    return gone
  }

  test('the last of a few is told as one', () => {
    const world = hub(names(3))
    expect(trickle(world, names(2))).toBe(2)
    world.relabel(names(1, 2))
    expect(condition(world.look(), 'RemovalHeld')?.message).toMatch(
      /^1 of 1 selected cluster would leave \(3 of 3 with /,
    )
  })

  test('clusters that leave one by one are held from the one on that would be too many of those that there were', () => {
    const world = hub(names(50))
    expect(trickle(world, names(10))).toBe(10)
    world.relabel(names(1, 10))
    const outcome = world.look()
    // Once two of the ten are an hour ago: nine of forty-eight.
    const until = new Date(NOW + HOUR + MINUTE).toISOString()
    expect(outcome).toMatchObject({
      kind: 'Held',
      selected: names(40, 10),
      heldRemoval: { count: 1, of: 40, sample: names(1, 10), recent: 10, until },
      recheckAtMs: NOW + HOUR,
    })
    expect(condition(outcome, 'RemovalHeld')?.message).toBe(
      `1 of 40 selected clusters would leave (11 of 50 with the 10 that left since ${new Date(NOW).toISOString()}), more than 20 %: c010; approve removal ${outcome.heldRemoval?.hash} to let them go ("skerry placement approve p -n fleet"), or wait until ${until}`,
    )
    expect([...explain(world.fleet, world.placement(), outcome, world.now(), 'c010')]).toMatchObject([
      {
        reason: 'HeldByGuard',
        message: `stays selected until the removal is approved, or until ${until}: label env is dev, not prod`,
      },
    ])
  })

  test('all five hundred, one at a time: a hundred within the first hour', () => {
    expect(trickle(hub(names(500), { [REMOVAL_WINDOW_ANNOTATION]: '24h' }), names(500))).toBe(100)
  })

  test('time lets go what it held, at the very time that was told, and no more than may go in each window', () => {
    const world = hub(names(50))
    trickle(world, names(10))
    world.relabel(names(1, 10))
    const at = Date.parse(world.look().heldRemoval?.until ?? '')
    world.pass(at - world.now() - 1)
    expect(world.look()).toMatchObject({ kind: 'Held', recheckAtMs: at, heldRemoval: { recent: 9 } })
    world.pass(1)
    expect(world.look()).toMatchObject({ kind: 'Decided', selected: names(39, 11) })
    // Eight that left, that one and this one, of the forty-eight that there were.
    world.relabel(names(1, 11))
    expect(world.look().kind).toBe('Held')
  })

  test('an approval lets exactly these go, and they do not count again; whoever left before still does', () => {
    const world = hub(names(50))
    trickle(world, names(10))
    world.relabel(names(20, 10))
    const hash = world.look().heldRemoval?.hash ?? ''
    const approved = { [APPROVED_REMOVAL_ANNOTATION]: hash }
    expect(world.look(approved)).toMatchObject({ kind: 'Decided', selected: names(20, 30) })
    world.relabel(names(1, 30))
    expect(world.look()).toMatchObject({ kind: 'Held', heldRemoval: { count: 1, of: 20, recent: 10 } })
    world.pass(HOUR)
    expect(world.look()).toMatchObject({ kind: 'Decided', selected: names(19, 31) })
  })

  test('who came back and who is deleted count no more, neither among those that left nor among those there were', () => {
    const world = hub(names(50))
    trickle(world, names(10))
    world.relabel(names(1, 10))
    expect(world.look().kind).toBe('Held')
    world.relabel(names(1), 'prod')
    expect(world.look()).toMatchObject({ kind: 'Decided', selected: [...names(1), ...names(39, 11)] })
    world.relabel(names(1, 11))
    expect(world.look().kind).toBe('Held')
    // Nine and one of forty-nine.
    world.fleet.removeCluster('c001')
    expect(world.look()).toMatchObject({ kind: 'Held', heldRemoval: { recent: 9 } })
    world.fleet.removeCluster('c002')
    expect(world.look()).toMatchObject({ kind: 'Decided' })
  })

  test('where all that left before are back, a removal is told by itself', () => {
    const world = hub(names(50))
    trickle(world, names(2))
    world.relabel(names(2), 'prod')
    world.relabel(names(11, 10))
    const outcome = world.look()
    expect(outcome).toMatchObject({ kind: 'Held', heldRemoval: { count: 11, of: 48 } })
    expect(outcome.heldRemoval).not.toHaveProperty('recent')
    expect(condition(outcome, 'RemovalHeld')?.message).not.toContain('that left since')
  })

  test("an annotation that is no percentage or no time, as an older hub may have stored it, leaves the hub's own in force", () => {
    const world = hub(names(50), { [MAX_REMOVAL_PERCENT_ANNOTATION]: 'many', [REMOVAL_WINDOW_ANNOTATION]: '1d' })
    expect(trickle(world, names(10))).toBe(10)
    world.relabel(names(1, 10))
    expect(world.look()).toMatchObject({ kind: 'Held', heldRemoval: { recent: 10 }, recheckAtMs: NOW + HOUR })
  })

  test('who joins meanwhile does not make room for others to leave', () => {
    const world = hub(names(10))
    expect(trickle(world, names(2))).toBe(2)
    world.relabel(names(90, 100), 'prod')
    expect(world.look()).toMatchObject({ kind: 'Decided', selected: [...names(8, 2), ...names(90, 100)] })
    world.relabel(names(1, 2))
    expect(world.look()).toMatchObject({ kind: 'Held', heldRemoval: { count: 1, of: 98, recent: 2 } })
  })

  test.each([
    ['a window of 0s', { [REMOVAL_WINDOW_ANNOTATION]: '0s' }, REMOVAL_GUARD],
    ['any percentage', { [MAX_REMOVAL_PERCENT_ANNOTATION]: '100' }, REMOVAL_GUARD],
    ["a hub's window of 0", {}, { ...REMOVAL_GUARD, windowMs: 0 }],
  ])('with %s each look counts by itself, and nothing is remembered', (_, annotations, guard) => {
    const world = hub(names(50), annotations, guard)
    expect(trickle(world, names(48))).toBe(48)
    expect(world.look().recentRemovals).toEqual([])
  })

  test('a window that is none is refused when it is written', () => {
    for (const bad of ['', '1', '1d', '-1s', '1h30m', '169h', '99999999s'])
      expect(admitPlacement('p', {}, { [REMOVAL_WINDOW_ANNOTATION]: bad })).toEqual([
        {
          field: `metadata.annotations[${REMOVAL_WINDOW_ANNOTATION}]`,
          message: `"${bad}" is no time such as 30m or 24h, at most 168h; 0s is each look by itself`,
        },
      ])
    for (const good of ['0s', '90s', '168h'])
      expect(admitPlacement('p', {}, { [REMOVAL_WINDOW_ANNOTATION]: good })).toEqual([])
  })

  test('of a large fleet the newest thousand are remembered by name, the others as a number, in at most sixty-one entries', () => {
    const world = hub(Array.from({ length: 8_000 }, (_, at) => `c${String(at).padStart(5, '0')}`))
    const some = (from: number) => Array.from({ length: 10 }, (_, at) => `c${String(from + at).padStart(5, '0')}`)
    for (let at = 0; at < 160; at += 1) {
      world.relabel(some(at * 10))
      expect(world.look().kind).toBe('Decided')
      world.pass(20_000)
    }
    const { recentRemovals } = world.placement().status
    expect(recentRemovals?.length).toBeLessThanOrEqual(61)
    expect(recentRemovals?.flatMap(({ clusters }) => clusters)).toHaveLength(1_000)
    expect(recentRemovals?.reduce((sum, { count }) => sum + count, 0)).toBe(1_600)
    world.relabel(some(7_000))
    expect(world.look()).toMatchObject({ kind: 'Held', heldRemoval: { recent: 1_600 } })
  })

  test('whatever happens, no window loses more than it may of the most that there were in it', () => {
    const step = fc.record({
      name: fc.nat(11).map((at) => `c${String(at).padStart(3, '0')}`),
      as: fc.constantFrom<'dev' | 'prod' | 'gone'>('dev', 'dev', 'dev', 'prod', 'gone'),
      afterMs: fc.constantFrom(0, 10_000, 5 * MINUTE, 20 * MINUTE),
    })
    let held = 0
    let freed = 0
    fc.assert(
      fc.property(fc.array(step, { minLength: 10, maxLength: 60 }), (steps) => {
        const world = hub(names(12))
        const left = new Map<string, number>()
        const sizes: { atMs: number; size: number }[] = [{ atMs: NOW, size: 12 }]
        let before = names(12)
        let wasHeld = false
        for (const { name, as, afterMs } of steps) {
          world.pass(afterMs)
          if (as === 'gone') {
            world.fleet.removeCluster(name)
            left.delete(name)
            before = before.filter((one) => one !== name)
          } else world.relabel([name], as)
          const { kind, selected } = world.look()
          const nowMs = world.now()
          for (const one of before) if (!selected.includes(one)) left.set(one, nowMs)
          for (const one of selected) left.delete(one)
          const since = nowMs - (HOUR * 59) / 60
          const counting = [...left.values()].filter((atMs) => atMs > since)
          const most = Math.max(
            ...sizes.filter(({ atMs }, at) => (sizes[at + 1]?.atMs ?? atMs) >= since).map(({ size }) => size),
          )
          expect(counting.length < 3 || counting.length * 5 <= most).toBe(true)
          sizes.push({ atMs: nowMs, size: selected.length })
          before = [...selected]
          if (kind === 'Held') held += 1
          if (wasHeld && kind === 'Decided') freed += 1
          wasHeld = kind === 'Held'
        }
      }),
      { numRuns: 300 },
    )
    expect(held).toBeGreaterThan(50)
    expect(freed).toBeGreaterThan(20)
  })
})

describe('[deviation] D-01 and the guard', () => {
  const bad: PlacementSpec = { tolerations: [{ value: 'v' }] }
  const away = (count: number) => {
    const fleet = fleetOf(names(20))
    fleet.putSet({
      ...{ apiVersion: 'cluster.open-cluster-management.io/v1beta2', kind: 'ManagedClusterSet', metadata: meta('all') },
      spec: {
        clusterSelector: {
          selectorType: 'LabelSelector',
          labelSelector: { matchExpressions: [{ key: CLUSTER_SET_LABEL, operator: 'NotIn', values: ['out'] }] },
        },
      },
    })
    for (const name of names(count)) fleet.putCluster(clusterOf(name, { labels: { [CLUSTER_SET_LABEL]: 'out' } }))
    return fleet
  }

  test('a frozen choice loses whom no set has any more, as far as the guard lets it', () => {
    expect(schedule(away(4), placementOf(bad), NOW)).toMatchObject({ kind: 'Frozen', selected: names(16, 4) })
    // These four count with whoever would leave next.
    const lost = schedule(away(4), placementOf(bad), NOW).recentRemovals
    expect(lost).toEqual([{ at: new Date(NOW).toISOString(), of: 20, count: 4, clusters: names(4) }])
    const outcome = schedule(away(5), placementOf(bad), NOW)
    expect(outcome).toMatchObject({ kind: 'Frozen', selected: names(20), heldRemoval: { count: 5, of: 20 } })
    expect(outcome.conditions.map(({ type }) => type)).toEqual([
      'PlacementMisconfigured',
      'DecisionsFrozen',
      'RemovalHeld',
    ])
  })

  test("with on-misconfiguration Evict and 100 % it empties, as OCM's does", () => {
    const annotations = { [ON_MISCONFIGURATION_ANNOTATION]: 'Evict', [MAX_REMOVAL_PERCENT_ANNOTATION]: '100' }
    const placement = placementOf(bad, annotations)
    const fleet = fleetOf(names(20))
    const outcome = schedule(fleet, placement, NOW)
    expect(outcome).toMatchObject({
      kind: 'Decided',
      selected: [],
      conditions: [
        { type: 'PlacementSatisfied', status: 'False', reason: 'NoManagedClusterMatched' },
        { type: 'PlacementMisconfigured', status: 'True' },
      ],
    })
    expect([...explain(fleet, placement, outcome, NOW)][0]).toMatchObject({ reason: 'Misconfigured' })
  })
})
