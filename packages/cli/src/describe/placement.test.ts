import type { ObjectOf } from '@skerry/api'
import { expect, test } from 'vitest'
import { formatEntries } from '../output/sections.ts'
import { describePlacement } from './placement.ts'

test('describe placement: what ranks and spreads clusters, and the groups that a rollout goes by', () => {
  const group = (decisionGroupIndex: number, decisionGroupName: string, clusterCount: number) => ({
    ...{ decisionGroupIndex, decisionGroupName, clusterCount },
    decisions: [`p-decision-${decisionGroupIndex + 1}`],
  })
  const placement = {
    metadata: { name: 'p', namespace: 'fleet' },
    spec: {
      prioritizerPolicy: { mode: 'Exact' },
      spreadPolicy: { spreadConstraints: [{ topologyKey: 'region' }] },
    },
    status: { numberOfSelectedClusters: 3, decisionGroups: [group(0, 'canary', 1), group(1, '', 2)] },
  } as unknown as ObjectOf<'Placement'>
  const why = { outcome: 'Decided', selected: 3, unscheduled: 0, conditions: [], clusters: [] }
  const text = formatEntries(describePlacement(placement, why as never, 0))
  expect(text).toMatch(/^Prioritizers: +{"mode":"Exact"}$/m)
  expect(text).toMatch(/^Spread: +{"topologyKey":"region"}$/m)
  expect(text).toMatch(/^Groups:\n +INDEX +NAME +CLUSTERS\n +0 +canary +1\n +1 +2$/m)
})
