import type { Statement } from '@skerry/api'
import { type Found, found } from './findings.ts'
import type { ConfirmedBefore, Release } from './reference.ts'

/**
 * A site takes no image whose release counter is below the one that it confirmed. One that runs all the same was booted by
 * somebody's hand, or because what was confirmed comes up no more: its signature is good, and its holes are known.
 *
 * What it confirmed may be lost with the statements that said so. A counter never falls in a life: what is not below
 * something that was confirmed after the loss is not below what was confirmed in it. Of anything else nobody can say.
 */
export function judgeRelease(release: Release | undefined): Found[] {
  if (!release) return []
  const { counter, confirmed, lost } = release
  if (confirmed && counter < confirmed.counter) {
    const message = `the image is older than one that this node has confirmed (statement ${confirmed.seq}): somebody booted it, or what was confirmed does not come up any more; boot that again at the site, or roll out a newer image`
    const where = { expected: [`a release counter of at least ${confirmed.counter}`], actual: `${counter}` }
    return [found('OlderThanConfirmed', message, where)]
  }
  if (!lost || counter >= (lost.leastSince ?? Number.POSITIVE_INFINITY)) return []
  const message = `statements up to ${lost.upTo} are lost, and with them perhaps that a newer image was confirmed: nothing that this node has confirmed since shows that this one is not older; the next image that it confirms will show it`
  return [found('ConfirmedLost', message, { actual: `${counter}` })]
}

/** The manifest that a node confirms by this statement: it names the boot in which that image runs, and is idle. */
export function confirmedManifest(statement: Statement): string | undefined {
  if (statement.kind !== 'transition' || statement.body.to !== 'Idle' || statement.body.bootId === undefined)
    return undefined
  return statement.body.manifestSha256
}

/** A manifest that a node confirmed in one life: by which statement first, and by which last. */
export type Confirmation = { readonly manifestSha256: string; readonly first: number; readonly last: number }

/** What of that bears on the boot told of in statement `seq`. `lostUpTo`: the last number below it that is lost. */
export function confirmedBefore(
  { seq, lostUpTo }: { readonly seq: number; readonly lostUpTo: number | undefined },
  said: readonly Confirmation[],
  counterOf: (manifestSha256: string) => number | undefined,
): ConfirmedBefore {
  const known = said.flatMap((one) => {
    const counter = counterOf(one.manifestSha256)
    return counter === undefined ? [] : [{ ...one, counter }]
  })
  // The highest counts, not the newest: nobody talks himself down by confirming an old image again.
  const [confirmed] = known
    .filter(({ first }) => first < seq)
    .map(({ counter, first }) => ({ counter, seq: first }))
    .toSorted((a, b) => b.counter - a.counter || a.seq - b.seq)
  if (lostUpTo === undefined) return { confirmed }
  const since = known.filter(({ last }) => last > lostUpTo).map(({ counter }) => counter)
  return { confirmed, lost: { upTo: lostUpTo, leastSince: since.length > 0 ? Math.min(...since) : undefined } }
}
