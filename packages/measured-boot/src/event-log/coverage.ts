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

/** What one digest is of. */
export class Proof {
  readonly data: Uint8Array
  readonly #bank: Bank
  /** The digest. */
  readonly #hex: string
  readonly #known: Known | undefined
  #whole: boolean | undefined

  constructor(bank: Bank, data: Uint8Array, hex: string, known: Known | undefined) {
    this.data = data
    this.#bank = bank
    this.#hex = hex
    this.#known = known
  }

  /** Whether it is that of these bytes of the data. The whole data is asked for again and again, and hashed once. */
  of(start: number, end: number): boolean {
    if (start !== 0 || end !== this.data.length) return this.#is(this.data.subarray(start, end))
    this.#whole ??= this.#is(this.data)
    return this.#whole
  }

  /** Where everybody knows what the digest is of, nothing else has it, and comparing is enough. */
  #is(bytes: Uint8Array): boolean {
    return this.#known === undefined ? hash(this.#bank, bytes, 'hex') === this.#hex : equal(bytes, this.#known.bytes)
  }
}

type Rule = (proof: Proof) => Coverage

const NO = { covered: 'no' } as const
const between = (start: number, end: number, proof: Proof): Coverage =>
  proof.of(start, end) ? { covered: 'yes', start, end } : NO
const firstOf =
  (...rules: readonly [Rule, Rule]): Rule =>
  (proof) => {
    const first = rules[0](proof)
    return first.covered === 'yes' ? first : rules[1](proof)
  }

const whole: Rule = (proof) => between(0, proof.data.length, proof)

/** Old shims log six bytes more than the variable has, and leave the last of them out of the digest. */
const oldShim: Rule = (proof) =>
  variableLayoutIn(proof.data)?.behind === 6 ? between(0, proof.data.length - 1, proof) : NO

/** EDK2 measures a boot variable's value alone; others the whole structure. */
const valueOnly: Rule = (proof) => {
  const variable = variableLayoutIn(proof.data)
  return variable === undefined ? NO : between(variable.valueAt, variable.valueAt + variable.value.length, proof)
}

/** systemd after 252 leaves the NUL of a command line out of the digest. */
const withoutNul: Rule = (proof) => {
  const { data } = proof
  const ends = data.length >= 2 && data[data.length - 1] === 0 && data[data.length - 2] === 0
  return ends ? between(0, data.length - 2, proof) : NO
}

/** GRUB measures what stands behind its prefix, without the NUL; RHEL 8's has no colon, and measures the NUL. */
const GRUB_PREFIX = /^(grub_cmd|kernel_cmdline|module_cmdline):? /
export function grubPrefixOf(data: Uint8Array): { readonly word: string; readonly length: number } | undefined {
  const [whole, word] = GRUB_PREFIX.exec(Buffer.from(data.subarray(0, 20)).toString('latin1')) ?? []
  return whole === undefined || word === undefined ? undefined : { word, length: whole.length }
}
const grubText: (nul: 'measured' | 'left out') => Rule = (nul) => (proof) => {
  const { data } = proof
  const prefix = grubPrefixOf(data)
  const end = nul === 'left out' && data[data.length - 1] === 0 ? data.length - 1 : data.length
  return prefix === undefined || end < prefix.length ? NO : between(prefix.length, end, proof)
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
export function coverageOf({ typeName, pcr }: LogEvent, proof: Proof): Coverage {
  const rule = typeName === 'EV_IPL' ? IPL_BY_PCR[pcr] : typeName && BY_TYPE[typeName]
  return rule === undefined ? { covered: 'not-by-data' } : RULES[rule](proof)
}

/** What the digest proves if the data is this, whatever its type says: types are bytes that nothing covers. */
export function coveredAs(rule: RuleName, proof: Proof): Coverage {
  return RULES[rule](proof)
}

/** The variable that a digest proves: alone, or with the six bytes of old shims behind it. */
export function provenVariable(proof: Proof): Variable | undefined {
  const variable = variableIn(proof.data)
  if (variable === undefined || (variable.behind !== 0 && variable.behind !== 6)) return undefined
  return RULES.authority(proof).covered === 'yes' ? variable : undefined
}
