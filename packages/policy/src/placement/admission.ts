import {
  MAX_REMOVAL_PERCENT_ANNOTATION,
  ON_MISCONFIGURATION_ANNOTATION,
  type PlacementSpec,
  REMOVAL_WINDOW_ANNOTATION,
  UNREACHABLE_EFFECT_ANNOTATION,
} from '@skerry/api'
import { compileCel } from './cel/index.ts'
import { isPercent, isWindow } from './guard.ts'
import { policyFaults } from './prioritizers.ts'
import { type Fault, selectorFaults } from './selectors.ts'
import { tolerationFaults } from './taints.ts'

const ANNOTATIONS: readonly (readonly [string, (value: string) => boolean, string])[] = [
  [MAX_REMOVAL_PERCENT_ANNOTATION, isPercent, 'whole number from 0 to 100'],
  [REMOVAL_WINDOW_ANNOTATION, isWindow, 'time such as 30m or 24h, at most 168h; 0s is each look by itself'],
  [ON_MISCONFIGURATION_ANNOTATION, (value) => value === 'Freeze' || value === 'Evict', 'Freeze or Evict'],
  [
    UNREACHABLE_EFFECT_ANNOTATION,
    (value) => value === 'NoSelectIfNew' || value === 'NoSelect',
    'NoSelectIfNew or NoSelect',
  ],
]

/** Everything wrong with a placement's spec beyond its schema, with the field: said at the write, not at the next evaluation. */
export function admitPlacement(
  name: string,
  spec: PlacementSpec,
  annotations: Readonly<Record<string, string>> = {},
): readonly { field: string; message: string }[] {
  const faults: { field: string; message: string }[] = []
  if (name.length > 63)
    faults.push({ field: 'metadata.name', message: 'must have at most 63 characters: it is the value of a label' })
  for (const [annotation, isRight, wanted] of ANNOTATIONS) {
    const value = annotations[annotation]
    if (value !== undefined && !isRight(value))
      faults.push({ field: `metadata.annotations[${annotation}]`, message: `"${value}" is no ${wanted}` })
  }
  spec.predicates?.forEach(({ requiredClusterSelector: required }, index) => {
    const at = `spec.predicates[${index}].requiredClusterSelector`
    faults.push(...under(`${at}.labelSelector.`, selectorFaults(required?.labelSelector)))
    faults.push(...under(`${at}.claimSelector.`, selectorFaults(required?.claimSelector)))
    required?.celSelector?.celExpressions?.forEach((text, place) => {
      const compiled = compileCel(text)
      if ('fault' in compiled)
        faults.push({ field: `${at}.celSelector.celExpressions[${place}]`, message: compiled.fault })
    })
  })
  for (const { field, message } of policyFaults(spec.prioritizerPolicy ?? {}))
    faults.push({ field: `spec.${field}`, message })
  spec.decisionStrategy?.groupStrategy?.decisionGroups?.forEach(({ groupClusterSelector: wanted }, index) => {
    const at = `spec.decisionStrategy.groupStrategy.decisionGroups[${index}].groupClusterSelector`
    faults.push(...under(`${at}.labelSelector.`, selectorFaults(wanted?.labelSelector)))
    faults.push(...under(`${at}.claimSelector.`, selectorFaults(wanted?.claimSelector)))
  })
  const per = spec.decisionStrategy?.groupStrategy?.clustersPerDecisionGroup
  if (typeof per === 'string' && !per.endsWith('%'))
    faults.push({
      field: 'spec.decisionStrategy.groupStrategy.clustersPerDecisionGroup',
      message: `"${per}" is a text: write the number ${per}, or "${per}%"`,
    })
  faults.push(...under('spec.tolerations', tolerationFaults(spec.tolerations ?? [])))
  return faults
}

function under(path: string, faults: readonly Fault[]): Fault[] {
  return faults.map(({ field, message }) => ({ field: `${path}${field}`, message }))
}
