import { type KindName, kindRow } from '@skerry/api'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { StatusError } from '../status-error.ts'
import { faultsOf } from './admission.ts'
import { readObject } from './bodies.ts'

// One answer names every fault: whoever mends all that was told has an object that is taken.

const NOW = Date.parse('2026-06-01T00:00:00Z')

/** A place of a good object and what may be wrong there; undefined is that it is missing. No two places are one another's. */
type Place = { readonly field: string; readonly wrong: readonly unknown[] }
type Subject = { readonly kind: KindName; readonly spec: object; readonly places: readonly Place[] }

const requirement = (at: string): Place[] => [
  { field: `${at}.key`, wrong: [undefined, 1, 'a b'] },
  { field: `${at}.operator`, wrong: [undefined, null, 'is'] },
  { field: `${at}.values[0]`, wrong: ['a b', 1] },
]
const selector = () => ({ matchExpressions: [{ key: 'a', operator: 'In', values: ['b'] }] })
const required = 'spec.predicates[1].requiredClusterSelector'
const decided = 'spec.decisionStrategy.groupStrategy.decisionGroups[0]'
const windows = (index: number): Place[] => [
  { field: `spec.windows.activation[${index}].at`, wrong: [undefined, 2, '61 2 * * *', '0 0 31 2 *', '* *'] },
  { field: `spec.windows.activation[${index}].timeZone`, wrong: [undefined, {}, 'Europe/Oz', ''] },
  { field: `spec.windows.activation[${index}].durationSeconds`, wrong: [undefined, 0, '1h'] },
]
const SUBJECTS: readonly Subject[] = [
  {
    kind: 'Rollout',
    spec: {
      ...{ placementRef: { name: 'p' }, image: { name: 'i' }, offlineAfter: '1h' },
      windows: {
        activation: [
          { at: '0 2 * * *', timeZone: 'UTC', durationSeconds: 60 },
          { at: '0 4 * * 1-5', timeZone: 'Europe/Oslo', durationSeconds: 60 },
        ],
      },
      catchUp: { maxConcurrency: 1, jitter: '1m' },
    },
    places: [
      { field: 'spec.placementRef.name', wrong: [undefined, 1] },
      { field: 'spec.image', wrong: [undefined, 'i'] },
      { field: 'spec.offlineAfter', wrong: [1, '9999999h'] },
      { field: 'spec.catchUp.jitter', wrong: [1, '9999999h'] },
      ...windows(0),
      ...windows(1),
    ],
  },
  {
    kind: 'Placement',
    spec: {
      predicates: [
        { requiredClusterSelector: { celSelector: { celExpressions: ['true', 'false'] } } },
        { requiredClusterSelector: { labelSelector: selector(), claimSelector: selector() } },
      ],
      prioritizerPolicy: {
        configurations: [
          { scoreCoordinate: { type: 'AddOn', addOn: { resourceName: 'usage', scoreName: 'free' } }, weight: 1 },
          { scoreCoordinate: { builtIn: 'Steady' }, weight: 1 },
        ],
      },
      decisionStrategy: {
        groupStrategy: {
          decisionGroups: [{ groupName: 'canary', groupClusterSelector: { labelSelector: selector() } }],
          clustersPerDecisionGroup: 5,
        },
      },
      tolerations: [{ key: 'k', operator: 'Exists' }, { operator: 'Exists' }],
    },
    places: [
      { field: 'spec.predicates[0].requiredClusterSelector.celSelector.celExpressions[0]', wrong: [1, 'true ||'] },
      { field: 'spec.predicates[0].requiredClusterSelector.celSelector.celExpressions[1]', wrong: [1, 'x'] },
      ...requirement(`${required}.labelSelector.matchExpressions[0]`),
      ...requirement(`${required}.claimSelector.matchExpressions[0]`),
      { field: 'spec.prioritizerPolicy.configurations[0].scoreCoordinate.addOn.scoreName', wrong: [undefined, 1] },
      { field: 'spec.prioritizerPolicy.configurations[0].scoreCoordinate.type', wrong: [1, {}] },
      { field: 'spec.prioritizerPolicy.configurations[0].weight', wrong: [11, 'x'] },
      { field: 'spec.prioritizerPolicy.configurations[1].scoreCoordinate.builtIn', wrong: ['Nope', 1] },
      { field: `${decided}.groupName`, wrong: [undefined, 1] },
      ...requirement(`${decided}.groupClusterSelector.labelSelector.matchExpressions[0]`),
      { field: 'spec.decisionStrategy.groupStrategy.clustersPerDecisionGroup', wrong: ['25', {}] },
      { field: 'spec.tolerations[0].key', wrong: [1] },
      { field: 'spec.tolerations[1].operator', wrong: [1] },
    ],
  },
  {
    kind: 'ManagedCluster',
    spec: {
      hubAcceptsClient: true,
      taints: [
        { key: 'a', effect: 'NoSelect' },
        { key: 'b', effect: 'NoSelect' },
      ],
    },
    places: [
      { field: 'spec.hubAcceptsClient', wrong: ['yes'] },
      { field: 'spec.taints[0].effect', wrong: [undefined, 'Some'] },
      { field: 'spec.taints[1].key', wrong: ['a', undefined] },
      { field: 'spec.taints[1].effect', wrong: [undefined, 'Some'] },
    ],
  },
  {
    kind: 'ManagedClusterSet',
    spec: { clusterSelector: { selectorType: 'LabelSelector', labelSelector: selector() } },
    places: requirement('spec.clusterSelector.labelSelector.matchExpressions[0]'),
  },
]

