import { kindRow } from '@skerry/api'
import { assess, type ClusterInventory, type ReachabilityLimits, reachability, schedule } from '@skerry/policy'
import type { FastifyInstance } from 'fastify'
import { listAssignments } from '../store/assignments.ts'
import { loadFleet } from '../store/fleet.ts'
import { loadPlacementFacts } from '../store/placements.ts'
import { listObjects } from '../store/resources.ts'
import type { Store } from '../store/store.ts'
import { StatusError } from './status-error.ts'

// Reads that no single object answers: the report, and why a placement chose as it did. Both are policy's judgement over
// rows, made when they are asked for.

export type ReportOptions = {
  readonly store: Store
  readonly now: () => number
  readonly reachability: ReachabilityLimits
}

export function reportRoutes(app: FastifyInstance, options: ReportOptions): void {
  const ours = kindRow('Rollout')
  app.get(
    `/apis/${ours.group}/${ours.version}/report`,
    { config: { access: { verb: 'get', resource: `report.${ours.group}` } } },
    () => report(options),
  )
  const placement = kindRow('Placement')
  app.get<{ Params: { namespace: string; name: string } }>(
    `/apis/${placement.group}/${placement.version}/namespaces/:namespace/${placement.plural}/:name/why`,
    { config: { access: { verb: 'get', resource: `${placement.plural}.${placement.group}` } } },
    async ({ params }) => {
      const facts = await loadPlacementFacts(options.store.sql)
      const found = facts.placements.find(
        ({ metadata }) => metadata.namespace === params.namespace && metadata.name === params.name,
      )
      if (!found) throw new StatusError(404, `${placement.plural}.${placement.group} "${params.name}" not found`)
      const { kind, selected, unscheduled, conditions, reasons } = schedule({
        ...facts,
        placement: found,
        nowMs: options.now(),
      })
      return {
        kind: 'PlacementExplanation',
        placement: `${params.namespace}/${params.name}`,
        outcome: kind,
        selected: selected.length,
        unscheduled,
        conditions,
        clusters: reasons,
      }
    },
  )
}

async function report({ store, now, reachability: limits }: ReportOptions): Promise<object> {
  const nowMs = now()
  const [clusters, fleet, assignments, images] = await Promise.all([
    listObjects(store.sql, 'ManagedCluster'),
    loadFleet(store.sql),
    listAssignments(store.sql),
    listObjects(store.sql, 'OSImage'),
  ])
  const assigned = new Map(assignments.map((assignment) => [assignment.cluster, assignment]))
  const imageNames = new Map(images.map((image) => [image.spec.manifestSha256, image.metadata.name]))
  const inventory: ClusterInventory[] = clusters.map(({ metadata: { name } }) => {
    const nodes = fleet.filter((node) => node.cluster === name)
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
        const { booted, confirmed, failed } = node
        const result = booted && node.results.find(({ bootId }) => bootId === booted.body.bootId)
        return {
          node: node.node,
          class: node.class,
          ...(node.lastHeardAt ? { lastHeardAt: node.lastHeardAt.toISOString() } : {}),
          ...(booted
            ? {
                running: {
                  imageSha256: booted.body.imageSha256,
                  bootId: booted.body.bootId,
                  statement: booted.ref,
                },
              }
            : {}),
          ...(confirmed?.body.imageSha256 && confirmed.body.bootId
            ? {
                confirmed: {
                  imageSha256: confirmed.body.imageSha256,
                  bootId: confirmed.body.bootId,
                  statement: confirmed.ref,
                },
              }
            : {}),
          ...(failed?.body.imageSha256
            ? {
                failure: {
                  imageSha256: failed.body.imageSha256,
                  outcome: failed.body.outcome ?? 'Failed',
                  reason: failed.body.reason,
                  statement: failed.ref,
                },
              }
            : {}),
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
          ...(node.newest ? { newest: node.newest } : {}),
        }
      }),
    }
  })
  return { kind: 'ComplianceReport', apiVersion: 'skerry.dev/v1alpha1', ...assess(inventory, nowMs) }
}
