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
import { sinceLoss } from '@skerry/policy'
import { type AttestationResult, listResults } from './attestations.ts'
import { type ClosedGap, listClosedGaps } from './closed-gaps.ts'
import { confirmationsOf } from './confirmations.ts'
import { keyOf, listNodeStatuses } from './heads.ts'
import { refusesOrder } from './refused-orders.ts'
import { confirmedThere, newestStatements, type StoredStatement } from './statements.ts'
import type { Reader } from './store.ts'
import { shareTexts } from './texts.ts'

// What the nodes of the fleet last said, read together: their signed statements first, the unsigned-for-long-term status
// only for what is shown while it moves.

type Booted = Pick<EvidenceBody, 'imageSha256' | 'bootId'>
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
  /** What is lost of its chain below the watermark, in order, by its own word. */
  readonly closed: readonly ClosedGap[]
  /** Changes with everything below and with `status`: equal marks of a node tell of equal words. */
  readonly mark: string
  readonly transition: Said<TransitionBody> | undefined
  /**
   * What booted last, as its own evidence says: told before anything else in a boot, and again when a late quote comes.
   * Neither this nor `confirmed` is told of what it said below numbers that are lost.
   */
  readonly booted: Said<Booted> | undefined
  /** The image that the node last confirmed, and the boot that it proved it in: an earlier one when it runs it again. */
  readonly confirmed: Said<TransitionBody> | undefined
  /** The same of all that is here, whatever is lost above it: it activates those bytes no more, and goes to none below them. */
  readonly confirmedOnce: Said<TransitionBody> | undefined
  /**
   * Boots of the bytes in `confirmed` that it told of above this number came after they were confirmed: where that is only said
   * anew, it is where it was said first; or, where that is lost too, the end of the first loss below what is here.
   */
  readonly confirmedSince: number
  readonly failed: Said<TransitionBody> | undefined
  readonly accepted: Said<AcceptedBody> | undefined
  readonly refused: Said<RefusedBody> | undefined
  /** Attestation results of its newest boot, of the one it confirmed, and of a bad one since that, newest first. */
  readonly results: readonly AttestationResult[]
}

/** What nodes said as it was read before: a look then reads of those alone that said or were judged something since. */
type FleetMemory = {
  readonly nodes: Map<string, Remembered>
  readonly share: ReturnType<typeof shareTexts>
}
type Remembered = {
  readonly incarnation: number
  readonly revision: number
  readonly statusCounter: number
  readonly status: NodeStatus | undefined
  readonly said: NodeSaid
}
type NodeSaid = Pick<
  FleetNode,
  | 'mark'
  | 'newest'
  | 'closed'
  | 'transition'
  | 'booted'
  | 'confirmed'
  | 'confirmedOnce'
  | 'confirmedSince'
  | 'failed'
  | 'accepted'
  | 'refused'
  | 'results'
>

/** Nodes of which all that they said is in memory at a time, before what is known of them is kept. */
const AT_ONCE = 1_000

/** Every node that is or was accepted. With a memory, which it brings up to date, only news are read. */
export async function loadFleet(tx: Reader, memory = newMemory()): Promise<FleetNode[]> {
  return loadNodes(tx, memory, await listPulses(tx))
}

/** The same of the nodes of these clusters alone. */
export async function loadClusters(tx: Reader, clusters: readonly string[]): Promise<FleetNode[]> {
  return loadNodes(tx, newMemory(), await listPulses(tx, clusters))
}

async function loadNodes(tx: Reader, memory: FleetMemory, pulses: readonly Pulse[]): Promise<FleetNode[]> {
  const news = pulses.filter((node) => {
    const held = memory.nodes.get(keyOf(node))
    return (
      !held ||
      held.incarnation !== node.incarnation ||
      held.revision !== node.revision ||
      held.statusCounter !== node.statusCounter
    )
  })
  for (let from = 0; from < news.length; from += AT_ONCE) await remember(tx, memory, news.slice(from, from + AT_ONCE))
  if (memory.nodes.size > pulses.length) {
    const there = new Set(pulses.map(keyOf))
    for (const key of memory.nodes.keys()) if (!there.has(key)) memory.nodes.delete(key)
  }
  return pulses.map(({ revision: _, statusCounter: __, ...node }) => {
    const held = memory.nodes.get(keyOf(node))
    return { ...node, status: held?.status, ...(held?.said ?? NOTHING_SAID) }
  })
}

