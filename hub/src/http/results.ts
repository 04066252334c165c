import { kindRow } from '@skerry/api'
import { type Signer, thumbprint } from '@skerry/trust'
import type { FastifyInstance } from 'fastify'
import { listMade } from '../store/attestations.ts'
import { loadIdentity } from '../store/identities.ts'
import type { Store } from '../store/store.ts'
import { loadHubDescription } from '../store/trust.ts'
import { StatusError } from './status-error.ts'

const MOST = 100

/**
 * GET …/namespaces/{cluster}/edgenodes/{node}/results: the newest verdicts on a node's boots, each as the EAR that the hub
 * signed, also those that later ones took the place of. `resultKey` says whether signers have listed the key for it.
 * `said` places the evidence in time, wherever the node was: after the epoch marker that it answers had been signed, and
 * before it came. There is no `after` where it answers none of this hub's: the first boot's may have seen none yet.
 */
export function resultRoutes(app: FastifyInstance, { sql }: Store, { jwk }: Signer): void {
  const { group, version, plural } = kindRow('EdgeNode')
  app.get<{ Params: { cluster: string; node: string } }>(
    `/apis/${group}/${version}/namespaces/:cluster/${plural}/:node/results`,
    { config: { access: { verb: 'get', resource: `${plural}.${group}` } } },
    async ({ params: { cluster, node } }) => {
      if (!(await loadIdentity(sql, cluster, node)))
        throw new StatusError(404, `${plural}.${group} "${node}" not found in ${cluster}`)
      const [made, hub] = await Promise.all([listMade(sql, { cluster, node }, MOST), loadHubDescription(sql)])
      const listed = hub?.keys.result?.some((key) => thumbprint(key.jwk) === thumbprint(jwk)) === true
      return {
        kind: 'AttestationResultList',
        cluster,
        node,
        resultKey: listed ? 'Listed' : 'NotListed',
        message: listed
          ? 'signers listed the key of this hub’s results in hub.json'
          : 'no signer has listed the key of this hub’s results, so nobody else can tell that they are its own: "skerry-hub init" prints it, "skerry trust hub" puts it into the next release',
        items: made.map(({ judgedAt, ear, policyId, saidAfter, receivedAt, ...result }) => ({
          ...result,
          said: { ...(saidAfter ? { after: saidAfter.toISOString() } : {}), before: receivedAt.toISOString() },
          judgedAt: judgedAt.toISOString(),
          ...(policyId === null ? {} : { policyId }),
          ...(ear === null ? { unsigned: 'it was judged before results were signed' } : { ear }),
        })),
      }
    },
  )
}
