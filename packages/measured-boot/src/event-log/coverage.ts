import { type Bank, digest } from '../banks.ts'
import { equal } from '../bytes.ts'
import type { EventTypeName } from './event-types.ts'
import type { LogEvent } from './parse.ts'
import { variableIn } from './variable.ts'

/**
 * What of an event's data its digest proves: the bytes from `start` to before `end`; nothing, though its type says that
 * it should; or nothing, because this type's digest is of something else and the data is free text.
 */
export type Coverage =
  | { readonly covered: 'yes'; readonly start: number; readonly end: number }
  | { readonly covered: 'no' }
  | { readonly covered: 'not-by-data' }

type Rule = (event: LogEvent, is: (start: number, end: number) => boolean) => Coverage

const NO = { covered: 'no' } as const
const whole: Rule = ({ data }, is) => (is(0, data.length) ? { covered: 'yes', start: 0, end: data.length } : NO)
const between = (start: number, end: number, is: (start: number, end: number) => boolean): Coverage =>
  is(start, end) ? { covered: 'yes', start, end } : NO
const firstOf =
  (...rules: readonly Rule[]): Rule =>
  (event, is) =>
    rules.map((rule) => rule(event, is)).find(({ covered }) => covered === 'yes') ?? NO

/** shim before 15.3 says six bytes more than there are, and leaves the last one out of the digest. */
const oldShim: Rule = ({ data }, is) => (variableIn(data)?.behind === 6 ? between(0, data.length - 1, is) : NO)

/** EDK2 measures a boot variable's value alone; others the whole structure. */
const valueOnly: Rule = ({ data }, is) => {
  const variable = variableIn(data)
  return variable === undefined ? NO : between(variable.valueAt, variable.valueAt + variable.value.length, is)
}

/** systemd after 252 leaves the NUL of a command line out of the digest. */
const withoutNul: Rule = ({ data }, is) =>
  data.length >= 2 && data[data.length - 1] === 0 && data[data.length - 2] === 0 ? between(0, data.length - 2, is) : NO

/** GRUB measures what stands behind its prefix, without the NUL. */
export const GRUB_PREFIXES = ['grub_cmd: ', 'kernel_cmdline: ', 'module_cmdline: '] as const
const grub: Rule = ({ data }, is) => {
  const prefix = GRUB_PREFIXES.find((one) => Buffer.from(data.subarray(0, one.length)).toString('latin1') === one)
  const end = data[data.length - 1] === 0 ? data.length - 1 : data.length
  return prefix === undefined || end < prefix.length ? NO : between(prefix.length, end, is)
}

const BY_TYPE: { readonly [type in EventTypeName]?: Rule } = {
  EV_SEPARATOR: whole,
  EV_ACTION: whole,
  EV_EFI_ACTION: whole,
  EV_S_CRTM_VERSION: whole,
  EV_EFI_GPT_EVENT: whole,
  EV_EFI_GPT_EVENT2: whole,
  EV_EFI_VARIABLE_DRIVER_CONFIG: whole,
  EV_EFI_VARIABLE_AUTHORITY: firstOf(whole, oldShim),
  EV_EFI_VARIABLE_BOOT: firstOf(valueOnly, whole),
  EV_EFI_VARIABLE_BOOT2: firstOf(whole, valueOnly),
}

/** EV_IPL is whatever a boot loader makes of it: command lines in PCR 12, GRUB's commands in PCR 8, files and sections elsewhere. */
const IPL_BY_PCR: { readonly [pcr: number]: Rule } = { 8: grub, 12: firstOf(whole, withoutNul) }

/** Reads the data in the way that the event's type prescribes; `ofData`: its digest is known to be that of the whole data. */
export function coverageOf(event: LogEvent, bank: Bank, measured: Uint8Array, ofData: boolean): Coverage {
  const { typeName, pcr, data } = event
  const rule = typeName === 'EV_IPL' ? IPL_BY_PCR[pcr] : typeName && BY_TYPE[typeName]
  if (rule === undefined) return { covered: 'not-by-data' }
  return rule(event, (start, end) =>
    start === 0 && end === data.length ? ofData : equal(digest(bank, data.subarray(start, end)), measured),
  )
}
