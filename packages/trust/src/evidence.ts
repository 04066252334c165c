import {
  BATCH_BYTES,
  type NodeEvidence,
  parse,
  Refusal,
  type RegistrationProof,
  STATEMENTS_PER_BATCH,
  Statement,
} from '@skerry/api'
import { sealedBatch } from './batches.ts'
import { evidenceNonce, sha256Hex } from './digest.ts'
import { verifyDocument } from './documents.ts'
import { keyRing, thumbprint, type VerifyKey } from './keys.ts'
import { parseStrictText } from './strict-json.ts'

// What one node signed in one life, read by somebody who believes nobody else: neither the hub that kept it nor whoever
// could write its database.

/** A statement of the chain, and whether a signature of the node's key reaches it. */
export type ReadStatement = {
  readonly statement: Statement
  readonly digest: string
  /** What evidence under this number has to hold. */
  readonly nonce: string
  /** `signed` in a batch of its own; `chained`: one that is reached follows from it; `not-kept`: by nothing. */
  readonly reached: 'signed' | 'chained' | 'not-kept'
}

export type ReadEvidence = {
  /** RFC 7638 thumbprint of the key that all of it is verified with. */
  readonly key: string
  /** Whether the key's own signature over its registration is there. Where it is and does not verify is a fault. */
  readonly registered: boolean
  /** What that signature is over, where it verifies: with a TPM, its first quote. */
  readonly proof?: RegistrationProof
  /** By number. Texts that are no statement of this node are not among them. */
  readonly statements: ReadonlyMap<number, ReadStatement>
  /** What is not as the node made it, a sentence each. */
  readonly faults: readonly string[]
}

/** Reads the evidence of one node's life: each text, each link, each signature. What is missing between is for the caller to judge. */
export async function readEvidence(evidence: NodeEvidence): Promise<ReadEvidence> {
  const faults: string[] = []
  const key = thumbprint(evidence.nodeKey)
  const keys = ring(evidence, faults)
  const texts = new Map(evidence.statements.map(({ seq, text }) => [seq, text]))
  if (texts.size < evidence.statements.length) faults.push('a number stands under two statements')
  const read = readTexts(evidence, faults)
  checkLinks(read, evidence.registration.transcript, faults)
  const signed = new Set<number>()
  for (const batch of evidence.batches) {
    const fault = await batchFault(batch, evidence, texts, keys)
    if (fault !== undefined) faults.push(fault)
    else for (let seq = batch.first; seq <= batch.last; seq += 1) signed.add(seq)
  }
  const { proof } = evidence.registration
  const proven = proof === undefined ? undefined : await readProof(proof, evidence, keys)
  if (typeof proven === 'string') faults.push(proven)
  return {
    key,
    registered: proof !== undefined,
    ...(typeof proven === 'object' ? { proof: proven } : {}),
    statements: reach(read, signed),
    faults,
  }
}

function ring({ nodeKey }: NodeEvidence, faults: string[]): ReadonlyMap<string, VerifyKey> {
  try {
    return keyRing([nodeKey])
  } catch (error) {
    faults.push(`the node's key is none: ${reasonOf(error)}`)
    return new Map()
  }
}

type Read = Pick<ReadStatement, 'statement' | 'digest'>

function readTexts({ cluster, node, incarnation, statements }: NodeEvidence, faults: string[]): Map<number, Read> {
  const read = new Map<number, Read>()
  for (const { seq, text } of statements) {
    try {
      const statement = parse(Statement, parseStrictText(text, { maxBytes: BATCH_BYTES }), 'statement')
      if (statement.cluster !== cluster || statement.node !== node || statement.incarnation !== incarnation)
        faults.push(
          `the text under number ${seq} speaks for ${statement.cluster}/${statement.node} (${statement.incarnation}), and stands under ${cluster}/${node} (${incarnation})`,
        )
      else if (statement.seq !== seq)
        faults.push(`the text under number ${seq} calls itself statement ${statement.seq}`)
      else read.set(seq, { statement, digest: sha256Hex(text) })
    } catch (error) {
      faults.push(`the text under number ${seq} is no statement: ${reasonOf(error)}`)
    }
  }
  return read
}

