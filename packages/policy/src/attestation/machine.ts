import { BANK_NAMES, type BankName, type HardwareProfile, type PcrAppraisal, type PcrValues } from '@skerry/api'
import {
  type Facts,
  Malformed,
  parseSignatureLists,
  predictPcr7,
  type SecureBootVariables,
  type SignatureEntry,
  signatureData,
} from '@skerry/measured-boot'
import { firstOf } from '../words.ts'
import type { Judged } from './boot.ts'
import { type Found, found } from './findings.ts'
import { FIRMWARE_PCRS, type TpmReference } from './reference.ts'

type Values = ReadonlyMap<number, string>

/** What the machine is, held against its HardwareProfile: firmware (PCR 0, 2, 3, 6), Secure Boot (7), and what must be empty. */
export function judgeMachine(
  { profile, firmware }: Pick<TpmReference, 'profile' | 'firmware'>,
  bank: BankName,
  quoted: Values,
  facts: Facts | undefined,
): Judged {
  const empty = [8, 13, 14].flatMap((index) => zero(index, quoted))
  const findings: Found[] = empty
    .filter(({ ok }) => !ok)
    .map(({ pcr, expected, actual }) =>
      found('PcrMismatch', `PCR ${pcr} must be empty: nothing of a signed image measures into it`, {
        pcr,
        expected,
        actual,
      }),
    )
  if (!profile)
    return {
      findings: [...findings, found('NoProfile', 'no signed HardwareProfile says what this machine may be')],
      pcrs: [...empty, ...untold([...FIRMWARE_PCRS, 7], quoted)],
    }
  if (!profile.banks.includes(bank))
    findings.push(
      found('BankNotTrusted', `HardwareProfile ${profile.name} does not say that this firmware fills bank ${bank}`),
    )
  const known = judgeFirmware(profile, firmware, quoted)
  const booted = judgeSecureBoot(profile, bank, quoted, facts)
  return {
    findings: [...findings, ...known.findings, ...booted.findings],
    pcrs: [...known.pcrs, ...booted.pcrs, ...empty],
  }
}

/** Known to the profile, or learned as the profile allows: a quorum needs other clusters, first use needs the registration. */
function judgeFirmware(
  profile: HardwareProfile,
  { atRegistration, shownBy }: TpmReference['firmware'],
  quoted: Values,
): Judged {
  const shown = FIRMWARE_PCRS.flatMap((index) => {
    const actual = quoted.get(index)
    return actual === undefined ? [] : [{ index, actual }]
  })
  const matches = (values: PcrValues) =>
    shown.every(({ index, actual }) => values[index] === undefined || values[index] === actual)
  // A row that names no PCR would know every firmware.
  const rows = profile.firmware.filter(({ pcrs }) => pcrs[0] !== undefined)
  const first =
    atRegistration !== undefined && FIRMWARE_PCRS.every((index) => atRegistration[index] === quoted.get(index))
  const table = (values: readonly PcrValues[], by: PcrAppraisal['by'], ok: boolean): PcrAppraisal[] =>
    shown.map(({ index, actual }) => {
      const expected = [...new Set(values.flatMap((one) => one[index] ?? []))]
      return {
        pcr: index,
        actual,
        expected,
        by: expected.length === 0 ? 'nothing' : by,
        ok: ok || expected.includes(actual),
      }
    })
  const signed = rows.map(({ pcrs }) => pcrs)
  if (signed.some(matches)) return { findings: [], pcrs: table(signed, 'profile', true) }
  const where = { pcr: 0, expected: signed.flatMap((one) => one[0] ?? []), actual: quoted.get(0) ?? '' }
  switch (profile.learn) {
    case 'tofu': {
      const pcrs = table(atRegistration ? [atRegistration] : [], 'registration', first)
      if (first) return { findings: [], pcrs }
      const message = atRegistration
        ? 'the firmware measures other values than when the node registered'
        : 'nothing was seen of this firmware when the node registered'
      return {
        findings: [
          found('FirmwareChanged', message, {
            ...where,
            expected: atRegistration?.[0] === undefined ? [] : [atRegistration[0]],
          }),
        ],
        pcrs,
      }
    }
    case 'quorum': {
      const needed = profile.quorum ?? 2
      // This cluster is one of them.
      if (shownBy.length + 1 >= needed) return learned(shown, shownBy)
      const message = `an unknown firmware, shown by ${shownBy.length + 1} of the ${needed} clusters that the profile asks for`
      return { findings: [found('FirmwareUnconfirmed', message, where)], pcrs: table(signed, 'profile', false) }
    }
    case 'off':
      return {
        findings: [found('FirmwareUnknown', `HardwareProfile ${profile.name} does not know this firmware`, where)],
        pcrs: table(signed, 'profile', false),
      }
    default: {
      const never: never = profile.learn
      return never
    }
  }
}

