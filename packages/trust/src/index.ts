export { type BatchOf, type BatchSeal, openBatch, sealedBatch } from './batches.ts'
export { evidenceNonce, sha256Hex, transcriptDigest } from './digest.ts'
export { signBytes, signDocument, type Verified, verifyDocument, verifySelfSigned } from './documents.ts'
export { type ReadEvidence, type ReadStatement, readEvidence } from './evidence.ts'
export {
  countedTime,
  createKey,
  type DocumentSigner,
  keyPem,
  keyRing,
  keysInForce,
  openKeyFile,
  parseKey,
  type Signer,
  thumbprint,
  type VerifyKey,
  verifyKey,
  writeSecret,
} from './keys.ts'
export { readReferences } from './references.ts'
export {
  hubTarget,
  initSigningFolder,
  openSigningFolder,
  type Release,
  type SigningFolder,
  signerKeyFile,
} from './signing/folder.ts'
export { parseStrictJson, parseStrictText } from './strict-json.ts'
export { openTrust, type Source, type Trust, type Versions } from './tuf/client.ts'
export { MAX_BYTES, type Role, readRoot, readTargets, signMetadata, tufKey } from './tuf/metadata.ts'
export {
  type JudgedTargets,
  judgeRoot,
  judgeTargets,
  makeOnline,
  makeRoot,
  makeTargets,
  makeTimestamp,
  readManifest,
  rootThumbprint,
  type TargetBytes,
} from './tuf/repository.ts'
