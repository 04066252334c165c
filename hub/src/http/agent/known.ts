import { Refusal } from '@skerry/api'
import { verifySelfSigned } from '@skerry/trust'
import { loadExchange } from '../../store/exchanges.ts'
import type { Store } from '../../store/store.ts'
import { claimsOf, knownNodes } from './entry.ts'

// Who calls, asked when the caller's address has nothing left: what the hub knows has a purse of its own, named here.

const ID = /^[0-9a-f]{64}$/

/** The purse of an exchange that is stored, one for each kind of call. Whoever was never here cannot name one. */
export async function exchangePurse({ sql }: Store, document: string, id: string): Promise<string | undefined> {
  return ID.test(id) && (await loadExchange(sql, id)) ? `${document} ${id}` : undefined
}

/** The purse of a node whose key a record holds. The signature is verified first: naming the key is not having it. */
export async function keyPurse({ sql }: Store, text: string): Promise<string | undefined> {
  try {
    const { thumbprint } = claimsOf(text)
    // By the key alone: a TPM is public, and naming it is not having it.
    if (!(await knownNodes(sql, [{ thumbprint, tpm: undefined }])).has(thumbprint)) return undefined
    await verifySelfSigned(text)
    return `key ${thumbprint}`
  } catch (error) {
    if (error instanceof Refusal) return undefined
    throw error
  }
}

/** Who sent a request, for people to read: by the name that it gives itself, of which nothing is verified. */
export function callerOf(text: string, ip: string): string {
  try {
    const { nodeName } = claimsOf(text)
    return nodeName === undefined ? `a node at ${ip}` : `a node that calls itself ${nodeName}, at ${ip},`
  } catch (error) {
    if (error instanceof Refusal) return `a node at ${ip}`
    throw error
  }
}

/** Who sent what belongs to an exchange, for people to read. */
export async function exchangeCaller({ sql }: Store, id: string, ip: string): Promise<string> {
  const exchange = ID.test(id) ? await loadExchange(sql, id) : undefined
  return exchange ? `node ${exchange.node} of cluster ${exchange.cluster}, at ${ip},` : `a node at ${ip}`
}
