import { digest } from '../banks.ts'
import { equal, isZero, toHex } from '../bytes.ts'
import { provenCommandLine } from './command-line.ts'
import { grubPrefixOf } from './coverage.ts'
import type { EventTypeName } from './event-types.ts'
import { type Finding, type FindingCode, finding } from './findings.ts'
import { ACTIONS, SEPARATORS } from './known.ts'
import { type Measured, type Measurement, ofPcr } from './measured.ts'
import { NO_PCR } from './parse.ts'
import { startupLocalities } from './replay.ts'
import { SECURE_BOOT_VARIABLES, type SecureBootVariable, secureBootVariable } from './secure-boot.ts'

const FIRMWARE_PCRS = [0, 1, 2, 3, 4, 5, 6, 7] as const

/**
 * Everything in a log that is not as the Platform Firmware Profile, systemd-boot, systemd-stub and the kernel write it,
 * in the order of the PCRs' rules. It believes digests before types; what a type alone says can add a finding and take none away.
 */
export function grammarOf(measured: Measured): readonly Finding[] {
  return [
    ...emptiness(measured),
    ...unmeasured(measured),
    ...eachEvent(measured),
    ...FIRMWARE_PCRS.flatMap((pcr) => separation(measured, pcr)),
    ...applications(ofPcr(measured, 4)),
    ...exit(ofPcr(measured, 5)),
    ...variables(ofPcr(measured, 7)),
    ...grub(ofPcr(measured, 8)),
    ...sections(ofPcr(measured, 11)),
    ...commandLines(ofPcr(measured, 12)),
  ]
}

const isSeparator = (data: Uint8Array): boolean => data.length === 4 && toHex(data) in SEPARATORS
const at = (code: FindingCode, { event }: Measurement, more: Omit<Finding, 'code' | 'message'> = {}): Finding =>
  finding(code, { pcr: event.pcr, event: event.index, ...more })
const typeOf = ({ event }: Measurement): string => event.typeName ?? `0x${event.type.toString(16).padStart(8, '0')}`

/** "TPM Carte Blanche", CVE-2021-42299: firmware that extends another bank leaves this one to whoever comes later. */
function emptiness({ extends: all }: Measured): Finding[] {
  const zeros = all.filter(({ digest }) => isZero(digest)).map((one) => at('ZeroDigest', one))
  const measures = all.some(({ event, digest }) => event.pcr <= 7 && !isZero(digest))
  return measures ? zeros : [finding('EmptyBank'), ...zeros]
}

function unmeasured(measured: Measured): Finding[] {
  const place = (pcr: number) => (pcr === NO_PCR ? {} : { pcr })
  const digests = measured.unmeasured
    .filter(({ digests }) => !isZero(digests.get(measured.bank) ?? new Uint8Array(0)))
    .map(({ pcr, index }) => finding('NoActionDigest', { ...place(pcr), event: index }))
  const localities = startupLocalities(measured).flatMap(({ event, fault }) =>
    fault === undefined ? [] : [finding('StartupLocality', { ...place(event.pcr), event: event.index, actual: fault })],
  )
  return [...digests, ...localities]
}

const APPLICATIONS: readonly EventTypeName[] = [
  'EV_EFI_BOOT_SERVICES_APPLICATION',
  'EV_EFI_BOOT_SERVICES_DRIVER',
  'EV_EFI_RUNTIME_SERVICES_DRIVER',
]
/** The types that have a place in the PCRs that are interpreted. */
const TYPES: { readonly [pcr: number]: readonly EventTypeName[] } = {
  4: ['EV_SEPARATOR', 'EV_EFI_ACTION', ...APPLICATIONS],
  5: ['EV_SEPARATOR', 'EV_EFI_ACTION', 'EV_EFI_GPT_EVENT', 'EV_EFI_GPT_EVENT2', 'EV_EVENT_TAG'],
  7: ['EV_SEPARATOR', 'EV_EFI_ACTION', 'EV_EFI_VARIABLE_DRIVER_CONFIG', 'EV_EFI_VARIABLE_AUTHORITY'],
  8: ['EV_IPL'],
  9: ['EV_IPL', 'EV_EVENT_TAG'],
  11: ['EV_IPL'],
  12: ['EV_IPL', 'EV_EVENT_TAG'],
}