const stepsOf = (field: string) => field.split(/[.[\]]+/).filter((step) => step !== '')
function put(object: object, field: string, value: unknown): void {
  const steps = stepsOf(field)
  const last = steps.pop() ?? ''
  const at = steps.reduce<object>((found, step) => Reflect.get(found, step) as object, object)
  if (value === undefined) Reflect.deleteProperty(at, last)
  else Reflect.set(at, last, value)
}
const valueAt = (object: object, field: string): unknown =>
  stepsOf(field).reduce<unknown>((found, step) => Reflect.get(found as object, step), object)

function told(kind: KindName, object: object): readonly string[] {
  const namespace = kindRow(kind).namespaced ? 'fleet' : ''
  try {
    readObject(kindRow(kind), object, { namespace }, 'Strict', (one) => faultsOf(kind, one, undefined, NOW))
    return []
  } catch (error) {
    if (!(error instanceof StatusError)) throw error
    return (error.details.causes ?? []).map(({ field }) => field)
  }
}

test.each(SUBJECTS)(
  'of a $kind whose places are wrong each is told, and mended by that the object is taken',
  (subject) => {
    const { kind, spec, places } = subject
    const { group, version } = kindRow(kind)
    const good = { apiVersion: `${group}/${version}`, kind, metadata: { name: 'x' }, spec }
    expect(told(kind, good)).toEqual([])
    const wrong = fc.tuple(
      ...places.map((place) => fc.option(fc.constantFrom(...place.wrong.map((value) => ({ value }))))),
    )
    fc.assert(
      fc.property(wrong, (values) => {
        const bad = structuredClone(good)
        for (const [index, { field }] of places.entries()) {
          const chosen = values[index]
          if (chosen) put(bad, field, chosen.value)
        }
        const broken = places.filter((_, index) => values[index]).map(({ field }) => field)
        const fields = told(kind, bad)
        // Nothing is told of a place where nothing is wrong.
        expect(fields.filter((field) => !broken.includes(field))).toEqual([])
        for (const field of fields) put(bad, field, valueAt(good, field))
        expect(told(kind, bad)).toEqual([])
      }),
      { numRuns: 300 },
    )
  },
)

test('of a list that lost an item what is told is told of all of it, and of one that lost its last nothing', () => {
  const placement = (operator: string, values: unknown[], matchLabels: object = {}) => {
    const labelSelector = { matchLabels, matchExpressions: [{ key: 'a', operator, values }] }
    const spec = { predicates: [{ requiredClusterSelector: { labelSelector } }] }
    const { group, version } = kindRow('Placement')
    const at = 'spec.predicates[0].requiredClusterSelector.labelSelector.'
    return told('Placement', {
      ...{ apiVersion: `${group}/${version}`, kind: 'Placement', metadata: { name: 'x' }, spec },
    }).map((field) => field.replace(at, ''))
  }
  const item = 'matchExpressions[0].values'
  expect(placement('Exists', [1, 'b'])).toEqual([`${item}[0]`, item])
  expect(placement('In', [1, 'a b', 2, 'c d'])).toEqual([`${item}[0]`, `${item}[2]`, `${item}[1]`, `${item}[3]`])
  expect(placement('In', [1])).toEqual([`${item}[0]`])
  // A key and its value are two faults.
  expect(placement('In', ['b'], { 'a b': 'c d' })).toEqual(['matchLabels.a b', 'matchLabels.a b'])
})
