import { createHash } from 'node:crypto'
import { type EvidenceBody, parse, Statement, type StatementRef, VERDICTS, type Verdict } from '@skerry/api'
import {
  type Appraisal,
  appraisalPolicyId,
  appraise,
  attestationResult,
  type ConfirmedBefore,
  confirmedBefore,
  FIRMWARE_PCRS,
  judgeRelease,
  type SeenClock,
} from '@skerry/policy'
import { evidenceNonce, type Signer, signDocument } from '@skerry/trust'
import { inTurn, makeQuiet } from '../quiet.ts'
import {
  appendResults,
  type JudgedBy,
  type NewResult,
  type NodeRecord,
  newestByPolicy,
  nodeRecords,
  nodesShowing,
  type Place,
  placeOf,
  requeue,
  requeueUnconfirmed,
  unjudgedEvidence,
} from '../store/attestations.ts'
import { confirmationsOf } from '../store/confirmations.ts'
import { type NewEvent, recordEvents } from '../store/events.ts'
import { writeFenced } from '../store/leases.ts'
import type { Reader, Tx } from '../store/store.ts'
import { wake } from '../store/wake.ts'
import { openReferences, type References } from './references.ts'
import type { Controller, Reconciling } from './run.ts'

/** Evidence read at a time: of a machine with a TPM it is up to 190 KB. */
const BATCH = 100
/** Of one node in a look: a node that says it booted a thousand times a second keeps nobody's boot from being judged. */
const OF_NODE = 20

/**
 * A statement may come below a boot that was judged, or while it is: so often the boots that run are held against what their
 * nodes confirmed. Where something was lost, what is confirmed after a boot decides
 * of it too: those few are in every look.
 */
const COMPARE_MS = 10 * 60_000

/**
 * Judges every boot's evidence once, and the newest of each node with a TPM again when other manifests or profiles are
 * signed. Results are EARs by `signer`. An exception leaves no verdict: nothing good is kept from before, what stands
 * behind is judged all the same, and the evidence is set aside: told once, in the log and as an event of its node, and left
 * in the queue for a hub that starts later and may know how. Of one reason a node has one event in a minute.
 */
export function attestationController(signer: Signer): Controller {
  const aside: StatementRef[] = []
  const readReferences = openReferences()
  let judgedBy: string | undefined
  // What was found of the releases of boots that were judged again for that, by their place.
  const compared = new Map<string, string | undefined>()
  let comparedAtMs = 0
  let quiet = makeQuiet()
  return {
    name: 'attestation',
    async reconcile(context) {
      const { store, lease, mirrors, now, log, signal } = context
      const references = await readReferences(store, mirrors)
      const isNewlySigned = judgedBy !== references.mark
      const boots = isNewlySigned || now() - comparedAtMs >= COMPARE_MS ? 'all' : 'by a loss'
      await judgeAgain(context, references, { boots, isNewlySigned, compared })
      judgedBy = references.mark
      if (boots === 'all') comparedAtMs = now()
      let more = false
      let after: StatementRef | undefined
      while (!signal.aborted) {
        const due = await unjudgedEvidence(store.sql, { most: BATCH, ofNode: OF_NODE, after, aside })
        const refs = due.map(({ ref }) => ref)
        const records = await nodeRecords(store.sql, refs)
        const confirmed = await confirmedAt(store.sql, refs, references, (ref) => records.get(placeOf(ref))?.hardwareId)
        const results: NewResult[] = []
        const unjudged: { readonly ref: StatementRef; readonly error: unknown }[] = []
        const clocks = new Map<string, SeenClock>()
        for (const { ref, text } of due) {
          const life = `${ref.cluster}/${ref.node}/${ref.incarnation}`
          try {
            const record = records.get(placeOf(ref))
            // Judged in this very look, it is not in the rows yet.
            const before = clocks.get(life) ?? record?.before ?? null
            const made = await judge(store.sql, ref, text, {
              ...{ references, record, before, confirmed: confirmed.get(placeOf(ref)), signer, nowMs: now() },
            })
            storable(made)
            if (made.clock) clocks.set(life, { bootId: made.bootId, ...made.clock })
            results.push(made)
          } catch (error) {
            unjudged.push({ ref, error })
          }
        }
        if (due.length > 0) {
          const events = [...unjudged.map(unjudgedEvent), ...results.flatMap(badBootEvent)]
          const told = events.flatMap((event) => inTurn(event, quiet, now()))
          const confirmed = await writeFenced(store, lease, async (tx) => {
            await recordEvents(tx, told)
            if (results.length === 0) return 0
            await appendResults(tx, results)
            await wake(tx, 'attestation')
            return confirmFirmware(tx, results, references)
          }).catch((error: unknown) => {
            // What was not written was not told.
            quiet = makeQuiet()
            throw error
          })
          if (confirmed > 0) more = true
        }
        for (const { ref, error } of unjudged) {
          aside.push(ref)
          log.error({ err: error, ...ref }, 'evidence could not be judged and is set aside until a hub starts again')
        }
        after = due.at(-1)?.ref
        if (due.length === BATCH || mostOfNode(due) === OF_NODE) more = true
        if (due.length < BATCH) break
      }
      return more ? { recheckAtMs: now() } : {}
    },
  }
}

