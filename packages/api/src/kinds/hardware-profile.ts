import { type Static, Type } from 'typebox'
import { HardwareProfile } from '../wire/hardware-profile.ts'
import { closed, Sha256 } from '../words.ts'

// What the object's own places say: its kind and its name.
const { kind: _, name: __, ...profile } = HardwareProfile.properties

/** A view of one signed hardware profile in the TUF repository. Written by the hub's TUF door alone. */
export const HardwareProfileSpec = closed({
  target: Type.String({ description: 'path of the TUF target, hardware/<name>.json' }),
  profileSha256: Sha256,
  signers: Type.Array(Type.String(), { description: 'TUF key ids whose signatures over targets.json verified' }),
  ...profile,
})
export type HardwareProfileSpec = Static<typeof HardwareProfileSpec>
