import { createHmac, timingSafeEqual } from 'node:crypto'
import { isDeepStrictEqual } from 'node:util'
import { KINDS, type KindName, type KindRow, type ObjectOf, type Verb } from '@skerry/api'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { recordAudit } from '../../store/audit.ts'
import type { Changes } from '../../store/changes.ts'
import {
  createObject,
  deleteObject,
  getObject,
  listObjects,
  newestVersion,
  updateObject,
  WriteConflict,
} from '../../store/resources.ts'
import { type Store, type Tx, write } from '../../store/store.ts'
import { StatusError } from '../status-error.ts'
import { complete, faultsOf } from './admission.ts'
import { invalid, mergePatch, readObject, type Submitted } from './bodies.ts'
import { fieldFilter, labelFilter } from './selectors.ts'
import { toTable } from './table.ts'
import { streamWatch } from './watch.ts'

// Kubernetes' verbs over the table of kinds. A kind that lacks a verb has another writer.

export type KubernetesOptions = {
  readonly store: Store
  readonly changes: Changes
  readonly now: () => number /** Signs continue tokens. */
  readonly continueSecret: string
}

type Query = Record<string, string | undefined>
type Params = { namespace?: string; name?: string }
type Call = {
  row: KindRow
  request: FastifyRequest
  reply: FastifyReply
  query: Query
  namespace: string
  name: string
}

/** Thrown to end a dry run: the transaction rolls back, the would-be object is the answer. */
class DryRun extends Error {
  readonly object: object
  constructor(object: object) {
    super('dry run')
    this.object = object
  }
}

export function kubernetesRoutes(app: FastifyInstance, options: KubernetesOptions): void {
  for (const row of KINDS) {
    const base = `/apis/${row.group}/${row.version}`
    const collection = row.namespaced ? `${base}/namespaces/:namespace/${row.plural}` : `${base}/${row.plural}`
    const access = (verb: Verb) => ({ config: { access: { verb, resource: `${row.plural}.${row.group}` } } })
    const on =
      (act: (call: Call, options: KubernetesOptions) => Promise<unknown>) =>
      (request: FastifyRequest, reply: FastifyReply) => {
        const { namespace = '', name = '' } = request.params as Params
        return act({ row, request, reply, query: request.query as Query, namespace, name }, options)
      }
    app.get(collection, access('list'), on(list))
    if (row.namespaced) app.get(`${base}/${row.plural}`, access('list'), on(list))
    app.get(`${collection}/:name`, access('get'), on(get))
    app.get(`${collection}/:name/status`, access('get'), on(get))
    if (row.verbs.includes('create')) app.post(collection, access('create'), on(create))
    if (row.verbs.includes('update')) app.put(`${collection}/:name`, access('update'), on(replace))
    if (row.verbs.includes('patch')) app.patch(`${collection}/:name`, access('patch'), on(patch))
    if (row.verbs.includes('delete')) app.delete(`${collection}/:name`, access('delete'), on(remove))
  }
}

