import type {
  BankName,
  EvidenceBody,
  Finding,
  NodeClass,
  PcrAppraisal,
  PcrValues,
  StatementRef,
  Verdict,
} from '@skerry/api'
import type { Appraisal, SeenClock } from '@skerry/policy'
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
  findings: readonly Finding[]
  pcrs: readonly PcrAppraisal[]
  bank?: BankName | undefined
  clock?: Appraisal['clock']
  /** The profile that judged it, and `firmwareDigest()` of what it showed. */
  profile?: string | undefined
  firmware?: string | undefined
  policyId: string
  /** The EAR as it was signed. */
  ear: string
}

/** A result as it is read: without evidence and details, and with the digest of the statement that brought it. */
export type AttestationResult = Pick<
  NewResult,
  'cluster' | 'node' | 'incarnation' | 'seq' | 'bootId' | 'verdict' | 'reason' | 'message'
> & {
  imageSha256: string
  judgedAt: Date
  receivedAt: Date
  digest: string
  /** How this evidence was judged first: what it is held against may have changed since. */
  firstVerdict: Verdict
}

/** What a verdict rests on, as it is shown. */
export type ResultDetails = { findings: Finding[]; pcrs: PcrAppraisal[]; bank: BankName | null }

export type Place = Omit<StatementRef, 'digest'>

/**
 * Evidence that was not judged yet, node by node behind one, of each in its order: `most` of all, `ofNode` of one, so that
 * a node that has much keeps nobody waiting. Without what is set aside. It costs what is unjudged, however much was judged.
 */
export async function unjudgedEvidence(
  tx: Reader,
  {
    most,
    ofNode = most,
    after,
    aside = [],
  }: {
    readonly most: number
    readonly ofNode?: number
    readonly after?: Pick<Place, 'cluster' | 'node'> | undefined
    readonly aside?: readonly Place[]
  },
): Promise<{ ref: StatementRef; text: string }[]> {
  const rows = await tx<
    { cluster: string; node: string; incarnation: number; seq: string; digest: string; text: string }[]
  >`
    with recursive turn as (
      (select cluster, node from evidence_queue ${after ? tx`where (cluster, node) > (${after.cluster}, ${after.node})` : tx``}
        order by cluster, node limit 1)
      union all
      select n.* from turn t cross join lateral (select q.cluster, q.node from evidence_queue q
        where (q.cluster, q.node) > (t.cluster, t.node) order by q.cluster, q.node limit 1) n
    )
    select s.cluster, s.node, s.incarnation, s.seq, s.digest, s.text from (
      select d.* from turn t cross join lateral (select * from evidence_queue q where q.cluster = t.cluster and q.node = t.node
        and (q.cluster, q.node, q.incarnation, q.seq) not in (select * from unnest(${aside.map((p) => p.cluster)}::text[],
          ${aside.map((p) => p.node)}::text[], ${aside.map((p) => p.incarnation)}::int[], ${aside.map((p) => p.seq)}::bigint[]))
        order by q.incarnation, q.seq limit ${ofNode}) d limit ${most}
    ) q join statement s on s.cluster = q.cluster and s.node = q.node and s.incarnation = q.incarnation and s.seq = q.seq
    order by q.cluster, q.node, q.incarnation, q.seq`
  return rows.map(({ text, seq, ...id }) => ({ ref: { ...id, seq: Number(seq) }, text }))
}

/** Appends verdicts and takes what they judge out of the queue. A statement that is judged again has one result more. */
export async function appendResults(tx: Tx, results: readonly NewResult[]): Promise<void> {
  const rows = results.map(({ evidence, bootId, policyId, ...r }) => ({
    ...r,
    boot_id: bootId,
    policy_id: policyId,
    evidence: JSON.stringify(withoutQuote(evidence)),
  }))
  await tx`insert into attestation_result (cluster, node, incarnation, seq, boot_id, verdict, reason, message, evidence, judged_at,
      revision, findings, pcrs, bank, clock, profile, firmware, policy_id, ear)
    select r.cluster, r.node, r.incarnation, r.seq, r.boot_id, r.verdict, r.reason, r.message, r.evidence::jsonb, now(),
      1 + coalesce((select max(o.revision) from attestation_result o where o.cluster = r.cluster and o.node = r.node
        and o.incarnation = r.incarnation and o.seq = r.seq), 0),
      r.findings, r.pcrs, r.bank, r.clock, r.profile, r.firmware, r.policy_id, r.ear
    from jsonb_to_recordset(${JSON.stringify(rows)}::text::jsonb) as r(cluster text, node text, incarnation int, seq bigint, boot_id text, verdict text, reason text, message text, evidence text,
      findings jsonb, pcrs jsonb, bank text, clock jsonb, profile text, firmware text, policy_id text, ear text)
    on conflict do nothing`
  await tx`delete from evidence_queue q using unnest(${results.map((r) => r.cluster)}::text[], ${results.map((r) => r.node)}::text[],
      ${results.map((r) => r.incarnation)}::int[], ${results.map((r) => r.seq)}::bigint[]) as u(c, n, i, s)
    where q.cluster = u.c and q.node = u.n and q.incarnation = u.i and q.seq = u.s`
  await bumpRevisions(tx, results)
}

