import type { EvidenceBody, StatementRef, Verdict } from '@skerry/api'
import { bumpRevisions, idsOf, type NodeId } from './heads.ts'
import type { Reader, Tx } from './store.ts'

/** What was judged of one boot. */
export type NewResult = {
  cluster: string
  node: string
  incarnation: number
  seq: number
  bootId: string
  verdict: Verdict
  reason: string
  message: string
  evidence: EvidenceBody
}

/** A result as it is read: without the evidence, and with the digest of the statement that brought it. */
export type AttestationResult = Omit<NewResult, 'evidence'> & { imageSha256: string; judgedAt: Date; digest: string }

type Place = Omit<StatementRef, 'digest'>

/** Evidence that was not judged yet, in the order of its place and after one. It costs what is unjudged, however much was judged. */
export async function unjudgedEvidence(
  tx: Reader,
  limit: number,
  after?: Place,
): Promise<{ ref: StatementRef; text: string }[]> {
  const rows = await tx<
    { cluster: string; node: string; incarnation: number; seq: string; digest: string; text: string }[]
  >`
    select s.cluster, s.node, s.incarnation, s.seq, s.digest, s.text from (
      select * from evidence_queue
      ${after ? tx`where (cluster, node, incarnation, seq) > (${after.cluster}, ${after.node}, ${after.incarnation}, ${after.seq})` : tx``}
      order by cluster, node, incarnation, seq limit ${limit}
    ) q join statement s on s.cluster = q.cluster and s.node = q.node and s.incarnation = q.incarnation and s.seq = q.seq
    order by q.cluster, q.node, q.incarnation, q.seq`
  return rows.map(({ text, seq, ...id }) => ({ ref: { ...id, seq: Number(seq) }, text }))
}

/** Appends verdicts and takes what they judge out of the queue. */
export async function appendResults(tx: Tx, results: readonly NewResult[]): Promise<void> {
  const rows = results.map(({ evidence, bootId, ...r }) => ({
    ...r,
    boot_id: bootId,
    evidence: JSON.stringify(evidence),
  }))
  await tx`insert into attestation_result (cluster, node, incarnation, seq, boot_id, verdict, reason, message, evidence, judged_at)
    select r.cluster, r.node, r.incarnation, r.seq, r.boot_id, r.verdict, r.reason, r.message, r.evidence::jsonb, now()
    from jsonb_to_recordset(${JSON.stringify(rows)}::text::jsonb) as r(cluster text, node text, incarnation int, seq bigint, boot_id text, verdict text, reason text, message text, evidence text)
    on conflict do nothing`
  await tx`delete from evidence_queue q using unnest(${results.map((r) => r.cluster)}::text[], ${results.map((r) => r.node)}::text[],
      ${results.map((r) => r.incarnation)}::int[], ${results.map((r) => r.seq)}::bigint[]) as u(c, n, i, s)
    where q.cluster = u.c and q.node = u.n and q.incarnation = u.i and q.seq = u.s`
  await bumpRevisions(tx, results)
}

/** The newest result of each of these nodes, and the newest for each of these boots of a node. However many there are of old boots, they are not read. */
export async function listResults(
  tx: Reader,
  nodes: readonly NodeId[],
  boots: readonly { cluster: string; node: string; bootId: string }[],
): Promise<AttestationResult[]> {
  const rows = await tx<(Omit<AttestationResult, 'seq'> & { seq: string })[]>`
    select a.cluster, a.node, a.incarnation, a.seq, a.boot_id as "bootId", a.verdict, a.reason, a.message, a.evidence->>'imageSha256' as "imageSha256", a.judged_at as "judgedAt", s.digest
    from (
      select n.* from ${idsOf(tx, nodes)} cross join lateral (select * from attestation_result r where r.cluster = u.c and r.node = u.n
        order by r.incarnation desc, r.seq desc limit 1) n
      union
      select n.* from unnest(${boots.map(({ cluster }) => cluster)}::text[], ${boots.map(({ node }) => node)}::text[], ${boots.map(({ bootId }) => bootId)}::text[]) as b(c, n, i)
      cross join lateral (select * from attestation_result r where r.cluster = b.c and r.node = b.n and r.boot_id = b.i
        order by r.incarnation desc, r.seq desc limit 1) n
    ) a join statement s on s.cluster = a.cluster and s.node = a.node and s.incarnation = a.incarnation and s.seq = a.seq`
  return rows.map((row) => ({ ...row, seq: Number(row.seq) }))
}
