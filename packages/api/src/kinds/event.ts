import { type Static, Type } from 'typebox'
import { closed, oneOf, Time } from '../words.ts'

/** Something that happened, in a sentence. Append-only and bounded in age; the durable record is the statement or audit row it names. */
export const EventSpec = closed({
  type: oneOf(['Normal', 'Warning']),
  reason: Type.String({ maxLength: 128, description: 'UpperCamel' }),
  message: Type.String({ maxLength: 4096 }),
  component: Type.String({ description: 'the controller or role that saw it' }),
  regarding: closed({ kind: Type.String(), namespace: Type.Optional(Type.String()), name: Type.String() }),
  eventTime: Time,
})
export type EventSpec = Static<typeof EventSpec>
