import { type PublicJwk, parse, parseReportSubject, Refusal, Statement } from '@skerry/api'
import { keyRing, parseStrictJson, sha256Hex, type VerifyKey, verifyDocument } from '@skerry/trust'
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

/** The registered node of a name, from the one record; kept for a few seconds, dropped when identities change. */
export function nodeDirectory(store: Store): {
  find(cluster: string, node: string): Promise<KnownNode | undefined>
  forget(): void
} {
  const known = new Map<string, KnownNode | undefined>()
  return {
    async find(cluster, node) {
      const key = `${cluster}/${node}`
      if (known.has(key)) return known.get(key)
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
      known.set(key, found)
      return found
    },
    forget: () => known.clear(),
  }
}

export type Directory = ReturnType<typeof nodeDirectory>

/** The node that a report's subject names. Refusals WrongSender (no such node) and NotAllowed (not accepted). */
export async function senderOf(
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

/** The statements of a batch: signed by the sender's key, each one read strictly, each following from the one before it. */
export async function readBatch(text: string, sender: KnownNode): Promise<NewStatement[]> {
  const { payload } = await verifyDocument('StatementBatch', text, sender.keys)
  belongsTo(payload, sender)
  let previous: { seq: number; digest: string } | undefined
  return payload.statements.map((line) => {
    const statement = parse(Statement, parseStrictJson(Buffer.from(line), { maxBytes: 196_608 }), 'statement')
    belongsTo(statement, sender)
    const expected = statement.seq === 1 ? sender.transcript : previous?.digest
    if (previous && statement.seq !== previous.seq + 1)
      throw new Refusal('BrokenChain', `statement ${statement.seq} stands after ${previous.seq}`)
    if (expected !== undefined && statement.prev !== expected)
      throw new Refusal('BrokenChain', `statement ${statement.seq} does not follow from the one before it`)
    const digest = sha256Hex(line)
    previous = { seq: statement.seq, digest }
    const { cluster, node, incarnation, seq, kind } = statement
    return { cluster, node, incarnation, seq, kind, digest, text: line }
  })
}

/** The newest status of a node, signed by its key. */
export async function readStatus(text: string, sender: KnownNode) {
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
