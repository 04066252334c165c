import type { KindName } from '@skerry/api'
import { UsageError } from '../errors.ts'
import type { Manifest } from './documents.ts'

/** The one object of some files, which is of that kind; a UsageError that lists what is there otherwise. */
export function only(kind: KindName, manifests: readonly Manifest[]): Manifest {
  const [first, ...more] = manifests
  if (first?.row.kind === kind && more.length === 0) return first
  const there = manifests.map(({ row, object }) => `${row.kind} ${object.metadata.name}`).join(', ')
  throw new UsageError(
    `-f: one ${kind} is wanted, and ${manifests.length === 1 ? 'there is' : `${manifests.length} objects are there:`} ${there}`,
  )
}
