import type { EvidenceBody, Verdict } from '@skerry/api'

/** An attestation result of one boot: the verdict, its reason (UpperCamel) and a sentence. */
export type Appraisal = { readonly verdict: Verdict; readonly reason: string; readonly message: string }

/**
 * Judges the evidence of one boot. `nonce` is what the evidence must hold: the hash of (marker, seq, prev) of its own
 * statement. A node whose key is a file is never better than warning: nothing measured this boot.
 */
export function appraise(evidence: EvidenceBody, expected: { readonly nonce: string }): Appraisal {
  if (evidence.nonce !== expected.nonce) {
    return {
      verdict: 'contraindicated',
      reason: 'NonceMismatch',
      message: 'the evidence was not made for this statement',
    }
  }
  if (evidence.class === 'software-key') {
    return {
      verdict: 'warning',
      reason: 'SoftwareKey',
      message: "the node's key is a file and nothing measured this boot: the image is the node's own word",
    }
  }
  return { verdict: 'none', reason: 'NoQuote', message: 'class tpm, but the evidence holds no quote' }
}

const ORDER: Record<Verdict, number> = { affirming: 0, warning: 1, contraindicated: 2, none: 3 }

/** Whether a verdict is at least as good as the one asked for. `none` is never good enough. */
export function asGoodAs(verdict: Verdict, wanted: 'affirming' | 'warning'): boolean {
  return ORDER[verdict] <= ORDER[wanted]
}