// Quote and logs are long and stand in the statement; what is asked of a result is which boot of which image it was.
function withoutQuote({ class: as, bootId, slot, imageSha256, nonce, eventLogSha256 }: EvidenceBody): EvidenceBody {
  return { class: as, bootId, slot, imageSha256, nonce, ...(eventLogSha256 === undefined ? {} : { eventLogSha256 }) }
}

/** What is on record of the node of a statement, as a verdict on it needs it. */
export type NodeRecord = {
  class: NodeClass | null
  akName: string | null
  firmware: PcrValues | null
  hardwareId: string | null
  /** What its TPM counted in the newest judged boot before this statement, in the same life: the next may have another TPM. */
  before: SeenClock | null
}

/** The records behind these statements, by `cluster/node incarnation.seq`. */
export async function nodeRecords(tx: Reader, places: readonly Place[]): Promise<Map<string, NodeRecord>> {
  if (places.length === 0) return new Map()
  const rows = await tx<
    (NodeRecord & Place & { seq: string; bootId: string | null; clock: Appraisal['clock'] | null })[]
  >`
    select u.c as cluster, u.n as node, u.i as incarnation, u.s as seq, i.class, i.ak_name as "akName", i.firmware,
      o.spec->>'hardwareId' as "hardwareId", b.boot_id as "bootId", b.clock
    from unnest(${places.map((p) => p.cluster)}::text[], ${places.map((p) => p.node)}::text[],
      ${places.map((p) => p.incarnation)}::int[], ${places.map((p) => p.seq)}::bigint[]) as u(c, n, i, s)
    left join node_identity i on i.cluster = u.c and i.node = u.n
    left join resource o on o.kind = 'Registration' and o.namespace = u.c and o.name = u.n
    left join lateral (select r.boot_id, r.clock from attestation_result r where r.cluster = u.c and r.node = u.n
      and r.incarnation = u.i and r.seq < u.s and r.clock is not null
      order by r.seq desc, r.revision desc limit 1) b on true`
  return new Map(
    rows.map(({ bootId, clock, ...row }) => [
      placeOf(row),
      { ...row, before: clock && bootId !== null ? { bootId, ...clock } : null },
    ]),
  )
}

/** `cluster/node incarnation.seq`. */
export function placeOf({ cluster, node, incarnation, seq }: { [K in keyof Place]: Place[K] | string }): string {
  return `${cluster}/${node} ${incarnation}.${seq}`
}

// The newest result of each accepted node whose firmware shows this, where it is good enough to learn from.
const showing = (tx: Reader, { profile, firmware }: { profile: string; firmware: string }) =>
  tx`(select r.cluster, r.node, r.incarnation, r.seq, r.verdict, r.findings from attestation_result r
    join node_identity i on i.cluster = r.cluster and i.node = r.node and i.state = 'Accepted'
    where r.profile = ${profile} and r.firmware = ${firmware} and r.verdict in ('affirming', 'warning')
      and not exists (select 1 from attestation_result n where n.cluster = r.cluster and n.node = r.node
        and (n.incarnation, n.seq, n.revision) > (r.incarnation, r.seq, r.revision)))`

/** Nodes of this profile that show this firmware, as `cluster/node`: one of each cluster but this one, `most` of them. */
export async function nodesShowing(
  tx: Reader,
  shown: { profile: string; firmware: string; but: string; most: number },
): Promise<string[]> {
  const rows = await tx<{ place: string }[]>`select s.cluster || '/' || min(s.node) as place
    from ${showing(tx, shown)} s where s.cluster <> ${shown.but} group by s.cluster order by s.cluster limit ${shown.most}`
  return rows.map(({ place }) => place)
}

