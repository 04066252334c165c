import type { Claim, ComplianceReport } from '@skerry/api'
import { counted } from '../words.ts'
import { type JudgedAgain, judgeAgain, type SignedFiles } from './again.ts'
import { assess, limitation, type NodeInventory } from './assess.ts'
import { closedBy, gaps, type Proven, type ProvenStatement } from './chain.ts'
import { factsOf } from './facts.ts'
import { unjudgedOf, verdictFaults, verdictOf } from './verdict.ts'

// Whether a report follows from what the nodes signed. Every claim is made again from the statements alone; what no
// statement can show is taken from the report and said to be the hub's word.

/**
 * `verified`: it follows from statements of the node's key. `not-assessed`: nothing was claimed, and nothing is there;
 * there is evidence that the hub had not judged; or that it judged by what the report does not carry.
 */
type CheckedClaim = {
  readonly cluster: string
  readonly node: string
  readonly claim: Claim['claim'] | ''
  readonly result: Claim['result']
  /** How the key is known to be the node's: `pinned` by whoever checks, or on the hub's word. */
  readonly key: 'pinned' | 'hub' | ''
  readonly outcome: 'verified' | 'not-verified' | 'not-assessed'
  readonly reason: string
}

export type CheckedReport = {
  readonly claims: readonly CheckedClaim[]
  /** Every fault, a sentence each, with its place. Empty when the report holds. */
  readonly faults: readonly string[]
}

export type { SignedFiles } from './again.ts'

type Cluster = ComplianceReport['clusters'][number]
type Node = Cluster['nodes'][number]

/**
 * Checks a report against evidence, by `cluster/node/incarnation`, and keys that are known to be these nodes', by
 * `cluster/node`. With `signed`, which the caller verified by a root of his own, boots with a TPM are judged again.
 */
export function checkReport(
  report: ComplianceReport,
  evidence: ReadonlyMap<string, Proven>,
  pins: ReadonlyMap<string, string>,
  signed?: SignedFiles,
): CheckedReport {
  const again = signed && judgeAgain(report, evidence, signed)
  const faults = new Set<string>()
  const checked = report.clusters.map((cluster) => ({
    cluster,
    nodes: cluster.nodes.map((node) => checkNode(cluster, node, evidence, pins, again)),
  }))
  const made = assess(
    checked.map(({ cluster, nodes }) => ({
      cluster: cluster.cluster,
      reachability: cluster.reachability,
      ...(cluster.assigned ? { assigned: cluster.assigned } : {}),
      nodes: nodes.map(({ inventory }) => inventory),
    })),
    Date.parse(report.asOf),
  )
  const madeOf = new Map(made.clusters.map((one) => [one.cluster, one]))
  const claims = checked.flatMap(({ cluster, nodes }): CheckedClaim[] => {
    const made = madeOf.get(cluster.cluster)
    if (made && made.result !== cluster.result)
      faults.add(`${cluster.cluster}: its claims make it ${made.result}, the report says ${cluster.result}`)
    if (nodes.length === 0) {
      const nobody = { cluster: cluster.cluster, node: '', claim: '', key: '' } as const
      return [{ ...nobody, result: cluster.result, outcome: 'not-assessed', reason: 'no node is registered' }]
    }
    return nodes.flatMap((found) => {
      const { node } = found
      const where = `${cluster.cluster}/${node.node}`
      for (const fault of found.faults) faults.add(`${where}: ${fault}`)
      const due = made?.nodes.find((one) => one.node === node.node)?.claims ?? []
      const names = new Set([...due, ...node.claims].map(({ claim }) => claim))
      return [...names].map((name): CheckedClaim => {
        const said = node.claims.find(({ claim }) => claim === name)
        const id = {
          cluster: cluster.cluster,
          node: node.node,
          claim: name,
          key: found.pinned ? 'pinned' : 'hub',
        } as const
        if (!said) {
          const reason = `the report does not make the claim ${name}`
          faults.add(`${where}: ${reason}`)
          return { ...id, result: 'not-assessed', outcome: 'not-verified', reason }
        }
        const judged = judge(
          said,
          due.find(({ claim }) => claim === name),
          found,
        )
        if (judged.outcome === 'not-verified') faults.add(`${where}: ${name}: ${judged.reason}`)
        return { ...id, result: said.result, ...judged }
      })
    })
  })
  for (const result of ['pass', 'fail', 'not-assessed'] as const)
    if (report.totals[result] !== made.totals[result])
      faults.add(
        `${counted(made.totals[result], 'cluster is', 'clusters are')} ${result}, the report counts ${report.totals[result]}`,
      )
  const told = new Set(claims.map(({ cluster, node }) => `${cluster}/${node}`))
  for (const pinned of pins.keys()) if (!told.has(pinned)) faults.add(`${pinned}: the report has no such node`)
  const listed = new Set(
    report.clusters.flatMap(({ cluster, nodes }) =>
      nodes.map(({ node, hubSays }) => `${cluster}/${node}/${hubSays.incarnation}`),
    ),
  )
  for (const place of evidence.keys())
    if (!listed.has(place)) faults.add(`${place}: the file holds evidence of it, and the report does not list it`)
  for (const place of twice(report)) faults.add(`${place}: stands twice in the report`)
  return { claims, faults: [...faults] }
}