function checkLinks(read: ReadonlyMap<number, Read>, transcript: string, faults: string[]): void {
  for (const [seq, { statement }] of read) {
    const before = seq === 1 ? transcript : read.get(seq - 1)?.digest
    if (before === undefined || before === statement.prev) continue
    faults.push(
      seq === 1
        ? 'statement 1 does not follow from the registration'
        : `statement ${seq} does not follow from statement ${seq - 1} as it stands here: one of them is not what the node made`,
    )
  }
}

async function batchFault(
  { first, last, ...seal }: NodeEvidence['batches'][number],
  of: NodeEvidence,
  texts: ReadonlyMap<number, string>,
  keys: ReadonlyMap<string, VerifyKey>,
): Promise<string | undefined> {
  const what = first === last ? `statement ${first}` : `statements ${first} to ${last}`
  const count = last - first + 1
  if (count < 1 || count > STATEMENTS_PER_BATCH) return `the signature over ${what} is that of no batch`
  const mine = Array.from({ length: count }, (_, place) => texts.get(first + place))
  const missing = mine.indexOf(undefined)
  if (missing !== -1) return `${what} were signed together, and ${first + missing} is missing`
  const statements = mine.filter((text) => text !== undefined)
  try {
    const { payload } = await verifyDocument('StatementBatch', sealedBatch(seal, of, statements), keys)
    if (payload.cluster !== of.cluster || payload.node !== of.node || payload.incarnation !== of.incarnation)
      return `the batch of ${what} speaks for ${payload.cluster}/${payload.node} (${payload.incarnation})`
    const other = payload.statements.findIndex((text, place) => text !== statements[place])
    if (payload.statements.length !== count || other !== -1)
      return `what the node signed as ${what} is not what stands here`
    return undefined
  } catch (error) {
    if (isRefusal(error, 'BadSignature'))
      return `the signature over ${what} does not verify: a text among them is not what the node signed`
    if (isRefusal(error, 'UnknownKey'))
      return `${what}: ${reasonOf(error)}; the node's key is ${thumbprint(of.nodeKey)}`
    return `the batch of ${what} is none: ${reasonOf(error)}`
  }
}

/** What the proof says, or why it does not hold. */
async function readProof(
  proof: string,
  { registration, nodeKey }: NodeEvidence,
  keys: ReadonlyMap<string, VerifyKey>,
): Promise<RegistrationProof | string> {
  try {
    const { payload } = await verifyDocument('RegistrationProof', proof, keys)
    if (payload.transcript !== registration.transcript)
      return 'the proof of registration covers another exchange than the one the chain begins with'
    return payload
  } catch (error) {
    const why = isRefusal(error, 'UnknownKey') ? `; the node's key is ${thumbprint(nodeKey)}` : ''
    return `the proof of registration does not hold: ${reasonOf(error)}${why}`
  }
}

// From the newest down: who signs a statement signs the digest of the one before it.
function reach(read: ReadonlyMap<number, Read>, signed: ReadonlySet<number>): Map<number, ReadStatement> {
  const reached = new Map<number, ReadStatement>()
  for (const seq of [...read.keys()].toSorted((a, b) => b - a)) {
    const one = read.get(seq)
    if (!one) continue
    const { statement, digest } = one
    const above = reached.get(seq + 1)
    const chained = above !== undefined && above.reached !== 'not-kept' && above.statement.prev === digest
    reached.set(seq, {
      statement,
      digest,
      nonce: evidenceNonce(statement.marker, seq, statement.prev),
      reached: signed.has(seq) ? 'signed' : chained ? 'chained' : 'not-kept',
    })
  }
  return reached
}

function isRefusal(error: unknown, code: Refusal['code']): boolean {
  return error instanceof Refusal && error.code === code
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
