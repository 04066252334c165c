import type { ObjectOf } from '@skerry/api'
import { expect, test } from 'vitest'
import { formatEntries } from '../output/sections.ts'
import { describeRollout } from './rollout.ts'

const limits = (maxConcurrency: number | string) =>
  /^Limits: +(.*)$/m.exec(
    formatEntries(
      describeRollout(
        {
          apiVersion: 'skerry.dev/v1alpha1',
          kind: 'Rollout',
          metadata: { name: 'r', namespace: 'fleet' },
          spec: {
            placementRef: { name: 'all' },
            image: { name: 'os-1' },
            strategy: { type: 'Progressive', progressive: { maxConcurrency } },
          },
        } as ObjectOf<'Rollout'>,
        0,
      ),
    ),
  )?.[1]

test.each<[given: number | string, told: string]>([
  [0, 'maxConcurrency 0 (no limit)'],
  ['0%', 'maxConcurrency 0% (no limit)'],
  [10, 'maxConcurrency 10'],
  ['10%', 'maxConcurrency 10%'],
  ['100%', 'maxConcurrency 100%'],
])('describe rollout: a maxConcurrency of %j is told as "%s"', (given, told) => {
  expect(limits(given)).toBe(told)
})
