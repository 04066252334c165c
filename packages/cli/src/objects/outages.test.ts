import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { ObjectOf } from '@skerry/api'
import { simulate } from '@skerry/policy'
import { testFolder } from '@skerry/supervise/testing'
import { expect, test } from 'vitest'
import type { Found } from './fleet.ts'
import { playedBy, readOutages } from './outages.ts'

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

/** How clusters that a hub finds so end after a day, with what the file says of them. */
function ends(found: Readonly<Record<string, Found>>, clusters = '[]'): Record<string, string> {
  const file = join(testFolder(), 'day.yaml')
  writeFileSync(file, `start: 2026-06-01T00:00:00Z\nend: 2026-06-02T00:00:00Z\nclusters: ${clusters}\n`)
  const groups = [{ name: '', clusters: Object.keys(found) }]
  const played = simulate({ rollout, image, ...playedBy(readOutages(file), groups, new Map(Object.entries(found))) })
  if (played.kind === 'Refused') throw new Error(JSON.stringify(played.faults))
  return Object.fromEntries(played.end.clusters.map(({ cluster, state, reason }) => [cluster, `${state} ${reason}`]))
}

test('who is out of reach at the hub stays so, and who is not accepted is sent nothing', () => {
  expect(ends({ a: 'Online', b: 'Late', c: 'Offline', d: 'Stale', e: 'NeverSeen', f: 'Denied' })).toEqual({
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
  expect(ends({ c: 'Offline', d: 'Stale', e: 'NeverSeen', f: 'Denied' }, told)).toEqual({
    c: 'Succeeded Confirmed',
    d: 'Succeeded Confirmed',
    e: 'Succeeded Confirmed',
    f: 'Removed Denied',
  })
})
