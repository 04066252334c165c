import { type Static, Type } from 'typebox'
import { closed, integer, Label, oneOf, Sha256, Text, Time } from './words.ts'

// Bodies of requests that are no objects of a kind.

/** PUT …/registrations/{name}/approval: a person's half of the double opt-in. */
export const Approval = closed({
  state: oneOf(['Accepted', 'Denied', 'Revoked']),
  reason: Type.Optional(Text),
  fingerprint: Type.Optional(
    Type.String({
      maxLength: 128,
      description: 'the registration that was seen: one with another fingerprint is a conflict',
    }),
  ),
})
export type Approval = Static<typeof Approval>

/** The body of an approval of a removal that a placement holds: this one, and no other. */
export const RemovalApproval = closed({ removal: Sha256, reason: Type.Optional(Text) })

/** The body of a rotation: why the node's present NATS key is ended. */
export const Rotation = closed({ reason: Type.Optional(Text) })

/** The body of a DELETE, as Kubernetes' clients send it. What says how dependents go has no meaning here: nothing has any. */
export const DeleteOptions = closed({
  apiVersion: Type.Optional(Type.String()),
  kind: Type.Optional(oneOf(['DeleteOptions'])),
  preconditions: Type.Optional(
    closed({ uid: Type.Optional(Type.String()), resourceVersion: Type.Optional(Type.String()) }),
  ),
  dryRun: Type.Optional(Type.Array(oneOf(['All']))),
  gracePeriodSeconds: Type.Optional(integer({ minimum: 0 })),
  propagationPolicy: Type.Optional(oneOf(['Orphan', 'Background', 'Foreground'])),
  orphanDependents: Type.Optional(Type.Boolean()),
})
export type DeleteOptions = Static<typeof DeleteOptions>

export const API_ROLES = ['platform-admin', 'viewer'] as const
export type ApiRole = (typeof API_ROLES)[number]

/** POST …/apitokens. The hub makes the secret, answers it once and keeps its hash. */
export const NewApiToken = closed({
  name: Label,
  role: oneOf(API_ROLES),
  expiresAt: Type.Optional(Time),
})
export type NewApiToken = Static<typeof NewApiToken>

const text = Type.Optional(Type.String({ maxLength: 1024 }))

/** Kubernetes' question "may I?", as `kubectl auth can-i` and dashboards ask it. */
export const AccessQuestion = closed({
  apiVersion: Type.Optional(Type.String()),
  kind: Type.Optional(oneOf(['SelfSubjectAccessReview'])),
  metadata: Type.Optional(Type.Unknown()),
  status: Type.Optional(Type.Unknown()),
  spec: closed({
    resourceAttributes: Type.Optional(
      closed({
        namespace: text,
        verb: text,
        group: text,
        version: text,
        resource: text,
        subresource: text,
        name: text,
        fieldSelector: Type.Optional(Type.Unknown()),
        labelSelector: Type.Optional(Type.Unknown()),
      }),
    ),
    nonResourceAttributes: Type.Optional(closed({ path: text, verb: text })),
  }),
})
export type AccessQuestion = Static<typeof AccessQuestion>
