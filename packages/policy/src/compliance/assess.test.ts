import type { Claim, Reachability, StatementRef } from '@skerry/api'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { assess, type ClusterInventory, type NodeInventory } from './assess.ts'
import { reachability } from './reachability.ts'

const NOW = Date.parse('2026-06-01T12:00:00Z')
const said = (seq: number): StatementRef => ({
  cluster: 'shop',
  node: 'n1',
  incarnation: 1,
  seq,
  digest: `${seq}`.repeat(64).slice(0, 64),
})
const [GOOD, OTHER] = ['a'.repeat(64), 'b'.repeat(64)]
const lost = (fromSeq: number, toSeq: number, by = 8) => ({ fromSeq, toSeq, reason: 'NotKept', statement: said(by) })
const node: NodeInventory = {
  node: 'n1',
  class: 'tpm',
  incarnation: 1,
  lastHeardAt: '2026-06-01T11:59:00Z',
  watermark: 9,
  newestSeq: 9,
  newest: said(9),
  running: { imageSha256: GOOD, bootId: 'b2', statement: said(5) },
  confirmed: { imageSha256: GOOD, bootId: 'b2', statement: said(7) },
  verdict: { bootId: 'b2', verdict: 'affirming', reason: 'Matches', statement: said(5) },
}
const shop: ClusterInventory = {
  cluster: 'shop',
  reachability: 'Online',
  assigned: { image: 'os-2', imageSha256: GOOD, rollout: 'fleet/r' },
  nodes: [node],
}
const run = (more: Partial<NodeInventory> = {}, cluster: Partial<ClusterInventory> = {}) =>
  assess([{ ...shop, ...cluster, nodes: [{ ...node, ...more }] }], NOW)
const claim = (assessment: ReturnType<typeof assess>, name: Claim['claim']) =>
  assessment.clusters[0]?.nodes[0]?.claims.find((found) => found.claim === name)

