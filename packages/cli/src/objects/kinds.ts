import { findKind, KINDS, type KindName, type KindRow } from '@skerry/api'
import { UsageError } from '../errors.ts'
import { didYouMean } from '../nearby.ts'

/** Kinds whose namespace is a cluster or that lie wherever their subject lies: nobody asks for one namespace of them. */
const EVERYWHERE: ReadonlySet<KindName> = new Set(['EdgeNode', 'Registration', 'PlacementDecision', 'Event'])

/** The kind that a word means: `rollouts`, `Rollout`, `ro`, `rollout.skerry.dev`, `join-tokens`. UsageError names near ones. */
export function kindOf(word: string): KindRow {
  const found = findKind(word) ?? findKind(word.replaceAll('-', ''))
  if (found) return found
  const words = KINDS.flatMap((row) => [row.plural, row.singular, ...row.shortNames])
  const known = KINDS.map(({ plural, shortNames }) => shortNames.find((name) => name.endsWith('s')) ?? plural)
  throw new UsageError(`there is no kind "${word}"${didYouMean(word, words)}; there are: ${known.join(', ')}`)
}

/** Kinds and names as `get` takes them: `KIND[,KIND] [NAME…]` or `KIND/NAME…`. */
export function parseTargets(words: readonly string[]): { row: KindRow; name?: string }[] {
  const [first = '', ...names] = words
  if (words.some((word) => word.includes('/'))) {
    return words.map((word) => {
      const [kind = '', name = '', ...rest] = word.split('/')
      if (kind === '' || name === '' || rest.length > 0)
        throw new UsageError(`"${word}" is no KIND/NAME; either every word is KIND/NAME, or the first is the kind`)
      return { row: kindOf(kind), name }
    })
  }
  const rows = first.split(',').map((word) => kindOf(word))
  return rows.flatMap((row) => (names.length === 0 ? [{ row }] : names.map((name) => ({ row, name }))))
}

/** The namespace to list a kind in; undefined is all of them. */
export function namespaceFor(
  { kind, namespaced }: KindRow,
  asked: { readonly namespace?: string | undefined; readonly allNamespaces?: boolean | undefined },
  ofContext: string | undefined,
): string | undefined {
  if (!namespaced || asked.allNamespaces) return undefined
  if (asked.namespace !== undefined) return asked.namespace
  return EVERYWHERE.has(kind) ? undefined : ofContext
}

/** `rollout.skerry.dev/edge-os-43`, as kubectl calls an object. */
export function nameOf({ singular, group }: KindRow, name: string): string {
  return `${singular}.${group}/${name}`
}
