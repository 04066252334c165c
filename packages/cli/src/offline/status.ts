import { counted } from '@skerry/policy'
import type { Release, SigningFolder } from '@skerry/trust'

/** `release 2: 1 of 2 signatures (alice); one of bert, carla still has to sign`. */
export function releaseText({ threshold, names }: SigningFolder, { version, signedBy, missing }: Release): string {
  const have = `release ${version}: ${signedBy.length} of ${counted(threshold, 'signature')}${signedBy.length > 0 ? ` (${signedBy.join(', ')})` : ''}`
  if (missing === 0) return `${have}; ready to be published`
  const others = names.filter((name) => !signedBy.includes(name))
  return `${have}; ${missing === 1 ? 'one' : missing} of ${others.join(', ')} still ${missing === 1 ? 'has' : 'have'} to sign`
}

/** What signers put their names under. */
export function addedText({ added }: Release): string {
  return added.map(({ path, sha256 }) => `  ${path}  sha256 ${sha256}\n`).join('')
}

/** RFC 3339 in whole seconds, as TUF writes times. */
export function expiry(nowMs: number, days: number): string {
  return new Date(nowMs + days * 86_400_000).toISOString().replace(/\.\d+Z$/, 'Z')
}
