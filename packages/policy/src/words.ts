/** The first `most` of some names, and of more how many there are: `a, b and 3 more`. `count`: of all, where `names` are some of them. */
export function firstOf(names: readonly string[], most: number, count = names.length): string {
  const shown = names.slice(0, most)
  return `${shown.join(', ')}${count > shown.length ? ` and ${count - shown.length} more` : ''}`
}

/** A count with what it is of: `1 cluster`, `2 clusters`. */
export function counted(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`
}
