import type { Statement } from '@skerry/api'
import { type Found, found } from './findings.ts'
import type { Release } from './reference.ts'

/**
 * A site takes no image whose release counter is below the one that it confirmed. One that runs all the same was booted by
 * somebody's hand, or because what was confirmed comes up no more: its signature is good, and its holes are known.
 */
export function judgeRelease(release: Release | undefined): Found[] {
  if (!release || release.counter >= release.confirmed.counter) return []
  const { counter, confirmed } = release
  const message = `the image is older than one that this node has confirmed (statement ${confirmed.seq}): somebody booted it, or what was confirmed does not come up any more; boot that again at the site, or roll out a newer image`
  const where = { expected: [`a release counter of at least ${confirmed.counter}`], actual: `${counter}` }
  return [found('OlderThanConfirmed', message, where)]
}

/** The manifest that a node confirms by this statement: it names the boot in which that image runs, and is idle. */
export function confirmedManifest(statement: Statement): string | undefined {
  if (statement.kind !== 'transition' || statement.body.to !== 'Idle' || statement.body.bootId === undefined)
    return undefined
  return statement.body.manifestSha256
}
