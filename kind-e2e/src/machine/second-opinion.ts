import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { EvidenceBody } from '@skerry/api'

// The same evidence before somebody else's programs: tpm2-tools, which read a quote and an event log and share no line with us.

/** What tpm2-tools hold against evidence of bank sha256: nothing where it is good for them, too. */
export function secondOpinion({ akPublic, quote, signature, nonce, pcrs, eventLog }: EvidenceBody): string[] {
  const values = pcrs?.sha256
  if (!akPublic || !quote || !signature || !values || !eventLog)
    return ['there is no quote of bank sha256 with its log']
  const dir = mkdtempSync(join(tmpdir(), 'skerry-opinion-'))
  const file = (name: string, data: Uint8Array) => {
    writeFileSync(join(dir, name), data, { mode: 0o600 })
    return join(dir, name)
  }
  const base64 = (name: string, text: string) => file(name, Buffer.from(text, 'base64'))
  try {
    const quoted = ['-m', base64('quote', quote), '-s', base64('signature', signature), '-u', base64('ak', akPublic)]
    const asked = ['-g', 'sha256', '-q', nonce, '-f', file('pcrs', serialized(values))]
    const checked = spawnSync('tpm2_checkquote', [...quoted, ...asked], { encoding: 'utf8' })
    const replayed = spawnSync('tpm2_eventlog', [base64('log', eventLog)], { encoding: 'utf8', maxBuffer: 2 ** 26 })
    return [
      ...(checked.status === 0 ? [] : [`tpm2_checkquote: ${checked.error?.message ?? checked.stderr.trim()}`]),
      ...(replayed.status === 0
        ? differences(values, replayed.stdout)
        : [`tpm2_eventlog: ${replayed.error?.message ?? replayed.stderr.trim()}`]),
    ]
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
}

/** Each quoted PCR to which the log does not lead, by what tpm2_eventlog prints; one that it does not name was never extended. */
function differences(values: Readonly<Record<string, string>>, printed: string): string[] {
  const [, bank = ''] = printed.split(/^pcrs:\n {2}sha256:\n/m)
  const led = new Map([...bank.matchAll(/^ {4}(\d+) *: 0x([0-9a-f]{64})$/gm)].map(([, pcr, value]) => [pcr, value]))
  return Object.entries(values).flatMap(([pcr, value]) => {
    const expected = led.get(pcr) ?? '0'.repeat(64)
    return value === expected ? [] : [`tpm2_eventlog: PCR ${pcr} is ${expected} by the log, and ${value} was quoted`]
  })
}

/**
 * A file of PCR values as `tpm2_quote -o` writes it: the C structures TPML_PCR_SELECTION and TPML_DIGEST with room for their
 * most, numbers low byte first, eight digests to a list. Plain values (`-F values`) are read of one list alone.
 */
function serialized(values: Readonly<Record<string, string>>): Uint8Array {
  const order = Object.keys(values)
    .map(Number)
    .toSorted((a, b) => a - b)
  const selection = Buffer.alloc(4 + 16 * 8)
  selection.writeUInt32LE(1, 0)
  selection.writeUInt16LE(0x000b, 4)
  selection.writeUInt8(3, 6)
  selection.writeUIntLE(
    order.reduce((bits, pcr) => bits | (1 << pcr), 0),
    7,
    3,
  )
  const lists = Array.from({ length: Math.ceil(order.length / 8) }, (_, n) => {
    const list = Buffer.alloc(4 + 8 * 66)
    const mine = order.slice(n * 8, n * 8 + 8)
    list.writeUInt32LE(mine.length, 0)
    for (const [place, pcr] of mine.entries()) {
      list.writeUInt16LE(32, 4 + place * 66)
      list.write(values[pcr] ?? '', 4 + place * 66 + 2, 'hex')
    }
    return list
  })
  const count = Buffer.alloc(4)
  count.writeUInt32LE(lists.length, 0)
  return Buffer.concat([selection, count, ...lists])
}