async function list(call: Call, { store, changes, continueSecret }: KubernetesOptions): Promise<unknown> {
  const { row, query, reply, request } = call
  const byLabel = labelFilter(query['labelSelector'])
  const byField = fieldFilter(query['fieldSelector'])
  const filter = (object: ObjectOf<KindName>) => byLabel(object) && byField(object)
  const namespace = call.namespace === '' ? undefined : call.namespace
  if (query['watch'] === 'true' || query['watch'] === '1') {
    const given = query['resourceVersion']
    const initialEvents = query['sendInitialEvents'] === 'true'
    const from = initialEvents || !given || given === '0' ? undefined : Number(given)
    if (from !== undefined && !Number.isSafeInteger(from))
      throw new StatusError(400, `invalid resource version "${given}"`)
    const timeoutSeconds = Math.min(Math.max(Number(query['timeoutSeconds'] ?? 1_800) || 1_800, 1), 3_600)
    return streamWatch(
      store,
      changes,
      row,
      {
        namespace,
        filter: filter as never,
        from,
        initialEvents,
        bookmarks: query['allowWatchBookmarks'] === 'true',
        asTable: wantsTable(request),
        timeoutSeconds,
      },
      reply,
    )
  }
  const version = await newestVersion(store.sql)
  const token = query['continue'] ? readContinue(query['continue'], continueSecret) : undefined
  const all = (await listObjects(store.sql, row.kind, { namespace, after: token })).filter(filter)
  const limit = Math.min(Number(query['limit'] ?? 0) || all.length, 500_000)
  const items = all.slice(0, limit)
  const last = items.at(-1)
  const more =
    items.length < all.length && last
      ? { continue: makeContinue(last, continueSecret), remainingItemCount: all.length - items.length }
      : {}
  const metadata = { resourceVersion: String(version), ...more }
  if (wantsTable(request)) return toTable(row, items, metadata)
  return { kind: `${row.kind}List`, apiVersion: `${row.group}/${row.version}`, metadata, items }
}

async function get(call: Call, { store }: KubernetesOptions): Promise<unknown> {
  const object = await getObject(store.sql, call.row.kind, call.namespace, call.name)
  if (!object) throw notFound(call)
  call.reply.header('etag', `"${object.metadata.resourceVersion}"`)
  return wantsTable(call.request)
    ? toTable(call.row, [object], { resourceVersion: object.metadata.resourceVersion })
    : object
}

async function create(call: Call, options: KubernetesOptions): Promise<unknown> {
  const { object, warnings } = readObject(
    call.row,
    call.request.body,
    { namespace: call.namespace },
    fieldValidation(call),
  )
  warn(call, warnings)
  call.reply.code(201)
  return change(call, options, 'create', async (tx) => {
    const admitted = admit(call.row, object, undefined, options.now())
    return { before: undefined, after: await createObject(tx, call.row.kind, admitted) }
  })
}

async function replace(call: Call, options: KubernetesOptions): Promise<unknown> {
  const { object, warnings } = readObject(
    call.row,
    call.request.body,
    { namespace: call.namespace, name: call.name },
    fieldValidation(call),
  )
  warn(call, warnings)
  return change(call, options, 'update', async (tx) => {
    const before = await current(tx, call)
    const admitted = admit(call.row, object, before, options.now())
    return { before, after: await updateObject(tx, call.row.kind, admitted, object.metadata.resourceVersion) }
  })
}

async function patch(call: Call, options: KubernetesOptions): Promise<unknown> {
  const type = String(call.request.headers['content-type'] ?? '').split(';')[0]
  if (type !== 'application/merge-patch+json')
    throw new StatusError(415, `patches are application/merge-patch+json here, not ${type}`)
  return change(call, options, 'patch', async (tx) => {
    const before = await current(tx, call)
    const { object, warnings } = readObject(
      call.row,
      mergePatch(before, call.request.body),
      { namespace: call.namespace, name: call.name },
      fieldValidation(call),
    )
    warn(call, warnings)
    const admitted = admit(call.row, object, before, options.now())
    return { before, after: await updateObject(tx, call.row.kind, admitted, object.metadata.resourceVersion) }
  })
}

async function remove(call: Call, options: KubernetesOptions): Promise<unknown> {
  await change(call, options, 'delete', async (tx) => {
    const before = await current(tx, call)
    await deleteObject(tx, call.row.kind, call.namespace, call.name)
    return { before, after: undefined }
  })
  const { kind, group } = call.row
  return {
    kind: 'Status',
    apiVersion: 'v1',
    metadata: {},
    status: 'Success',
    details: { name: call.name, group, kind },
  }
}

