import type { Claim, ComplianceReport, NodeClass, Reachability, StatementRef, Verdict } from '@skerry/api'
import { firstOf } from '../words.ts'

// What can be claimed of a fleet, and on what each claim rests. Missing is never a pass.

type Result = Claim['result']

export type NodeInventory = {
  readonly node: string
  readonly class: NodeClass
  /** The life that all of this is of. */
  readonly incarnation: number
  readonly hardwareId?: string
  readonly lastHeardAt?: string
  /** The boot that runs now: what the node's newest evidence names. */
  readonly running?: { readonly imageSha256: string; readonly bootId: string; readonly statement: StatementRef }
  /** The image that was last found good, and the boot in which it was: not always the one that runs. */
  readonly confirmed?: { readonly imageSha256: string; readonly bootId: string; readonly statement: StatementRef }
  readonly failure?: {
    readonly imageSha256: string
    readonly outcome: string
    readonly reason: string
    readonly statement: StatementRef
  }
  /** Of the boot that `bootId` names, which counts for that boot alone. */
  readonly verdict?: {
    readonly bootId: string
    readonly verdict: Verdict
    readonly reason: string
    readonly statement: StatementRef
  }
  readonly watermark: number
  readonly newestSeq: number
  /** What is lost up to the watermark, in order: the node has closed it by statements of its own. */
  readonly closed?: readonly Closed[]
  readonly newest?: StatementRef
}

/** Numbers that the hub does not have and the node has no more, by the gap statement that says so. */
export type Closed = {
  readonly fromSeq: number
  readonly toSeq: number
  readonly reason: string
  readonly statement: StatementRef
}

export type ClusterInventory = {
  readonly cluster: string
  readonly reachability: Reachability
  readonly assigned?: { readonly image: string; readonly imageSha256: string; readonly rollout: string }
  readonly nodes: readonly NodeInventory[]
}

export type Assessment = Pick<ComplianceReport, 'asOf' | 'totals' | 'clusters'>

/** Assesses every cluster of the inventory, in name order. The same inventory and time give the same bytes. */
export function assess(inventory: readonly ClusterInventory[], nowMs: number): Assessment {
  const clusters = inventory
    .toSorted((a, b) => (a.cluster < b.cluster ? -1 : 1))
    .map((cluster) => {
      const nodes = cluster.nodes
        .toSorted((a, b) => (a.node < b.node ? -1 : 1))
        .map((node) => {
          const limited = limitation(node.class)
          return {
            node: node.node,
            class: node.class,
            ...(limited === undefined ? {} : { limitation: limited }),
            hubSays: hubSays(node),
            claims: claimsOf(cluster, node),
          }
        })
      return {
        cluster: cluster.cluster,
        reachability: cluster.reachability,
        result: worst(nodes.flatMap(({ claims }) => claims.map(({ result }) => result))),
        ...(cluster.assigned ? { assigned: cluster.assigned } : {}),
        nodes,
      }
    })
  const totals = { pass: 0, fail: 0, 'not-assessed': 0 }
  for (const { result } of clusters) totals[result] += 1
  return { asOf: new Date(nowMs).toISOString(), totals, clusters }
}

/** What the statements of a node of this class cannot prove. */
export function limitation(kind: NodeClass): string | undefined {
  return kind === 'software-key'
    ? "the node's key is a file: its statements prove who holds the file, not what the machine booted"
    : undefined
}

// What the claims rest on beside statements, so that whoever checks them can make them again.
function hubSays({ incarnation, hardwareId, lastHeardAt, watermark, newestSeq, closed, verdict }: NodeInventory) {
  return {
    incarnation,
    ...(hardwareId === undefined ? {} : { hardwareId }),
    ...(lastHeardAt === undefined ? {} : { lastHeardAt }),
    watermark,
    newestSeq,
    ...(closed?.length
      ? { closed: closed.map(({ fromSeq, toSeq, reason, statement: { seq } }) => ({ fromSeq, toSeq, seq, reason })) }
      : {}),
    ...(verdict
      ? {
          verdict: {
            seq: verdict.statement.seq,
            bootId: verdict.bootId,
            verdict: verdict.verdict,
            reason: verdict.reason,
          },
        }
      : {}),
  }
}

function claimsOf(cluster: ClusterInventory, node: NodeInventory): Claim[] {
  const newest = node.newest ? [node.newest] : []
  const heard = node.newest !== undefined && cluster.reachability !== 'NeverSeen'
  const current = heard && cluster.reachability !== 'Stale'
  return [
    {
      claim: 'HeardFrom',
      result: current ? 'pass' : 'not-assessed',
      message: heard
        ? `last heard from at ${node.lastHeardAt ?? 'an unknown time'}; ${cluster.reachability}`
        : 'was never heard from',
      statements: newest,
    },
    runs(cluster, node, current),
    attested(node, current),
    chain(node, heard, current),
  ]
}

