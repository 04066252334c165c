import { isDeepStrictEqual } from 'node:util'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { recordAudit } from '../store/audit.ts'
import { type Store, type Tx, write } from '../store/store.ts'
import { type Query, single } from './query.ts'
import { StatusError } from './status-error.ts'

/** What is changed, as the audit record names it. The verb is what the person did, which may show only in the change. */
export type Subject<T> = {
  readonly verb: string | ((changed: Changed<T>) => string)
  readonly kind: string
  readonly namespace: string
  readonly name: string
}
export type Changed<T> = { readonly before: T | undefined; readonly after: T | undefined }

/** Ends a dry run: the transaction rolls back, and what would be is the answer. */
class DryRun extends Error {
  readonly changed: Changed<unknown>
  constructor(changed: Changed<unknown>) {
    super('dry run')
    this.changed = changed
  }
}

/**
 * One transaction: change and audit record, both or neither; a change that changes nothing leaves no record. With
 * `dryRun` it goes all the way and is rolled back, and what it would have left carries no new version.
 */
export async function change<T>(
  store: Store,
  request: FastifyRequest,
  subject: Subject<T>,
  dryRun: boolean,
  act: (tx: Tx) => Promise<Changed<T>>,
): Promise<Changed<T>> {
  try {
    return await write(store, async (tx) => {
      const changed = await act(tx)
      if (dryRun) throw new DryRun(unversioned(changed))
      if (!isDeepStrictEqual(changed.before, changed.after)) {
        const { identity, ip, id } = request
        const { before, after } = changed
        const actor = identity?.name ?? 'nobody'
        const name = subject.name || nameOf(after)
        const verb = typeof subject.verb === 'string' ? subject.verb : subject.verb(changed)
        await recordAudit(tx, { ...subject, verb, name, actor, sourceIp: ip, before, after, requestId: id })
      }
      return changed
    })
  } catch (error) {
    if (error instanceof DryRun) return error.changed as Changed<T>
    throw error
  }
}

/** Whether `dryRun=All` is asked for; 400 for any other value. */
export function wantsDryRun(query: Query): boolean {
  const value = single(query, 'dryRun')
  if (value === undefined || value === '') return false
  if (value !== 'All') throw new StatusError(400, `dryRun: unsupported value "${value}"; supported is "All"`)
  return true
}

/** Tells the writer which version is stored now. */
export function tagVersion(reply: FastifyReply, object: { metadata: { resourceVersion?: string } } | undefined): void {
  const version = object?.metadata.resourceVersion
  if (version) reply.header('etag', `"${version}"`)
}

// A version that is rolled back was never given to anybody.
function unversioned({ before, after }: Changed<unknown>): Changed<unknown> {
  const was = metadataOf(before)?.['resourceVersion']
  const metadata = metadataOf(after)
  if (!metadata || isDeepStrictEqual(before, after)) return { before, after }
  const { resourceVersion: _, ...rest } = metadata
  return {
    before,
    after: { ...(after as object), metadata: { ...rest, ...(was === undefined ? {} : { resourceVersion: was }) } },
  }
}

function nameOf(object: unknown): string {
  const name = metadataOf(object)?.['name']
  return typeof name === 'string' ? name : ''
}

function metadataOf(object: unknown): Record<string, unknown> | undefined {
  return (object as { metadata?: Record<string, unknown> } | undefined)?.metadata
}
