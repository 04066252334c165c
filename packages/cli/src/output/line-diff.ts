const CONTEXT = 3

/** The lines that differ between two texts, as `diff -u` marks them; empty when none does. */
export function lineDiff(before: string, after: string): string {
  const [a, b] = [splitLines(before), splitLines(after)]
  const marked = mark(a, b)
  const near = marked.map((_, index) =>
    marked.slice(Math.max(0, index - CONTEXT), index + CONTEXT + 1).some(({ sign }) => sign !== ' '),
  )
  let [atA, atB, text] = [1, 1, '']
  marked.forEach(({ sign, line }, index) => {
    if (near[index] && !near[index - 1]) text += `@@ -${atA} +${atB} @@\n`
    if (near[index]) text += `${sign}${line}\n`
    if (sign !== '+') atA += 1
    if (sign !== '-') atB += 1
  })
  return text
}

type Marked = { readonly sign: ' ' | '-' | '+'; readonly line: string }

// The longest common subsequence: objects have tens of lines, so the square of that is nothing.
function mark(a: readonly string[], b: readonly string[]): Marked[] {
  const longest: number[][] = Array.from({ length: a.length + 1 }, () => new Array<number>(b.length + 1).fill(0))
  const at = (i: number, j: number) => longest[i]?.[j] ?? 0
  for (let i = a.length - 1; i >= 0; i -= 1)
    for (let j = b.length - 1; j >= 0; j -= 1) {
      const row = longest[i]
      if (row) row[j] = a[i] === b[j] ? at(i + 1, j + 1) + 1 : Math.max(at(i + 1, j), at(i, j + 1))
    }
  const marked: Marked[] = []
  let [i, j] = [0, 0]
  while (i < a.length || j < b.length) {
    const [left, right] = [a[i], b[j]]
    if (left !== undefined && left === right) {
      marked.push({ sign: ' ', line: left })
      i += 1
      j += 1
    } else if (left !== undefined && (right === undefined || at(i + 1, j) >= at(i, j + 1))) {
      marked.push({ sign: '-', line: left })
      i += 1
    } else if (right !== undefined) {
      marked.push({ sign: '+', line: right })
      j += 1
    }
  }
  return marked
}

function splitLines(text: string): string[] {
  return text === '' ? [] : text.replace(/\n$/, '').split('\n')
}
