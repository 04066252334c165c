import type { Verb } from '@skerry/api'
import type { FastifyRequest } from 'fastify'
import type { Store } from '../store/store.ts'
import { type ApiToken, findToken } from '../store/tokens.ts'
import { StatusError } from './status-error.ts'

/**
 * What a route asks of whoever calls it. `open`: nobody is asked; what is served there is not secret and is verified by
 * its reader. The verbs get, list and watch are for every role, all others for platform-admins.
 */
export type Access =
  | 'open'
  | 'authenticated'
  | { readonly verb: Verb | 'approve' | 'publish' | 'administer'; readonly resource: string }

declare module 'fastify' {
  interface FastifyContextConfig {
    access?: Access
    /** The body is an image: it may take hours. */
    longBody?: boolean
  }
  interface FastifyRequest {
    identity: ApiToken | undefined
  }
}

const READS = new Set(['get', 'list', 'watch'])

/** Who the bearer of a token is. StatusError 401 without a valid one. */
export async function authenticate({ sql }: Store, request: FastifyRequest): Promise<ApiToken> {
  const secret = /^Bearer ([\x21-\x7e]{16,512})$/.exec(request.headers.authorization ?? '')?.[1]
  if (!secret) throw new StatusError(401, 'a bearer token is needed: send "Authorization: Bearer <token>"')
  // Looked up by its hash: nothing compares secrets byte by byte.
  const token = await findToken(sql, secret)
  if (!token) throw new StatusError(401, 'this token is unknown, revoked or expired')
  return token
}

/** Whether a role may do this: viewer reads, platform-admin does everything. */
export function mayDo({ role }: ApiToken, access: Access): boolean {
  return access === 'open' || access === 'authenticated' || role === 'platform-admin' || READS.has(access.verb)
}

/** StatusError 403 when the caller's role may not do this. */
export function authorize(identity: ApiToken, access: Access): void {
  if (mayDo(identity, access) || typeof access === 'string') return
  throw new StatusError(
    403,
    `User "${identity.name}" with role ${identity.role} cannot ${access.verb} ${access.resource}`,
  )
}

/** Whether the caller of a long answer could still open it: its token may have ended meanwhile. */
export function isStillAllowed(store: Store, request: FastifyRequest): Promise<boolean> {
  return authenticate(store, request).then(
    () => true,
    (error: unknown) => {
      if (error instanceof StatusError) return false
      throw error
    },
  )
}
