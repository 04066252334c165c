import { type BankName, type NodeKeyPlace, parse, RegistrationRequest, type RegistrationStatus } from '@skerry/api'
import type { FirstBoot, TpmIdentity } from '@skerry/policy'
import type { Reader, Tx } from './store.ts'

// Exchanges of keys with the hub: under way, and proven for as long as their Registration stays.

/** One exchange of a node's keys with the hub. Proven, it stays as long as its Registration; open, it expires. */
export type Exchange = {
  /** Digest of the public keys. */
  readonly id: string
  /** What the verified request says, as JSON, without its token: the secret in it is nowhere in the database. */
  readonly request: string
  /** Exactly as it went over the wire. */
  readonly challenge: string
  /** Of both as they went over the wire. */
  readonly transcript: string
  readonly cluster: string
  readonly node: string
  /** The token that admits it; null for a node whose key a record holds. */
  readonly tokenName: string | null
  readonly provenAt: Date | null
  /** The proof that was taken, as it was signed; null before, and of one that was proven before proofs were kept. */
  readonly proof: string | null
  /** What the hub asked of a TPM and what it knows of it, as JSON (`tpmOf`); null for class software-key. */
  readonly tpm: string | null
}

/** The TPM's half of an exchange. The secret itself is nowhere: only the TPM that was asked can say it. */
export type ExchangeTpm = TpmIdentity & {
  readonly secretSha256: string
  readonly bank: BankName
  /** Name of the HardwareProfile, and who vouches for the EK by it. */
  readonly profile: string
  readonly endorsedBy: string
  /** What its quote said; once it is proven. */
  readonly firstBoot?: FirstBoot
  /** Where the node key lies, as its proof showed. */
  readonly nodeKeyIn?: NodeKeyPlace
}

/** The hub wrote it, and nobody else does. */
export function tpmOf({ tpm }: Pick<Exchange, 'tpm'>): ExchangeTpm | undefined {
  return tpm === null ? undefined : (JSON.parse(tpm) as ExchangeTpm)
}

/** How many exchanges may be open at a time: of all tokens together, of this token, of one known node. */
export type OpenBounds = { readonly all: number; readonly token: number; readonly node: number }

/** The expiry of an exchange that does not expire; open ones are found by the index below it. */
const NEVER = new Date('9999-12-31T00:00:00Z')

const EXCHANGE =
  'id, request, challenge, transcript, cluster, node, token_name as "tokenName", proven_at as "provenAt", proof, tpm'

export async function loadExchange(tx: Reader, id: string): Promise<Exchange | undefined> {
  const [row] = await tx<Exchange[]>`select ${tx.unsafe(EXCHANGE)} from registration_request where id = ${id}`
  return row
}

/** The request of an exchange. It was verified before it was stored. */
export function requestOf({ request }: Pick<Exchange, 'request'>): RegistrationRequest {
  return parse(RegistrationRequest, JSON.parse(request), 'RegistrationRequest')
}

/** The exchanges with these ids, by id. */
export async function loadExchanges(tx: Reader, ids: readonly string[]): Promise<Map<string, Exchange>> {
  const rows = await tx<
    Exchange[]
  >`select ${tx.unsafe(EXCHANGE)} from registration_request where id = any(${ids}::text[])`
  return new Map(rows.map((row) => [row.id, row]))
}

/**
 * Stores an open exchange over whatever these keys had before. Returns false, and stores nothing, when a bound is reached;
 * what has expired goes first.
 */
export async function saveOpenExchange(
  tx: Reader,
  exchange: Omit<Exchange, 'provenAt' | 'proof'>,
  { expiresAt, nowMs, bounds }: { expiresAt: Date; nowMs: number; bounds: OpenBounds },
): Promise<boolean> {
  const { id, request, challenge, transcript, cluster, node, tokenName, tpm } = exchange
  const now = new Date(nowMs)
  const others = tx`from registration_request where expires_at < ${NEVER} and expires_at > ${now} and id <> ${id}`
  const free =
    tokenName === null
      ? tx`(select count(*) ${others} and token_name is null and cluster = ${cluster} and node = ${node}) < ${bounds.node}`
      : tx`(select count(*) filter (where token_name is not null) < ${bounds.all} and count(*) filter (where token_name = ${tokenName}) < ${bounds.token} ${others})`
  const rows = await tx`
    with gone as (delete from registration_request where expires_at <= ${now} and id <> ${id})
    insert into registration_request (id, request, challenge, transcript, cluster, node, token_name, tpm, created_at, expires_at)
    select ${id}, ${request}, ${challenge}, ${transcript}, ${cluster}, ${node}, ${tokenName}, ${tpm}, ${now}::timestamptz, ${expiresAt}::timestamptz where ${free}
    on conflict (id) do update set request = excluded.request, challenge = excluded.challenge, transcript = excluded.transcript,
      cluster = excluded.cluster, node = excluded.node, token_name = excluded.token_name, tpm = excluded.tpm, proven_at = null, proof = null, expires_at = excluded.expires_at
    returning 1`
  return rows.length > 0
}

/** Where an exchange stands, in one look: the poll of every node that waits. */
export async function loadProgress(
  tx: Reader,
  id: string,
): Promise<
  | {
      readonly transcript: string
      readonly proven: boolean
      /** The Registration's present exchange, and its status. */
      readonly current: string | null
      readonly status: RegistrationStatus | null
      /** Of the record that was made for this very exchange. */
      readonly acceptance: string | null
      readonly natsJwt: string | null
    }
  | undefined
> {
  const [row] = await tx<NonNullable<Awaited<ReturnType<typeof loadProgress>>>[]>`
    select r.transcript, r.proven_at is not null as proven, o.spec->>'keysDigest' as current, o.status, i.acceptance, i.nats_jwt as "natsJwt"
    from registration_request r
    left join resource o on o.kind = 'Registration' and o.namespace = r.cluster and o.name = r.node
    left join node_identity i on i.cluster = r.cluster and i.node = r.node and i.request_id = r.id and i.state = 'Accepted'
    where r.id = ${id}`
  return row
}

/** Marks exchanges as proven, with their proofs and what their TPMs showed, where they still have these transcripts: an open one may be replaced at any time. */
export async function markProven(
  tx: Tx,
  exchanges: readonly (Pick<Exchange, 'id' | 'transcript' | 'tpm'> & { readonly proof: string })[],
  nowMs: number,
): Promise<void> {
  await tx`update registration_request r set proven_at = ${new Date(nowMs)}, expires_at = ${NEVER}, proof = u.proof, tpm = u.tpm
    from unnest(${exchanges.map(({ id }) => id)}::text[], ${exchanges.map(({ transcript }) => transcript)}::text[],
      ${exchanges.map(({ proof }) => proof)}::text[], ${exchanges.map(({ tpm }) => tpm)}::text[]) as u(id, transcript, proof, tpm)
    where r.id = u.id and r.transcript = u.transcript`
}

export async function deleteExchanges(tx: Tx, ids: readonly string[]): Promise<void> {
  if (ids.length > 0) await tx`delete from registration_request where id = any(${ids}::text[])`
}

/** Forgets proven exchanges whose Registration is gone: the keys in them begin anew. */
export async function deleteOrphanedExchanges(tx: Tx): Promise<void> {
  await tx`delete from registration_request r where proven_at is not null and not exists (
    select 1 from resource o where o.kind = 'Registration' and o.namespace = r.cluster and o.name = r.node)`
}
