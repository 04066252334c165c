import stringWidth from 'string-width'

// kubectl's borderless columns: three spaces between them, nothing behind the last.

const GAP = 3

/**
 * Text as it may go to a terminal: what a site says of itself must not move the cursor, colour the screen or turn the
 * direction of writing, so such characters are shown by their numbers.
 */
export function visible(text: string): string {
  return text.replaceAll(
    /(?![\n\t])[\p{Cc}\u202a-\u202e\u2066-\u2069]/gu,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}

/** Widths of the columns of some rows, at least `known`. */
export function widthsOf(rows: readonly (readonly string[])[], known: readonly number[] = []): number[] {
  const count = Math.max(known.length, ...rows.map((row) => row.length))
  return Array.from({ length: count }, (_, index) =>
    Math.max(known[index] ?? 0, ...rows.map((row) => stringWidth(row[index] ?? ''))),
  )
}

export function formatRow(row: readonly string[], widths: readonly number[]): string {
  return row
    .map((cell, index) => (index === row.length - 1 ? cell : pad(cell, (widths[index] ?? 0) + GAP)))
    .join('')
    .trimEnd()
}

/** Rows as lines, each column as wide as its widest cell. */
export function formatColumns(rows: readonly (readonly string[])[], indent = ''): string {
  const widths = widthsOf(rows)
  return rows.map((row) => `${indent}${formatRow(row, widths)}\n`).join('')
}

export function pad(text: string, width: number): string {
  return text + ' '.repeat(Math.max(0, width - stringWidth(text)))
}
