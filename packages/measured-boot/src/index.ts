export { BANKS, type Bank, type BankName, bankOf, digest, extend, extended, isTrusted, TRUSTED_BANKS } from './banks.ts'
export { MALFORMED, Malformed, type MalformedCode } from './bytes.ts'
export type { Coverage } from './event-log/coverage.ts'
export { bankToJudge, type Measured, type Measurement, measuredIn } from './event-log/measured.ts'
export { type EventLog, LOG_LIMITS, type LogEvent, parseEventLog } from './event-log/parse.ts'
export { type PcrValues, replay } from './event-log/replay.ts'
export { assembleUki } from './uki/assemble.ts'
export { authenticodeDigest } from './uki/authenticode.ts'
export {
  type Certificate,
  type ImageSignature,
  imageSignatures,
  SIGNATURE_VERDICTS,
  type SignatureVerdict,
} from './uki/image-signature.ts'
export { type Pe, type PeSection, parsePe } from './uki/pe.ts'
