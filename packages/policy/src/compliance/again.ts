import {
  type ComplianceReport,
  type EvidenceBody,
  type HardwareProfile,
  type OSImageManifest,
  type RegistrationProof,
  type UkiBoot,
  VERDICTS,
} from '@skerry/api'
import { Malformed, nameOf, parsePublic } from '@skerry/measured-boot'
import { type Appraisal, appraise, NOTHING_KNOWN } from '../attestation/appraise.ts'
import { type ConfirmedBefore, FIRMWARE_PCRS, type SeenClock, type TpmReference } from '../attestation/reference.ts'
import { type Confirmation, confirmedBefore, confirmedManifest } from '../attestation/release.ts'
import { counterFor, signedImages } from '../attestation/signed.ts'
import type { KnownStatement } from './facts.ts'

// Boots of nodes with a TPM, judged again by whoever checks a report: against manifests and profiles that he read by a root
// of his own. The hub's word is left for one thing: which hardware a node is.

/** What people signed, each with the digest of its file. */
export type SignedFiles = {
  readonly manifests: readonly { readonly sha256: string; readonly manifest: OSImageManifest }[]
  readonly profiles: readonly { readonly sha256: string; readonly profile: HardwareProfile }[]
}

type Evidence = KnownStatement & { readonly nonce: string }
/** One life of a node: its statements, and what it signed when it registered. */
export type Life = {
  readonly statements: ReadonlyMap<number, Evidence>
  readonly proof?: RegistrationProof
}
type Node = ComplianceReport['clusters'][number]['nodes'][number]

/** The appraisal of one statement, or why it cannot be made from what is at hand. */
export type JudgedAgain = (
  cluster: string,
  node: Node,
  life: Life,
  at: Evidence,
) => Appraisal | { readonly why: string }

/** How this report's boots are judged again. A quorum is made of the nodes of this report alone. */
export function judgeAgain(
  report: ComplianceReport,
  lives: ReadonlyMap<string, Life>,
  signed: SignedFiles,
): JudgedAgain {
  const shown = firmwareShown(report, lives, signed)
  return (cluster, node, life, at) => {
    const found = best(node, life, at, signed, (firmware) => shown(cluster, firmware))
    if ('why' in found) return found
    // The hub holds a node to what it showed in its first life, and a file has the proof of the present one.
    if (node.hubSays.incarnation > 1 && found.pcrs.some(({ by }) => by === 'registration'))
      return { why: 'the firmware it registered with in its first life is not in this file' }
    if (!report.only) return found
    // Who taught the firmware may be at a cluster that was not asked for.
    return found.codes.has('FirmwareUnconfirmed')
      ? { why: 'its firmware was learned from clusters that are not all in this report' }
      : found
  }
}

type Shown = (firmware: { readonly profile: string; readonly values: string }) => readonly string[]

/** At which other clusters a node of a profile shows the same firmware in a boot that is good enough to learn from. */
function firmwareShown(report: ComplianceReport, lives: ReadonlyMap<string, Life>, signed: SignedFiles) {
  const found = new Map<string, Map<string, string>>()
  for (const { cluster, nodes } of report.clusters)
    for (const node of nodes) {
      const life = lives.get(`${cluster}/${node.node}/${node.hubSays.incarnation}`)
      const [newest] = life ? evidenceBelow(life, Number.POSITIVE_INFINITY) : []
      const profile = profileOf(node, signed)
      if (!life || newest?.statement.kind !== 'evidence' || profile?.learn !== 'quorum') continue
      const made = best(node, life, newest, signed, () => [])
      if ('why' in made || !['affirming', 'warning'].includes(made.verdict)) continue
      const key = `${profile.name} ${firmwareOf(newest.statement.body)}`
      const places = found.get(key) ?? new Map<string, string>()
      if (!places.has(cluster)) places.set(cluster, `${cluster}/${node.node}`)
      found.set(key, places)
    }
  return (cluster: string, { profile, values }: Parameters<Shown>[0]) =>
    [...(found.get(`${profile} ${values}`) ?? [])].filter(([of]) => of !== cluster).map(([, place]) => place)
}

/** Evidence of a TPM before this number, the newest first. */
function evidenceBelow({ statements }: Life, seq: number): Evidence[] {
  return [...statements.values()]
    .filter(({ statement }) => statement.kind === 'evidence' && statement.body.class === 'tpm' && statement.seq < seq)
    .toSorted((a, b) => b.statement.seq - a.statement.seq)
}

function profileOf({ hubSays: { hardwareId } }: Node, { profiles }: SignedFiles): HardwareProfile | undefined {
  return hardwareId === undefined
    ? undefined
    : profiles.find(({ profile }) => profile.hardwareIds.includes(hardwareId))?.profile
}

function firmwareOf({ pcrs }: EvidenceBody): string {
  const [[bank, values] = []] = Object.entries(pcrs ?? {})
  return JSON.stringify([bank, ...FIRMWARE_PCRS.map((index) => values?.[index])])
}