/** Puts boots whose firmware too few had shown back into the queue, once enough show it. Returns how many. */
export async function requeueUnconfirmed(
  tx: Tx,
  shown: { profile: string; firmware: string; quorum: number },
): Promise<number> {
  const rows = await tx`insert into evidence_queue (cluster, node, incarnation, seq)
    select s.cluster, s.node, s.incarnation, s.seq from ${showing(tx, shown)} s
    where s.findings @> '[{"code": "FirmwareUnconfirmed"}]'::jsonb
      and (select count(distinct c.cluster) from ${showing(tx, shown)} c) >= ${shown.quorum}
    on conflict do nothing returning 1`
  return rows.length
}

/** How a boot was judged: by which policy, for which image and on which hardware; from a quote or not; and what was found of its release. */
export type JudgedBy = {
  policyId: string | null
  imageSha256: string
  hardwareId: string | null
  isMeasured: boolean
  releaseCode: 'OlderThanConfirmed' | 'ConfirmedLost' | undefined
}

/**
 * The newest result of each node with a TPM, and what it was judged by; of all, or of those that a loss, or what
 * was said since, may have changed since they were judged.
 */
export async function newestByPolicy(tx: Reader, of: 'all' | 'by a loss'): Promise<(Place & JudgedBy)[]> {
  const rows = await tx<(Place & Omit<JudgedBy, 'releaseCode'> & { seq: string; isOlder: boolean; isLost: boolean })[]>`
    select r.cluster, r.node, r.incarnation, r.seq, r.policy_id as "policyId", r.evidence->>'imageSha256' as "imageSha256", o.spec->>'hardwareId' as "hardwareId",
      r.bank is not null as "isMeasured", coalesce(r.findings @> '[{"code": "OlderThanConfirmed"}]'::jsonb, false) as "isOlder",
      coalesce(r.findings @> '[{"code": "ConfirmedLost"}]'::jsonb, false) as "isLost"
    from node_identity i cross join lateral (select * from attestation_result r where r.cluster = i.cluster and r.node = i.node
      order by r.incarnation desc, r.seq desc, r.revision desc limit 1) r
    left join resource o on o.kind = 'Registration' and o.namespace = i.cluster and o.name = i.node
    where i.class = 'tpm' and i.state <> 'Left' ${
      of === 'all'
        ? tx``
        : tx`and (r.findings @> '[{"code": "ConfirmedLost"}]'::jsonb or exists (select 1 from closed_gap g where g.cluster = i.cluster
          and g.node = i.node and g.incarnation = i.incarnation and g.closed_at > r.judged_at - interval '1 minute'))`
    }`
  return rows.map(({ isOlder, isLost, seq, ...row }) => ({
    ...row,
    seq: Number(seq),
    releaseCode: isOlder ? 'OlderThanConfirmed' : isLost ? 'ConfirmedLost' : undefined,
  }))
}

/** Has statements judged again that were. */
export async function requeue(tx: Tx, places: readonly Place[]): Promise<void> {
  await tx`insert into evidence_queue (cluster, node, incarnation, seq)
    select * from unnest(${places.map((p) => p.cluster)}::text[], ${places.map((p) => p.node)}::text[],
      ${places.map((p) => p.incarnation)}::int[], ${places.map((p) => p.seq)}::bigint[]) on conflict do nothing`
}

/** What the newest verdicts on these statements rest on, by `placeOf()`. What was judged before details were kept has none. */
export async function resultDetails(tx: Reader, places: readonly Place[]): Promise<Map<string, ResultDetails>> {
  if (places.length === 0) return new Map()
  const rows = await tx<(ResultDetails & Place & { seq: string })[]>`
    select r.cluster, r.node, r.incarnation, r.seq, r.bank, r.findings, r.pcrs
    from unnest(${places.map((p) => p.cluster)}::text[], ${places.map((p) => p.node)}::text[],
      ${places.map((p) => p.incarnation)}::int[], ${places.map((p) => p.seq)}::bigint[]) as u(c, n, i, s)
    cross join lateral (select * from attestation_result r where r.cluster = u.c and r.node = u.n and r.incarnation = u.i and r.seq = u.s
      order by r.revision desc limit 1) r
    where r.findings is not null and r.pcrs is not null`
  return new Map(rows.map((row) => [placeOf(row), row]))
}

