import { createHash } from 'node:crypto'
import { type AttestationResult, DOCUMENTS, EAR_PROFILE, type EvidenceBody, type StatementRef } from '@skerry/api'
import type { Appraisal } from './appraise.ts'
import { listed } from './findings.ts'

/** Which rules judged. It changes whenever `appraise()` may give another verdict on the same evidence and references. */
const APPRAISAL_POLICY = 'skerry-appraisal-7'

/** EAR's `ear.appraisal-policy-id`: the rules and the signed files that a verdict rests on, as hex SHA-256. */
export function appraisalPolicyId(used: {
  readonly manifestSha256: string | undefined
  readonly profileSha256: string | undefined
}): string {
  const named = [APPRAISAL_POLICY, used.manifestSha256 ?? '', used.profileSha256 ?? '']
  return createHash('sha256').update(named.join('\n')).digest('hex')
}

/** An appraisal as it is signed: an EAR with one submodule, the node. */
export function attestationResult(
  { verdict, vector, bank, findings }: Appraisal,
  {
    evidence,
    statement,
    policyId,
    nowMs,
  }: { evidence: EvidenceBody; statement: StatementRef; policyId: string; nowMs: number },
): AttestationResult {
  const { cluster, node, incarnation, seq, digest } = statement
  const document = (shown: typeof findings): AttestationResult => ({
    kind: 'AttestationResult',
    eat_profile: EAR_PROFILE,
    iat: Math.floor(nowMs / 1000),
    'ear.verifier-id': { developer: 'skerry.dev', build: APPRAISAL_POLICY },
    eat_nonce: evidence.nonce,
    submods: {
      [`${cluster}/${node}`]: {
        'ear.status': verdict,
        'ear.trustworthiness-vector': vector,
        'ear.appraisal-policy-id': policyId,
        'skerry.statement': { incarnation, seq, digest },
        'skerry.boot': { bootId: evidence.bootId, imageSha256: evidence.imageSha256 },
        ...(bank === undefined ? {} : { 'skerry.bank': bank }),
        'skerry.findings': [...shown],
      },
    },
  })
  // The verdict is never lost to a log with too much to say: the last findings are, and how many is said.
  let shown = findings
  while (shown.length > 1 && lengthOf(document(shown)) > DOCUMENTS.AttestationResult.maxBytes)
    shown = listed(findings, shown.length - 1)
  return document(shown)
}

function lengthOf(document: AttestationResult): number {
  return Buffer.byteLength(JSON.stringify(document))
}
