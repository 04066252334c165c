import type { Signature } from '@skerry/measured-boot'
import { TpmError } from './errors.ts'

const COORDINATE = 32

/** RFC 7518, 3.4: r and s of a P-256 signature, 32 bytes each. TPMs may leave leading zeros out. */
export function es256Of(signature: Signature): Uint8Array {
  const isP256 =
    signature.algorithm === 'ecdsa' && [signature.r, signature.s].every(({ length }) => length <= COORDINATE)
  if (!isP256) throw new TpmError('NotUnderstood', 'TPM2_Sign', `it is no P-256 signature but ${signature.algorithm}`)
  const both = new Uint8Array(2 * COORDINATE)
  both.set(signature.r, COORDINATE - signature.r.length)
  both.set(signature.s, 2 * COORDINATE - signature.s.length)
  return both
}
