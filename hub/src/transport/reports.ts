import {
  BATCH_BYTES,
  type GapBody,
  type NodeStatus,
  type PublicJwk,
  parse,
  parseReportSubject,
  Refusal,
  Statement,
} from '@skerry/api'
import { confirmedManifest } from '@skerry/policy'
import {
  type BatchSeal,
  keyRing,
  openBatch,
  parseStrictText,
  sha256Hex,
  type VerifyKey,
  verifyDocument,
} from '@skerry/trust'
import type { HeardStatus } from '../store/heads.ts'
import { phaseOf } from '../store/refused-orders.ts'
import type { NewStatement } from '../store/statements.ts'
import type { Store } from '../store/store.ts'

// What a report must be before it is believed. The subject and the payload are claims; the key that verifies decides
// whose message it is.

export type KnownNode = {
  readonly cluster: string
  readonly node: string
  readonly incarnation: number
  readonly transcript: string
  readonly accepted: boolean
  readonly keys: ReadonlyMap<string, VerifyKey>
  readonly routingToken: string
}

/** The registered node of a name, from the one record; kept until `forget()`, which a change of identities calls. */
export function nodeDirectory(store: Store): {
  find(cluster: string, node: string): Promise<KnownNode | undefined>
  forget(): void
} {
  const known = new Map<string, KnownNode | undefined>()
  let age = 0
  return {
    async find(cluster, node) {
      const key = `${cluster}/${node}`
      if (known.has(key)) return known.get(key)
      const asked = age
      const [row] = await store.sql<
        { incarnation: number; transcript: string; state: string; node_key: PublicJwk; token: string }[]
      >`
        select i.incarnation, i.transcript, i.state, i.node_key, r.token from node_identity i join cluster_routing r on r.cluster = i.cluster where i.cluster = ${cluster} and i.node = ${node}`
      const found = row && {
        cluster,
        node,
        incarnation: row.incarnation,
        transcript: row.transcript,
        accepted: row.state === 'Accepted',
        keys: keyRing([row.node_key]),
        routingToken: row.token,
      }
      // A flood of made-up names must not fill the memory.
      if (known.size > 100_000) known.clear()
      // What was read before a change must not be kept after it.
      if (age === asked) known.set(key, found)
      return found
    },
    forget() {
      age += 1
      known.clear()
    },
  }
}

export type Directory = ReturnType<typeof nodeDirectory>

// The node that a report's subject names. Refusals WrongSender (no such node) and NotAllowed (not accepted).
async function senderOf(
  subject: string,
  directory: Directory,
): Promise<{ sender: KnownNode; kind: 'status' | 'statements' }> {
  const named = parseReportSubject(subject)
  if (!named) throw new Refusal('WrongSender', `"${subject}" is no report's subject`)
  const sender = await directory.find(named.cluster, named.node)
  if (!sender) throw new Refusal('WrongSender', `no node ${named.node} is registered in cluster ${named.cluster}`)
  if (!sender.accepted)
    throw new Refusal('NotAllowed', `node ${named.node} of cluster ${named.cluster} is not accepted`)
  return { sender, kind: named.kind }
}

/** What one message brought: a batch of statements or a status, judged by itself alone. */
export type Report = { readonly sender: KnownNode } & (
  | {
      readonly kind: 'statements'
      readonly statements: readonly [NewStatement, ...NewStatement[]]
      /** What the node signed beside their texts. */
      readonly seal: BatchSeal
    }
  | ({ readonly kind: 'status' } & HeardStatus)
)

/** Of a message that JetStream stored. `time`: when it did. */
export type StoredMessage = { readonly subject: string; readonly data: Uint8Array; readonly time: Date }

/** A message of REPORTS, believed as far as its own bytes go. Throws the Refusal. */
export async function readReport(message: StoredMessage, directory: Directory): Promise<Report> {
  const { sender, kind } = await senderOf(message.subject, directory)
  const { buffer, byteOffset, byteLength } = message.data
  const text = Buffer.from(buffer, byteOffset, byteLength).toString('latin1')
  if (kind === 'status') return { kind, sender, status: await readStatus(text, sender), heardAt: message.time }
  return { kind, sender, ...(await readBatch(text, sender)) }
}

// Signed by the sender's key, each statement read strictly, each following from the one before it.
async function readBatch(
  text: string,
  sender: KnownNode,
): Promise<{ statements: [NewStatement, ...NewStatement[]]; seal: BatchSeal }> {
  const { payload, seal } = await openBatch(text, sender.keys)
  belongsTo(payload, sender)
  const [first, ...more] = payload.statements
  if (first === undefined) throw new Refusal('InvalidField', 'a batch without a statement')
  const read: [NewStatement, ...NewStatement[]] = [readStatement(first, sender)]
  if (read[0].seq === 1 && read[0].prev !== sender.transcript)
    throw new Refusal('BrokenChain', 'statement 1 does not follow from the registration')
  let before = read[0]
  for (const line of more) {
    const statement = readStatement(line, sender)
    if (statement.seq !== before.seq + 1)
      throw new Refusal('BrokenChain', `statement ${statement.seq} stands after ${before.seq}`)
    if (statement.prev !== before.digest)
      throw new Refusal('BrokenChain', `statement ${statement.seq} does not follow from the one before it`)
    read.push(statement)
    before = statement
  }
  return { statements: read, seal }
}

function readStatement(line: string, sender: KnownNode): NewStatement {
  const statement = parse(Statement, parseStrictText(line, { maxBytes: BATCH_BYTES }), 'statement')
  belongsTo(statement, sender)
  if (statement.kind === 'gap') closesWhatIsBelow(statement.seq, statement.body)
  const { cluster, node, incarnation, seq, prev, kind } = statement
  const phase = phaseOf(statement)
  const confirms = confirmedManifest(statement)
  return { cluster, node, incarnation, seq, prev, kind, phase, confirms, digest: sha256Hex(line), text: line }
}

// A node can have lost only what it had said before.
function closesWhatIsBelow(seq: number, { fromSeq, toSeq }: GapBody): void {
  if (fromSeq <= toSeq && toSeq < seq) return
  throw new Refusal('InvalidField', `statement ${seq} closes ${fromSeq} to ${toSeq}, which is no stretch below it`, {
    field: 'body.toSeq',
  })
}

// The newest status of a node, signed by its key.
async function readStatus(text: string, sender: KnownNode): Promise<NodeStatus> {
  const { payload } = await verifyDocument('NodeStatus', text, sender.keys)
  belongsTo(payload, sender)
  return payload
}

/** A heartbeat, signed by the key of the node it names. */
export async function readHeartbeat(
  text: string,
  subject: string,
  directory: Directory,
): Promise<{ sender: KnownNode; seq: number }> {
  const [, cluster = '', node = ''] = subject.split('.')
  const sender = await directory.find(cluster, node)
  if (!sender?.accepted) throw new Refusal('WrongSender', `no accepted node ${cluster}/${node}`)
  const { payload } = await verifyDocument('Heartbeat', text, sender.keys)
  belongsTo(payload, sender)
  return { sender, seq: payload.seq }
}

function belongsTo(
  claimed: { cluster: string; node: string; incarnation: number },
  { cluster, node, incarnation }: KnownNode,
): void {
  if (claimed.cluster === cluster && claimed.node === node && claimed.incarnation === incarnation) return
  throw new Refusal(
    'WrongSender',
    `the document speaks for ${claimed.cluster}/${claimed.node} (${claimed.incarnation}), its key belongs to ${cluster}/${node} (${incarnation})`,
  )
}
