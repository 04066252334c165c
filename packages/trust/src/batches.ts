import type { StatementBatch } from '@skerry/api'
import { type Verified, verifyDocument } from './documents.ts'
import type { VerifyKey } from './keys.ts'

// A batch of statements and its signature, apart and together again. Whoever keeps the texts of the statements keeps with
// the seal all that makes the signed document once more, byte for byte, and no text twice.

/** What a signed batch is beside the texts in it. */
export type BatchSeal = {
  /** Header and signature as they stand in the JWS, base64url. */
  readonly header: string
  readonly signature: string
  /** The payload, where its JSON is another spelling than the plain one. */
  readonly payload?: string
}

/** Whose statements a batch holds. */
export type BatchOf = Pick<StatementBatch, 'cluster' | 'node' | 'incarnation'>

/** A batch that one of `keys` signed, with its seal. Refusals as `verifyDocument`. */
export async function openBatch(
  text: string,
  keys: ReadonlyMap<string, VerifyKey>,
): Promise<Verified<'StatementBatch'> & { readonly seal: BatchSeal }> {
  const verified = await verifyDocument('StatementBatch', text, keys)
  const { payload, bytes } = verified
  const [header = '', , signature = ''] = text.split('.')
  const signed = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8')
  const plain = plainPayload(payload, payload.statements) === signed
  return { ...verified, seal: plain ? { header, signature } : { header, signature, payload: signed } }
}

/** The JWS again, from its seal and the exact texts of its statements. */
export function sealedBatch(seal: BatchSeal, of: BatchOf, statements: readonly string[]): string {
  const payload = seal.payload ?? plainPayload(of, statements)
  return `${seal.header}.${Buffer.from(payload, 'utf8').toString('base64url')}.${seal.signature}`
}

// The spelling that our agents sign: these members in this order, nothing between them.
function plainPayload({ cluster, node, incarnation }: BatchOf, statements: readonly string[]): string {
  return JSON.stringify({ kind: 'StatementBatch', cluster, node, incarnation, statements })
}
