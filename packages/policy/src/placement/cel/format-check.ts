import type { Checked } from './check.ts'
import { CompileFault } from './lexer.ts'
import { parseFormat, takes } from './library/format.ts'
import type { Expr } from './syntax.ts'
import type { Type } from './types.ts'

// `"%d".format(["x"])`: where the format and its arguments are written out, upstream's compiler checks them.

export function checkFormats({ calls, types }: Checked): void {
  for (const [call, { operands }] of calls) {
    const [text, list] = operands
    if (call.name !== 'format' || !call.target || text?.kind !== 'literal' || list?.kind !== 'list') continue
    const { parts, fault } = parseFormat(String(text.value))
    let asked = 0
    for (const part of parts) {
      if (typeof part === 'string') continue
      asked++
      const item = list.items[part.index]?.value
      if (!item) throw new CompileFault(`the format has no argument ${part.index}`, call.at)
      if (!suits(item, part.verb, types)) throw new CompileFault(`%${part.verb} does not take this`, item.at)
    }
    if (fault) throw new CompileFault(fault, call.at)
    if (list.items.length > asked) throw new CompileFault(`the format takes ${asked} arguments`, call.at)
  }
}

function suits(item: Expr, verb: string, types: ReadonlyMap<Expr, Type>): boolean {
  const name = types.get(item)?.name ?? 'dyn'
  if (name !== 'dyn' && !takes(verb).includes(name)) return false
  if (verb !== 's') return true
  if (item.kind === 'list') return item.items.every(({ value }) => suits(value, verb, types))
  return (
    item.kind !== 'map' || item.entries.every(({ key, value }) => suits(key, verb, types) && suits(value, verb, types))
  )
}
