import type { EdgeNodeStatus, ObjectOf } from '@skerry/api'
import { type Entry, entries, entry, table } from '../output/sections.ts'
import { when } from '../output/times.ts'
import { nextOf } from './next.ts'
import { classText, conditionTable, statementText } from './parts.ts'

/** A node: what it runs, in which boot, how far that is proven, and what it will not try again. */
export function describeNode(
  { status = {} }: ObjectOf<'EdgeNode'>,
  lastHeardAt: string | undefined,
  nowMs: number,
): Entry[] {
  const { image, attestation, holds } = status
  return entries(
    entry('Class', classText(status.class)),
    entry('Reachability', status.reachability),
    entry('Last heard', lastHeardAt ? when(lastHeardAt, nowMs) : 'never'),
    entry('Driver', status.driver),
    entry('Agent', status.agentVersion),
    entry('Phase', status.phase),
    entry('Reason', status.reason),
    entry('Message', status.message),
    entry('Progress', status.progress && progressText(status.progress)),
    status.conditions?.length ? conditionTable(status.conditions, nowMs) : undefined,
    entry('Since', status.lastTransitionTime && when(status.lastTransitionTime, nowMs)),
    entry('Next window', status.nextWindow && when(status.nextWindow, nowMs)),
    entry('Image', image && `${image.name ?? 'unknown to this hub'}, sha256 ${image.sha256}`),
    entry('Slot', status.slot),
    entry('Boot', status.bootId),
    entry('Holds', holds && `desired state ${holds.timeline}.${holds.generation}`),
    entry('Attestation', attestationEntries(attestation, nowMs)),
    entry('Failures remembered', failureEntries(status.failed ?? [], nowMs)),
    entry('Newest statement', statementText(status.statement)),
    entry('Statements', chainText(status)),
  )
}

function chainText({ watermark, conditions = [] }: EdgeNodeStatus): string | undefined {
  if (watermark === undefined) return undefined
  const isToldOf = conditions.some(({ type }) => type === 'ChainComplete')
  return `1 to ${watermark} are here ${isToldOf ? 'but for what ChainComplete tells of' : 'without a gap'}`
}

function progressText({ done, total }: NonNullable<EdgeNodeStatus['progress']>): string {
  return `${total === 0 ? 0 : Math.floor((done * 100) / total)} % of ${total} bytes are there`
}

function attestationEntries(attestation: EdgeNodeStatus['attestation'], nowMs: number): Entry[] {
  if (!attestation) return entries(entry('Verdict', 'none: no boot of this node was judged yet'))
  return entries(
    entry('Verdict', attestation.verdict),
    entry('Reason', attestation.reason),
    entry('Message', attestation.message),
    entry('Next', nextOf(attestation)),
    entry('Of boot', attestation.bootId),
    entry('Judged', when(attestation.judgedAt, nowMs)),
    entry('Rests on', statementText(attestation.statement)),
    attestation.findings?.length ? findingTable(attestation) : undefined,
    attestation.pcrs?.length ? pcrTable(attestation.pcrs, attestation.bank) : undefined,
  )
}

type Attestation = NonNullable<EdgeNodeStatus['attestation']>

function findingTable({ findings = [], pcrs = [] }: Attestation): Entry {
  // These stand in the table of PCRs, beside what they should be.
  const shown = new Set(pcrs.flatMap(({ pcr, by, ok }) => (ok || by === 'nothing' || by === 'log' ? [] : [pcr])))
  const rows = findings.map(({ code, tier, pcr, event, message, expected, actual }) => [
    code,
    tier,
    pcr === undefined ? '-' : String(pcr),
    event === undefined ? '-' : String(event),
    actual === undefined || (event === undefined && pcr !== undefined && shown.has(pcr))
      ? message
      : `${message}: expected ${expected?.length ? expected.join(' or ') : 'nothing'}, was ${actual}`,
  ])
  return table('Findings', ['CODE', 'LEAVES', 'PCR', 'EVENT', 'MESSAGE'], rows)
}

/** A row a PCR, and one more for each other value that it might hold. */
function pcrTable(pcrs: NonNullable<Attestation['pcrs']>, bank: Attestation['bank']): Entry {
  const rows = pcrs.flatMap(({ pcr, actual, expected, by, ok, learnedFrom = [] }) => {
    // What the log explains event by event has no value of its own; where one of several fits, the others only bury it.
    const [first, ...others] = by === 'log' ? ['its events'] : ok ? [by === 'nothing' ? '-' : actual] : expected
    const word = by === 'nothing' ? '-' : ok ? 'ok' : 'DIFFERS'
    const source = learnedFrom.length > 0 ? `${by}: ${learnedFrom.join(', ')}` : by
    return [[String(pcr), word, source, first ?? 'unknown', actual], ...others.map((value) => ['', '', '', value, ''])]
  })
  return table(`PCRs (${bank ?? 'bank unknown'})`, ['PCR', 'IS', 'BY', 'EXPECTED', 'ACTUAL'], rows)
}

function failureEntries(failed: NonNullable<EdgeNodeStatus['failed']>, nowMs: number): Entry[] {
  return failed.map(({ imageSha256, outcome, reason, message, at }) => ({
    label: `sha256 ${imageSha256.slice(0, 12)}`,
    value: `${outcome} (${reason}): ${message}\n${when(at, nowMs)}; these bytes are not tried here again`,
  }))
}
