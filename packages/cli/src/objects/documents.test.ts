import { describe, expect, test } from 'vitest'
import { readManifests } from './documents.ts'

const ROLLOUT = `apiVersion: skerry.dev/v1alpha1
kind: Rollout
metadata:
  name: edge-os-43
  labels:
    cluster.open-cluster-management.io/clusterset: shops
    cluster: oslo
spec:
  placementRef: { name: all-shops }
  image: { name: edge-os-43 }
  windows:
    activation:
      - { at: "0 2 * * *", timeZone: Europe/Oslo, durationSeconds: 7200 }
      - at: nonsense
        timeZone: UTC
`

describe('a manifest file', () => {
  test('holds any number of documents, JSON, and lists', () => {
    const text = `${ROLLOUT}---\n# nothing\n---\n${JSON.stringify({
      apiVersion: 'v1',
      kind: 'List',
      items: [
        {
          apiVersion: 'cluster.open-cluster-management.io/v1beta1',
          kind: 'Placement',
          metadata: { name: 'a' },
          spec: {},
        },
        { apiVersion: 'skerry.dev/v1alpha1', kind: 'JoinToken', metadata: { name: 'b' }, spec: {} },
      ],
    })}\n`
    const { manifests, faults } = readManifests('fleet.yaml', text)
    expect(faults).toEqual([])
    expect(manifests.map(({ object }) => `${object.kind} ${object.metadata.name}`)).toEqual([
      'Rollout edge-os-43',
      'Placement a',
      'JoinToken b',
    ])
  })

  test.each<[what: string, text: string, faults: string[]]>([
    [
      'a syntax fault',
      'kind: Rollout\nspec: [1, 2\n',
      ['f:3:1: Flow sequence in block collection must be sufficiently indented and end with a ]'],
    ],
    ['a member named twice', 'kind: Rollout\nmetadata:\n  name: a\n  name: b\n', ['f:4:3: Map keys must be unique']],
    ['a member named twice in JSON', '{"kind": "Rollout",\n "kind": "Rollout"}', ['f:2:2: Map keys must be unique']],
    [
      'an unknown kind',
      'apiVersion: skerry.dev/v1alpha1\nkind: Rolout\nmetadata: { name: a }\n',
      ['f:2:7: there is no kind Rolout (did you mean "Rollout"?)'],
    ],
    [
      'a kind under another version',
      'apiVersion: skerry.dev/v1\nkind: Rollout\nmetadata: { name: a }\n',
      ['f:1:13: Rollout has apiVersion skerry.dev/v1alpha1 here, not skerry.dev/v1'],
    ],
    ['no name', 'apiVersion: skerry.dev/v1alpha1\nkind: Rollout\nmetadata: {}\n', ['f:3:1: metadata.name is required']],
    [
      'a name that is a number',
      'apiVersion: skerry.dev/v1alpha1\nkind: Rollout\nmetadata: { name: 42 }\n',
      ['f:3:19: metadata.name is required, as text'],
    ],
    ['an alias that leads nowhere', 'kind: *nowhere\n', ['f:1:1: Unresolved alias']],
    ['no object', '- 1\n', ['f:1:1: a manifest is an object']],
    [
      'faults in several documents',
      'kind: A\n---\nkind: B\n',
      ['f:1:7: there is no kind A', 'f:3:7: there is no kind B'],
    ],
  ])('%s is told with its place', (_, text, wanted) => {
    const { faults } = readManifests('f', text)
    expect(faults).toEqual(wanted.map((start) => expect.stringContaining(start)))
  })

  test.each<[field: string, reason: string, place: string]>([
    ['spec.image.name', 'FieldValueInvalid', '10:18'],
    ['spec.windows.activation[1].at', 'FieldValueInvalid', '14:13'],
    ['spec.windows.activation[0].timeZone', 'FieldValueInvalid', '13:38'],
    ['spec.windows.activation[1].durationSeconds', 'FieldValueRequired', '14:9'],
    ['metadata.labels.cluster.open-cluster-management.io/clusterset', 'FieldValueInvalid', '6:52'],
    ['spec.windows.activation[1].timeZone', 'FieldValueForbidden', '15:9'],
    ['spec.strategy', 'FieldValueRequired', '8:1'],
    ['', 'FieldValueInvalid', '1:1'],
  ])('the cause at "%s" (%s) lies at %s', (field, reason, place) => {
    const [manifest] = readManifests('f', ROLLOUT).manifests
    expect(manifest?.place({ field, reason })).toBe(`f:${place}`)
  })
})
