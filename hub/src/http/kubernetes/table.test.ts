import { type KindName, kindRow, type ObjectOf } from '@skerry/api'
import { expect, test } from 'vitest'
import { toTable } from './table.ts'

const condition = (type: string, status: string, reason: string) => ({ type, status, reason })

function cellsOf(kind: 'EdgeNode' | 'Placement' | 'Rollout', object: object): Record<string, unknown> {
  const { columnDefinitions, rows } = toTable(kindRow(kind), [object as ObjectOf<KindName>], {}) as {
    columnDefinitions: { name: string }[]
    rows: { cells: unknown[] }[]
  }
  return Object.fromEntries(columnDefinitions.map(({ name }, at) => [name, rows[0]?.cells[at]]))
}

const satisfied = condition('PlacementSatisfied', 'True', 'AllDecisionsScheduled')

test.each([
  ['is well', [], 'AllDecisionsScheduled'],
  ['holds a removal', [condition('RemovalHeld', 'True', 'TooManyRemovals')], 'RemovalHeld'],
  [
    'is frozen',
    [
      condition('PlacementMisconfigured', 'True', 'Misconfigured'),
      condition('DecisionsFrozen', 'True', 'Misconfigured'),
    ],
    'DecisionsFrozen',
  ],
  ['never had a good look', [condition('PlacementMisconfigured', 'True', 'Misconfigured')], 'Misconfigured'],
])('a placement that %s says so in a list', (_, conditions, reason) => {
  const metadata = { name: 'shops', namespace: 'fleet', creationTimestamp: '2026-01-01T00:00:00Z' }
  const object = { metadata, spec: {}, status: { conditions: [satisfied, ...conditions] } }
  expect(cellsOf('Placement', object)).toMatchObject({ Reason: reason })
})

test('a rollout says in a list what it waits for', () => {
  const metadata = { name: 'os-2', namespace: 'fleet', creationTimestamp: '2026-01-01T00:00:00Z' }
  const spec = { placementRef: { name: 'shops' }, image: { name: 'os-2' } }
  const status = { phase: 'Running', conditions: [condition('Completed', 'False', 'OutOfReach')] }
  expect(cellsOf('Rollout', { metadata, spec, status })).toMatchObject({ Phase: 'Running', Reason: 'OutOfReach' })
})

test.each([
  ['is well', [], 'no'],
  ['is not well by its own word', [condition('Degraded', 'True', 'Lockout')], 'Lockout'],
  ['has a gap in its chain', [condition('ChainComplete', 'False', 'StatementsMissing')], 'StatementsMissing'],
  ['has lost a part of its chain', [condition('ChainComplete', 'Unknown', 'StatementsLost')], 'no'],
  [
    'has both',
    [condition('ChainComplete', 'False', 'StatementsMissing'), condition('Degraded', 'True', 'Lockout')],
    'Lockout,StatementsMissing',
  ],
])('a node that %s says so in a list', (_, conditions, reason) => {
  const metadata = { name: 'shop', namespace: 'shop', creationTimestamp: '2026-01-01T00:00:00Z' }
  expect(cellsOf('EdgeNode', { metadata, status: { conditions } })).toMatchObject({ Degraded: reason })
})