/** So many of those from whom something was learned are named with each PCR, and in the finding. */
const NAMED = 16

/** What so many others show is what is expected: the values, and from whom they are. */
function learned(shown: readonly { readonly index: number; readonly actual: string }[], by: readonly string[]): Judged {
  const names = firstOf(by, NAMED)
  const message = `no profile lists this firmware; it is expected because ${names} show${by.length === 1 ? 's' : ''} it too`
  return {
    findings: [
      found('FirmwareLearned', message, { pcr: 0, actual: shown.find(({ index }) => index === 0)?.actual ?? '' }),
    ],
    pcrs: shown.map(({ index: pcr, actual }) => ({
      ...{ pcr, actual, expected: [actual], by: 'quorum' as const, ok: true },
      learnedFrom: by.slice(0, NAMED),
    })),
  }
}

/** PCR 7: the state, the four lists, and the entries of db by which images started. dbx may be any that the profile lists. */
function judgeSecureBoot(profile: HardwareProfile, bank: BankName, quoted: Values, facts: Facts | undefined): Judged {
  const actual = quoted.get(7)
  if (actual === undefined) return { findings: [], pcrs: [] }
  const wanted = profile.secureBoot
  const state = facts?.secureBoot.value
  const findings: Found[] = []
  if (facts && state === undefined)
    findings.push(found('FactUnknown', `the state of Secure Boot is not known: ${facts.secureBoot.why}`, { pcr: 7 }))
  if (wanted && state === false)
    findings.push(found('SecureBootOff', 'Secure Boot is off, and the profile asks for it', { pcr: 7 }))
  if (!wanted && state === true)
    findings.push(found('SecureBootOn', 'Secure Boot is on, with keys that the profile does not name', { pcr: 7 }))
  const enrolled = wanted ? enrolledOf(wanted) : undefined
  const used = enrolled ? authorities(facts, enrolled.db) : { entries: [], findings: [] }
  const expected = enrolled ? enrolled.expected(bank, used.entries) : [WITHOUT_KEYS[bank]]
  const ok = expected.includes(actual)
  if (!ok)
    findings.push(
      found('PcrMismatch', 'PCR 7: the Secure Boot variables, or what they let start, are not the profile’s', {
        pcr: 7,
        expected,
        actual,
      }),
    )
  return { findings: [...findings, ...used.findings], pcrs: [{ pcr: 7, actual, expected, by: 'profile', ok }] }
}

/** The entries that the log says were used, each of which must stand in the profile's db. */
function authorities(facts: Facts | undefined, db: Enrolled['db']): { entries: SignatureEntry[]; findings: Found[] } {
  if (!facts) return { entries: [], findings: [] }
  if (facts.authorities.value === undefined)
    return {
      entries: [],
      findings: [found('FactUnknown', `what let images start is not known: ${facts.authorities.why}`, { pcr: 7 })],
    }
  const entries: SignatureEntry[] = []
  const findings: Found[] = []
  for (const { event, digest, variable } of facts.authorities.value) {
    const used = variable && db.find(({ measured }) => Buffer.compare(measured, variable.value) === 0)
    if (used) entries.push(used.entry)
    else
      findings.push(
        found('AuthorityUnknown', 'an image was started by a key that the profile’s db does not hold', {
          pcr: 7,
          event,
          actual: digest,
        }),
      )
  }
  return { entries, findings }
}

