import {
  ADMISSION_ANNOTATION,
  DECISION_REASONS_ANNOTATION,
  MAX_REMOVAL_PERCENT_ANNOTATION,
  ON_MISCONFIGURATION_ANNOTATION,
  type PlacementSpec,
  REMOVAL_WINDOW_ANNOTATION,
  STALE_SCORES_ANNOTATION,
  UNREACHABLE_EFFECT_ANNOTATION,
} from '@skerry/api'
import { compileCel } from './cel/index.ts'
import { isPercent, isWindow } from './guard.ts'
import { policyFaults } from './prioritizers.ts'
import { type Fault, selectorFaults } from './selectors.ts'
import { tolerationFaults } from './taints.ts'

type AnnotationRule = readonly [name: string, isRight: (value: string) => boolean, wanted: string]
const oneOf = (name: string, ...values: readonly [string, string]): AnnotationRule => [
  name,
  (value) => values.includes(value),
  values.join(' or '),
]
const ANNOTATIONS: readonly AnnotationRule[] = [
  [MAX_REMOVAL_PERCENT_ANNOTATION, isPercent, 'whole number from 0 to 100'],
  [REMOVAL_WINDOW_ANNOTATION, isWindow, 'time such as 30m or 24h, at most 168h; 0s is each look by itself'],
  oneOf(ON_MISCONFIGURATION_ANNOTATION, 'Freeze', 'Evict'),
  oneOf(UNREACHABLE_EFFECT_ANNOTATION, 'NoSelectIfNew', 'NoSelect'),
  oneOf(DECISION_REASONS_ANNOTATION, 'On', 'Off'),
  oneOf(STALE_SCORES_ANNOTATION, 'Recheck', 'Wait'),
  oneOf(ADMISSION_ANNOTATION, 'Strict', 'Lenient'),
]

/**
 * Everything wrong with a placement's spec beyond its schema, with the field: said at the write, not at the next evaluation, unless
 * the placement asks for OCM's way. A name that is no value of a label is refused there, too: OCM can store no decision of it.
 */
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
  if (annotations[ADMISSION_ANNOTATION] === 'Lenient') return faults
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