/** `loadFleet` with one memory for all who ask: one look at a time, each of which begins after it was asked for. */
export function openFleet(tx: Reader): () => Promise<FleetNode[]> {
  const memory = newMemory()
  let before: Promise<unknown> = Promise.resolve()
  return () => {
    const look = before.then(() => loadFleet(tx, memory))
    before = look.catch(() => undefined)
    return look
  }
}

function newMemory(): FleetMemory {
  return { nodes: new Map(), share: shareTexts() }
}

const NOTHING_SAID: NodeSaid = {
  mark: '',
  newest: undefined,
  closed: [],
  transition: undefined,
  booted: undefined,
  confirmed: undefined,
  confirmedOnce: undefined,
  confirmedSince: 0,
  failed: undefined,
  accepted: undefined,
  refused: undefined,
  results: [],
}

async function remember(tx: Reader, { nodes: memory, share }: FleetMemory, nodes: readonly Pulse[]): Promise<void> {
  const [statuses, statements, lost] = await Promise.all([
    listNodeStatuses(tx, nodes),
    newestStatements(tx, nodes),
    listClosedGaps(tx, nodes),
  ])
  const newestFirst = statements.map(toSaid).toSorted((a, b) => b.ref.seq - a.ref.seq)
  const mine = Map.groupBy(newestFirst, ({ ref }) => keyOf(ref))
  const present = new Map([...mine].map(([key, said]) => [key, presentOf(said, lost.get(key)?.at(-1)?.toSeq ?? 0)]))
  const since = await confirmedSince(
    tx,
    [...present.values()].flatMap(({ confirmed }) => confirmed ?? []),
  )
  const boots = [...present.values()].flatMap(({ confirmed }) => {
    if (!confirmed) return []
    const { bootId, imageSha256 } = confirmed.body
    if (bootId === undefined || imageSha256 === undefined) return []
    return [{ ...confirmed.ref, seq: since(confirmed), bootId, imageSha256 }]
  })
  const results = Map.groupBy(await listResults(tx, nodes, boots), keyOf)
  for (const node of nodes) {
    const key = keyOf(node)
    const said = mine.get(key) ?? []
    const confirmed = present.get(key)?.confirmed
    memory.set(key, {
      // What is remembered may be newer than this pulse, never older: then the next look reads it once more.
      incarnation: node.incarnation,
      revision: node.revision,
      statusCounter: node.statusCounter,
      status: share(statuses.get(key)),
      said: share({
        mark: `${node.incarnation}/${node.revision}/${node.statusCounter}`,
        newest: said[0]?.ref,
        closed: lost.get(key) ?? [],
        transition: newestOf<TransitionBody>(said, 'transition'),
        ...(present.get(key) ?? {
          booted: undefined,
          confirmed: undefined,
          confirmedOnce: undefined,
          failed: undefined,
        }),
        confirmedSince: confirmed ? since(confirmed) : 0,
        accepted: newestOf<AcceptedBody>(said, 'accepted'),
        refused: newestOf<RefusedBody>(said, 'refused', refusesOrder),
        results: (results.get(key) ?? []).toSorted((a, b) => b.incarnation - a.incarnation || b.seq - a.seq),
      }),
    })
  }
}

// What it runs, confirmed and failed with, as far as that is known.
function presentOf(said: readonly AnySaid[], lostUpTo: number) {
  const booted = newestOf<Booted>(said, 'evidence')
  const confirmedOnce = wentTo(said, 'Idle')
  const failed = wentTo(said, 'Failed')
  return { confirmedOnce, ...sinceLoss({ booted, confirmed: confirmedOnce, failed }, lostUpTo) }
}

