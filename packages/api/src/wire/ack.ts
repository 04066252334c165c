import { type Static, Type } from 'typebox'
import { Count, closed, integer, Jws, Label, oneOf, Time } from '../words.ts'

/** The hub's clock, signed once a minute: a statement that holds its digest was made after it. A JWS of its own. */
export const EpochMarker = closed({ kind: oneOf(['EpochMarker']), number: integer({ minimum: 1 }), time: Time })
export type EpochMarker = Static<typeof EpochMarker>

/** `ack.<cluster>.<node>`: what Postgres has committed. The outbox is trimmed by this and by nothing else. */
export const Ack = closed({
  kind: oneOf(['Ack']),
  cluster: Label,
  node: Label,
  incarnation: integer({ minimum: 1 }),
  watermark: Type.Unsafe<number>({
    ...Count,
    description: 'highest seq without a gap below it but those that the node closed itself',
  }),
  marker: Type.Unsafe<string>({ ...Jws, description: 'the newest epoch marker, a JWS' }),
})
export type Ack = Static<typeof Ack>
