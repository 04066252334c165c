import { type Static, Type } from 'typebox'
import { ACT_VERBS, GATE_PATTERN } from './kinds/rollout-act.ts'
import { closed, described, integer, Label, oneOf, Time } from './words.ts'

// The file that `skerry rollout simulate --outages` reads: what happens to a fleet while an image is rolled out.

const Span = Type.String({
  pattern: '^(?=.)([0-9]{1,6}d)?([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}s)?$',
  description: 'such as 90s, 10m, 1h30m or 7d',
})
const By = Type.String({ minLength: 1, maxLength: 63, description: 'who: people are told apart by this' })
const Gate = Type.String({ pattern: GATE_PATTERN, description: 'Start, Group/<index> or Completion' })
const Clusters = Type.Array(Label, { maxItems: 10_000, uniqueItems: true })

/** How an image fails at a site. */
export const FAILS_BY = ['RollsBack', 'StagingFails', 'Refuses', 'GoesSilent', 'Unproven', 'Contraindicated'] as const
export type FailsBy = (typeof FAILS_BY)[number]

const pace = {
  delivery: Type.Optional(described(Span, 'until a site in reach has taken an order; default 5s')),
  staging: Type.Optional(described(Span, 'until it has the bytes, of which none come while it is dark; default 10m')),
  activation: Type.Optional(described(Span, 'drain, boot, verify and confirm; default 5m')),
}
const outage = { from: Time, to: Type.Optional(described(Time, 'without it the outage does not end')) }
const fails = closed({
  by: oneOf(FAILS_BY),
  times: Type.Optional(
    integer({ minimum: 1, maximum: 1_000, description: 'so often and then no more; default always' }),
  ),
})

export const Outages = closed(
  {
    start: Type.Optional(
      described(Time, 'when the rollout is applied; one that goes on from where it stands at a hub is played from now'),
    ),
    end: described(Time, 'how far it is played at most'),
    reachability: Type.Optional(
      closed(
        { lateAfter: Type.Optional(Span), offlineAfter: Type.Optional(Span), staleAfter: Type.Optional(Span) },
        { description: "the hub's limits; default 90s, 5m and 14d" },
      ),
    ),
    pace: Type.Optional(closed(pace, { description: 'of clusters that have none of their own' })),
    groups: Type.Optional(
      Type.Array(
        closed({
          name: Type.Optional(Type.String({ maxLength: 63 })),
          clusters: Type.Optional(Clusters),
          numbered: Type.Optional(
            closed({
              prefix: Type.String({
                pattern: '^[a-z0-9][a-z0-9-]{0,56}$',
                description: 'shop- makes shop-1, shop-2, …',
              }),
              count: integer({ minimum: 1, maximum: 10_000 }),
            }),
          ),
        }),
        { minItems: 1, maxItems: 1_000, description: "the placement's decisions by groups, in their order" },
      ),
    ),
    clusters: Type.Optional(
      Type.Array(
        closed({
          name: Label,
          ...pace,
          outages: Type.Optional(Type.Array(closed(outage), { maxItems: 10_000 })),
          fails: Type.Optional(fails),
          joins: Type.Optional(described(Time, 'it is first heard then')),
        }),
        { maxItems: 10_000, description: 'what some clusters have of their own' },
      ),
    ),
    outages: Type.Optional(
      Type.Array(
        closed({
          ...outage,
          clusters: Type.Optional(Clusters),
          groups: Type.Optional(Type.Array(Type.String({ maxLength: 63 }), { maxItems: 1_000 })),
        }),
        {
          maxItems: 10_000,
          description: 'of several clusters at once; of all where neither clusters nor groups are named',
        },
      ),
    ),
    people: Type.Optional(
      closed({
        approvals: Type.Optional(
          Type.Array(
            closed({
              by: By,
              after: described(Span, 'so long after a gate was found closed'),
              gate: Type.Optional(described(Gate, 'at this gate alone; default any')),
            }),
            { maxItems: 100 },
          ),
        ),
        acts: Type.Optional(
          Type.Array(
            closed({
              at: Time,
              do: oneOf(ACT_VERBS),
              by: By,
              reason: Type.Optional(Type.String({ minLength: 1, maxLength: 1_024 })),
              gate: Type.Optional(described(Gate, 'of an approve')),
              clusters: Type.Optional(described(Clusters, 'of a retry; all that failed where none are named')),
            }),
            { maxItems: 1_000 },
          ),
        ),
      }),
    ),
  },
  { description: 'what happens to a fleet while an image is rolled out, for skerry rollout simulate' },
)
export type Outages = Static<typeof Outages>
