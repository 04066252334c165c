import { createHash } from 'node:crypto'
import type { ApiRole } from '@skerry/api'
import type { Reader, Tx } from './store.ts'

// Bearer tokens, by hash: the database holds no secret. A revoked token keeps its row, so that it stays revoked.

export type ApiToken = {
  readonly name: string
  readonly role: ApiRole
  readonly createdAt: Date
  readonly expiresAt: Date | null
}

const COLUMNS = ['name', 'role', 'created_at', 'expires_at'] as const
type Row = { name: string; role: ApiRole; created_at: Date; expires_at: Date | null }

/** The living token with this secret. */
export async function findToken(tx: Reader, secret: string): Promise<ApiToken | undefined> {
  const [row] = await tx<Row[]>`select ${tx(COLUMNS)} from api_token
    where sha256 = ${tokenHash(secret)} and (expires_at is null or expires_at > now())`
  return row && toToken(row)
}

/** Every living token, by name. */
export async function listTokens(tx: Reader): Promise<ApiToken[]> {
  const rows = await tx<Row[]>`select ${tx(COLUMNS)} from api_token
    where expires_at is null or expires_at > now() order by name collate "C"`
  return rows.map(toToken)
}

/** Stores a new token's hash. Undefined when a living token has the name. */
export async function createToken(
  tx: Tx,
  secret: string,
  { name, role, expiresAt }: { name: string; role: ApiRole; expiresAt: Date | null },
): Promise<ApiToken | undefined> {
  const [row] = await tx<Row[]>`
    insert into api_token (sha256, name, role, created_at, expires_at)
    select ${tokenHash(secret)}, ${name}, ${role}, now(), ${expiresAt}
    where not exists (select 1 from api_token where name = ${name} and (expires_at is null or expires_at > now()))
    returning ${tx(COLUMNS)}`
  return row && toToken(row)
}

/** Stores a token's hash unless it is there; one that was revoked stays so. */
export async function ensureToken(tx: Reader, secret: string, name: string, role: ApiRole): Promise<void> {
  await tx`insert into api_token (sha256, name, role, created_at) values (${tokenHash(secret)}, ${name}, ${role}, now()) on conflict do nothing`
}

/** Ends the living token of a name and returns it; undefined when there is none. */
export async function revokeToken(tx: Tx, name: string): Promise<ApiToken | undefined> {
  const [row] = await tx<Row[]>`update api_token set expires_at = now()
    where name = ${name} and (expires_at is null or expires_at > now()) returning ${tx(COLUMNS)}`
  return row && toToken(row)
}

function toToken({ name, role, created_at, expires_at }: Row): ApiToken {
  return { name, role, createdAt: created_at, expiresAt: expires_at }
}

function tokenHash(secret: string): string {
  return createHash('sha256').update(secret).digest('hex')
}