function eachEvent(measured: Measured): Finding[] {
  const found: Finding[] = []
  for (const one of measured.extends)
    for (const each of [typing(one), data(measured, one)]) if (each !== undefined) found.push(each)
  return found
}

function typing(one: Measurement): Finding | undefined {
  const { event, known } = one
  if (event.typeName === undefined) return at('UnknownType', one, { actual: typeOf(one) })
  const allowed = TYPES[event.pcr]
  if (allowed !== undefined && !allowed.includes(event.typeName))
    return at('TypeNotExpected', one, { expected: allowed.join(' or '), actual: event.typeName })
  if (known?.is === 'action' && event.typeName !== 'EV_EFI_ACTION')
    return at('TypeNotExpected', one, { expected: 'EV_EFI_ACTION', actual: event.typeName })
  return undefined
}

function data({ bank }: Measured, one: Measurement): Finding | undefined {
  const { event, coverage, hex } = one
  if (coverage.covered !== 'no' || (event.typeName === 'EV_SEPARATOR' && event.pcr <= 7)) return undefined
  return at('DataNotCovered', one, { expected: toHex(digest(bank, event.data)), actual: hex })
}

/** Each value on its own: data and digest must be the same separator's, under the one type. */
function separation(measured: Measured, pcr: number): Finding[] {
  const found: Finding[] = []
  let separators = 0
  for (const one of ofPcr(measured, pcr)) {
    const { event, known, hex } = one
    const separator = known?.is === 'separator' || known?.is === 'separator-error' ? known : undefined
    const typed = event.typeName === 'EV_SEPARATOR'
    if (known?.is === 'separator-error') found.push(at('SeparatorFailed', one))
    if (typed && !(separator && equal(event.data, separator.bytes))) {
      found.push(at('SeparatorMismatch', one, { expected: toHex(digest(measured.bank, event.data)), actual: hex }))
    }
    if (!typed && (separator || isSeparator(event.data)))
      found.push(at('SeparatorDisguised', one, { actual: typeOf(one) }))
    if (known?.is === 'separator' && ++separators > 1) found.push(at('SeparatorRepeated', one))
  }
  return separators === 0 ? [...found, finding('SeparatorMissing', { pcr })] : found
}

/** PCR 4: the first call of a boot option, the separator, then applications. What is neither action nor separator is one. */
function applications(all: readonly Measurement[]): Finding[] {
  const found: Finding[] = []
  let called = false
  let returned = false
  let separated = false
  for (const one of all) {
    const { known, event } = one
    const action = known?.is === 'action' ? known.action : undefined
    if (known?.is === 'separator') separated = true
    else if (action === 'calling') {
      if (called && !returned) found.push(at('BootActionRepeated', one))
      called = true
      returned = false
    } else if (action === 'returning') {
      found.push(at('BootRetried', one))
      returned = true
    } else if (action !== undefined || event.typeName === 'EV_EFI_ACTION') found.push(at('ActionUnknown', one))
    else if (known === undefined && !(called && separated)) found.push(at('ApplicationEarly', one, { actual: one.hex }))
  }
  return called ? found : [...found, finding('BootActionMissing', { pcr: 4, expected: ACTIONS.calling })]
}

/** PCR 5 ends with both actions. A first try may have failed before: the kernel asks again with a newer memory map. */
function exit(all: readonly Measurement[]): Finding[] {
  const is = (one: Measurement | undefined, action: string) =>
    one?.known?.is === 'action' && one.known.action === action
  const missing = (['exitInvocation', 'exitSuccess'] as const).filter((action) => !all.some((one) => is(one, action)))
  if (missing.length > 0) {
    return missing.map((action) => finding('ExitBootServicesMissing', { pcr: 5, expected: ACTIONS[action] }))
  }
  const last = all.at(-1)
  if (last === undefined || (is(last, 'exitSuccess') && is(all.at(-2), 'exitInvocation'))) return []
  return [at('ExitBootServicesNotLast', last, { expected: ACTIONS.exitSuccess, actual: last.known?.text ?? last.hex })]
}

