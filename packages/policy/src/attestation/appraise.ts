import type { BankName, EvidenceBody, Finding, PcrAppraisal, TrustVector, Verdict } from '@skerry/api'
import { BANK_NAMES } from '@skerry/api'
import { type CheckedQuote, type ClockInfo, checkQuote } from '@skerry/measured-boot'
import { counted } from '../words.ts'
import { judgeImage } from './boot.ts'
import { type Area, type Found, found, listed, made, worst } from './findings.ts'
import { judgeMachine } from './machine.ts'
import { readMeasurements } from './measurements.ts'
import { QUOTED_PCRS, type Reference, type SeenClock, type TpmReference } from './reference.ts'
import { judgeRelease } from './release.ts'

/** An attestation result of one boot: the verdict, its reason (UpperCamel), a sentence, and everything they rest on. */
export type Appraisal = {
  readonly verdict: Verdict
  readonly reason: string
  readonly message: string
  /** At most 64: for people, and to keep. */
  readonly findings: readonly Finding[]
  /** The codes of all that was found, also of what `findings` has no room for: whoever decides by a code asks here. */
  readonly codes: ReadonlySet<string>
  readonly pcrs: readonly PcrAppraisal[]
  readonly vector: TrustVector
  readonly bank?: BankName
  /** Each check of the quote, in order; empty where there is none. */
  readonly checks: readonly { readonly name: string; readonly ok: boolean }[]
  /** What the TPM's clock said, where a quote is authentic, its key not another than the one on record, and nothing wrong with it. */
  readonly clock?: ClockInfo
}

/**
 * Judges the evidence of one boot. Every failure is listed; the verdict is that of the worst. A node whose key is a file is
 * never better than warning: nothing measured this boot. Total for evidence that its schema accepts; should it throw all
 * the same, the caller's verdict is `none`.
 */
export function appraise(evidence: EvidenceBody, reference: Reference): Appraisal {
  const answered = evidence.nonce === reference.nonce
  const nonce = answered ? [] : [found('NonceMismatch', 'the evidence was not made for this statement')]
  if (evidence.class === 'software-key') {
    // Who registered with a TPM does not get by with a word: what cannot be proven any more is not what it was.
    const lesser =
      reference.class === 'tpm'
        ? [found('ClassMismatch', 'the node registered with a TPM, and its evidence does without one')]
        : []
    const why = found(
      'SoftwareKey',
      "the node's key is a file and nothing measured this boot: the image is the node's own word",
    )
    return result([...nonce, ...lesser, why], [])
  }
  const { akPublic, quote, signature, pcrs } = evidence
  if (akPublic === undefined || quote === undefined || signature === undefined || pcrs === undefined)
    return result([...nonce, found('NoQuote', 'class tpm, but the evidence holds no quote')], [])
  const bank = BANK_NAMES.find((name) => pcrs[name] !== undefined)
  if (bank === undefined) return result([...nonce, found('NoQuote', 'the evidence holds no PCR values')], [])

  const tpm = reference.tpm ?? NOTHING_KNOWN
  const values = new Map(BANK_NAMES.flatMap((name) => (pcrs[name] ? [[name, valuesOf(pcrs[name])] as const] : [])))
  const checked = checkQuote({
    ak: isPem(akPublic) ? akPublic : bytes(akPublic),
    quote: bytes(quote),
    signature: bytes(signature),
    nonce: Buffer.from(reference.nonce, 'hex'),
    bank,
    selection: reference.selection ?? QUOTED_PCRS,
    pcrs: values,
  })
  const key = [...judgeClass(reference.class), ...judgeKey(akPublic, checked, tpm)]
  // What another TPM counts says nothing of this one.
  const stranger = key.some(({ code }) => code === 'AkNotOnRecord')
  const clock = stranger ? [] : judgeClock(checked, evidence, tpm.before)
  // Counts that cannot be would, said twice, be what the second is held against.
  const isPossible = clock.every(({ tier }) => tier === 'affirming')
  const identity = [...key, ...rejected(checked), ...clock]
  const hex = new Map<number, string>()
  for (const pcr in pcrs[bank]) hex.set(Number(pcr), pcrs[bank][pcr] ?? '')
  const { eventLog, eventLogSha256 = '', measurementLog } = evidence
  const logs = {
    eventLogSha256,
    ...(eventLog === undefined ? {} : { eventLog }),
    ...(measurementLog === undefined ? {} : { measurementLog }),
  }
  const measurements = readMeasurements(logs, bank, values.get(bank) ?? new Map(), tpm.profile)
  const image = judgeImage(tpm.image, tpm.others, bank, hex, measurements.facts)
  const machine = judgeMachine(tpm, bank, hex, measurements.facts)
  // Each says what ran, on what, or that nothing else did: what was left out may be what matters.
  const unquoted = QUOTED_PCRS.filter((pcr) => !hex.has(pcr)).map((pcr) =>
    found('PcrNotQuoted', `PCR ${pcr} was not quoted, so nothing of it is known`, { pcr }),
  )
  const all = [
    ...nonce,
    ...identity,
    ...unquoted,
    ...measurements.findings,
    ...image.findings,
    ...judgeRelease(tpm.release),
    ...machine.findings,
  ]
  const table = [...image.pcrs, ...machine.pcrs].toSorted((a, b) => a.pcr - b.pcr)
  return {
    ...result(all, table),
    bank,
    checks: [
      ...checked.checks.map(({ name, ok }) => ({ name, ok })),
      { name: 'replay', ok: measurements.facts !== undefined },
    ],
    ...(checked.authenticated && !stranger && isPossible ? { clock: checked.quote.clock } : {}),
  }
}

