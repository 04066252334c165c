export { BANKS, type Bank, type BankName, bankOf, digest, extend, extended, isTrusted, TRUSTED_BANKS } from './banks.ts'
export { MALFORMED, Malformed, type MalformedCode } from './bytes.ts'
export type { Coverage } from './event-log/coverage.ts'
export { type DescribedEvent, type DescribedLog, describeLog } from './event-log/describe.ts'
export {
  type ApplicationFact,
  type AuthorityFact,
  type BootFact,
  type CommandLineFact,
  type Fact,
  type Facts,
  factsOf,
  isEmptyBank,
  type Rests,
  type SectionFact,
  type VariableFact,
} from './event-log/facts.ts'
export { FINDINGS, type Finding, type FindingCode } from './event-log/findings.ts'
export { grammarOf } from './event-log/grammar.ts'
export { bankToJudge, type Measured, type Measurement, measuredIn } from './event-log/measured.ts'
export {
  type MeasurementRecord,
  parseMeasurementLog,
  provenWords,
  RECORD_FINDINGS,
  type RecordFinding,
  recordFindings,
  replayRecords,
} from './event-log/measurement-log.ts'
export { type EventLog, LOG_LIMITS, type LogEvent, parseEventLog } from './event-log/parse.ts'
export { type PcrValues, replay } from './event-log/replay.ts'
export { AK_FAULTS, type AkFaultCode, akFaults } from './tpm/ak.ts'
export { type Ak, readAk } from './tpm/ak-signer.ts'
export { type Attest, type Certify, type ClockInfo, parseCertify, parseQuote, type Quote } from './tpm/attest.ts'
export { OBJECT_ATTRIBUTES, type ObjectAttribute } from './tpm/attributes.ts'
export * as command from './tpm/commands.ts'
export { type Credential, type CredentialRandomness, makeCredential } from './tpm/credential.ts'
export {
  checkEkCertificate,
  EK_CERTIFICATE_FAULTS,
  type EkCertificateFault,
  type EkCertificateFaultCode,
  type EkCertificateToCheck,
} from './tpm/ek-certificate.ts'
export { certificatesIn, chainFrom, EK_CHAIN_INDEXES } from './tpm/ek-chain.ts'
export { EK_TEMPLATES, type EkTemplateName } from './tpm/ek-templates.ts'
export {
  type AesBits,
  CURVES,
  type Curve,
  type EccArea,
  type EccScheme,
  type KeyDerivation,
  nameOf,
  type PublicArea,
  parsePublic,
  parsePublicArea,
  type RsaArea,
  type RsaBits,
  type RsaScheme,
  type Scheme,
  writePublic,
  writePublicArea,
} from './tpm/public-area.ts'
export { pemOf, publicKeyOf } from './tpm/public-key.ts'
export {
  type CheckedQuote,
  checkQuote,
  QUOTE_CHECKS,
  QUOTE_FAULTS,
  type QuoteCheck,
  type QuoteCheckName,
  type QuoteFault,
  type QuoteFaultCode,
  type QuoteToCheck,
} from './tpm/quote.ts'
export { type ResponseCode, type ResponseCodeName, responseCode, responseCodeText } from './tpm/response-codes.ts'
export { type BankId, type PcrSelection, parseSelection, readSelection, writeSelection } from './tpm/selection.ts'
export {
  parseSignature,
  SIGNATURE_FAULTS,
  type Signature,
  type SignatureFault,
  type SignatureFaultCode,
  verifyBy,
} from './tpm/signature.ts'
export type { Fault } from './tpm/wire.ts'
export { assembleUki } from './uki/assemble.ts'
export { authenticodeDigest } from './uki/authenticode.ts'
export { type BootBlock, type BootFiles, describeBoot, type PredictedPcrs } from './uki/boot-block.ts'
export { findings, UKI_FINDINGS, type UkiFinding, type UkiFindingCode } from './uki/findings.ts'
export {
  type Certificate,
  type ImageSignature,
  imageSignatures,
  SIGNATURE_VERDICTS,
  type SignatureVerdict,
} from './uki/image-signature.ts'
export {
  type JudgedPcrSignature,
  judgePcrSignatures,
  PCR_SIGNATURE_VERDICTS,
  type PcrSignatureVerdict,
} from './uki/pcrsig.ts'
export { type Pe, type PeSection, parsePe } from './uki/pe.ts'
export {
  digestBootLoader,
  digestUki,
  PHASES,
  predictPcr4,
  predictPcr9,
  predictPcr11,
  predictPcr12,
  type UkiDigests,
} from './uki/predict.ts'
export { type CommandLine, parseUki, type Uki, type UkiSectionName } from './uki/sections.ts'
export {
  type Authority,
  authorityOf,
  NOTHING_ENROLLED,
  predictPcr7,
  REFUSALS,
  type Refusal,
  type SecureBootVariables,
  type SignedImage,
  signedImageOf,
} from './uki/secure-boot.ts'
export {
  encodeSignatureLists,
  parseSignatureLists,
  type SignatureEntry,
  type SignatureList,
  signatureData,
} from './uki/signature-list.ts'
