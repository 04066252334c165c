import { equal } from '../bytes.ts'
import { provenCommandLine } from './command-line.ts'
import { type Measured, type Measurement, ofPcr } from './measured.ts'
import { type PcrValues, startOf } from './replay.ts'
import { type SecureBootVariable, secureBootVariable, split } from './secure-boot.ts'

/** What a log says and a digest proves, or why it does not say it. */
type Fact<Value> =
  | { readonly value: Value; readonly why?: undefined }
  | { readonly value?: undefined; readonly why: string }

/** One measurement that a fact rests on: the event's index, and its digest in hex as manifests write it. */
type Rests = { readonly event: number; readonly digest: string }

type VariableFact = Rests & { readonly value: Uint8Array }
/** What allowed an image to start; its variable only where the digest proves it. */
type AuthorityFact = Rests & {
  readonly variable?: { readonly guid: string; readonly name: string; readonly value: Uint8Array }
}
/** Everything in PCR 4 that is neither a separator nor a call: `early` was measured before the firmware let go. */
export type ApplicationFact = Rests & { readonly early: boolean }
type BootFact = {
  readonly applications: readonly ApplicationFact[]
  /** Whether a boot option was called before the separator. */
  readonly called: boolean
  /** How often the firmware had to try again within this boot. */
  readonly retries: number
}
type SectionFact = Rests & { readonly name: string }
/** `text` only where the digest proves it. */
type CommandLineFact = Rests & { readonly text?: string }

/** What may be read from a log whose replay equals a quote. It rests on digests, order and PCR alone: event types decide nothing. */
export type Facts = {
  readonly secureBoot: Fact<boolean>
  readonly pk: Fact<VariableFact>
  readonly kek: Fact<VariableFact>
  readonly db: Fact<VariableFact>
  readonly dbx: Fact<VariableFact>
  readonly authorities: Fact<readonly AuthorityFact[]>
  readonly boot: Fact<BootFact>
  /** PCR 9, by the kernel's EFI stub: the command line, then the initrd. */
  readonly kernel: Fact<readonly Rests[]>
  /** PCR 11, by systemd-stub: the digest of each section's content. */
  readonly sections: Fact<readonly SectionFact[]>
  /** PCR 12: command lines and whatever else was added. */
  readonly commandLines: Fact<readonly CommandLineFact[]>
  /** Whether the firmware says that its boot services were left: whether the log is complete. */
  readonly exitBootServices: Fact<boolean>
}

export function factsOf(measured: Measured): Facts {
  const seven = split(measured, 7)
  const early = 'why' in seven ? seven : seven.before.flatMap(secureBootVariableIn)
  const variable = (name: SecureBootVariable) => variableFact(early, name)
  return {
    secureBoot: secureBoot(variable('SecureBoot')),
    pk: variable('PK'),
    kek: variable('KEK'),
    db: variable('db'),
    dbx: variable('dbx'),
    authorities: 'why' in seven ? seven : { value: seven.after.map(authority) },
    boot: boot(measured),
    kernel: { value: ofPcr(measured, 9).map(rests) },
    sections: sections(ofPcr(measured, 11)),
    commandLines: { value: ofPcr(measured, 12).map(commandLine) },
    exitBootServices: exitBootServices(measured),
  }
}

/**
 * Whether these values, quoted or read, are those of a bank that the firmware never extended ("TPM Carte Blanche",
 * CVE-2021-42299): PCR 0–7 are as at startup, from whatever locality.
 */
export function isEmptyBank(values: PcrValues, bank: Measured['bank']): boolean {
  return [0, 1, 2, 3, 4, 5, 6, 7].every((pcr) => {
    const value = values.get(pcr) ?? startOf(bank, pcr)
    return (pcr === 0 ? [0, 3, 4] : [0]).some((locality) => equal(value, startOf(bank, pcr, locality)))
  })
}

const rests = ({ event, hex }: Measurement): Rests => ({ event: event.index, digest: hex })
const isAction = ({ known }: Measurement, action: string): boolean => known?.is === 'action' && known.action === action

type Early = readonly { readonly name: SecureBootVariable; readonly fact: VariableFact }[]

function secureBootVariableIn(one: Measurement): Early {
  const variable = one.variable()
  const name = variable?.behind === 0 ? secureBootVariable(variable) : undefined
  return variable === undefined || name === undefined ? [] : [{ name, fact: { ...rests(one), value: variable.value } }]
}

/** Before the separator and once: whoever runs after it could have measured a variable of his own making. */
function variableFact(early: Early | { readonly why: string }, name: SecureBootVariable): Fact<VariableFact> {
  if ('why' in early) return early
  const found = early.filter((one) => one.name === name)
  const [first, ...more] = found
  if (first === undefined) return { why: `no digest before PCR 7's separator proves a variable ${name}` }
  return more.length === 0
    ? { value: first.fact }
    : { why: `PCR 7 has ${name} ${found.length} times before its separator` }
}

/** One byte, 1 or 0; firmware that has no keys at all may measure none. */
function secureBoot(variable: Fact<VariableFact>): Fact<boolean> {
  if (variable.value === undefined) return variable
  const { value, event } = variable.value
  if (value.length === 0 || (value.length === 1 && value[0] === 0)) return { value: false }
  if (value.length === 1 && value[0] === 1) return { value: true }
  return { why: `event ${event}: SecureBoot is neither 0 nor 1` }
}

function authority(one: Measurement): AuthorityFact {
  const variable = one.variable()
  if (variable === undefined) return rests(one)
  const { guid, name, value } = variable
  return { ...rests(one), variable: { guid, name, value } }
}

function boot(measured: Measured): Fact<BootFact> {
  const parts = split(measured, 4)
  if ('why' in parts) return parts
  const images = (all: readonly Measurement[], early: boolean): ApplicationFact[] =>
    all
      .filter((one) => !isAction(one, 'calling') && !isAction(one, 'returning'))
      .map((one) => ({ ...rests(one), early }))
  const count = (action: string) => [...parts.before, ...parts.after].filter((one) => isAction(one, action)).length
  return {
    value: {
      applications: [...images(parts.before, true), ...images(parts.after, false)],
      called: parts.before.some((one) => isAction(one, 'calling')),
      retries: Math.max(count('calling') - 1, count('returning'), 0),
    },
  }
}

function sections(all: readonly Measurement[]): Fact<readonly SectionFact[]> {
  const found: SectionFact[] = []
  for (let at = 0; at < all.length; at += 2) {
    const [name, content] = [all[at], all[at + 1]]
    if (name?.known?.is !== 'section') return { why: `event ${name?.event.index}: no section's name, where one is due` }
    if (content === undefined) return { why: `event ${name.event.index}: ${name.known.text} without its content` }
    found.push({ ...rests(content), name: name.known.text })
  }
  return { value: found }
}

function commandLine(one: Measurement): CommandLineFact {
  const text = provenCommandLine(one)
  return text === undefined ? rests(one) : { ...rests(one), text }
}

function exitBootServices(measured: Measured): Fact<boolean> {
  const parts = split(measured, 5)
  if ('why' in parts) return parts
  const [invocation, success] = parts.after.slice(-2)
  const both = invocation !== undefined && success !== undefined
  return { value: both && isAction(invocation, 'exitInvocation') && isAction(success, 'exitSuccess') }
}
