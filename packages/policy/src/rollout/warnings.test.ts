import { expect, test } from 'vitest'
import { type References, rolloutWarnings } from './warnings.ts'

const rollout = {
  metadata: { namespace: 'fleet' },
  spec: { placementRef: { name: 'shops' }, image: { name: 'os-1' } },
}
const fine: References = {
  placementExists: true,
  groups: [
    { index: 0, name: '' },
    { index: 1, name: 'canary' },
  ],
  releaseCounter: 1,
  bootMeasured: true,
  above: [],
}
const shops = (count: number) =>
  Array.from({ length: count }, (_, n) => ({ cluster: `shop-${n + 1}`, releaseCounter: 2 + n }))
const refuse = 'spec.image.name: the release counter of os-1 is 1, and a site takes none below the one it confirmed:'

test.each<[string, Partial<References>, string[]]>([
  ['nothing', {}, []],
  [
    'no placement',
    { placementExists: false },
    ['spec.placementRef.name: there is no Placement shops in namespace fleet yet; the rollout waits for it'],
  ],
  [
    'no image',
    { releaseCounter: undefined },
    ['spec.image.name: there is no OSImage os-1 yet; the rollout waits until it is published'],
  ],
  [
    'a proof that nobody can give',
    { bootMeasured: false },
    [
      'spec.attestation: affirming, the default, asks for a boot that is proven, and nothing measures the boot of os-1: every site will refuse it; warning is what it can be',
    ],
  ],
  ['a step down', { above: shops(1) }, [`${refuse} shop-1 (2) will refuse it`]],
  ['three', { above: shops(3) }, [`${refuse} shop-1 (2), shop-2 (3), shop-3 (4) will refuse it`]],
  ['many', { above: shops(9) }, [`${refuse} shop-1 (2), shop-2 (3), shop-3 (4) and 6 more will refuse it`]],
])('a rollout is written with a warning of %s', (_, given, warnings) => {
  expect(rolloutWarnings(rollout, { ...fine, ...given })).toEqual(warnings)
})

test('a rollout that asks for no proof is not warned of it', () => {
  const modest = { ...rollout, spec: { ...rollout.spec, attestation: 'warning' as const } }
  expect(rolloutWarnings(modest, { ...fine, bootMeasured: false })).toEqual([])
})

test('both that are missing are told', () => {
  expect(rolloutWarnings(rollout, { ...fine, placementExists: false, releaseCounter: undefined })).toHaveLength(2)
})

test('limits of another type, and groups that are not there, count for nothing, and that is told', () => {
  const strategy = {
    type: 'Progressive' as const,
    progressive: { mandatoryDecisionGroups: [{ groupName: 'canary' }, { groupName: 'canaryy' }, { groupIndex: 2 }] },
    progressivePerGroup: { maxFailures: 1 },
  }
  const groupOfflinePolicies = [{ groupName: 'shops', offlinePolicy: 'Wait' as const }]
  const spec = { ...rollout.spec, strategy, groupOfflinePolicies }
  const none = 'counts for nothing, because Placement shops has no such group; it has 0, 1 (canary)'
  expect(rolloutWarnings({ ...rollout, spec }, fine)).toEqual([
    'spec.strategy.progressivePerGroup: counts for nothing, because the type of the strategy is Progressive',
    `spec.strategy.progressive.mandatoryDecisionGroups[1]: ${none}`,
    `spec.strategy.progressive.mandatoryDecisionGroups[2]: ${none}`,
    `spec.groupOfflinePolicies[0]: ${none}`,
  ])
  // It may have them once it has decided.
  expect(rolloutWarnings({ ...rollout, spec }, { ...fine, groups: undefined })).toHaveLength(1)
})