function mostOfNode(due: readonly { readonly ref: StatementRef }[]): number {
  const byNode = Map.groupBy(due, ({ ref }) => `${ref.cluster}/${ref.node}`)
  return Math.max(0, ...[...byNode.values()].map(({ length }) => length))
}

// A verdict rests on what was signed when it was made. The boots that run are judged by what is signed now, and by what their
// nodes are known to have confirmed.
async function judgeAgain(
  { store, lease }: Reconciling,
  references: References,
  {
    boots,
    isNewlySigned,
    compared,
  }: {
    readonly boots: 'all' | 'by a loss'
    readonly isNewlySigned: boolean
    readonly compared: Map<string, string | undefined>
  },
): Promise<void> {
  const newest = await newestByPolicy(store.sql, boots)
  if (newest.length === 0) return
  if (boots === 'all') {
    const places = new Set(newest.map(placeOf))
    for (const place of compared.keys()) if (isNewlySigned || !places.has(place)) compared.delete(place)
  }
  const confirmed = await confirmedAt(store.sql, newest, references, ({ hardwareId }) => hardwareId)
  const found = new Map<string, string | undefined>()
  const outdated = newest.filter((judged) => {
    const place = placeOf(judged)
    const code = releaseCode(judged, references, confirmed.get(place))
    if (code === judged.releaseCode) compared.delete(place)
    // Once for each: where the bytes were signed under several boot blocks the best verdict may be another one's.
    else if (judged.isMeasured && !(compared.has(place) && compared.get(place) === code)) {
      found.set(place, code)
      return true
    }
    if (!isNewlySigned) return false
    const { policyId, imageSha256, hardwareId } = judged
    const profileSha256 = references.profileOf(hardwareId)?.profileSha256
    const manifests = references.manifestsOf(imageSha256, hardwareId).map(({ sha256 }) => sha256)
    const named = manifests.length > 0 ? manifests : [undefined]
    const isSame = named.some((manifestSha256) => policyId === appraisalPolicyId({ manifestSha256, profileSha256 }))
    return !isSame
  })
  if (outdated.length === 0) return
  await writeFenced(store, lease, (tx) => requeue(tx, outdated))
  for (const [place, code] of found) compared.set(place, code)
}

// What is found of the highest release that the image was signed under.
function releaseCode(
  { imageSha256, hardwareId }: JudgedBy,
  references: References,
  confirmed: ConfirmedBefore | undefined,
): string | undefined {
  const signed = references.manifestsOf(imageSha256, hardwareId).map(({ releaseCounter }) => releaseCounter)
  return signed.length > 0 ? judgeRelease({ ...confirmed, counter: Math.max(...signed) })[0]?.code : undefined
}

// What each of these boots is held against, by its place.
async function confirmedAt<At extends Place>(
  sql: Reader,
  boots: readonly At[],
  references: References,
  hardwareOf: (boot: At) => string | null | undefined,
): Promise<Map<string, ConfirmedBefore>> {
  const said = await confirmationsOf(sql, boots, references.manifestSha256s)
  return new Map(
    boots.map((boot) => {
      const { confirmations, lost } = said(boot)
      const lostUpTo = lost.findLast(({ last }) => last < boot.seq)?.last
      const counterOf = references.counterFor(hardwareOf(boot) ?? null)
      return [placeOf(boot), confirmedBefore({ seq: boot.seq, lostUpTo }, confirmations, counterOf)]
    }),
  )
}

// The clusters that complete a quorum confirm what the others showed before them.
async function confirmFirmware(tx: Tx, results: readonly NewResult[], references: References): Promise<number> {
  const shown = new Map<string, { profile: string; firmware: string; quorum: number }>()
  for (const { profile, firmware } of results) {
    const quorum = profile === undefined ? undefined : references.quorumOf(profile)
    if (profile === undefined || firmware === undefined || quorum === undefined) continue
    shown.set(`${profile} ${firmware}`, { profile, firmware, quorum })
  }
  let count = 0
  for (const one of shown.values()) count += await requeueUnconfirmed(tx, one)
  return count
}

function unjudgedEvent({ ref, error }: { readonly ref: StatementRef; readonly error: unknown }): NewEvent {
  const why = (error instanceof Error ? error.message : String(error)).slice(0, 1_000)
  const message = `evidence ${ref.incarnation}.${ref.seq} could not be judged and has no verdict: ${why}`
  return warningOf(ref, 'EvidenceUnjudged', message)
}

// Whatever class the evidence names: one that has a TPM and does without it is told of, too. What a warning is worth is up to each rollout.
const BAD_BOOTS: Partial<Record<Verdict, string>> = { contraindicated: 'BootContraindicated', none: 'BootUnproven' }

