import { DeleteOptions, type KindName, mergePatch, type ObjectOf } from '@skerry/api'
import {
  createObject,
  deleteObject,
  getObject,
  saveSpecAuthor,
  saveStatus,
  updateObject,
  WriteConflict,
} from '../../store/resources.ts'
import type { Tx } from '../../store/store.ts'
import { readBody } from '../bodies.ts'
import { type Changed, change, tagVersion, wantsDryRun } from '../change.ts'
import { goneSignal } from '../gone.ts'
import { single } from '../query.ts'
import { StatusError } from '../status-error.ts'
import { complete, faultsOf } from './admission.ts'
import { type FieldValidation, generatedName, otherName, readObject, type Submitted } from './bodies.ts'
import { type Call, type KubernetesOptions, notFound } from './call.ts'
import { foreseen } from './foresight.ts'
import { warningsOf } from './warnings.ts'

// create, update, patch and delete.

type Stored = ObjectOf<KindName>

const MERGE_PATCH = 'application/merge-patch+json'
/** As many names are tried for `generateName` before the client is told to try again. */
const NAME_ATTEMPTS = 8

export async function create(call: Call, options: KubernetesOptions): Promise<unknown> {
  expectType(call, 'application/json')
  const { object, dropped } = judged(call, options, call.request.body, undefined)
  const { after, told } = await changed(call, options, 'create', (tx) => save(tx, call, options, object, undefined))
  await warn(call, options, dropped, after, [...told, ...leftAside(call)])
  call.reply.code(201)
  return after
}

export async function replace(call: Call, options: KubernetesOptions): Promise<unknown> {
  expectType(call, 'application/json')
  return rewrite(call, options, 'update', () => call.request.body)
}

export async function patch(call: Call, options: KubernetesOptions): Promise<unknown> {
  expectType(call, MERGE_PATCH)
  return rewrite(call, options, 'patch', (before) => mergePatch(before, call.request.body))
}

/** The status alone: what else the body says is left aside, as Kubernetes does with a subresource. */
export async function replaceStatus(call: Call, options: KubernetesOptions): Promise<unknown> {
  expectType(call, 'application/json')
  return rewriteStatus(call, options, 'update', () => call.request.body)
}

export async function patchStatus(call: Call, options: KubernetesOptions): Promise<unknown> {
  expectType(call, MERGE_PATCH)
  return rewriteStatus(call, options, 'patch', (before) => mergePatch(before, call.request.body))
}

async function rewriteStatus(
  call: Call,
  options: KubernetesOptions,
  verb: string,
  bodyOf: (before: Stored) => unknown,
): Promise<Stored | undefined> {
  const { row, namespace, name } = call
  let dropped: readonly string[] = []
  const { after, told } = await changed(call, options, verb, async (tx) => {
    const before = await current(tx, call)
    const { object, status, warnings } = readObject(row, bodyOf(before), { namespace, before }, fieldValidation(call))
    dropped = warnings
    const { resourceVersion } = before.metadata
    if ((object.metadata.resourceVersion ?? resourceVersion) !== resourceVersion)
      throw new WriteConflict(
        'Conflict',
        `${row.kind} "${name}" is at version ${resourceVersion}, not ${object.metadata.resourceVersion}`,
      )
    await saveStatus(tx, row.kind, namespace, name, (status ?? {}) as NonNullable<Stored['status']>)
    return { before, after: await getObject(tx, row.kind, namespace, name) }
  })
  await warn(call, options, dropped, after, told)
  return after
}

/**
 * The object that the body would make, in the place of the one of its name or as a new one; nothing is stored. `dropped`: what
 * a client that asked for it is told of unknown fields.
 */
export async function supposed(
  call: Call,
  options: KubernetesOptions,
): Promise<{ readonly after: Stored | undefined; readonly dropped: readonly string[] }> {
  expectType(call, 'application/json')
  const { row, request, namespace, name } = call
  let dropped: readonly string[] = []
  const subject = { verb: 'create', kind: row.kind, namespace, name }
  const { after } = await change<Stored>(options.store, request, subject, true, async (tx) => {
    const before = await getObject(tx, row.kind, namespace, name)
    const asked = judged(call, options, request.body, before)
    dropped = asked.dropped
    const { metadata } = asked.object
    if (metadata.name !== name) throw otherName(metadata.name, name)
    return save(tx, call, options, asked.object, before)
  })
  return { after, dropped }
}

