import type {
  AcceptedBody,
  EvidenceBody,
  NodeClass,
  NodePhase,
  NodeStatus,
  RefusedBody,
  StatementRef,
  TransitionBody,
} from '@skerry/api'
import { type AttestationResult, listResults } from './attestations.ts'
import { keyOf, listHeads } from './heads.ts'
import { listIdentities } from './registrations.ts'
import { newestStatements, type StoredStatement } from './statements.ts'
import type { Reader } from './store.ts'

// What the nodes of the fleet last said, read together: their signed statements first, the unsigned-for-long-term status
// only for what is shown while it moves.

type Said<Body> = { readonly body: Body; readonly ref: StatementRef; readonly receivedAt: Date }

export type FleetNode = {
  readonly cluster: string
  readonly node: string
  readonly class: NodeClass
  readonly incarnation: number
  readonly lastHeardAt: Date | undefined
  readonly watermark: number
  readonly newestSeq: number
  readonly status: NodeStatus | undefined
  readonly newest: StatementRef | undefined
  readonly transition: Said<TransitionBody> | undefined
  /** What booted last, as its own evidence says: told once a boot, before anything else in it. */
  readonly booted: Said<EvidenceBody> | undefined
  /** The image that the node last confirmed, and the boot that it proved it in: an earlier one when it runs it again. */
  readonly confirmed: Said<TransitionBody> | undefined
  readonly failed: Said<TransitionBody> | undefined
  readonly accepted: Said<AcceptedBody> | undefined
  readonly refused: Said<RefusedBody> | undefined
  /** Attestation results of its newest boot and of the one it confirmed, newest first. */
  readonly results: readonly AttestationResult[]
}

/** Every node that is or was accepted. */
export async function loadFleet(tx: Reader): Promise<FleetNode[]> {
  const [identities, heads, statements] = await Promise.all([listIdentities(tx), listHeads(tx), newestStatements(tx)])
  const confirmed = statements.filter(
    (statement) => statement.kind === 'transition' && bodyOf<TransitionBody>(statement).to === 'Idle',
  )
  const results = await listResults(
    tx,
    confirmed.flatMap(({ ref: { cluster, node }, text }) => {
      const { bootId } = bodyOf<TransitionBody>({ text })
      return bootId === undefined ? [] : [{ cluster, node, bootId }]
    }),
  )
  const headOf = new Map(heads.map((head) => [keyOf(head), head]))
  const said = group(statements, ({ ref }) => keyOf(ref))
  const judged = group(results, (result) => keyOf(result))
  return identities
    .filter(({ state }) => state !== 'Left')
    .map((identity) => {
      const key = keyOf(identity)
      const head = headOf.get(key)
      const mine = (said.get(key) ?? []).toSorted((a, b) => b.ref.seq - a.ref.seq)
      const newestOf = <Body>(
        kind: StoredStatement['kind'],
        holds?: (body: Body) => boolean,
      ): Said<Body> | undefined => {
        const found = mine.find((statement) => statement.kind === kind && (!holds || holds(bodyOf<Body>(statement))))
        return found && { body: bodyOf<Body>(found), ref: found.ref, receivedAt: found.receivedAt }
      }
      const wentTo = (phase: NodePhase) => newestOf<TransitionBody>('transition', ({ to }) => to === phase)
      const current = head?.incarnation === identity.incarnation ? head : undefined
      return {
        cluster: identity.cluster,
        node: identity.node,
        class: identity.class,
        incarnation: identity.incarnation,
        lastHeardAt: head?.lastHeardAt,
        watermark: current?.watermark ?? 0,
        newestSeq: current?.newestSeq ?? 0,
        status: current?.status,
        newest: mine[0]?.ref,
        transition: newestOf<TransitionBody>('transition'),
        booted: newestOf<EvidenceBody>('evidence'),
        confirmed: wentTo('Idle'),
        failed: wentTo('Failed'),
        accepted: newestOf<AcceptedBody>('accepted'),
        refused: newestOf<RefusedBody>('refused', (body) => body.position !== undefined),
        results: (judged.get(key) ?? []).toSorted((a, b) => b.incarnation - a.incarnation || b.seq - a.seq),
      }
    })
}

function bodyOf<Body>({ text }: Pick<StoredStatement, 'text'>): Body {
  // Judged against the statement's schema by ingest before it was stored.
  return (JSON.parse(text) as { body: Body }).body
}

function group<T>(items: readonly T[], of: (item: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>()
  for (const item of items) {
    const key = of(item)
    const held = groups.get(key)
    if (held) held.push(item)
    else groups.set(key, [item])
  }
  return groups
}
