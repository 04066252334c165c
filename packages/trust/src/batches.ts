import type { StatementBatch } from '@skerry/api'
import { openDocument } from './documents.ts'
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
): Promise<{ readonly payload: StatementBatch; readonly seal: BatchSeal }> {
  const { payload, plain, bytes } = await openDocument('StatementBatch', text, keys)
  const [header = '', , signature = ''] = text.split('.')
  if (plain && Object.keys(payload).join() === PLAIN_ORDER) return { payload, seal: { header, signature } }
  const signed = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8')
  const same = plainPayload(payload, payload.statements) === signed
  return { payload, seal: same ? { header, signature } : { header, signature, payload: signed } }
}

/** The JWS again, from its seal and the exact texts of its statements. */
export function sealedBatch(seal: BatchSeal, of: BatchOf, statements: readonly string[]): string {
  const payload = seal.payload ?? plainPayload(of, statements)
  return `${seal.header}.${Buffer.from(payload, 'utf8').toString('base64url')}.${seal.signature}`
}

const PLAIN_ORDER = 'kind,cluster,node,incarnation,statements'

// The spelling that our agents sign: the members in the order above, nothing between them.
function plainPayload({ cluster, node, incarnation }: BatchOf, statements: readonly string[]): string {
  return JSON.stringify({ kind: 'StatementBatch', cluster, node, incarnation, statements })
}
