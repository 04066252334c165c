import { createHash } from 'node:crypto'
import type { Verb } from '@skerry/api'
import type { FastifyRequest } from 'fastify'
import type { Store } from '../store/store.ts'
import { StatusError } from './status-error.ts'

export const API_ROLES = ['platform-admin', 'viewer'] as const
export type ApiRole = (typeof API_ROLES)[number]
export type Identity = { readonly name: string; readonly role: ApiRole }

/** What a route asks of whoever calls it. `open`: nobody is asked; what is served there is not secret and is verified by its reader. */
export type Access =
  | 'open'
  | 'authenticated'
  | { readonly verb: Verb | 'approve' | 'publish'; readonly resource: string }

declare module 'fastify' {
  interface FastifyContextConfig {
    access?: Access
  }
  interface FastifyRequest {
    identity: Identity | undefined
  }
}

const READS = new Set(['get', 'list', 'watch'])

/** Who the bearer of a token is. StatusError 401 without a valid one. */
export async function authenticate(store: Store, request: FastifyRequest): Promise<Identity> {
  const token = /^Bearer ([\x21-\x7e]{16,512})$/.exec(request.headers.authorization ?? '')?.[1]
  if (!token) throw new StatusError(401, 'a bearer token is needed: send "Authorization: Bearer <token>"')
  // Looked up by its hash: nothing compares secrets byte by byte, and the database holds none.
  const [row] = await store.sql<Identity[]>`
    select name, role from api_token where sha256 = ${tokenHash(token)} and (expires_at is null or expires_at > now())`
  if (!row) throw new StatusError(401, 'this token is unknown or has expired')
  return row
}

/** Whether a role may do this. viewer reads; platform-admin does everything. */
export function authorize(identity: Identity, access: Access): void {
  if (access === 'open' || access === 'authenticated' || identity.role === 'platform-admin' || READS.has(access.verb))
    return
  throw new StatusError(
    403,
    `User "${identity.name}" with role ${identity.role} cannot ${access.verb} ${access.resource}`,
  )
}

/** Stores a token's hash, unless it is there. */
export async function ensureToken(store: Store, token: string, name: string, role: ApiRole): Promise<void> {
  await store.sql`insert into api_token (sha256, name, role, created_at) values (${tokenHash(token)}, ${name}, ${role}, now()) on conflict do nothing`
}

function tokenHash(token: string): string {
  return createHash('sha256').update(token).digest('hex')
}
