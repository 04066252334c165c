import { createHash } from 'node:crypto'
import { counted } from '@skerry/policy'
import type { Reader, Tx } from './store.ts'

// Who changed what: each record's hash covers the one before it, and the newest hash stands apart, so that neither a
// changed nor a missing record goes unseen. Whoever may write the whole database can still forge all of it; the head,
// kept elsewhere by whoever reads it, is what that cannot forge.

export type AuditEntry = {
  actor: string
  sourceIp: string
  verb: string
  kind: string
  namespace: string
  name: string
  before: unknown
  after: unknown
  requestId: string
}

export type AuditRecord = {
  readonly id: number
  readonly at: string
  readonly actor: string
  readonly sourceIp: string
  readonly verb: string
  readonly kind: string
  readonly namespace: string
  readonly name: string
  /** SHA-256 of the object before and after, as JSON; null where there was none. */
  readonly beforeDigest: string | null
  readonly afterDigest: string | null
  readonly requestId: string
  readonly hash: string
}

/** The newest record's place in the chain. */
export type AuditHead = { readonly count: number; readonly hash: string }

export type AuditVerdict =
  | { readonly whole: true; readonly head: AuditHead }
  | { readonly whole: false; readonly head: AuditHead; readonly reason: string }

const EMPTY: AuditHead = { count: 0, hash: '' }
const PAGE = 1_000

const turns = new WeakMap<Tx, Promise<void>>()

/** Adds a record in the transaction of the change. The version lock orders the chain; inside it each waits its turn. */
export function recordAudit(tx: Tx, entry: AuditEntry): Promise<void> {
  return recordAudits(tx, [entry])
}

/** Adds many, in this order. */
export function recordAudits(tx: Tx, entries: readonly AuditEntry[]): Promise<void> {
  const turn = (turns.get(tx) ?? Promise.resolve()).then(() => append(tx, entries))
  turns.set(
    tx,
    turn.catch(() => undefined),
  )
  return turn
}

async function append(tx: Tx, entries: readonly AuditEntry[]): Promise<void> {
  if (entries.length === 0) return
  const head = await auditHead(tx)
  let { hash } = head
  const rows = entries.map(({ before, after, ...entry }) => {
    const at = new Date().toISOString()
    const record = { ...entry, at, beforeDigest: digest(before), afterDigest: digest(after) }
    hash = chained(hash, record)
    return { ...record, hash }
  })
  const next = { count: head.count + rows.length, hash }
  const column = (name: keyof (typeof rows)[number]) => rows.map((row) => row[name])
  // The ids follow the order of the chain.
  await tx`with record as (
      insert into audit_record (at, actor, source_ip, verb, kind, namespace, name, before_digest, after_digest, request_id, hash)
      select a, ac, ip, v, k, ns, n, b, af, r, h from unnest(${column('at')}::timestamptz[], ${column('actor')}::text[], ${column('sourceIp')}::text[],
        ${column('verb')}::text[], ${column('kind')}::text[], ${column('namespace')}::text[], ${column('name')}::text[], ${column('beforeDigest')}::text[],
        ${column('afterDigest')}::text[], ${column('requestId')}::text[], ${column('hash')}::text[])
        with ordinality as u(a, ac, ip, v, k, ns, n, b, af, r, h, place) order by place)
    insert into hub_state (key, value, changed) values ('audit-head', ${tx.json(next)}, now())
    on conflict (key) do update set value = excluded.value, changed = now()`
}

/** Records behind `after`, oldest first. */
export async function listAudit(tx: Reader, after: number, limit: number): Promise<AuditRecord[]> {
  const rows = await tx<(Omit<AuditRecord, 'id' | 'at'> & { id: string; at: Date })[]>`
    select id, at, actor, source_ip as "sourceIp", verb, kind, namespace, name, before_digest as "beforeDigest",
      after_digest as "afterDigest", request_id as "requestId", hash
    from audit_record where id > ${after} order by id limit ${limit}`
  return rows.map((row) => ({ ...row, id: Number(row.id), at: row.at.toISOString() }))
}

export async function auditHead(tx: Reader): Promise<AuditHead> {
  const [row] = await tx<{ value: AuditHead }[]>`select value from hub_state where key = 'audit-head'`
  return row?.value ?? EMPTY
}

/** Reads every record and says whether the chain is whole; otherwise where it first breaks. */
export async function verifyAudit(tx: Reader): Promise<AuditVerdict> {
  const head = await auditHead(tx)
  let last: AuditRecord | undefined
  let count = 0
  for (;;) {
    const page = await listAudit(tx, last?.id ?? 0, PAGE)
    for (const record of page) {
      if (chained(last?.hash ?? '', record) !== record.hash) {
        const place = last
          ? `record ${record.id} does not follow record ${last.id}`
          : `record ${record.id} is not the first`
        return { whole: false, head, reason: `${place}: one of them was changed, or one between them is missing` }
      }
      last = record
      count += 1
    }
    if (page.length < PAGE) break
  }
  if (head.hash === (last?.hash ?? '') && head.count === count) return { whole: true, head }
  const written = `${counted(head.count, 'record was', 'records were')} written and ${counted(count, 'is', 'are')} there`
  const missing = head.count - count
  return {
    whole: false,
    head,
    reason:
      missing > 0
        ? `${written}: the newest ${missing === 1 ? 'is' : 'are'} missing`
        : `${written}: the newest is not the one that was written last`,
  }
}

function chained(previous: string, record: Omit<AuditRecord, 'id' | 'hash'>): string {
  const { at, actor, sourceIp, verb, kind, namespace, name, beforeDigest, afterDigest, requestId } = record
  const fields = [previous, at, actor, sourceIp, verb, kind, namespace, name, beforeDigest, afterDigest, requestId]
  return createHash('sha256').update(JSON.stringify(fields)).digest('hex')
}

function digest(value: unknown): string | null {
  return value === undefined ? null : createHash('sha256').update(JSON.stringify(value)).digest('hex')
}
