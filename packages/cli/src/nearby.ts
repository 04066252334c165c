/** ` (did you mean "x"?)` for the known words near to a wrong one; empty when none is. */
export function didYouMean(word: string, known: readonly string[]): string {
  const near = nearest(word, known)
  return near.length > 0 ? ` (did you mean ${near.map((name) => `"${name}"`).join(' or ')}?)` : ''
}

/** The known words that are nearest to a wrong one, at most three, none when nothing is near. */
function nearest(word: string, known: readonly string[]): string[] {
  const limit = Math.ceil(word.length * 0.4)
  const rated = [...new Set(known)]
    .map((name) => ({ name, away: distance(word.toLowerCase(), name.toLowerCase()) }))
    .filter(({ away }) => away <= limit)
  const best = Math.min(...rated.map(({ away }) => away))
  return rated
    .filter(({ away }) => away === best)
    .map(({ name }) => name)
    .slice(0, 3)
}

// Levenshtein's distance, a row at a time.
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index)
  for (let i = 1; i <= a.length; i += 1) {
    const next = [i]
    for (let j = 1; j <= b.length; j += 1) {
      const replaced = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1)
      next.push(Math.min((row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1, replaced))
    }
    row = next
  }
  return row[b.length] ?? 0
}
