import { UsageError } from '../errors.ts'
import type { Manifest } from './documents.ts'

/** The one Rollout of some files; a UsageError that lists what is there otherwise. */
export function onlyRollout(manifests: readonly Manifest[]): Manifest {
  const [first, ...more] = manifests
  if (first?.row.kind === 'Rollout' && more.length === 0) return first
  const there = manifests.map(({ row, object }) => `${row.kind} ${object.metadata.name}`).join(', ')
  throw new UsageError(
    `-f: one Rollout is wanted, and ${manifests.length === 1 ? 'there is' : `${manifests.length} objects are there:`} ${there}`,
  )
}