// Only what comes from Confirming is confirmed in that step; of what is said anew, after a loss or a way back, more is read.
async function confirmedSince(
  tx: Reader,
  confirmed: readonly Said<TransitionBody>[],
): Promise<(one: Said<TransitionBody>) => number> {
  const anew = confirmed.filter(({ body }) => body.from !== 'Confirming' && body.bootId !== undefined)
  const of = await confirmationsOf(
    tx,
    anew.map(({ ref }) => ref),
    anew.flatMap(({ body }) => body.manifestSha256 ?? []),
  )
  const firsts = new Map(
    anew.map(({ body, ref }) => {
      const said = of(ref).confirmations.filter(({ manifestSha256 }) => manifestSha256 === body.manifestSha256)
      return [keyOf(ref), { ...ref, seq: Math.min(ref.seq, ...said.map(({ first }) => first)) }]
    }),
  )
  const fresh = await confirmedThere(tx, [...firsts.values()])
  return ({ body, ref }) => {
    const first = body.from !== 'Confirming' ? firsts.get(keyOf(ref))?.seq : undefined
    if (first === undefined) return ref.seq
    if (fresh.has(keyOf(ref))) return first
    // The first that is here says anew itself what is lost below it.
    return of(ref).lost.find(({ last }) => last < first)?.last ?? first
  }
}

type AnySaid = Said<unknown> & { readonly kind: StoredStatement['kind'] }

function toSaid({ kind, text, ref, receivedAt }: StoredStatement): AnySaid {
  // Judged against the statement's schema by ingest before it was stored.
  const { body } = JSON.parse(text) as { body: unknown }
  return { kind, body: kind === 'evidence' ? bootedOf(body as Booted) : body, ref, receivedAt }
}

// Evidence is long and stays where it is stored; what booted is kept.
function bootedOf({ imageSha256, bootId }: Booted): Booted {
  return { imageSha256, bootId }
}

function newestOf<Body>(
  said: readonly AnySaid[],
  kind: StoredStatement['kind'],
  holds?: (body: Body) => boolean,
): Said<Body> | undefined {
  return (said as readonly (AnySaid & Said<Body>)[]).find((one) => one.kind === kind && (!holds || holds(one.body)))
}

function wentTo(said: readonly AnySaid[], phase: NodePhase): Said<TransitionBody> | undefined {
  return newestOf<TransitionBody>(said, 'transition', ({ to }) => to === phase)
}

type Pulse = Pick<
  FleetNode,
  'cluster' | 'node' | 'class' | 'incarnation' | 'lastHeardAt' | 'watermark' | 'newestSeq'
> & { readonly revision: number; readonly statusCounter: number }

// One narrow row a node: what changes with every heartbeat, and by which numbers to tell whether anything else did.
async function listPulses(tx: Reader, clusters?: readonly string[]): Promise<Pulse[]> {
  const rows = await tx<
    {
      cluster: string
      node: string
      class: NodeClass
      incarnation: number
      current: boolean | null
      heard: number | null
      watermark: string | null
      seq: string | null
      counter: string | null
      revision: string | null
    }[]
  >`select i.cluster, i.node, i.class, i.incarnation, h.incarnation = i.incarnation as current,
      (extract(epoch from h.last_heard_at) * 1000)::float8 as heard, h.watermark, h.newest_seq as seq,
      h.status_counter as counter, h.revision
    from node_identity i left join cluster_head h on h.cluster = i.cluster and h.node = i.node
    where i.state <> 'Left' ${clusters ? tx`and i.cluster = any(${clusters}::text[])` : tx``} order by i.cluster, i.node`
  return rows.map(({ current, heard, watermark, seq, counter, revision, ...node }) => ({
    ...node,
    lastHeardAt: current && heard !== null ? new Date(heard) : undefined,
    watermark: current ? Number(watermark) : 0,
    newestSeq: current ? Number(seq) : 0,
    statusCounter: current ? Number(counter) : 0,
    revision: Number(revision ?? 0),
  }))
}

/**
 * The verdict that counts for a boot of an image in one life of the node. None where the evidence of that boot was of
 * another image, or where newer evidence of it was not judged yet or could not be: the previous verdict is not its.
 */
export function resultFor(
  { booted, results }: Pick<FleetNode, 'booted' | 'results'>,
  { bootId, imageSha256 }: Booted,
  { incarnation }: Pick<StatementRef, 'incarnation'>,
): AttestationResult | undefined {
  const found = results.find((one) => one.bootId === bootId && one.incarnation === incarnation)
  if (found?.imageSha256 !== imageSha256) return undefined
  const newer = booted?.body.bootId === bootId && booted.ref.incarnation === incarnation && booted.ref.seq > found.seq
  return newer ? undefined : found
}
