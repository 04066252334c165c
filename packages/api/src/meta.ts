import { type Static, Type } from 'typebox'
import { closed, described, integer, mapOf, Name, oneOf, Text, Time } from './words.ts'

// Kubernetes' object metadata, conditions and selectors, as far as Skerry keeps them.

const QualifiedName = Type.String({
  pattern:
    '^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$',
  maxLength: 317,
})
const Labels = mapOf(Type.String({ pattern: '^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$' }), {
  description: 'qualified names to label values',
  propertyNames: QualifiedName,
})

export const ObjectMeta = closed({
  name: Type.Optional(Name),
  generateName: Type.Optional(Type.String({ maxLength: 200 })),
  namespace: Type.Optional(Name),
  uid: Type.Optional(Type.String({ maxLength: 64 })),
  resourceVersion: Type.Optional(Type.String({ maxLength: 20 })),
  generation: Type.Optional(integer()),
  creationTimestamp: Type.Optional(Type.Union([Time, Type.Null()])),
  deletionTimestamp: Type.Optional(Time),
  labels: Type.Optional(Labels),
  annotations: Type.Optional(mapOf(Type.String({ maxLength: 262_144 }), { propertyNames: QualifiedName })),
  finalizers: Type.Optional(Type.Array(Type.String())),
  ownerReferences: Type.Optional(
    Type.Array(
      closed({
        apiVersion: Type.String(),
        kind: Type.String(),
        name: Type.String(),
        uid: Type.String(),
        controller: Type.Optional(Type.Boolean()),
        blockOwnerDeletion: Type.Optional(Type.Boolean()),
      }),
    ),
  ),
  managedFields: Type.Optional(Type.Array(Type.Unknown())),
})
export type ObjectMeta = Static<typeof ObjectMeta>

export const Condition = closed({
  type: Type.String({ maxLength: 316, description: 'UpperCamel' }),
  status: oneOf(['True', 'False', 'Unknown']),
  reason: Type.String({ maxLength: 1024, description: 'UpperCamel' }),
  message: Type.String({ maxLength: 32_768 }),
  lastTransitionTime: described(Time, 'when its status changed last; reason and message may be newer'),
  observedGeneration: Type.Optional(integer()),
})
export type Condition = Static<typeof Condition>

const SelectorRequirement = closed({
  key: Type.String({ maxLength: 316 }),
  operator: Type.String({ description: 'In, NotIn, Exists or DoesNotExist' }),
  values: Type.Optional(Type.Array(Type.String())),
})
export type SelectorRequirement = Static<typeof SelectorRequirement>

export const LabelSelector = closed({
  matchLabels: Type.Optional(mapOf(Type.String())),
  matchExpressions: Type.Optional(Type.Array(SelectorRequirement)),
})
export type LabelSelector = Static<typeof LabelSelector>

export const ClaimSelector = closed({ matchExpressions: Type.Optional(Type.Array(SelectorRequirement)) })
export type ClaimSelector = Static<typeof ClaimSelector>

/** What one statement, one object or one document is called in a sentence and in a report. */
export const StatementRef = closed({
  cluster: Type.String(),
  node: Type.String(),
  incarnation: integer({ minimum: 1 }),
  seq: integer({ minimum: 1 }),
  digest: Type.String({ description: 'SHA-256 of the statement text' }),
})
export type StatementRef = Static<typeof StatementRef>

export const Reason = Type.String({ maxLength: 128, description: 'UpperCamel' })
export const Message = Text
