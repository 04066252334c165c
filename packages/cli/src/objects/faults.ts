import type { ErrorCause } from '@skerry/client'
import { isMap, isScalar, isSeq, type LineCounter, type Node } from 'yaml'

/** Where in a file something is. */
export type Place = { readonly line: number; readonly column: number }

/** Where a server's cause lies in the document it speaks of: the member at fault, else the nearest one around it. */
export function placeOf(
  { field, reason }: Pick<ErrorCause, 'field' | 'reason'>,
  root: Node | null,
  lines: LineCounter,
): Place {
  let at: Node | null = root
  let offset = root?.range?.[0] ?? 0
  let rest = field
  while (rest !== '' && at) {
    const step: { key: Node | null; value: Node | null; rest: string } | undefined = stepInto(at, rest)
    if (!step) break
    // A field that must not be is its name; one whose value is wrong is its value.
    const value = isScalar(step.value) ? step.value : undefined
    const shown = reason === 'FieldValueForbidden' ? step.key : (value ?? step.key ?? step.value)
    offset = shown?.range?.[0] ?? offset
    at = step.value
    rest = step.rest
  }
  const { line, col } = lines.linePos(offset)
  return { line, column: col }
}

// Labels have dots in their names: the longest member that the path begins with is the one that is meant.
function stepInto(node: Node, path: string): { key: Node | null; value: Node | null; rest: string } | undefined {
  if (isSeq(node)) {
    const [whole, index] = /^\[(\d+)\]\.?/.exec(path) ?? []
    const item = node.items[Number(index)]
    return whole && item ? { key: item as Node, value: item as Node, rest: path.slice(whole.length) } : undefined
  }
  if (!isMap(node)) return undefined
  const found = node.items
    .map(({ key, value }) => ({
      key: key as Node,
      value: value as Node | null,
      name: isScalar(key) ? String(key.value) : '',
    }))
    .filter(({ name }) => path === name || path.startsWith(`${name}.`) || path.startsWith(`${name}[`))
    .toSorted((a, b) => b.name.length - a.name.length)[0]
  return found && { key: found.key, value: found.value, rest: path.slice(found.name.length).replace(/^\./, '') }
}
