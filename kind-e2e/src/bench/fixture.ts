import type { EvidenceBody } from '@skerry/api'
import type { TpmReference } from '@skerry/policy'
import { evidenceOf, makeTpm, referenceOf } from '@skerry/policy/testing'
import { sha256Hex } from '@skerry/trust'

export type Boot = { readonly evidence: EvidenceBody; readonly nonce: string; readonly tpm: TpmReference }

/** Boots of so many machines, each with a key of its own: a real log, quoted anew for each. */
export function recordedBoots(count: number): Boot[] {
  return Array.from({ length: count }, (_, index) => {
    const key = makeTpm()
    const nonce = sha256Hex(`boot ${index}`)
    const boot = index % 2 === 0 ? 'secure-boot-off' : 'secure-boot-on'
    return { evidence: evidenceOf(key, boot, { nonce }), nonce, tpm: referenceOf(key, boot) }
  })
}