export async function remove(call: Call, options: KubernetesOptions): Promise<unknown> {
  const { row, request, namespace, name } = call
  const asked = readBody(DeleteOptions, request.body, 'DeleteOptions')
  const dryRun = wantsDryRun(call.query) || (asked.dryRun ?? []).length > 0
  const subject = { verb: 'delete', kind: row.kind, namespace, name }
  const { before } = await change(options.store, request, subject, dryRun, async (tx) => {
    const found = await current(tx, call)
    const { uid, resourceVersion } = asked.preconditions ?? {}
    if ((uid ?? found.metadata.uid) !== found.metadata.uid)
      throw new WriteConflict('Conflict', `${row.kind} "${name}" has the uid ${found.metadata.uid}, not ${uid}`)
    if ((resourceVersion ?? found.metadata.resourceVersion) !== found.metadata.resourceVersion)
      throw new WriteConflict(
        'Conflict',
        `${row.kind} "${name}" is at version ${found.metadata.resourceVersion}, not ${resourceVersion}`,
      )
    await deleteObject(tx, row.kind, namespace, name)
    return { before: found, after: undefined }
  })
  const details = { name, group: row.group, kind: row.plural, uid: before?.metadata.uid }
  return { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Success', details }
}

/** What is answered, and what is told beside it. */
type Answered = { readonly after: Stored | undefined; readonly told: readonly string[] }

async function changed(
  { row, request, reply, query, namespace, name }: Call,
  options: KubernetesOptions,
  verb: string,
  act: (tx: Tx) => Promise<Changed<Stored>>,
): Promise<Answered> {
  const subject = { verb: (done: Changed<Stored>) => decision(done) ?? verb, kind: row.kind, namespace, name }
  const dryRun = wantsDryRun(query)
  const by = request.identity?.name ?? 'nobody'
  const signal = goneSignal(reply)
  const { before, after } = await change(options.store, request, subject, dryRun, async (tx) => {
    const done = await act(tx)
    const { metadata } = done.after ?? {}
    // The generation rises with the spec alone.
    if (row.kind === 'Rollout' && metadata && metadata.generation !== done.before?.metadata.generation)
      await saveSpecAuthor(tx, row.kind, { namespace, name: metadata.name }, by)
    return done
  })
  tagVersion(reply, after)
  return dryRun ? foreseen(options, { before, after }, by, signal) : { after, told: [] }
}

// A cluster is accepted and denied by a field, so that kubectl can; the audit says what it was for whoever looks for it.
function decision({ before, after }: Changed<Stored>): 'accept' | 'deny' | undefined {
  if (!before || !after || accepts(before) === accepts(after)) return undefined
  return accepts(after) ? 'accept' : 'deny'
}

function accepts({ spec }: Stored): boolean {
  return spec !== undefined && Reflect.get(spec, 'hubAcceptsClient') === true
}

// What is stored now, what the client makes of it, and whether that may be stored.
async function rewrite(
  call: Call,
  options: KubernetesOptions,
  verb: string,
  bodyOf: (before: Stored) => unknown,
): Promise<Stored | undefined> {
  let dropped: readonly string[] = []
  const { after, told } = await changed(call, options, verb, async (tx) => {
    const before = await current(tx, call)
    const asked = judged(call, options, bodyOf(before), before)
    dropped = asked.dropped
    return save(tx, call, options, asked.object, before)
  })
  await warn(call, options, dropped, after, [...told, ...leftAside(call)])
  return after
}

async function current(tx: Tx, call: Call): Promise<Stored> {
  const object = await getObject(tx, call.row.kind, call.namespace, call.name)
  if (!object) throw notFound(call)
  const wanted = call.request.headers['if-match']
  const { resourceVersion } = object.metadata
  if (wanted && wanted !== '*' && !wanted.split(',').some((tag) => tag.trim() === `"${resourceVersion}"`)) {
    throw new WriteConflict(
      'PreconditionFailed',
      `${call.row.kind} "${call.name}" is at version "${resourceVersion}", not ${wanted}`,
    )
  }
  return object
}

// Two names that a generator makes may meet; a name that a person gave may not be replaced.
async function createNamed(tx: Tx, kind: KindName, object: Submitted): Promise<Stored> {
  const { generateName, ...metadata } = object.metadata
  for (let attempt = 1; ; attempt += 1) {
    try {
      const name = attempt === 1 || !generateName ? metadata.name : generatedName(generateName)
      return await createObject(tx, kind, { ...object, metadata: { ...metadata, name } })
    } catch (error) {
      const taken = error instanceof WriteConflict && error.code === 'AlreadyExists'
      if (!taken || !generateName || attempt === NAME_ATTEMPTS) throw error
    }
  }
}

// What a body makes of what is stored, or of nothing, judged. Where it may not be stored, every fault of it is thrown.
function judged(
  call: Call,
  { now }: KubernetesOptions,
  body: unknown,
  before: Stored | undefined,
): { readonly object: Submitted; readonly dropped: readonly string[] } {
  const { row, namespace } = call
  const judge = (object: Submitted) => faultsOf(row.kind, object, before, now())
  const { object, warnings } = readObject(row, body, { namespace, before }, fieldValidation(call), judge)
  return { object, dropped: warnings }
}

// Stores it in the place of what is stored, or as a new one.
async function save(
  tx: Tx,
  { row }: Call,
  { now }: KubernetesOptions,
  object: Submitted,
  before: Stored | undefined,
): Promise<Changed<Stored>> {
  const admitted = complete(row.kind, object, before, now()) as Submitted
  const after = before
    ? await updateObject(tx, row.kind, admitted, admitted.metadata.resourceVersion)
    : await createNamed(tx, row.kind, admitted)
  return { before, after }
}

// Of the kinds whose status the hub writes nobody expects that his own is taken.
function leftAside({ row, request }: Call): string[] {
  const { body } = request
  if (!row.clientStatus || typeof body !== 'object' || body === null || !Object.hasOwn(body, 'status')) return []
  return ['status is left aside here: write it to the subresource, as kubectl does with --subresource=status']
}

function expectType({ request }: Call, wanted: string): void {
  const type = String(request.headers['content-type'] ?? '')
    .split(';')[0]
    ?.trim()
    .toLowerCase()
  if (type !== wanted)
    throw new StatusError(415, `the body of a ${request.method} is ${wanted} here, not ${type || 'nothing'}`)
}

function fieldValidation({ query }: Call): FieldValidation {
  const mode = single(query, 'fieldValidation') || 'Strict'
  if (mode !== 'Strict' && mode !== 'Warn' && mode !== 'Ignore')
    throw new StatusError(400, `fieldValidation: "${mode}" is none of Strict, Warn, Ignore`)
  return mode
}

// RFC 7234, 5.5. A field name may hold what a header may not. The write is done by now: what cannot be read any more takes
// nothing of it back.
export async function warn(
  call: Call,
  { store }: KubernetesOptions,
  dropped: readonly string[],
  written: Stored | undefined,
  also: readonly string[] = [],
): Promise<void> {
  const others = written
    ? await warningsOf(store.sql, call.row.kind, written).catch((error: unknown) => {
        call.request.log.warn({ err: error }, 'what an object refers to could not be looked at')
        return []
      })
    : []
  const warnings = [...also, ...(fieldValidation(call) === 'Warn' ? dropped : []), ...others]
  if (warnings.length === 0) return
  const text = (warning: string) => warning.replace(/[^\x20-\x7e]/g, '?').replaceAll(/["\\]/g, '\\$&')
  call.reply.header(
    'warning',
    warnings
      .slice(0, 20)
      .map((warning) => `299 - "${text(warning)}"`)
      .join(', '),
  )
}