type Lists = NonNullable<HardwareProfile['secureBoot']>
/** What a profile's lists come to: the entries of db as a firmware measures them, and PCR 7 for each dbx, by what let images start. */
type Enrolled = {
  readonly db: readonly { readonly entry: SignatureEntry; readonly measured: Uint8Array }[]
  readonly expected: (bank: BankName, used: readonly SignatureEntry[]) => string[]
}

/** A profile is one for many machines, and its lists do not change: they are read once. */
const ENROLLED = new WeakMap<Lists, Enrolled>()
/** What machines can have started by is few; a log may claim more, and makes nothing grow. */
const MOST_EXPECTED = 64

function enrolledOf(lists: Lists): Enrolled {
  const known = ENROLLED.get(lists)
  if (known) return known
  const db = parseSignatureLists(Buffer.from(lists.db, 'base64')).flatMap((list) =>
    list.entries.map((entry) => ({ entry, measured: signatureData(entry) })),
  )
  const variables = lists.dbx.map((dbx) => variablesOf({ ...lists, dbx }))
  const before = new Map<string, string[]>()
  const made: Enrolled = {
    db,
    expected: (bank, used) => {
      const key = [bank, ...used.map((one) => db.findIndex(({ entry }) => entry === one))].join()
      const values = before.get(key) ?? variables.map((each) => hex(predictPcr7(bank, true, each, used)))
      if (before.size < MOST_EXPECTED) before.set(key, values)
      return values
    },
  }
  ENROLLED.set(lists, made)
  return made
}

const NONE: SecureBootVariables = {
  pk: new Uint8Array(),
  kek: new Uint8Array(),
  db: new Uint8Array(),
  dbx: new Uint8Array(),
}

/** PCR 7 of every machine without keys: one value in each bank. */
const WITHOUT_KEYS = Object.fromEntries(
  BANK_NAMES.map((bank) => [bank, hex(predictPcr7(bank, false, NONE, []))]),
) as Record<BankName, string>

function variablesOf(lists: { pk: string; kek: string; db: string; dbx: string }): SecureBootVariables {
  const { pk, kek, db, dbx } = lists
  const bytes = (text: string) => Buffer.from(text, 'base64')
  return { pk: bytes(pk), kek: bytes(kek), db: bytes(db), dbx: bytes(dbx) }
}

/** Whether a profile's lists are EFI signature lists; asked before it is signed and before it is believed. */
export function profileFault({ secureBoot }: HardwareProfile): string | undefined {
  if (!secureBoot) return undefined
  const { pk, kek, db, dbx } = secureBoot
  for (const [name, text] of [
    ['pk', pk],
    ['kek', kek],
    ['db', db],
    ...dbx.map((one, at) => [`dbx[${at}]`, one]),
  ] as const)
    try {
      parseSignatureLists(Buffer.from(text ?? '', 'base64'))
    } catch (error) {
      if (!(error instanceof Malformed)) throw error
      return `secureBoot.${name}: ${error.message}`
    }
  return undefined
}

/** As long as the longest value of a PCR. */
const ZEROS = '0'.repeat(128)

function zero(index: number, quoted: Values): PcrAppraisal[] {
  const actual = quoted.get(index)
  if (actual === undefined) return []
  const expected = ZEROS.slice(0, actual.length)
  return [{ pcr: index, actual, expected: [expected], by: 'manifest', ok: actual === expected }]
}

function untold(indices: readonly number[], quoted: Values): PcrAppraisal[] {
  return indices.flatMap((index) => {
    const actual = quoted.get(index)
    return actual === undefined ? [] : [{ pcr: index, actual, expected: [], by: 'nothing' as const, ok: false }]
  })
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex')
}
