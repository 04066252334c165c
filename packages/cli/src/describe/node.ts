import type { EdgeNodeStatus, ObjectOf } from '@skerry/api'
import { type Entry, entries, entry } from '../output/sections.ts'
import { when } from '../output/times.ts'
import { classText, statementText } from './parts.ts'

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
    entry('Since', status.lastTransitionTime && when(status.lastTransitionTime, nowMs)),
    entry('Next window', status.nextWindow && when(status.nextWindow, nowMs)),
    entry('Image', image && `${image.name ?? 'unknown to this hub'}, sha256 ${image.sha256}`),
    entry('Slot', status.slot),
    entry('Boot', status.bootId),
    entry('Holds', holds && `desired state ${holds.timeline}.${holds.generation}`),
    entry('Attestation', attestationEntries(attestation, nowMs)),
    entry('Failures remembered', failureEntries(status.failed ?? [], nowMs)),
    entry('Newest statement', statementText(status.statement)),
    entry('Statements', status.watermark === undefined ? undefined : `1 to ${status.watermark} are here without a gap`),
  )
}

function attestationEntries(attestation: EdgeNodeStatus['attestation'], nowMs: number): Entry[] {
  if (!attestation) return entries(entry('Verdict', 'none: no boot of this node was judged yet'))
  return entries(
    entry('Verdict', attestation.verdict),
    entry('Reason', attestation.reason),
    entry('Message', attestation.message),
    entry('Of boot', attestation.bootId),
    entry('Judged', when(attestation.judgedAt, nowMs)),
    entry('Rests on', statementText(attestation.statement)),
  )
}

function failureEntries(failed: NonNullable<EdgeNodeStatus['failed']>, nowMs: number): Entry[] {
  return failed.map(({ imageSha256, outcome, reason, message, at }) => ({
    label: `sha256 ${imageSha256.slice(0, 12)}`,
    value: `${outcome} (${reason}): ${message}\n${when(at, nowMs)}; these bytes are not tried here again`,
  }))
}