/** A verdict by each signed manifest that names the bytes; the best counts, as at the hub: people signed them all. */
function best(node: Node, life: Life, at: Evidence, signed: SignedFiles, shown: Shown): Appraisal | { why: string } {
  const { statement, nonce } = at
  if (statement.kind !== 'evidence') return { why: 'it is no evidence' }
  const registered = registration(life)
  if ('why' in registered) return registered
  const { hardwareId } = node.hubSays
  if (hardwareId === undefined) return { why: 'the report does not say which hardware the node is' }
  const profile = profileOf(node, signed)
  const { body } = statement
  const { manifests } = signed
  const about = manifests.map(({ sha256, manifest }) => ({
    ...{ sha256, imageSha256: manifest.image.sha256, hardwareIds: manifest.hardwareIds },
    ...{ releaseCounter: manifest.releaseCounter, boot: manifest.boot },
  }))
  // In the hub's order: of two that leave the same verdict the first one's reason is told.
  const named = signedImages(about, { imageSha256: body.imageSha256, hardwareId }, ({ boot }) => boot)
  // In whatever order the file has them.
  const lost = (node.hubSays.closed ?? []).map(({ toSeq }) => toSeq).filter((toSeq) => toSeq < statement.seq)
  const lostUpTo = lost.length > 0 ? Math.max(...lost) : undefined
  const confirmed = confirmedIn(life, { seq: statement.seq, lostUpTo }, counterFor(about, hardwareId), signed)
  if ('why' in confirmed) return confirmed
  const others = manifests.flatMap(({ manifest: { image, hardwareIds, boot } }): UkiBoot[] =>
    image.sha256 !== body.imageSha256 && hardwareIds.includes(hardwareId) && boot.kind === 'uki' ? [boot] : [],
  )
  const tpm: Omit<TpmReference, 'image'> = {
    akName: registered.akName,
    others,
    profile,
    firmware: {
      atRegistration: registered.firmware,
      shownBy: profile?.learn === 'quorum' ? shown({ profile: profile.name, values: firmwareOf(body) }) : [],
    },
    before: clockBefore(life, at, registered.akName),
  }
  const other = about.some(({ imageSha256 }) => imageSha256 === body.imageSha256) ? 'other-hardware' : 'unknown'
  const images =
    named.length > 0
      ? named.map(({ boot, releaseCounter: counter }) => ({
          image: boot,
          release: { counter, ...confirmed },
        }))
      : [{ image: other } as const]
  const made = images.map((image) => appraise(body, { nonce, class: node.class, tpm: { ...tpm, ...image } }))
  const [first] = made.toSorted((a, b) => VERDICTS.indexOf(a.verdict) - VERDICTS.indexOf(b.verdict))
  return first ?? { why: 'nothing names its image' }
}

/**
 * What it confirmed, as far as that bears on this boot. What is signed once is signed for good: a manifest that is not among the
 * files was left out, or came after the targets that the file holds, and might be above the image. Then nobody here can say.
 */
function confirmedIn(
  { statements }: Life,
  boot: Parameters<typeof confirmedBefore>[0],
  counterOf: Parameters<typeof confirmedBefore>[2],
  { manifests }: SignedFiles,
): ConfirmedBefore | { readonly why: string } {
  const here = new Set(manifests.map(({ sha256 }) => sha256))
  const said = new Map<string, Confirmation>()
  // What is above the boot says nothing of it but where something is lost.
  const upTo = boot.lostUpTo === undefined ? boot.seq : Number.POSITIVE_INFINITY
  for (const { statement } of statements.values()) {
    const { seq } = statement
    const manifestSha256 = seq < upTo ? confirmedManifest(statement) : undefined
    if (manifestSha256 === undefined) continue
    if (!here.has(manifestSha256))
      return {
        why: `the manifest ${manifestSha256}, which the node confirmed in statement ${seq}, is not in this file`,
      }
    const { first = seq, last = seq } = said.get(manifestSha256) ?? {}
    said.set(manifestSha256, { manifestSha256, first: Math.min(first, seq), last: Math.max(last, seq) })
  }
  return confirmedBefore(boot, [...said.values()], counterOf)
}

/** The key and the firmware that the node showed when it registered, as far as its own signature over that reaches. */
function registration({
  proof,
}: Life): { akName: string; firmware: TpmReference['firmware']['atRegistration'] } | { why: string } {
  if (!proof?.tpm) return { why: 'the file does not hold what the node signed when it registered by its TPM' }
  const { quote } = proof.tpm
  const evidence = {
    ...quote,
    class: 'tpm',
    bootId: '',
    slot: '',
    imageSha256: '0'.repeat(64),
    nonce: proof.transcript,
  } as const
  const { checks, bank } = appraise(evidence, { nonce: proof.transcript })
  const failed = checks.filter(({ name, ok }) => !ok && name !== 'replay').map(({ name }) => name)
  if (checks.length === 0 || failed.length > 0 || bank === undefined)
    return { why: `the quote of its registration does not hold (${failed.join(', ') || 'none'})` }
  try {
    const akName = Buffer.from(nameOf(parsePublic(new Uint8Array(Buffer.from(quote.akPublic, 'base64'))))).toString(
      'hex',
    )
    const values = quote.pcrs[bank] ?? {}
    const firmware = Object.fromEntries(FIRMWARE_PCRS.flatMap((pcr) => (values[pcr] ? [[pcr, values[pcr]]] : [])))
    return { akName, firmware }
  } catch (error) {
    if (error instanceof Malformed) return { why: `the key of its registration is none: ${error.message}` }
    throw error
  }
}

/** What its TPM counted in the newest boot before this one, in the same life. */
function clockBefore(life: Life, { statement: { seq } }: Evidence, akName: string): SeenClock | undefined {
  for (const { statement, nonce } of evidenceBelow(life, seq)) {
    if (statement.kind !== 'evidence') continue
    const { clock } = appraise(statement.body, { nonce, tpm: { ...NOTHING_KNOWN, akName } })
    if (clock) return { bootId: statement.body.bootId, ...clock }
  }
  return undefined
}
