// In the order of the specifications. A name stands here because another package uses it, or because it is a
// structure, a check or a prediction of the specification over it that has no other way out of this package.

// TCG Algorithm Registry: the banks in which everything below is measured, and the one error of everything that reads bytes.

export { type Bank, digest } from './banks.ts'
export { Malformed } from './bytes.ts'

// TPM 2.0 Part 2, structures: what a TPM says and signs, as values; a key is known by its name, an error by its code.

export { type Certify, type ClockInfo, parseCertify, parseQuote, type Quote } from './tpm/attest.ts'
export { CURVES, type EccArea, nameOf, type PublicArea, parsePublic, writePublic } from './tpm/public-area.ts'
export { publicKeyOf } from './tpm/public-key.ts'
export { type ResponseCode, type ResponseCodeName, responseCodeText } from './tpm/response-codes.ts'
export { type PcrSelection, writeSelection } from './tpm/selection.ts'
export { parseSignature, type Signature, verifyBy } from './tpm/signature.ts'

// TPM 2.0 Part 3, commands: bytes to send and answers read, for whoever holds the device; a namespace, for its verbs are TPM2_'s.

export * as command from './tpm/commands.ts'

// TPM 2.0 Part 1, 24, and the TCG EK Credential Profile: how a hub without a TPM comes to believe in somebody else's.

export { type Credential, type CredentialRandomness, makeCredential } from './tpm/credential.ts'
export { checkEkCertificate } from './tpm/ek-certificate.ts'
export { certificatesIn, chainFrom, EK_CHAIN_INDEXES } from './tpm/ek-chain.ts'
export { EK_TEMPLATES, type EkTemplateName } from './tpm/ek-templates.ts'

// TPM 2.0 Part 1, attestation: whether a quote is a TPM's, over these PCRs, for this nonce.

export { akFaults } from './tpm/ak.ts'
export { type CheckedQuote, checkQuote, QUOTE_CHECKS } from './tpm/quote.ts'

// TCG PC Client Platform Firmware Profile, event logging: a log is a claim; what follows from its digests is apart from what is told.

export { describeLog } from './event-log/describe.ts'
export { type ApplicationFact, type Facts, factsOf, isEmptyBank } from './event-log/facts.ts'
export { grammarOf } from './event-log/grammar.ts'
export { type Measured, measuredIn } from './event-log/measured.ts'
export { type EventLog, type LogEvent, parseEventLog } from './event-log/parse.ts'
export { replay } from './event-log/replay.ts'

// TCG Canonical Event Log, as systemd writes it: what userspace extended after the firmware's log had ended.

export {
  type MeasurementRecord,
  parseMeasurementLog,
  recordFindings,
  replayRecords,
} from './event-log/measurement-log.ts'

// Microsoft PE Format and Authenticode: what the firmware hashes of an image, and who signed it.

export { authenticodeDigest } from './uki/authenticode.ts'
export { type Certificate, imageSignatures } from './uki/image-signature.ts'
export { type Pe, type PeSection, parsePe } from './uki/pe.ts'

// UEFI 32.4 and 32.5, Secure Boot: whether a firmware with these lists starts an image, by which entry, and PCR 7.

export {
  authorityOf,
  predictPcr7,
  REFUSALS,
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

// UAPI.5, unified kernel images: sections, taken apart and put together, and what a reviewer should see of them.

export { assembleUki } from './uki/assemble.ts'
export { findings, type UkiFinding } from './uki/findings.ts'
export { parseUki, type Uki } from './uki/sections.ts'
export type { UkiSectionName } from './uki-sections.ts'

// systemd-boot, systemd-stub and Linux: what a machine that boots these files measures into PCR 4, 9, 11 and 12.

export { type BootBlock, describeBoot } from './uki/boot-block.ts'
export {
  digestBootLoader,
  digestUki,
  predictPcr4,
  predictPcr9,
  predictPcr11,
  predictPcr12,
  type UkiDigests,
} from './uki/predict.ts'
