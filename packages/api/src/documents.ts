import type { Static, TSchema } from 'typebox'
import { Ack, EpochMarker } from './wire/ack.ts'
import { AttestationResult } from './wire/attestation.ts'
import { DesiredState } from './wire/desired-state.ts'
import { Acceptance, RegistrationProof, RegistrationRequest } from './wire/registration.ts'
import { StatementBatch } from './wire/statement.ts'
import { Heartbeat, NodeStatus } from './wire/status.ts'

// Every JWS document: its `typ`, its schema and the most bytes its payload may have. `typ` keeps a signature over one
// kind of document from being used for another.

export const DOCUMENTS = {
  DesiredState: { typ: 'application/vnd.skerry.desired-state+jws', schema: DesiredState, maxBytes: 65_536 },
  Ack: { typ: 'application/vnd.skerry.ack+jws', schema: Ack, maxBytes: 8_192 },
  EpochMarker: { typ: 'application/vnd.skerry.epoch-marker+jws', schema: EpochMarker, maxBytes: 1_024 },
  Acceptance: { typ: 'application/vnd.skerry.acceptance+jws', schema: Acceptance, maxBytes: 8_192 },
  StatementBatch: { typ: 'application/vnd.skerry.statements+jws', schema: StatementBatch, maxBytes: 262_144 },
  NodeStatus: { typ: 'application/vnd.skerry.status+jws', schema: NodeStatus, maxBytes: 65_536 },
  Heartbeat: { typ: 'application/vnd.skerry.heartbeat+jws', schema: Heartbeat, maxBytes: 1_024 },
  RegistrationRequest: {
    typ: 'application/vnd.skerry.registration-request+jws',
    schema: RegistrationRequest,
    maxBytes: 65_536,
  },
  RegistrationProof: {
    typ: 'application/vnd.skerry.registration-proof+jws',
    schema: RegistrationProof,
    maxBytes: 196_608,
  },
  AttestationResult: {
    typ: 'application/vnd.skerry.attestation-result+jws',
    schema: AttestationResult,
    maxBytes: 65_536,
  },
} as const satisfies Record<string, { typ: string; schema: TSchema; maxBytes: number }>

export type DocumentKind = keyof typeof DOCUMENTS
export type DocumentOf<K extends DocumentKind> = Static<(typeof DOCUMENTS)[K]['schema']>
