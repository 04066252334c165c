import { toHex } from '../bytes.ts'
import type { Coverage } from './coverage.ts'
import { factsOf } from './facts.ts'
import type { Finding } from './findings.ts'
import { grammarOf } from './grammar.ts'
import { labelOf } from './label.ts'
import { bankToJudge, measuredIn } from './measured.ts'
import { type EventLog, type LogEvent, NO_PCR } from './parse.ts'
import { replay } from './replay.ts'

/** An event as people read it; `says` is the data's own words, proven only where `covered` is yes. */
type DescribedEvent = {
  readonly index: number
  readonly pcr: number | null
  readonly type: string
  readonly digest: string
  readonly covered: Coverage['covered']
  readonly says: string | null
}

/** What `skerry attest eventlog FILE -o json` prints. */
export type DescribedLog = {
  readonly banks: readonly string[]
  readonly events: readonly DescribedEvent[]
  /** By bank and PCR, in hex: of the one bank that was asked for, the PCRs that the log speaks of. */
  readonly pcrs: { readonly [bank: string]: { readonly [pcr: string]: string } }
  /** Null where no digest proves it. */
  readonly secureBoot: boolean | null
  readonly findings: readonly Finding[]
}

/** A log as one bank tells it. Throws Malformed for a bank that the log lacks, and for SHA-1. */
export function describeLog(log: EventLog, asked?: string): DescribedLog {
  const bank = bankToJudge(log, asked)
  const measured = measuredIn(log, bank)
  const coverage = new Map(measured.extends.map(({ event, coverage }) => [event.index, coverage.covered]))
  const spoken = new Set(measured.extends.map(({ event }) => event.pcr))
  const values = [...replay(measured)].filter(([pcr]) => spoken.has(pcr))
  return {
    banks: log.banks.map(({ name }) => name),
    events: log.events.map((event) => described(event, bank, coverage.get(event.index) ?? 'not-by-data')),
    pcrs: { [bank]: Object.fromEntries(values.map(([pcr, value]) => [pcr, toHex(value)])) },
    secureBoot: factsOf(measured).secureBoot.value ?? null,
    findings: grammarOf(measured),
  }
}

function described(event: LogEvent, bank: string, covered: Coverage['covered']): DescribedEvent {
  const { index, pcr, type, typeName, digests } = event
  return {
    index,
    pcr: pcr === NO_PCR ? null : pcr,
    type: typeName ?? `0x${type.toString(16).padStart(8, '0')}`,
    digest: toHex(digests.get(bank) ?? new Uint8Array(0)),
    covered,
    says: labelOf(event) ?? null,
  }
}
