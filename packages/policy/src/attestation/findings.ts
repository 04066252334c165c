import type { Finding, Verdict } from '@skerry/api'
import { counted } from '../words.ts'

/** What a finding says something about: the claims of AR4SI's trustworthiness vector that are made here. */
export type Area = 'instance-identity' | 'hardware' | 'executables' | 'configuration'
export type Found = Finding & { readonly area: Area }

/** Every reason of this room's own, beside those of measured-boot's readers, with what it leaves of a verdict. */
const CODES = {
  ClassMismatch: ['contraindicated', 'instance-identity'],
  SoftwareKey: ['warning', 'hardware'],
  NonceMismatch: ['contraindicated', 'instance-identity'],
  NoQuote: ['none', 'instance-identity'],
  NoReference: ['warning', 'executables'],
  AkNotOnRecord: ['contraindicated', 'instance-identity'],
  AkUnknown: ['warning', 'instance-identity'],
  QuoteRejected: ['contraindicated', 'instance-identity'],
  ResetCountFell: ['contraindicated', 'instance-identity'],
  ClockFell: ['contraindicated', 'instance-identity'],
  StartNotCounted: ['contraindicated', 'instance-identity'],
  StartNotTold: ['contraindicated', 'instance-identity'],
  ClockUnsafe: ['affirming', 'instance-identity'],
  UnattestedBoots: ['affirming', 'instance-identity'],
  BankNotTrusted: ['contraindicated', 'hardware'],
  EventLogMissing: ['none', 'executables'],
  EventLogReplaced: ['contraindicated', 'executables'],
  EventLogMalformed: ['contraindicated', 'executables'],
  MeasurementLogMalformed: ['contraindicated', 'executables'],
  RecordsAfterQuote: ['affirming', 'executables'],
  PcrNotQuoted: ['warning', 'executables'],
  ReplayMismatch: ['contraindicated', 'executables'],
  ImageUnknown: ['contraindicated', 'executables'],
  ImageForOtherHardware: ['contraindicated', 'executables'],
  ImageNotMeasured: ['contraindicated', 'executables'],
  BankNotPredicted: ['contraindicated', 'executables'],
  FactUnknown: ['contraindicated', 'executables'],
  UnknownApplication: ['contraindicated', 'executables'],
  ImageNotStarted: ['contraindicated', 'executables'],
  KernelNotOfImage: ['contraindicated', 'executables'],
  OtherImageTried: ['warning', 'executables'],
  OlderThanConfirmed: ['contraindicated', 'executables'],
  ConfirmedLost: ['warning', 'executables'],
  PcrMismatch: ['contraindicated', 'executables'],
  NoProfile: ['warning', 'hardware'],
  SecureBootOff: ['contraindicated', 'configuration'],
  SecureBootOn: ['contraindicated', 'configuration'],
  SecureBootLists: ['contraindicated', 'configuration'],
  AuthorityUnknown: ['contraindicated', 'configuration'],
  FirmwareUnknown: ['contraindicated', 'hardware'],
  FirmwareChanged: ['contraindicated', 'hardware'],
  FirmwareLearned: ['affirming', 'hardware'],
  FirmwareUnconfirmed: ['warning', 'hardware'],
} as const satisfies Record<string, readonly [Verdict, Area]>
export type AppraisalCode = keyof typeof CODES

type Where = { pcr?: number; event?: number; expected?: readonly string[]; actual?: string }

/** A finding of this room. */
export function found(code: AppraisalCode, message: string, where: Where = {}): Found {
  const [tier, area] = CODES[code]
  return made(code, tier, area, message, where)
}

/** What a reader of measured-boot found, under its own code. */
export function made(code: string, tier: Verdict, area: Area, message: string, where: Where = {}): Found {
  const { pcr, event, expected, actual } = where
  return {
    code,
    tier,
    area,
    message: legible(message),
    ...(pcr === undefined ? {} : { pcr }),
    ...(event === undefined ? {} : { event }),
    ...(expected === undefined ? {} : { expected: expected.slice(0, 64).map(legible) }),
    ...(actual === undefined ? {} : { actual: legible(actual) }),
  } as Found
}

// A log's names and command lines are whatever was measured: what no JSON reader and no database holds (U+0000, half of a
// surrogate pair, also one that is made by cutting) would keep every verdict beside this one from being stored, and what
// begins a line or turns it around would tell people what no finding says.
function legible(text: string): string {
  return text
    .slice(0, 512)
    .toWellFormed()
    .replaceAll(/[\p{C}\p{Zl}\p{Zp}]/gu, '\ufffd')
}

const ORDER: Record<Verdict, number> = { affirming: 0, warning: 1, contraindicated: 2, none: 3 }

export function worst(tiers: readonly Verdict[]): Verdict {
  return tiers.reduce<Verdict>((one, other) => (ORDER[other] > ORDER[one] ? other : one), 'affirming')
}

const LEFT_OUT = 'FindingsLeftOut'

/**
 * At most so many findings, one or more, as they come. Where some are left out those that leave a verdict less than affirming
 * come first, one of each code before its repetitions, and the last says how many are missing, and how bad they are.
 */
export function listed(findings: readonly Finding[], most: number): Finding[] {
  if (findings.length <= most) return [...findings]
  const ranked = byWeight(findings)
  const rest = ranked.slice(most - 1)
  const count = rest.reduce((sum, { code, actual }) => sum + (code === LEFT_OUT ? Number(actual) : 1), 0)
  const tiers = rest.map(({ tier }) => tier)
  return [
    ...ranked.slice(0, most - 1),
    {
      code: LEFT_OUT,
      tier: tiers.includes('contraindicated') ? 'contraindicated' : worst(tiers),
      message: `${counted(count, 'more finding is', 'more findings are')} left out here`,
      actual: `${count}`,
    },
  ]
}

// Whoever wrote a log repeats what he likes in it: that must not push another code out of the list.
function byWeight(findings: readonly Finding[]): Finding[] {
  const seen = new Set<string>()
  const rankOf = ({ code, tier }: Finding): number => {
    if (code === LEFT_OUT) return 3
    if (tier === 'affirming') return 2
    return seen.size === seen.add(code).size ? 1 : 0
  }
  const ranked = findings.map((finding) => ({ finding, rank: rankOf(finding) }))
  return ranked.toSorted((a, b) => a.rank - b.rank).map(({ finding }) => finding)
}

/** Whether a verdict is at least as good as the one asked for. `none` is never good enough. */
export function asGoodAs(verdict: Verdict, wanted: 'affirming' | 'warning'): boolean {
  return ORDER[verdict] <= ORDER[wanted]
}