/** Whoever asks without any reference: nothing can be affirmed, and nothing is hidden. */
export const NOTHING_KNOWN: TpmReference = {
  akName: undefined,
  image: 'not-given',
  others: [],
  profile: undefined,
  firmware: { atRegistration: undefined, shownBy: [] },
  before: undefined,
}

function judgeClass(registered: Reference['class']): Found[] {
  if (registered !== 'software-key') return []
  return [found('ClassMismatch', 'the node registered without a TPM: nobody vouched for the one that quotes here')]
}

function judgeKey(akPublic: string, checked: CheckedQuote, { akName }: TpmReference): Found[] {
  if (akName === undefined) return [found('AkUnknown', 'no record says whose attestation key this is')]
  if (isPem(akPublic))
    return [found('AkUnknown', 'a key in PEM has no Name that could be compared with the one on record')]
  // checkQuote tells what is wrong with a key that cannot be read.
  if (checked.akName === undefined) return []
  const name = Buffer.from(checked.akName).toString('hex')
  if (name === akName) return []
  return [
    found('AkNotOnRecord', 'quoted by another attestation key than the one this node registered', {
      expected: [akName],
      actual: name,
    }),
  ]
}

function rejected({ checks }: CheckedQuote): Found[] {
  return checks.flatMap(({ name, faults }) =>
    faults.map(({ code, message }) =>
      made(
        code,
        // What cannot be known of a key is no fault of it.
        code === 'AttributesUnknown' ? 'warning' : 'contraindicated',
        'instance-identity',
        `${name}: ${message}`,
      ),
    ),
  )
}

/**
 * The pair of counts never falls, and within one boot the clock rises: else another TPM answers, or this one was cleared.
 * A boot is a start of the TPM, and a start is a boot: only then are its values of the boot that the node names.
 */
