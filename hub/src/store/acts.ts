import { randomUUID } from 'node:crypto'
import type { RolloutAct } from '@skerry/api'
import type { Reader, Tx } from './store.ts'

// What people did to rollouts. Written by their doors, in the transaction of the audit record; never changed, never removed.

type Row = {
  seq: string
  id: string
  verb: RolloutAct['verb']
  by: string
  at: Date
  reason: string
  rolloutUid: string
  manifestSha256: string | null
  gate: string | null
  clusters: string[] | null
  expiresAt: Date | null
}

/** Appends an act. Its id is a UUID: a database that was put back gives none a second time. */
export async function appendAct(tx: Tx, act: Omit<RolloutAct, 'id'>): Promise<RolloutAct> {
  const id = randomUUID()
  const { verb, by, at, reason, rolloutUid, manifestSha256, gate, clusters, expiresAt } = act
  await tx`insert into rollout_act (id, verb, actor, at, reason, rollout_uid, manifest_sha256, gate, clusters, expires_at)
    values (${id}, ${verb}, ${by}, ${at}, ${reason}, ${rolloutUid}, ${manifestSha256 ?? null}, ${gate ?? null},
      ${clusters ? tx.json(clusters) : null}, ${expiresAt ?? null})`
  return { id, ...act }
}

/** Every act of one rollout, oldest first. */
export async function listActs(tx: Reader, rolloutUid: string): Promise<RolloutAct[]> {
  return (await rowsOf(tx, tx`rollout_uid = ${rolloutUid}`)).map(toAct)
}

/**
 * The acts of all rollouts by uid, oldest first, as they are read again and again: each time only what is new. They are
 * written under the lock of all writers, so their numbers become visible in order.
 */
export function openActs(sql: Reader): () => Promise<ReadonlyMap<string, readonly RolloutAct[]>> {
  const held = new Map<string, RolloutAct[]>()
  let upTo = 0
  let before: Promise<unknown> = Promise.resolve()

  async function look(): Promise<ReadonlyMap<string, readonly RolloutAct[]>> {
    const [newest] = await sql<{ max: string | null }[]>`select max(seq) as max from rollout_act`
    const max = Number(newest?.max ?? 0)
    // The database was put back to an earlier state.
    if (max < upTo) {
      held.clear()
      upTo = 0
    }
    if (max > upTo)
      for (const row of await rowsOf(sql, sql`seq > ${upTo} and seq <= ${max}`)) {
        held.set(row.rolloutUid, [...(held.get(row.rolloutUid) ?? []), toAct(row)])
        upTo = Number(row.seq)
      }
    return new Map(held)
  }

  return () => {
    const next = before.then(look)
    before = next.catch(() => undefined)
    return next
  }
}

function rowsOf(tx: Reader, among: ReturnType<Reader>): Promise<Row[]> {
  return tx<Row[]>`
    select seq, id, verb, actor as by, at, reason, rollout_uid as "rolloutUid", manifest_sha256 as "manifestSha256", gate, clusters,
      expires_at as "expiresAt"
    from rollout_act where ${among} order by seq`
}

function toAct({ id, verb, by, at, reason, rolloutUid, manifestSha256, gate, clusters, expiresAt }: Row): RolloutAct {
  return {
    id,
    verb,
    by,
    at: at.toISOString(),
    reason,
    rolloutUid,
    ...(manifestSha256 === null ? {} : { manifestSha256 }),
    ...(gate === null ? {} : { gate }),
    ...(clusters === null ? {} : { clusters }),
    ...(expiresAt === null ? {} : { expiresAt: expiresAt.toISOString() }),
  }
}
