import type { Table } from '@skerry/client'
import { formatRow, widthsOf } from './columns.ts'

export type TableStyle = { readonly wide: boolean; readonly headers: boolean; readonly withNamespace: boolean }

/** Writes the server's tables one below the other; a watch goes on with the widths of what is there already. */
export function tableWriter(style: TableStyle): (table: Table) => string {
  let headers = style.headers
  let widths: number[] = []
  return (table) => {
    const shown = table.columnDefinitions.flatMap(({ priority }, index) =>
      style.wide || priority === 0 ? [index] : [],
    )
    const rows = table.rows.map(({ cells, object }) => [
      ...(style.withNamespace ? [object.metadata.namespace ?? ''] : []),
      ...shown.map((index) => cellText(cells[index])),
    ])
    if (headers && rows.length > 0) {
      const names = shown.map((index) => (table.columnDefinitions[index]?.name ?? '').toUpperCase())
      rows.unshift([...(style.withNamespace ? ['NAMESPACE'] : []), ...names])
      headers = false
    }
    widths = widthsOf(rows, widths)
    return rows.map((row) => `${formatRow(row, widths)}\n`).join('')
  }
}

// A message of several lines would break the row; an empty cell would move what stands behind it under another header.
function cellText(cell: string | number | boolean | undefined): string {
  const text = String(cell ?? '')
    .replaceAll(/\s*\n\s*/g, ' ')
    .trim()
  return text === '' ? '<none>' : text
}
