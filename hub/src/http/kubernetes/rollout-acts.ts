import {
  ACT_VERBS,
  type ActVerb,
  GateApproval,
  kindRow,
  type ObjectOf,
  Retry,
  type RolloutAct,
  type RolloutActAnswer,
  type RolloutActList,
  Steering,
} from '@skerry/api'
import { type AskedAct, heldInTheDark, judgeAct, type ReachabilityLimits } from '@skerry/policy'
import type { FastifyInstance } from 'fastify'
import { appendAct, listActs } from '../../store/acts.ts'
import { recordEvent } from '../../store/events.ts'
import { getObject, specAuthorOf } from '../../store/resources.ts'
import { holdersOf } from '../../store/rollout-holders.ts'
import type { Store, Tx } from '../../store/store.ts'
import { wake } from '../../store/wake.ts'
import type { Access } from '../auth.ts'
import { readBody } from '../bodies.ts'
import { change, wantsDryRun } from '../change.ts'
import type { Query } from '../query.ts'
import { StatusError } from '../status-error.ts'
import { notFound } from './call.ts'

const row = kindRow('Rollout')
const RESOURCE = `${row.plural}.${row.group}`
/** So many names of clusters that a pause or an abort does not reach are told. */
const SAMPLE = 10

type Options = { readonly store: Store; readonly now: () => number; readonly reachability: ReachabilityLimits }

/** What an act asks of whoever does it, as Kubernetes names it: create of a subresource. */
export function actAccess(verb: ActVerb): Exclude<Access, string> {
  return { verb: 'create', resource: `${RESOURCE}/${verb}` }
}

/**
 * POST …/rollouts/{name}/{pause,resume,abort,retry,approve}: what people do to a rollout beside its spec, each with its
 * reason, written once. 201 with the act, or 200 with the one that stands already. GET …/acts: all of them.
 */
export function rolloutActRoutes(app: FastifyInstance, options: Options): void {
  const { store, now } = options
  const one = `/apis/${row.group}/${row.version}/namespaces/:namespace/${row.plural}/:name`
  type Params = { namespace: string; name: string }
  for (const verb of ACT_VERBS)
    app.post<{ Params: Params; Body: unknown; Querystring: Query }>(
      `${one}/${verb}`,
      { config: { access: actAccess(verb) } },
      async (request, reply): Promise<RolloutActAnswer> => {
        const { namespace, name } = request.params
        const { asked, seen } = readAct(verb, request.body, request.identity?.name ?? 'nobody')
        const subject = { verb, kind: row.kind, namespace, name }
        let rollout: ObjectOf<'Rollout'> | undefined
        const { before, after } = await change<RolloutAct>(
          store,
          request,
          subject,
          wantsDryRun(request.query),
          async (tx) => {
            rollout = await getObject(tx, 'Rollout', namespace, name)
            if (!rollout) throw notFound({ row, name })
            return act(tx, rollout, asked, seen, now())
          },
        )
        reply.code(before ? 200 : 201)
        if (!after || !rollout) throw new StatusError(500, 'an act came to nothing')
        if (verb !== 'pause' && verb !== 'abort') return { act: after }
        return { act: after, heldInTheDark: await missedBy(options, rollout) }
      },
    )
  app.get<{ Params: Params }>(
    `${one}/acts`,
    { config: { access: { verb: 'get', resource: RESOURCE } } },
    async ({ params: { namespace, name } }): Promise<RolloutActList> => {
      const rollout = await getObject(store.sql, 'Rollout', namespace, name)
      if (!rollout) throw notFound({ row, name })
      const items = await listActs(store.sql, rollout.metadata.uid)
      return { kind: 'RolloutActList', apiVersion: `${row.group}/${row.version}`, items }
    },
  )
}

/** The act that a body asks for, and the manifest that whoever approves has looked at. */
function readAct(verb: ActVerb, body: unknown, by: string): { asked: AskedAct; seen?: string | undefined } {
  const what = `the body of ${verb}`
  switch (verb) {
    case 'retry': {
      const { reason, clusters } = readBody(Retry, body, what)
      return { asked: { verb, by, reason, clusters } }
    }
    case 'approve': {
      const { reason, gate, manifestSha256 } = readBody(GateApproval, body, what)
      return { asked: { verb, by, reason, gate }, seen: manifestSha256 }
    }
    case 'pause':
    case 'resume':
    case 'abort':
      return { asked: { verb, by, reason: readBody(Steering, body, what).reason } }
    default: {
      const never: never = verb
      return never
    }
  }
}

async function act(
  tx: Tx,
  rollout: ObjectOf<'Rollout'>,
  asked: AskedAct,
  seen: string | undefined,
  nowMs: number,
): Promise<{ before: RolloutAct | undefined; after: RolloutAct }> {
  const { uid, name, namespace = '' } = rollout.metadata
  const image = await getObject(tx, 'OSImage', '', rollout.spec.image.name)
  const manifestSha256 = image?.spec.manifestSha256
  // Whoever looked at an image approves that one: the rollout may name another meanwhile.
  if (seen !== undefined && seen !== manifestSha256)
    throw new StatusError(
      409,
      `rollout "${name}" has ${manifestSha256 ? `the manifest ${manifestSha256}` : 'no image'} now, not ${seen}: look at it again`,
    )
  const acts = await listActs(tx, uid)
  const changedBy = await specAuthorOf(tx, 'Rollout', uid)
  const judged = judgeAct(asked, { rollout, manifestSha256, acts, changedBy }, nowMs)
  switch (judged.kind) {
    case 'Refused':
      throw judged.refusal
    case 'Stands':
      return { before: judged.act, after: judged.act }
    case 'New': {
      const written = await appendAct(tx, judged.act)
      await recordEvent(tx, {
        type: 'Normal',
        ...told(written),
        component: 'rollout',
        regarding: { kind: 'Rollout', namespace, name },
      })
      await wake(tx, 'rollout-act')
      return { before: undefined, after: written }
    }
    default: {
      const never: never = judged
      return never
    }
  }
}

const ASKED = {
  pause: 'PauseAsked',
  resume: 'ResumeAsked',
  abort: 'AbortAsked',
  retry: 'RetryAsked',
  approve: 'Approved',
} as const

function told({ verb, by, reason, gate, clusters = [], manifestSha256 = '' }: RolloutAct): {
  reason: string
  message: string
} {
  const of = {
    pause: 'pauses the rollout',
    resume: 'resumes the rollout',
    abort: 'aborts the rollout',
    retry: `has ${clusters.length === 1 ? clusters[0] : `${clusters.length} clusters`} try the image again`,
    approve: `approves ${gate} of the manifest ${manifestSha256.slice(0, 12)}…`,
  }[verb]
  return { reason: ASKED[verb], message: `${by} ${of}: ${reason}` }
}

// Read when the act is written and has let go of the lock of all writers: it may be a whole fleet.
async function missedBy(
  { store, now, reachability }: Options,
  rollout: ObjectOf<'Rollout'>,
): Promise<NonNullable<RolloutActAnswer['heldInTheDark']>> {
  const names = heldInTheDark(await holdersOf(store, rollout.metadata.uid, reachability, now()), rollout)
  return { count: names.length, sample: names.slice(0, SAMPLE) }
}
