import { Readable } from 'node:stream'
import { type ComplianceReport, kindRow, type SignedReferences } from '@skerry/api'
import { assess, type ClusterInventory, type ReachabilityLimits, reachability, shapeFacts } from '@skerry/policy'
import type { FastifyInstance } from 'fastify'
import { listAssignments } from '../store/assignments.ts'
import { loadFleet, resultFor } from '../store/fleet.ts'
import { keyOf } from '../store/heads.ts'
import { hardwareIds } from '../store/profiles.ts'
import { listObjects } from '../store/resources.ts'
import { type Run, runsAbove } from '../store/statements.ts'
import { read, type Store } from '../store/store.ts'
import { makeGate } from './gate.ts'
import { goneSignal } from './gone.ts'
import { flag, type Query } from './query.ts'
import { evidenceJson } from './report-evidence.ts'
import { type Measured, signedReferences } from './report-references.ts'
import { LARGE_ANSWER_MS } from './server.ts'
import { StatusError } from './status-error.ts'

// A read that no single object answers: policy's judgement over rows, made when it is asked for.

export type ReportOptions = {
  readonly store: Store
  readonly now: () => number
  readonly reachability: ReachabilityLimits
}

export function reportRoutes(app: FastifyInstance, options: ReportOptions): void {
  const ours = kindRow('Rollout')
  const reports = makeGate('reports')
  app.get<{ Querystring: Query }>(
    `/apis/${ours.group}/${ours.version}/report`,
    { config: { access: { verb: 'get', resource: `report.${ours.group}` } }, handlerTimeout: LARGE_ANSWER_MS },
    async ({ query }, reply) => {
      const found = await reports(() => report(options, clustersOf(query)), goneSignal(reply))
      if (!flag(query, 'evidence')) return found.report
      return reply.type('application/json').send(Readable.from(withEvidence(options.store, found)))
    },
  )
}

function clustersOf(query: Query): ReadonlySet<string> | undefined {
  const asked = query['cluster']
  return asked === undefined ? undefined : new Set([asked].flat())
}

// The report, and then node by node what its claims rest on: a fleet's chains are more than memory is for.
async function* withEvidence({ sql }: Store, { report, above, references }: Made): AsyncGenerator<string> {
  yield `${JSON.stringify(report).slice(0, -1)},"evidence":[`
  let separator = ''
  for (const { cluster, nodes } of report.clusters)
    for (const { node, hubSays } of nodes) {
      const pieces = evidenceJson(sql, { cluster, node, ...hubSays, above: above.get(keyOf({ cluster, node })) ?? [] })
      const { value, done } = await pieces.next()
      if (done) continue
      yield separator + value
      yield* pieces
      separator = ','
    }
  yield `]${references ? `,"references":${JSON.stringify(references)}` : ''}}`
}

/** A report, which statements were stored above watermarks in its moment, by `cluster/node`, and what was signed then. */
type Made = {
  readonly report: ComplianceReport
  readonly above: ReadonlyMap<string, readonly Run[]>
  readonly references: SignedReferences | undefined
}

async function report(
  { store, now, reachability: limits }: ReportOptions,
  only: ReadonlySet<string> | undefined,
): Promise<Made> {
  const nowMs = now()
  // One moment of the database: a claim and the statement it rests on are of the same.
  const [all, { fleet, above }, assignments, images, hardware, references] = await read(store, async (tx) => {
    const [clusters, nodes, assigned, signed, ids] = await Promise.all([
      listObjects(tx, 'ManagedCluster'),
      loadFleet(tx).then(async (found) => ({ fleet: found, above: await runsAbove(tx, found) })),
      listAssignments(tx),
      listObjects(tx, 'OSImage'),
      hardwareIds(tx),
    ])
    const measured = measuredBy(nodes.fleet, ids, only)
    return [clusters, nodes, assigned, signed, ids, await signedReferences(tx, signed, measured)] as const
  })
  const known = new Set(all.map(({ metadata }) => metadata.name))
  for (const name of only ?? [])
    if (!known.has(name))
      throw new StatusError(404, `managedclusters.cluster.open-cluster-management.io "${name}" not found`)
  const clusters = only ? all.filter(({ metadata }) => only.has(metadata.name)) : all
  const nodesOf = Map.groupBy(fleet, ({ cluster }) => cluster)
  const assigned = new Map(assignments.map((assignment) => [assignment.cluster, assignment]))
  const imageNames = new Map(images.map((image) => [image.spec.manifestSha256, image.metadata.name]))
  const inventory: ClusterInventory[] = clusters.map(({ metadata: { name } }) => {
    const nodes = nodesOf.get(name) ?? []
    const heard = nodes.map(({ lastHeardAt }) => lastHeardAt?.getTime()).filter((at) => at !== undefined) as number[]
    const assignment = assigned.get(name)
    return {
      cluster: name,
      reachability: reachability(heard.length > 0 ? Math.max(...heard) : undefined, limits, nowMs).state,
      ...(assignment
        ? {
            assigned: {
              image: imageNames.get(assignment.manifestSha256) ?? assignment.target,
              imageSha256: assignment.imageSha256,
              rollout: `${assignment.rolloutNamespace}/${assignment.rolloutName}`,
            },
          }
        : {}),
      nodes: nodes.map((node) => {
        const { booted } = node
        // What was judged in an earlier life of the node was another chain's evidence.
        const result = booted && resultFor(node, booted.body, node)
        return {
          node: node.node,
          class: node.class,
          incarnation: node.incarnation,
          ...hardwareOf(node, hardware),
          ...(node.lastHeardAt ? { lastHeardAt: node.lastHeardAt.toISOString() } : {}),
          ...shapeFacts(node),
          ...(result
            ? {
                verdict: {
                  bootId: result.bootId,
                  verdict: result.verdict,
                  reason: result.reason,
                  statement: {
                    cluster: result.cluster,
                    node: result.node,
                    incarnation: result.incarnation,
                    seq: result.seq,
                    digest: result.digest,
                  },
                },
              }
            : {}),
          watermark: node.watermark,
          newestSeq: node.newestSeq,
          closed: node.closed.map(({ fromSeq, toSeq, reason, statement }) => ({ fromSeq, toSeq, reason, statement })),
        }
      }),
    }
  })
  const made: ComplianceReport = {
    kind: 'ComplianceReport',
    apiVersion: 'skerry.dev/v1alpha1',
    ...(only ? { only: [...only].toSorted() } : {}),
    ...assess(inventory, nowMs),
  }
  return { report: made, above, references }
}

type FleetNode = Awaited<ReturnType<typeof loadFleet>>[number]

// A node without a TPM is judged by no profile.
function hardwareOf({ cluster, node, class: kind }: FleetNode, ids: ReadonlyMap<string, string>) {
  const hardwareId = kind === 'tpm' ? ids.get(`${cluster}/${node}`) : undefined
  return hardwareId === undefined ? {} : { hardwareId }
}

function measuredBy(
  fleet: readonly FleetNode[],
  ids: ReadonlyMap<string, string>,
  only: ReadonlySet<string> | undefined,
): Measured {
  const nodes = fleet.filter(({ cluster, class: kind }) => kind === 'tpm' && (only?.has(cluster) ?? true))
  return {
    images: new Set(nodes.flatMap(({ booted }) => (booted ? [booted.body.imageSha256] : []))),
    hardware: new Set(nodes.flatMap(({ cluster, node }) => ids.get(`${cluster}/${node}`) ?? [])),
  }
}