// Two entries of one name would be counted twice, and only one of them be looked up; of a claim's, only one be checked.
function twice({ clusters }: ComplianceReport): string[] {
  const seen = new Set<string>()
  const places = clusters.flatMap(({ cluster, nodes }) => [
    cluster,
    ...nodes.flatMap(({ node, claims }) => [
      `${cluster}/${node}`,
      ...claims.map(({ claim }) => `${cluster}/${node}/${claim}`),
    ]),
  ])
  return places.filter((place) => seen.size === seen.add(place).size)
}

type Found = {
  readonly node: Node
  readonly reachability: Cluster['reachability']
  readonly pinned: boolean
  readonly inventory: NodeInventory
  readonly proven: Proven | undefined
  /** Why the running boot has no result, where there is evidence of it. */
  readonly unjudged: string | undefined
  /** Why its verdict is the hub's word, where it rests on what nobody here held the evidence against. */
  readonly byHub: string | undefined
  /** Whether its verdict was made again from what people signed. */
  readonly again: boolean
  readonly faults: readonly string[]
}

function checkNode(
  { cluster, reachability }: Cluster,
  node: Node,
  evidence: ReadonlyMap<string, Proven>,
  pins: ReadonlyMap<string, string>,
  again: JudgedAgain | undefined,
): Found {
  const { incarnation, hardwareId, lastHeardAt, watermark, newestSeq, verdict, closed: said = [] } = node.hubSays
  const proven = evidence.get(`${cluster}/${node.node}/${incarnation}`)
  const faults = [...(proven?.faults ?? [])]
  const pin = pins.get(`${cluster}/${node.node}`)
  if (pin !== undefined && proven && proven.key !== pin)
    faults.push(`its statements stand under the key ${proven.key}; the node's key, as --key says, is ${pin}`)
  if (pin !== undefined && !proven) faults.push('the file holds no key of it to compare with --key')
  const statements = proven?.statements ?? new Map<number, ProvenStatement>()
  const { closed, faults: unclosed } = closedBy(said, statements, watermark)
  faults.push(...unclosed, ...gaps(statements, closed, watermark, newestSeq))
  const facts = factsOf(statements.values(), closed.at(-1)?.toSeq)
  const running = facts.running && statements.get(facts.running.statement.seq)
  const boot = running?.statement
  if (boot?.kind === 'evidence' && boot.body.class !== node.class)
    faults.push(`its evidence says class ${boot.body.class}, the report says ${node.class}`)
  const limited = limitation(node.class)
  if (node.limitation !== limited)
    faults.push(
      `its class ${node.class} has ${limited === undefined ? 'no limitation' : `the limitation "${limited}"`}; the report ${node.limitation === undefined ? 'leaves it out' : `says "${node.limitation}"`}`,
    )
  const ask = (one: ProvenStatement) =>
    verdictOf(one, node.class, verdict, proven && again && (() => again(cluster, node, proven, one)))
  const found = running && ask(running)
  const due = found?.due
  const unjudged = due && unjudgedOf(verdict, due)
  // Where the running boot has none, the one that is told of an older boot has to be true of that one.
  const other = verdict && statements.get(verdict.seq)
  const judged = unjudged === undefined ? due : other && ask(other)?.due
  faults.push(...verdictFaults(verdict, judged, statements))
  return {
    node,
    reachability,
    pinned: pin !== undefined && proven?.key === pin,
    proven,
    unjudged,
    byHub: found?.byHub,
    again: found?.again === true,
    faults,
    inventory: {
      node: node.node,
      class: node.class,
      incarnation,
      ...(hardwareId === undefined ? {} : { hardwareId }),
      ...(lastHeardAt === undefined ? {} : { lastHeardAt }),
      watermark,
      newestSeq,
      ...(closed.length > 0 ? { closed } : {}),
      ...facts,
      ...(due && unjudged === undefined ? { verdict: due } : {}),
    },
  }
}