function judgeClock(checked: CheckedQuote, { bootId }: EvidenceBody, before: SeenClock | undefined): Found[] {
  if (!checked.authenticated) return []
  const { clockMs, resetCount, restartCount, safe } = checked.quote.clock
  const findings: Found[] = []
  if (!safe)
    findings.push(found('ClockUnsafe', 'the TPM lost power uncleanly: its clock may have stepped back a little'))
  if (!before) return findings
  const actual = `resetCount ${resetCount}, restartCount ${restartCount}, clock ${clockMs}`
  const expected = [
    `at least resetCount ${before.resetCount}, restartCount ${before.restartCount}, clock ${before.clockMs}`,
  ]
  const fell =
    resetCount < before.resetCount || (resetCount === before.resetCount && restartCount < before.restartCount)
  if (fell)
    findings.push(
      found('ResetCountFell', 'the TPM counts fewer starts than before: it was cleared, or is another', {
        expected,
        actual,
      }),
    )
  else if (bootId === before.bootId && resetCount > before.resetCount)
    findings.push(
      found('StartNotTold', 'the TPM was started anew, and the node says that it is still the same boot', {
        expected,
        actual,
      }),
    )
  else if (bootId === before.bootId && clockMs < before.clockMs)
    findings.push(found('ClockFell', 'the TPM’s clock went back within one boot', { expected, actual }))
  else if (bootId !== before.bootId && resetCount === before.resetCount && restartCount === before.restartCount)
    // What the firmware measured is then of the boot before: a kernel that started another (kexec), or a quote made ahead.
    findings.push(
      found('StartNotCounted', 'the node says that it booted, and its TPM counts no start since the boot before', {
        expected: [`more than resetCount ${before.resetCount}, restartCount ${before.restartCount}`],
        actual,
      }),
    )
  const jump = resetCount - before.resetCount
  if (jump > 1)
    findings.push(
      found(
        'UnattestedBoots',
        `${counted(jump - 1, 'start of the machine lies', 'starts of the machine lie')} between this boot and the one seen before it`,
      ),
    )
  return findings
}

const AREAS: readonly Area[] = ['instance-identity', 'configuration', 'executables', 'hardware']
/** AR4SI's value of each claim, where nothing is wrong, where something is unknown, where it is bad. */
const VALUES: Record<Area, { affirming: number; warning: number; contraindicated: number }> = {
  'instance-identity': { affirming: 2, warning: 33, contraindicated: 99 },
  configuration: { affirming: 2, warning: 32, contraindicated: 96 },
  executables: { affirming: 3, warning: 33, contraindicated: 96 },
  hardware: { affirming: 2, warning: 32, contraindicated: 96 },
}

function result(all: readonly Found[], pcrs: readonly PcrAppraisal[]): Omit<Appraisal, 'bank' | 'clock'> {
  const tiers = all.map(({ tier }) => tier)
  // EAR: a status is never better than the worst claim. What is missing beside it takes nothing back.
  const verdict = tiers.includes('contraindicated') ? 'contraindicated' : worst(tiers)
  const [first, ...more] = all.filter(({ tier }) => tier === verdict && tier !== 'affirming')
  const claim = (area: Area): number => {
    const tier = worst(all.filter((one) => one.area === area).map((one) => one.tier))
    // What nobody can judge makes no claim (AR4SI: 0).
    return verdict === 'none' || tier === 'none' ? 0 : VALUES[area][tier]
  }
  const [identity, configuration, executables, hardware] = AREAS.map(claim)
  return {
    verdict,
    reason: first?.code ?? 'Matches',
    message: first
      ? `${first.message}${more.length > 0 ? `; and ${more.length} more` : ''}`
      : 'what booted is what the signed manifest and the profile say',
    findings: listed(
      all.map(({ area: _, ...finding }) => finding),
      64,
    ),
    codes: new Set(all.map(({ code }) => code)),
    pcrs,
    vector: {
      'instance-identity': identity ?? 0,
      configuration: configuration ?? 0,
      executables: executables ?? 0,
      hardware: hardware ?? 0,
      // The node's own key is a file beside the TPM: nothing is claimed of where it lies.
      'storage-opaque': 0,
    },
    checks: [],
  }
}

function valuesOf(values: Readonly<Record<string, string>>): Map<number, Uint8Array> {
  const read = new Map<number, Uint8Array>()
  for (const pcr in values) read.set(Number(pcr), Buffer.from(values[pcr] ?? '', 'hex'))
  return read
}

function isPem(text: string): boolean {
  return text.startsWith('-----BEGIN ')
}

function bytes(base64: string): Uint8Array {
  return Buffer.from(base64, 'base64')
}
