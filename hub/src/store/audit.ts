import { createHash } from 'node:crypto'
import type { Tx } from './store.ts'

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

/** Who changed what, chained to the record before it, in the transaction of the change. The version lock orders the chain. */
export async function recordAudit(tx: Tx, entry: AuditEntry): Promise<void> {
  const [last] = await tx<{ hash: string }[]>`select hash from audit_record order by id desc limit 1`
  const at = new Date().toISOString()
  const beforeDigest = digest(entry.before)
  const afterDigest = digest(entry.after)
  const { actor, sourceIp, verb, kind, namespace, name, requestId } = entry
  const hash = createHash('sha256')
    .update(
      JSON.stringify([
        last?.hash ?? '',
        at,
        actor,
        sourceIp,
        verb,
        kind,
        namespace,
        name,
        beforeDigest,
        afterDigest,
        requestId,
      ]),
    )
    .digest('hex')
  await tx`insert into audit_record (at, actor, source_ip, verb, kind, namespace, name, before_digest, after_digest, request_id, hash)
    values (${at}, ${actor}, ${sourceIp}, ${verb}, ${kind}, ${namespace}, ${name}, ${beforeDigest}, ${afterDigest}, ${requestId}, ${hash})`
}

function digest(value: unknown): string | null {
  return value === undefined ? null : createHash('sha256').update(JSON.stringify(value)).digest('hex')
}
