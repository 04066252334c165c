import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import type { Statement } from '@skerry/api'

// What a site's machine did, from the log of its driver: one line a boot, written when the slot's program is started. It
// rests on nothing that the node signed.

export type Boot = {
  readonly bootId: string
  readonly slot: string
  readonly imageSha256: string
  /** Of a slot on trial: the tries it has left after this one. */
  readonly triesLeft?: number
}

/** Every boot in a driver's log, in order. */
export function bootsOf(logFile: string): Boot[] {
  if (!existsSync(logFile)) return []
  return readFileSync(logFile, 'utf8')
    .split('\n')
    .filter((line) => line.includes('"slot boots"'))
    .map((line) => JSON.parse(line) as Boot)
}

/**
 * Holds a machine's boots against the images it was to run, oldest first: each was activated once (its trial boots only
 * ever spend tries, and the trial does not begin again), none after a newer one, and no boot id is there twice.
 */
export function assertActivatedOnce(name: string, boots: readonly Boot[], images: readonly string[]): void {
  assert.equal(new Set(boots.map(({ bootId }) => bootId)).size, boots.length, `${name}: a boot id is there twice`)
  const order = boots.map(({ imageSha256 }) => images.indexOf(imageSha256))
  assert.ok(!order.includes(-1), `${name}: booted bytes that nobody ordered`)
  for (const [index, place] of order.entries())
    assert.ok(place >= (order[index - 1] ?? 0), `${name}: boot ${index + 1} went back to an older image`)
  for (const [place, imageSha256] of images.entries()) {
    const its = boots.filter((boot) => boot.imageSha256 === imageSha256)
    // The factory's image is there without an activation.
    if (place === 0) continue
    const tries = its.map(({ triesLeft }) => triesLeft ?? -1)
    assert.ok((tries[0] ?? -1) >= 0, `${name}: image ${place + 1} never booted on trial`)
    for (const [index, left] of tries.entries())
      assert.ok(
        index === 0 || left < (tries[index - 1] ?? 0) || left === -1,
        `${name}: image ${place + 1} was activated twice`,
      )
  }
}

/** Every boot that the node signed evidence of is one that its machine did, of the same bytes. */
export function assertEvidenceBooted(name: string, boots: readonly Boot[], statements: readonly Statement[]): void {
  const done = new Map(boots.map(({ bootId, imageSha256 }) => [bootId, imageSha256]))
  const signed = statements.filter((statement) => statement.kind === 'evidence')
  assert.ok(signed.length > 0, `${name}: no boot was told`)
  for (const { body } of signed)
    assert.equal(done.get(body.bootId), body.imageSha256, `${name}: the told boot ${body.bootId} is not the machine's`)
}
