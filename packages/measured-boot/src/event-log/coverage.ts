import { hash } from 'node:crypto'
import type { Bank } from '../banks.ts'
import { equal } from '../bytes.ts'
import type { EventTypeName } from './event-types.ts'
import type { Known } from './known.ts'
import type { LogEvent } from './parse.ts'
import { type Variable, variableIn, variableLayoutIn } from './variable.ts'

/**
 * What of an event's data its digest proves: the bytes from `start` to before `end`; nothing, though its type says that
 * it should; or nothing, because this type's digest is of something else and the data is free text.
 */
export type Coverage =
  | { readonly covered: 'yes'; readonly start: number; readonly end: number }
  | { readonly covered: 'no' }
  | { readonly covered: 'not-by-data' }

/** Whether the digest is that of these bytes of the data. */
type Proves = (start: number, end: number) => boolean
type Rule = (data: Uint8Array, proves: Proves) => Coverage

const NO = { covered: 'no' } as const
const between = (start: number, end: number, proves: Proves): Coverage =>
  proves(start, end) ? { covered: 'yes', start, end } : NO
const firstOf =
  (...rules: readonly [Rule, Rule]): Rule =>
  (data, proves) => {
    const first = rules[0](data, proves)
    return first.covered === 'yes' ? first : rules[1](data, proves)
  }

const whole: Rule = (data, proves) => between(0, data.length, proves)

/** Old shims log six bytes more than the variable has, and leave the last of them out of the digest. */
const oldShim: Rule = (data, proves) =>
  variableLayoutIn(data)?.behind === 6 ? between(0, data.length - 1, proves) : NO

/** EDK2 measures a boot variable's value alone; others the whole structure. */
const valueOnly: Rule = (data, proves) => {
  const variable = variableLayoutIn(data)
  return variable === undefined ? NO : between(variable.valueAt, variable.valueAt + variable.value.length, proves)
}

/** systemd after 252 leaves the NUL of a command line out of the digest. */
const withoutNul: Rule = (data, proves) =>
  data.length >= 2 && data[data.length - 1] === 0 && data[data.length - 2] === 0
    ? between(0, data.length - 2, proves)
    : NO

/** GRUB measures what stands behind its prefix, without the NUL; RHEL 8's has no colon, and measures the NUL. */
const GRUB_PREFIX = /^(grub_cmd|kernel_cmdline|module_cmdline):? /
export function grubPrefixOf(data: Uint8Array): { readonly word: string; readonly length: number } | undefined {
  const [whole, word] = GRUB_PREFIX.exec(Buffer.from(data.subarray(0, 20)).toString('latin1')) ?? []
  return whole === undefined || word === undefined ? undefined : { word, length: whole.length }
}
const grubText: (nul: 'measured' | 'left out') => Rule = (nul) => (data, proves) => {
  const prefix = grubPrefixOf(data)
  const end = nul === 'left out' && data[data.length - 1] === 0 ? data.length - 1 : data.length
  return prefix === undefined || end < prefix.length ? NO : between(prefix.length, end, proves)
}

/** The ways in which digests cover data; each by the name of what the data is. */
const RULES = {
  data: whole,
  authority: firstOf(whole, oldShim),
  bootVariable: firstOf(valueOnly, whole),
  commandLine: firstOf(whole, withoutNul),
  grub: firstOf(grubText('left out'), grubText('measured')),
} as const
type RuleName = keyof typeof RULES

const BY_TYPE: { readonly [type in EventTypeName]?: RuleName } = {
  EV_SEPARATOR: 'data',
  EV_ACTION: 'data',
  EV_EFI_ACTION: 'data',
  EV_S_CRTM_VERSION: 'data',
  EV_EFI_GPT_EVENT: 'data',
  EV_EFI_GPT_EVENT2: 'data',
  EV_EFI_VARIABLE_DRIVER_CONFIG: 'data',
  EV_EFI_VARIABLE_AUTHORITY: 'authority',
  EV_EFI_VARIABLE_BOOT: 'bootVariable',
  EV_EFI_VARIABLE_BOOT2: 'bootVariable',
}

/** EV_IPL is whatever a boot loader makes of it: command lines in PCR 12, GRUB's commands in PCR 8, files and sections elsewhere. */
const IPL_BY_PCR: { readonly [pcr: number]: RuleName } = { 8: 'grub', 12: 'commandLine' }

/** What the digest proves if the event is of the type that it says it is of. */
export function coverageOf({ typeName, pcr, data }: LogEvent, proves: Proves): Coverage {
  const rule = typeName === 'EV_IPL' ? IPL_BY_PCR[pcr] : typeName && BY_TYPE[typeName]
  return rule === undefined ? { covered: 'not-by-data' } : RULES[rule](data, proves)
}

/** What the digest proves if the data is this, whatever its type says: types are bytes that nothing covers. */
export function coveredAs(rule: RuleName, data: Uint8Array, proves: Proves): Coverage {
  return RULES[rule](data, proves)
}

/** The variable that a digest proves: alone, or with the six bytes of old shims behind it. */
export function provenVariable(data: Uint8Array, proves: Proves): Variable | undefined {
  const variable = variableIn(data)
  if (variable === undefined || (variable.behind !== 0 && variable.behind !== 6)) return undefined
  return RULES.authority(data, proves).covered === 'yes' ? variable : undefined
}

/**
 * Asks of one event's data; `hex` is its digest. Where everybody knows what that is of, nothing else has this digest, and
 * comparing is enough. Remembers the whole data, which is asked for again and again.
 */
export function provesOf(bank: Bank, data: Uint8Array, hex: string, known: Known | undefined): Proves {
  if (known !== undefined) return (start, end) => equal(data.subarray(start, end), known.bytes)
  let whole: boolean | undefined
  return (start, end) => {
    if (start !== 0 || end !== data.length) return hash(bank, data.subarray(start, end), 'hex') === hex
    whole ??= hash(bank, data, 'hex') === hex
    return whole
  }
}