describe('assess', () => {
  test('a node that proves everything passes, and each claim names what it rests on', () => {
    const { clusters, totals } = run()
    expect(totals).toEqual({ pass: 1, fail: 0, 'not-assessed': 0 })
    expect(
      clusters[0]?.nodes[0]?.claims.map((one) => [one.claim, one.result, one.statements.map(({ seq }) => seq)]),
    ).toEqual([
      ['HeardFrom', 'pass', [9]],
      ['RunsAssignedImage', 'pass', [5, 7]],
      ['BootAttested', 'pass', [5]],
      ['ChainComplete', 'pass', [5, 9]],
    ])
  })

  const failure = { imageSha256: GOOD, outcome: 'RolledBack', reason: 'FellBack', statement: said(8) }
  test.each<[string, Claim['claim'], Claim['result'], Partial<NodeInventory>, Partial<ClusterInventory>]>([
    ['no image is assigned', 'RunsAssignedImage', 'not-assessed', {}, { assigned: undefined } as object],
    [
      'other bytes run',
      'RunsAssignedImage',
      'fail',
      { running: { imageSha256: OTHER, bootId: 'b2', statement: said(5) } },
      {},
    ],
    ['the image failed after it was confirmed', 'RunsAssignedImage', 'fail', { failure }, {}],
    [
      'the image failed before it was confirmed',
      'RunsAssignedImage',
      'pass',
      { failure: { ...failure, statement: said(6) } },
      {},
    ],
    ['another image failed', 'RunsAssignedImage', 'pass', { failure: { ...failure, imageSha256: OTHER } }, {}],
    ['nothing was confirmed', 'RunsAssignedImage', 'not-assessed', { confirmed: undefined } as object, {}],
    ['no verdict', 'BootAttested', 'not-assessed', { verdict: undefined } as object, {}],
    [
      'a verdict on an earlier boot',
      'BootAttested',
      'not-assessed',
      { verdict: { bootId: 'b1', verdict: 'affirming', reason: 'x', statement: said(2) } },
      {},
    ],
    [
      'the boot of the verdict runs the image that an earlier boot confirmed',
      'BootAttested',
      'pass',
      {
        running: { imageSha256: GOOD, bootId: 'b3', statement: said(8) },
        verdict: { bootId: 'b3', verdict: 'affirming', reason: 'x', statement: said(8) },
      },
      {},
    ],
    [
      'a boot later than the confirmed one is not judged yet',
      'BootAttested',
      'not-assessed',
      { running: { imageSha256: GOOD, bootId: 'b3', statement: said(8) } },
      {},
    ],
    [
      'a later boot runs what an earlier one confirmed',
      'RunsAssignedImage',
      'pass',
      { running: { imageSha256: GOOD, bootId: 'b3', statement: said(8) } },
      {},
    ],
    [
      'the assigned image boots and is not confirmed',
      'RunsAssignedImage',
      'not-assessed',
      { confirmed: { imageSha256: OTHER, bootId: 'b1', statement: said(2) } },
      {},
    ],
    ['no evidence of any boot', 'RunsAssignedImage', 'not-assessed', { running: undefined } as object, {}],
    ['no evidence of any boot', 'BootAttested', 'not-assessed', { running: undefined } as object, {}],
    ['no evidence of any boot', 'ChainComplete', 'not-assessed', { running: undefined } as object, {}],
    [
      'a warning is no pass',
      'BootAttested',
      'not-assessed',
      { verdict: { bootId: 'b2', verdict: 'warning', reason: 'SoftwareKey', statement: said(5) } },
      {},
    ],
    [
      'none is no pass',
      'BootAttested',
      'not-assessed',
      { verdict: { bootId: 'b2', verdict: 'none', reason: 'x', statement: said(5) } },
      {},
    ],
    [
      'contraindicated',
      'BootAttested',
      'fail',
      { verdict: { bootId: 'b2', verdict: 'contraindicated', reason: 'x', statement: said(5) } },
      {},
    ],
    ['a gap in the chain', 'ChainComplete', 'fail', { watermark: 4 }, {}],
    ['a gap in the chain of a stale node', 'ChainComplete', 'fail', { watermark: 4 }, { reachability: 'Stale' }],
    ['what is lost by the node’s own word', 'ChainComplete', 'not-assessed', { closed: [lost(2, 3)] }, {}],
    ['a gap above what is lost', 'ChainComplete', 'fail', { closed: [lost(2, 3)], watermark: 4 }, {}],
  ])('%s: %s is %s', (_, name, result, more, cluster) => {
    expect(claim(run(more, cluster), name)?.result).toBe(result)
  })

  test('what is lost is named, of many stretches the first, and the claim rests on every statement that says so', () => {
    const { clusters } = run({ closed: [lost(1, 1), lost(3, 5, 6), lost(7, 7), lost(8, 8)] })
    expect(clusters[0]?.nodes[0]?.claims.at(-1)).toMatchObject({
      message:
        "statements 1 to 9 but for 1 (NotKept, statement 8), 3 to 5 (NotKept, statement 6), 7 (NotKept, statement 8) and 1 more, lost by the node's own word; the newest is 9",
      statements: [5, 9, 8, 6].map(said),
    })
    expect(clusters[0]?.nodes[0]?.hubSays.closed?.slice(0, 2)).toEqual([
      { fromSeq: 1, toSeq: 1, seq: 8, reason: 'NotKept' },
      { fromSeq: 3, toSeq: 5, seq: 6, reason: 'NotKept' },
    ])
  })

  test('after a rollback each claim rests on the boot after it, though an earlier boot confirmed the image that runs', () => {
    // b1 confirmed OTHER, b2 tried GOOD and failed, b3 fell back; the node then says once more that OTHER runs since b1.
    const { clusters } = run(
      {
        running: { imageSha256: OTHER, bootId: 'b3', statement: said(6) },
        failure: { imageSha256: GOOD, outcome: 'RolledBack', reason: 'FellBack', statement: said(7) },
        confirmed: { imageSha256: OTHER, bootId: 'b1', statement: said(8) },
        verdict: { bootId: 'b3', verdict: 'affirming', reason: 'Matches', statement: said(6) },
      },
      { assigned: { image: 'os-1', imageSha256: OTHER, rollout: 'fleet/r' } },
    )
    expect(
      clusters[0]?.nodes[0]?.claims.map((one) => [one.claim, one.result, one.statements.map(({ seq }) => seq)]),
    ).toEqual([
      ['HeardFrom', 'pass', [9]],
      ['RunsAssignedImage', 'pass', [6, 8]],
      ['BootAttested', 'pass', [6]],
      ['ChainComplete', 'pass', [6, 9]],
    ])
  })

  test.each<Reachability>(['NeverSeen', 'Stale'])('of a site that is %s nothing passes', (state) => {
    const { clusters, totals } = run({}, { reachability: state })
    expect(totals.pass).toBe(0)
    for (const { result } of clusters[0]?.nodes[0]?.claims ?? []) expect(result).toBe('not-assessed')
  })

  test('a site without nodes is listed, and not assessed', () => {
    expect(assess([{ ...shop, nodes: [] }], NOW)).toMatchObject({
      totals: { 'not-assessed': 1 },
      clusters: [{ cluster: 'shop', result: 'not-assessed' }],
    })
  })

  test('a key in a file is said to be one, in every view of its node', () => {
    expect(run({ class: 'software-key' }).clusters[0]?.nodes[0]?.limitation).toContain("node's key is a file")
    expect(run().clusters[0]?.nodes[0]).not.toHaveProperty('limitation')
  })

  test('never a pass without a statement; the worst claim is the cluster; the same inventory in any order is the same report', () => {
    const maybe = <T>(value: T) => fc.constantFrom<T | undefined>(value, undefined)
    const any = fc.record({
      reachability: fc.constantFrom<Reachability>('Online', 'Late', 'Offline', 'Stale', 'NeverSeen'),
      newest: maybe(said(9)),
      confirmed: maybe(node.confirmed),
      failure: maybe(failure),
      verdict: maybe(node.verdict),
      assigned: maybe(shop.assigned),
      watermark: fc.constantFrom(0, 9),
      newestSeq: fc.constantFrom(0, 9),
    })
    fc.assert(
      fc.property(fc.array(any, { maxLength: 5 }), (list) => {
        const fleet = list.map(
          ({ reachability: state, assigned, ...rest }, i): ClusterInventory => ({
            cluster: `c${i}`,
            reachability: state,
            ...(assigned ? { assigned } : {}),
            nodes: [{ node: 'n1', class: 'tpm', ...rest } as NodeInventory],
          }),
        )
        const report = assess(fleet, NOW)
        for (const { nodes, result } of report.clusters) {
          const claims = nodes.flatMap((one) => one.claims)
          for (const one of claims)
            if (one.result !== 'not-assessed') expect(one.statements.length, one.claim).toBeGreaterThan(0)
          if (result === 'pass') expect(claims.every((one) => one.result === 'pass')).toBe(true)
        }
        expect(assess(fleet.toReversed(), NOW)).toEqual(report)
      }),
    )
  })
})

describe('reachability', () => {
  const limits = { lateMs: 10, offlineMs: 20, staleMs: 30 }
  test.each<[number | undefined, Reachability, number | undefined]>([
    [undefined, 'NeverSeen', undefined],
    [0, 'Online', 10],
    [9, 'Online', 1],
    [10, 'Late', 10],
    [20, 'Offline', 10],
    [30, 'Stale', undefined],
    [1e12, 'Stale', undefined],
  ])('silent for %s ms is %s, and changes in %s', (silent, state, inMs) => {
    const heardAt = silent === undefined ? undefined : NOW - silent
    expect(reachability(heardAt, limits, NOW)).toEqual({
      state,
      ...(inMs === undefined ? {} : { changesAtMs: NOW + inMs }),
    })
  })
})