function judge(
  said: Claim,
  due: Claim | undefined,
  { proven, unjudged, byHub, again, faults, reachability, inventory }: Found,
): Pick<CheckedClaim, 'outcome' | 'reason'> {
  const no = (reason: string) => ({ outcome: 'not-verified', reason }) as const
  const [fault, ...more] = faults
  if (fault !== undefined) return no(more.length > 0 ? `${fault} (and ${more.length} more)` : fault)
  if (!due) return no('nothing makes this claim')
  for (const ref of said.statements) {
    const held = proven?.statements.get(ref.seq)
    if (!held) return no(`statement ${ref.seq}, which it rests on, is not in the file`)
    if (held.digest !== ref.digest)
      return no(`statement ${ref.seq} has the digest ${held.digest}, the claim names ${ref.digest}`)
  }
  if (textOf(said) !== textOf(due))
    return no(
      `from the statements follows "${due.result}: ${due.message}", the report says "${said.result}: ${said.message}"`,
    )
  const [first] = said.statements
  if (!first) return { outcome: 'not-assessed', reason: said.message }
  if (said.claim === 'BootAttested' && unjudged !== undefined) return { outcome: 'not-assessed', reason: unjudged }
  const unsigned = said.statements.find(({ seq }) => proven?.statements.get(seq)?.reached === 'not-kept')
  if (unsigned)
    return no(`signature not kept: statement ${unsigned.seq} came before signatures were, and none reaches it`)
  if (said.claim === 'BootAttested' && byHub !== undefined && said.result !== 'not-assessed')
    return {
      outcome: 'not-assessed',
      reason: `its quote is authentic, answers this statement and explains its event log; ${byHub}`,
    }
  return { outcome: 'verified', reason: wordOf(said, reachability, again, inventory.closed !== undefined) }
}

// What of a claim no statement can show is said beside it.
function wordOf(
  { claim, result }: Claim,
  reachability: Cluster['reachability'],
  again: boolean,
  lost: boolean,
): string {
  if (claim === 'HeardFrom') return 'signed by the node; when it was heard is the hub’s word'
  if (claim === 'RunsAssignedImage') return 'signed by the node; which image was assigned is the hub’s word'
  if (claim === 'BootAttested')
    return reachability === 'Stale' || reachability === 'NeverSeen'
      ? 'signed by the node; that it is too long ago to count is the hub’s word'
      : again
        ? 'judged again from its evidence by what people signed; that it is this hardware is the hub’s word'
        : 'signed by the node, and judged again from its evidence'
  if (result === 'fail') return 'signed by the node; that more is missing is the hub’s word'
  return lost
    ? 'signed by the node, which says itself that it has these no more; that the hub lacks them is the hub’s word'
    : 'signed by the node; every statement up to the newest is here'
}

function textOf({ claim, result, message, statements }: Claim): string {
  return JSON.stringify([
    claim,
    result,
    message,
    statements.map(({ cluster, node, incarnation, seq, digest }) => [cluster, node, incarnation, seq, digest]),
  ])
}