/**
 * The newest result of each of these nodes; of each of these boots the newest; and the last evidence of a boot of the same
 * image, that one or one that was told of since the statement that names it, that is contraindicated and was from the first.
 * However many there are of old boots, they are not read.
 */
export async function listResults(
  tx: Reader,
  nodes: readonly NodeId[],
  boots: readonly (Place & { bootId: string; imageSha256: string })[],
): Promise<AttestationResult[]> {
  const asked = tx`unnest(${boots.map(({ cluster }) => cluster)}::text[], ${boots.map(({ node }) => node)}::text[], ${boots.map(({ bootId }) => bootId)}::text[],
    ${boots.map(({ imageSha256 }) => imageSha256)}::text[], ${boots.map(({ incarnation }) => incarnation)}::int[], ${boots.map(({ seq }) => seq)}::bigint[]) as b(c, n, i, image, life, s)`
  const rows = await tx<(Omit<AttestationResult, 'seq'> & { seq: string })[]>`
    select a.cluster, a.node, a.incarnation, a.seq, a.boot_id as "bootId", a.verdict, a.reason, a.message, a.evidence->>'imageSha256' as "imageSha256", a.judged_at as "judgedAt", s.digest, s.received_at as "receivedAt",
      f.verdict as "firstVerdict"
    from (
      select n.* from ${idsOf(tx, nodes)} cross join lateral (select * from attestation_result r where r.cluster = u.c and r.node = u.n
        order by r.incarnation desc, r.seq desc, r.revision desc limit 1) n
      union
      select n.* from ${asked} cross join lateral (select * from attestation_result r where r.cluster = b.c and r.node = b.n and r.boot_id = b.i
        order by r.incarnation desc, r.seq desc, r.revision desc limit 1) n
      union
      select n.* from ${asked} cross join lateral (select * from attestation_result r where r.cluster = b.c and r.node = b.n and r.incarnation = b.life
        and r.verdict = 'contraindicated' and (r.seq > b.s or r.boot_id = b.i) and r.evidence->>'imageSha256' = b.image
        and exists (select 1 from attestation_result w where w.cluster = r.cluster and w.node = r.node and w.incarnation = r.incarnation
          and w.seq = r.seq and w.revision = 1 and w.verdict = 'contraindicated')
        and not exists (select 1 from attestation_result l where l.cluster = r.cluster and l.node = r.node and l.incarnation = r.incarnation
          and l.seq = r.seq and l.revision > r.revision)
        order by r.seq desc limit 1) n
    ) a join statement s on s.cluster = a.cluster and s.node = a.node and s.incarnation = a.incarnation and s.seq = a.seq
    join attestation_result f on f.cluster = a.cluster and f.node = a.node and f.incarnation = a.incarnation and f.seq = a.seq and f.revision = 1`
  return rows.map((row) => ({ ...row, seq: Number(row.seq) }))
}

/** A verdict as it was made, and the EAR that says it; null of what was judged before results were signed. */
export type MadeResult = Pick<NewResult, 'incarnation' | 'seq' | 'bootId' | 'verdict' | 'reason' | 'message'> & {
  revision: number
  judgedAt: Date
  policyId: string | null
  ear: string | null
  /** The time of the epoch marker that the evidence answers; null where it answers none of this hub's. */
  saidAfter: Date | null
  receivedAt: Date
}

/** Every verdict on a node's boots, the newest first, also those that later ones took the place of. */
export async function listMade(
  tx: Reader,
  { cluster, node }: Pick<NodeId, 'cluster' | 'node'>,
  limit: number,
): Promise<MadeResult[]> {
  const rows = await tx<(MadeResult & { seq: string })[]>`
    select r.incarnation, r.seq, r.revision, r.boot_id as "bootId", r.verdict, r.reason, r.message, r.judged_at as "judgedAt", r.policy_id as "policyId", r.ear,
      s.received_at as "receivedAt", m.at as "saidAfter"
    from attestation_result r
    join statement s on s.cluster = r.cluster and s.node = r.node and s.incarnation = r.incarnation and s.seq = r.seq
    left join epoch_marker m on m.digest = s.text::jsonb->>'marker'
    where r.cluster = ${cluster} and r.node = ${node}
    order by r.incarnation desc, r.seq desc, r.revision desc limit ${limit}`
  return rows.map((row) => ({ ...row, seq: Number(row.seq) }))
}
