import { type Static, Type } from 'typebox'
import { closed, oneOf, PublicJwk, Time } from '../words.ts'

/** A key and the interval in which it may sign. A retired key stays listed: it proves old documents, never a new one. */
export const HubKey = closed({ jwk: PublicJwk, notBefore: Time, notAfter: Type.Optional(Time) })
export type HubKey = Static<typeof HubKey>

const HubKeys = Type.Array(HubKey, { minItems: 1, maxItems: 16 })

/** TUF target `hub.json`, signed offline: which online keys, CA and addresses a site may believe. */
export const HubDescription = closed({
  kind: oneOf(['HubDescription']),
  keys: closed({ desiredState: HubKeys, ack: HubKeys, acceptance: HubKeys, result: Type.Optional(HubKeys) }),
  caPem: Type.String({ maxLength: 65_536 }),
  apiUrls: Type.Array(Type.String({ format: 'uri' }), { minItems: 1, maxItems: 8 }),
  natsUrls: Type.Array(Type.String({ format: 'uri' }), { minItems: 1, maxItems: 8 }),
})
export type HubDescription = Static<typeof HubDescription>

export const HUB_TARGET = 'hub.json'

/** What a hub tells its offline signers: `skerry-hub init` prints it, `skerry trust init` reads it. */
export const HubIntroduction = closed({
  kind: oneOf(['HubIntroduction']),
  hub: HubDescription,
  tuf: closed({ snapshot: PublicJwk, timestamp: PublicJwk }),
})
export type HubIntroduction = Static<typeof HubIntroduction>
