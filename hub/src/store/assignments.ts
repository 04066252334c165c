import type { ActivationWindow, DesiredState, Gates, Waves } from '@skerry/api'
import type { Reader, Tx } from './store.ts'

/** The part of a rollout that a site must know. */
export type Terms = {
  windows: readonly ActivationWindow[]
  /** When each cluster may activate. Absent is whenever its windows allow it. */
  waves?: Waves
  gates: Gates
  attestation: 'affirming' | 'warning'
  /** What is not activated yet holds. Absent is no. */
  paused?: boolean
  /** These bytes may be tried again where they failed: once for this act. */
  retry?: NonNullable<DesiredState['retry']>
}

export type Assignment = {
  cluster: string
  rolloutNamespace: string
  rolloutName: string
  rolloutUid: string
  target: string
  manifestSha256: string
  imageSha256: string
  terms: Terms
  assignedAt: Date
}

export async function listAssignments(tx: Reader): Promise<Assignment[]> {
  return tx<Assignment[]>`
    select cluster, rollout_namespace as "rolloutNamespace", rollout_name as "rolloutName", rollout_uid as "rolloutUid", target, manifest_sha256 as "manifestSha256",
      image_sha256 as "imageSha256", terms, assigned_at as "assignedAt" from assignment order by cluster`
}

/** Assigns one image under one rollout's terms to many clusters, in place of what they had. */
export async function saveAssignments(
  tx: Tx,
  clusters: readonly string[],
  a: Omit<Assignment, 'cluster' | 'assignedAt'>,
): Promise<void> {
  if (clusters.length === 0) return
  const terms = tx.json(a.terms as Parameters<Tx['json']>[0])
  await tx`insert into assignment (cluster, rollout_namespace, rollout_name, rollout_uid, target, manifest_sha256, image_sha256, terms, assigned_at)
    select c, ${a.rolloutNamespace}, ${a.rolloutName}, ${a.rolloutUid}, ${a.target}, ${a.manifestSha256}, ${a.imageSha256}, ${terms}, now()
    from unnest(${[...clusters]}::text[]) as u(c)
    on conflict (cluster) do update set rollout_namespace = excluded.rollout_namespace, rollout_name = excluded.rollout_name, rollout_uid = excluded.rollout_uid,
      target = excluded.target, manifest_sha256 = excluded.manifest_sha256, image_sha256 = excluded.image_sha256, terms = excluded.terms, assigned_at = now()`
}

/** Puts clusters that this rollout has under other terms. It is the same assignment: the bytes and its time stay. */
export async function saveTerms(
  tx: Tx,
  rolloutUid: string,
  changed: readonly { cluster: string; terms: Terms }[],
): Promise<void> {
  if (changed.length === 0) return
  await tx`update assignment a set terms = u.t::jsonb
    from unnest(${changed.map(({ cluster }) => cluster)}::text[], ${changed.map(({ terms }) => JSON.stringify(terms))}::text[]) as u(c, t)
    where a.cluster = u.c and a.rollout_uid = ${rolloutUid}`
}
