import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { ObjectOf, Reachability } from '@skerry/api'
import { type ClusterFacts, simulate } from '@skerry/policy'
import { testFolder } from '@skerry/supervise/testing'
import { describe, expect, test } from 'vitest'
import { playedBy, readOutages } from './outages.ts'

function read(file: string) {
  const { whole, faults } = readOutages(file)
  if (!whole) throw new Error(faults.join('\n'))
  return whole
}

const rollout: ObjectOf<'Rollout'> = {
  apiVersion: 'skerry.dev/v1alpha1',
  kind: 'Rollout',
  metadata: {
    ...{ name: 'r', namespace: 'fleet', uid: 'r', resourceVersion: '1', generation: 1 },
    creationTimestamp: '2026-06-01T00:00:00Z',
  },
  spec: { placementRef: { name: 'p' }, image: { name: 'os-1' } },
}
const sha = 'f'.repeat(64)
const image = { target: 'os-1', manifestSha256: sha, imageSha256: sha, releaseCounter: 1, version: '1' }

type Found = Reachability | 'Denied'
const startMs = Date.parse('2026-06-01T00:00:00Z')
const factsOf = (name: string, found: Found): ClusterFacts => ({
  ...{ name, denied: found === 'Denied', reachability: found === 'Denied' ? 'Online' : found },
  nodes: [{ node: 'n1', phase: 'Idle', reason: 'NotStarted', message: 'has said nothing yet' }],
  ...(found === 'Offline' ? { heardAtMs: startMs - 3_600_000 } : {}),
})

/** How clusters that a hub finds so end after a day, with what the file says of them. */
function ends(found: Readonly<Record<string, Found>>, clusters: string, goesOn: boolean): Record<string, string> {
  const file = join(testFolder(), 'day.yaml')
  writeFileSync(file, `end: 2026-06-02T00:00:00Z\nclusters: ${clusters}\n`)
  const groups = [{ name: '', clusters: Object.keys(found) }]
  const known = new Map(Object.entries(found).map(([name, as]) => [name, factsOf(name, as)]))
  const fleet = { groups, startMs, goesOn, clusters: known }
  const played = simulate({ rollout, image, ...playedBy(read(file), fleet) })
  if (played.kind === 'Refused') throw new Error(JSON.stringify(played.faults))
  return Object.fromEntries(played.end.clusters.map(({ cluster, state, reason }) => [cluster, `${state} ${reason}`]))
}

describe.each([
  ['from the beginning', false],
  ['on from where it stands', true],
])('%s', (_, goesOn) => {
  test('who is out of reach at the hub stays so, and who is not accepted is sent nothing', () => {
    expect(
      ends({ a: 'Online', b: 'Late', c: 'Offline', d: 'Stale', e: 'NeverSeen', f: 'Denied' }, '[]', goesOn),
    ).toEqual({
      a: 'Succeeded Confirmed',
      b: 'Succeeded Confirmed',
      c: 'Offline Offline',
      d: 'Offline Offline',
      e: 'Offline NeverSeen',
      f: 'Removed Denied',
    })
  })

  test('but for whom the file says when it comes back, or joins', () => {
    const outages = '[{ from: 2026-05-31T00:00:00Z, to: 2026-06-01T06:00:00Z }]'
    const told = `[{ name: c, outages: ${outages} }, { name: d, joins: 2026-06-01T06:00:00Z }, { name: e, joins: 2026-06-01T06:00:00Z }, { name: f, joins: 2026-06-01T06:00:00Z }]`
    expect(ends({ c: 'Offline', d: 'Stale', e: 'NeverSeen', f: 'Denied' }, told, goesOn)).toEqual({
      c: 'Succeeded Confirmed',
      d: 'Succeeded Confirmed',
      e: 'Succeeded Confirmed',
      f: 'Removed Denied',
    })
  })
})

test('of what people do only what is to come is played', () => {
  const file = join(testFolder(), 'day.yaml')
  const act = (at: string) => `{ at: ${at}, do: pause, by: bob }`
  writeFileSync(
    file,
    `end: 2026-06-02T00:00:00Z\npeople: { acts: [${act('2026-05-31T00:00:00Z')}, ${act('2026-06-01T01:00:00Z')}] }\n`,
  )
  const { acts } = playedBy(read(file), { groups: [{ name: '', clusters: ['a'] }], startMs, goesOn: true })
  expect(acts?.map(({ atMs }) => atMs)).toEqual([startMs + 3_600_000])
})
