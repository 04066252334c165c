import type { TSchema } from 'typebox'
import { DOCUMENTS } from './documents.ts'
import { RolloutAct } from './kinds/rollout-act.ts'
import { KINDS, objectSchema } from './kinds.ts'
import { ComplianceReport } from './report.ts'
import { HardwareProfile } from './wire/hardware-profile.ts'
import { HubDescription, HubIntroduction } from './wire/hub-description.ts'
import { OSImageManifest } from './wire/manifest.ts'
import { RegistrationAnswer, RegistrationChallenge, SiteBundle } from './wire/registration.ts'
import { Statement } from './wire/statement.ts'

// What travels without a JWS of its own: inside another document, as a TUF target, as an HTTPS body or by hand.
const PLAIN = {
  OSImageManifest,
  // The signed file; the kind of this name is the hub's view of it.
  HardwareProfileTarget: HardwareProfile,
  HubDescription,
  HubIntroduction,
  Statement,
  RegistrationChallenge,
  RegistrationAnswer,
  SiteBundle,
  ComplianceReport,
  RolloutAct,
}

/** Every schema of this package as JSON Schema (draft 2020-12), by name: for other languages and charts. `npm run schemas`. */
export function jsonSchemas(): Record<string, object> {
  const named: (readonly [string, TSchema])[] = [
    ...KINDS.map((row) => [row.kind, objectSchema(row.kind)] as const),
    ...Object.entries(DOCUMENTS).map(([name, { schema }]) => [name, schema] as const),
    ...Object.entries(PLAIN),
  ]
  return Object.fromEntries(
    named.map(([name, schema]) => [
      name,
      {
        $schema: 'https://json-schema.org/draft/2020-12/schema',
        $id: `https://skerry.dev/schemas/${name}.json`,
        ...schema,
      },
    ]),
  )
}