function badBootEvent({ verdict, evidence, message, ...ref }: NewResult): NewEvent[] {
  const reason = BAD_BOOTS[verdict]
  if (reason === undefined) return []
  return [warningOf(ref, reason, `boot ${evidence.bootId}: ${message}`.slice(0, 1_000))]
}

function warningOf({ cluster, node }: { cluster: string; node: string }, reason: string, message: string): NewEvent {
  const regarding = { kind: 'EdgeNode', namespace: cluster, name: node }
  return { type: 'Warning', reason, message, component: 'attestation', regarding }
}

// Of many verdicts written at once one that the database cannot hold would keep out all.
function storable(result: NewResult): void {
  JSON.stringify(result, (name, value: unknown) => {
    if (typeof value === 'string' && (value.includes('\0') || !value.isWellFormed()))
      throw new Error(`its ${name} holds a character that is none`)
    return value
  })
}

type By = {
  readonly references: References
  readonly record: NodeRecord | undefined
  readonly before: SeenClock | null
  readonly confirmed: ConfirmedBefore | undefined
  readonly signer: Signer
  readonly nowMs: number
}

async function judge(sql: Reader, ref: StatementRef, text: string, by: By): Promise<NewResult> {
  const statement = parse(Statement, JSON.parse(text), 'statement')
  if (statement.kind !== 'evidence') throw new Error(`it is a statement of kind ${statement.kind}`)
  const { body: evidence, marker, seq, prev } = statement
  const { references, record, signer, nowMs } = by
  const nonce = evidenceNonce(marker, seq, prev)
  const profile = evidence.class === 'tpm' ? references.profileOf(record?.hardwareId ?? null) : undefined
  const firmware = firmwareDigest(evidence)
  const judged =
    evidence.class === 'tpm'
      ? bestOf(await againstEach(sql, { ref, evidence, nonce, profile, firmware }, by))
      : { appraisal: appraise(evidence, { nonce, class: record?.class ?? undefined }), manifestSha256: undefined }
  const { appraisal, manifestSha256 } = judged
  const policyId = appraisalPolicyId({ manifestSha256, profileSha256: profile?.profileSha256 })
  const ear = attestationResult(appraisal, { evidence, statement: ref, policyId, nowMs })
  const { verdict, reason, message, findings, pcrs, bank, clock } = appraisal
  const { digest: _, ...place } = ref
  return {
    ...place,
    bootId: evidence.bootId,
    evidence,
    ...{ verdict, reason, message, findings, pcrs, bank, clock, policyId },
    ...(profile && firmware !== undefined ? { profile: profile.profile.name, firmware } : {}),
    ear: await signDocument('AttestationResult', ear, signer),
  }
}

type Judged = { readonly appraisal: Appraisal; readonly manifestSha256: string | undefined }
type Boot = {
  readonly ref: StatementRef
  readonly evidence: EvidenceBody
  readonly nonce: string
  readonly profile: ReturnType<References['profileOf']>
  readonly firmware: string | undefined
}

/** A verdict by each signed manifest that names the bytes: people may have signed them under several versions. */
async function againstEach(
  sql: Reader,
  { ref, evidence, nonce, profile, firmware }: Boot,
  { references, record, before, confirmed }: By,
): Promise<Judged[]> {
  const { imageSha256 } = evidence
  const learning = profile?.profile
  const shownBy =
    learning?.learn === 'quorum' && firmware !== undefined
      ? await nodesShowing(sql, { profile: learning.name, firmware, but: ref.cluster, most: learning.quorum ?? 2 })
      : []
  const others = references.othersOf(imageSha256, record?.hardwareId ?? null)
  const images = references.imagesOf(imageSha256, record?.hardwareId ?? null)
  const boot = references.isSigned(imageSha256) ? ('other-hardware' as const) : ('unknown' as const)
  const named = images.length > 0 ? images : [{ manifestSha256: undefined, boot, releaseCounter: undefined }]
  return named.map(({ manifestSha256, boot, releaseCounter: counter }) => ({
    manifestSha256,
    appraisal: appraise(evidence, {
      nonce,
      class: record?.class ?? undefined,
      tpm: {
        akName: record?.akName ?? undefined,
        image: boot,
        others,
        profile: learning,
        firmware: { atRegistration: record?.firmware ?? undefined, shownBy },
        before: before ?? undefined,
        release: counter === undefined ? undefined : { ...confirmed, counter },
      },
    }),
  }))
}

function bestOf(judged: readonly Judged[]): Judged {
  const rank = ({ appraisal }: Judged) => VERDICTS.indexOf(appraisal.verdict)
  const [best] = judged.toSorted((a, b) => rank(a) - rank(b))
  if (!best) throw new Error('no manifest was asked')
  return best
}

/** What the firmware's PCRs hold, by bank, as one word to compare. */
function firmwareDigest({ pcrs }: EvidenceBody): string | undefined {
  const [[bank, values] = []] = Object.entries(pcrs ?? {})
  if (bank === undefined || values === undefined) return undefined
  const shown = FIRMWARE_PCRS.map((index) => values[index] ?? '')
  return createHash('sha256')
    .update([bank, ...shown].join('\n'))
    .digest('hex')
}