/** PCR 7: SecureBoot, PK, KEK, db, dbx, the separator, authorities. */
function variables(all: readonly Measurement[]): Finding[] {
  const found: Finding[] = []
  const seen: SecureBootVariable[] = []
  let separated = false
  for (const one of all) {
    const { event, known, coverage } = one
    if (known?.is === 'separator') separated = true
    const typed = event.typeName === 'EV_EFI_VARIABLE_DRIVER_CONFIG' || event.typeName === 'EV_EFI_VARIABLE_AUTHORITY'
    const variable = one.variable()
    if (variable === undefined) {
      if (typed && coverage.covered === 'yes') found.push(at('VariableUnreadable', one))
      continue
    }
    const name = secureBootVariable(variable)
    const authority = event.typeName === 'EV_EFI_VARIABLE_AUTHORITY'
    if (separated) {
      if (!authority || (name !== undefined && name !== 'db'))
        found.push(at('VariableLate', one, { actual: variable.name }))
    } else if (authority) found.push(at('AuthorityEarly', one, { actual: variable.name }))
    else if (name === undefined) found.push(at('VariableNotExpected', one, { actual: variable.name }))
    else if (seen.includes(name)) found.push(at('VariableRepeated', one, { actual: name }))
    else {
      const due = SECURE_BOOT_VARIABLES[seen.length]
      if (due !== undefined && name !== due) found.push(at('VariableOutOfOrder', one, { expected: due, actual: name }))
      seen.push(name)
    }
  }
  const missing = SECURE_BOOT_VARIABLES.filter((name) => !seen.includes(name))
  return [...found, ...missing.map((name) => finding('VariableMissing', { pcr: 7, expected: name }))]
}

function grub(all: readonly Measurement[]): Finding[] {
  const found = all.filter(({ event }) => grubPrefixOf(event.data) === undefined).map((one) => at('GrubPrefix', one))
  const kernels = all.filter(({ event }) => grubPrefixOf(event.data)?.word === 'kernel_cmdline')
  return [...found, ...kernels.slice(1).map((one) => at('KernelCommandLineRepeated', one))]
}

/** PCR 11 in the firmware's log: pairs of a section's name and its content. The phases of a boot come later, in another log. */
function sections(all: readonly Measurement[]): Finding[] {
  const names = all.filter((_, nth) => nth % 2 === 0)
  const seen = new Set<string>()
  const found = names.flatMap((one) => {
    if (one.known?.is !== 'section') return [at('SectionNotNamed', one, { actual: one.hex })]
    if (seen.has(one.known.text)) return [at('SectionRepeated', one, { actual: one.known.text })]
    seen.add(one.known.text)
    return []
  })
  const unpaired = all.length % 2 === 1 ? all.at(-1) : undefined
  return unpaired === undefined ? found : [...found, at('SectionNotPaired', unpaired)]
}

/** PCR 12: the same command line, once by systemd-boot and once by the stub. Add-ons, which are tagged, are the manifest's to allow. */
const MEASURERS = 2
function commandLines(all: readonly Measurement[]): Finding[] {
  const lines = all
    .filter(({ event }) => event.typeName !== 'EV_EVENT_TAG')
    .map((one) => ({ one, text: provenCommandLine(one) }))
  const first = lines.find(({ text }) => text !== undefined)?.text
  const found = lines.flatMap(({ one, text }) => {
    if (text === undefined) return one.coverage.covered === 'yes' ? [at('CommandLineUnreadable', one)] : []
    return text === first ? [] : [at('CommandLinesDiffer', one, { expected: first ?? '', actual: text })]
  })
  return [...found, ...lines.slice(MEASURERS).map(({ one }) => at('CommandLinesTooMany', one))]
}
