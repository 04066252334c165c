import type { EvidenceBody, StatementRef, Verdict } from '@skerry/api'
import type { Reader, Tx } from './store.ts'

export type AttestationResult = {
  cluster: string
  node: string
  incarnation: number
  seq: number
  bootId: string
  verdict: Verdict
  reason: string
  message: string
  evidence: EvidenceBody
  judgedAt: Date
  digest: string
}

/** Evidence statements that were not judged yet, oldest first. */
export async function unjudgedEvidence(tx: Reader, limit: number): Promise<{ ref: StatementRef; text: string }[]> {
  const rows = await tx<
    { cluster: string; node: string; incarnation: number; seq: string; digest: string; text: string }[]
  >`
    select s.cluster, s.node, s.incarnation, s.seq, s.digest, s.text from statement s
    left join attestation_result a on a.cluster = s.cluster and a.node = s.node and a.incarnation = s.incarnation and a.seq = s.seq
    where s.kind = 'evidence' and a.cluster is null order by s.received_at limit ${limit}`
  return rows.map(({ text, seq, ...id }) => ({ ref: { ...id, seq: Number(seq) }, text }))
}

export async function appendResult(tx: Tx, r: Omit<AttestationResult, 'judgedAt' | 'digest'>): Promise<void> {
  const evidence = tx.json(r.evidence as Parameters<Tx['json']>[0])
  await tx`insert into attestation_result (cluster, node, incarnation, seq, boot_id, verdict, reason, message, evidence, judged_at)
    values (${r.cluster}, ${r.node}, ${r.incarnation}, ${r.seq}, ${r.bootId}, ${r.verdict}, ${r.reason}, ${r.message}, ${evidence}, now()) on conflict do nothing`
}

/** The newest result of every boot. */
export async function listResults(tx: Reader): Promise<AttestationResult[]> {
  const rows = await tx<(Omit<AttestationResult, 'seq'> & { seq: string })[]>`
    select distinct on (a.cluster, a.node, a.boot_id) a.cluster, a.node, a.incarnation, a.seq, a.boot_id as "bootId", a.verdict, a.reason, a.message, a.evidence, a.judged_at as "judgedAt", s.digest
    from attestation_result a join statement s on s.cluster = a.cluster and s.node = a.node and s.incarnation = a.incarnation and s.seq = a.seq
    order by a.cluster, a.node, a.boot_id, a.incarnation desc, a.seq desc`
  return rows.map((row) => ({ ...row, seq: Number(row.seq) }))
}