function chain(
  { running, watermark, newestSeq, closed = [], newest }: NodeInventory,
  heard: boolean,
  current: boolean,
): Claim {
  const claim = 'ChainComplete'
  const statements = refs(running?.statement, newest, ...closed.map(({ statement }) => statement))
  if (!heard) return { claim, result: 'not-assessed', message: 'no statement was received', statements }
  const lost = closed.length === 0 ? 'without a gap' : `but for ${lostWords(closed)}`
  const message = `statements 1 to ${watermark} ${lost}; the newest is ${newestSeq}`
  // A gap is a gap, however old; that there is none can only be said of a node that still speaks, and of the boot it spoke of.
  if (watermark !== newestSeq) return { claim, result: 'fail', message, statements }
  // The node's word says why numbers are missing, and not what they said.
  if (closed.length > 0) return { claim, result: 'not-assessed', message, statements }
  if (!running)
    return {
      claim,
      result: 'not-assessed',
      message: `${message}; none of them names the boot that runs`,
      statements,
    }
  return { claim, result: current ? 'pass' : 'not-assessed', message, statements }
}

/** Stretches that a sentence names. */
const MOST_NAMED = 3

/** Which numbers are lost, and by which statement the node says so. */
export function lostWords(
  closed: readonly (Omit<Closed, 'statement'> & { readonly statement: { readonly seq: number } })[],
): string {
  const named = closed.map(
    ({ fromSeq, toSeq, reason, statement: { seq } }) =>
      `${fromSeq === toSeq ? fromSeq : `${fromSeq} to ${toSeq}`} (${reason}, statement ${seq})`,
  )
  return `${firstOf(named, MOST_NAMED)}, lost by the node's own word`
}

function runs({ assigned }: ClusterInventory, node: NodeInventory, current: boolean): Claim {
  const claim = 'RunsAssignedImage'
  const { running, confirmed, failure } = node
  const statements = refs(running?.statement, confirmed?.statement, failure?.statement)
  if (!assigned) return { claim, result: 'not-assessed', message: 'no image is assigned to this cluster', statements }
  const provenSince = confirmed?.imageSha256 === failure?.imageSha256 && isLater(confirmed, failure)
  if (failure && failure.imageSha256 === assigned.imageSha256 && !provenSince)
    return {
      claim,
      result: 'fail',
      message: `${assigned.image} ended in ${failure.outcome}: ${failure.reason}`,
      statements: refs(running?.statement, failure.statement),
    }
  if (!running || !current)
    return {
      claim,
      result: 'not-assessed',
      message: `no current statement says what runs here; ${assigned.image} is assigned`,
      statements,
    }
  if (running.imageSha256 !== assigned.imageSha256)
    return {
      claim,
      result: 'fail',
      message: `boot ${running.bootId} runs other bytes (${running.imageSha256.slice(0, 12)}) than ${assigned.image}`,
      statements: [running.statement],
    }
  if (confirmed?.imageSha256 !== running.imageSha256)
    return {
      claim,
      result: 'not-assessed',
      message: `boot ${running.bootId} runs ${assigned.image} and has not confirmed it`,
      statements: [running.statement],
    }
  return {
    claim,
    result: 'pass',
    message:
      confirmed.bootId === running.bootId
        ? `confirmed ${assigned.image} in boot ${running.bootId}`
        : `boot ${running.bootId} runs ${assigned.image}, which was confirmed in boot ${confirmed.bootId}`,
    statements: refs(running.statement, confirmed.statement),
  }
}

function attested({ running, verdict }: NodeInventory, current: boolean): Claim {
  const claim = 'BootAttested'
  // A verdict on another boot than the one that runs says nothing about it.
  if (!current || !running || verdict?.bootId !== running.bootId)
    return {
      claim,
      result: 'not-assessed',
      message: running
        ? `the running boot ${running.bootId} has no attestation result that still counts`
        : 'no statement says which boot runs',
      statements: refs(running?.statement),
    }
  // A warning proves nothing about the boot: it is no fault, and no pass either.
  const result =
    verdict.verdict === 'affirming' ? 'pass' : verdict.verdict === 'contraindicated' ? 'fail' : 'not-assessed'
  return {
    claim,
    result,
    message: `${verdict.verdict} (${verdict.reason}) for boot ${verdict.bootId}`,
    statements: [verdict.statement],
  }
}

function refs(...given: readonly (StatementRef | undefined)[]): StatementRef[] {
  const found = given.filter((ref) => ref !== undefined)
  return found.filter((ref, at) => found.findIndex(({ digest }) => digest === ref.digest) === at)
}

type Stated = { readonly statement: StatementRef } | undefined

function isLater(a: Stated, b: Stated): boolean {
  if (!a || !b) return false
  return (a.statement.incarnation - b.statement.incarnation || a.statement.seq - b.statement.seq) > 0
}

function worst(results: readonly Result[]): Result {
  if (results.includes('fail')) return 'fail'
  return results.length === 0 || results.includes('not-assessed') ? 'not-assessed' : 'pass'
}