// One transaction: precondition, change, audit record. A dry run goes all the way and is rolled back.
async function change(
  call: Call,
  { store }: KubernetesOptions,
  verb: string,
  act: (tx: Tx) => Promise<{ before: object | undefined; after: object | undefined }>,
): Promise<unknown> {
  const dryRun = call.query['dryRun']
  if (dryRun !== undefined && dryRun !== 'All')
    throw new StatusError(400, `dryRun: unsupported value "${dryRun}"; supported is "All"`)
  try {
    const after = await write(store, async (tx) => {
      const done = await act(tx)
      if (dryRun) throw new DryRun(done.after ?? {})
      if (!isDeepStrictEqual(done.before, done.after)) {
        const { identity, ip, id } = call.request
        const name = call.name || ((done.after as { metadata?: { name?: string } } | undefined)?.metadata?.name ?? '')
        await recordAudit(tx, {
          actor: identity?.name ?? 'nobody',
          sourceIp: ip,
          verb,
          kind: call.row.kind,
          namespace: call.namespace,
          name,
          before: done.before,
          after: done.after,
          requestId: id,
        })
      }
      return done.after
    })
    const version = (after as { metadata?: { resourceVersion?: string } } | undefined)?.metadata?.resourceVersion
    if (version) call.reply.header('etag', `"${version}"`)
    return after
  } catch (error) {
    if (error instanceof DryRun) return error.object
    throw error
  }
}

async function current(tx: Tx, call: Call): Promise<ObjectOf<KindName>> {
  const object = await getObject(tx, call.row.kind, call.namespace, call.name)
  if (!object) throw notFound(call)
  const wanted = call.request.headers['if-match']
  if (wanted && wanted !== '*' && wanted.replaceAll('"', '') !== object.metadata.resourceVersion) {
    throw new WriteConflict(
      'PreconditionFailed',
      `${call.row.kind} "${call.name}" is at version ${object.metadata.resourceVersion}, not ${wanted}`,
    )
  }
  return object
}

function admit(row: KindRow, object: Submitted, before: ObjectOf<KindName> | undefined, nowMs: number): Submitted {
  const faults = faultsOf(row.kind, object, nowMs)
  if (faults.length > 0) throw invalid(row, object.metadata.name, faults)
  return complete(row.kind, object, before, nowMs) as Submitted
}

function notFound({ row, name }: Call): StatusError {
  return new StatusError(404, `${row.plural}.${row.group} "${name}" not found`, {
    name,
    group: row.group,
    kind: row.plural,
  })
}

function fieldValidation({ query }: Call): string {
  const mode = query['fieldValidation'] || 'Strict'
  if (mode !== 'Strict' && mode !== 'Warn' && mode !== 'Ignore')
    throw new StatusError(400, `fieldValidation: "${mode}" is none of Strict, Warn, Ignore`)
  return mode
}

function warn(call: Call, warnings: readonly string[]): void {
  if (warnings.length > 0 && call.query['fieldValidation'] === 'Warn')
    call.reply.header('warning', warnings.map((text) => `299 - "${text.replaceAll('"', '\\"')}"`).join(', '))
}

function wantsTable(request: FastifyRequest): boolean {
  return /as=Table/.test(request.headers.accept ?? '')
}

function makeContinue({ metadata }: ObjectOf<KindName>, secret: string): string {
  const body = Buffer.from(JSON.stringify([metadata.namespace ?? '', metadata.name])).toString('base64url')
  return `${body}.${sign(body, secret)}`
}

function readContinue(token: string, secret: string): { namespace: string; name: string } {
  const [body = '', signature = ''] = token.split('.')
  const [given, wanted] = [Buffer.from(signature), Buffer.from(sign(body, secret))]
  if (given.length !== wanted.length || !timingSafeEqual(given, wanted))
    throw new StatusError(410, 'the continue token is not of this hub; list again from the start', {
      reason: 'Expired',
    })
  const [namespace = '', name = ''] = JSON.parse(Buffer.from(body, 'base64url').toString('utf8')) as string[]
  return { namespace, name }
}

function sign(body: string, secret: string): string {
  return createHmac('sha256', secret).update(body).digest('base64url')
}
