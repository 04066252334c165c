// Types, and how the checker makes two of them agree. After cel-go's checker: unknown types are found by unification, and dyn agrees with all.

import { CompileFault } from './lexer.ts'

export type Type = { readonly name: string; readonly of: readonly Type[] }

const made = new Map<string, Type>()
/** A type without parameters is one object. */
export function type(name: string, ...of: Type[]): Type {
  if (of.length > 0) return { name, of }
  const known = made.get(name)
  if (known) return known
  const one: Type = { name, of: [] }
  made.set(name, one)
  return one
}
export const DYN = type('dyn')
export const BOOL = type('bool')
export const STRING = type('string')
export const optionalOf = (of: Type): Type => type('optional_type', of)

/** A type that is not known yet. In signatures: one capital letter. */
const isUnknown = ({ name }: Type): boolean => name.startsWith('#') || (name.length === 1 && name < 'a')
const isDyn = ({ name }: Type): boolean => name === 'dyn' || name === 'error'

export function same(a: Type, b: Type): boolean {
  return a === b || (a.name === b.name && a.of.length === b.of.length && a.of.every((part, i) => same(part, at(b, i))))
}
export const at = ({ of }: Type, index: number): Type => of[index] ?? DYN

export function shown({ name, of }: Type): string {
  if (name.startsWith('#')) return 'dyn'
  return of.length === 0 ? name : `${name}(${of.map(shown).join(', ')})`
}

/** Null passes for a value of these: cel-go keeps that of its first checker. */
const NULLABLE = /^(null_type|timestamp|duration|optional_type|kubernetes\..*|net\..*)$/

/** What the checker may do for one expression; ten thousand calls take some hundred thousand. */
const MAX_STEPS = 3_000_000

/** What is known of unknown types. A failed attempt leaves nothing behind. */
export class Inference {
  readonly #known = new Map<string, Type>()
  /** What an attempt overwrote, to be put back when it fails. */
  #journal: [string, Type | undefined][] = []
  #count = 0
  #steps = 0

  fresh(): Type {
    return type(`#${this.#count++}`)
  }

  /** Whether values of the types on the left may stand where those on the right are wanted. */
  assignable(from: readonly Type[], to: readonly Type[]): boolean {
    this.#journal = []
    if (this.#all(from, to)) return true
    for (const [name, before] of this.#journal.toReversed())
      if (before) this.#known.set(name, before)
      else this.#known.delete(name)
    return false
  }

  /** The type with all that is known filled in. */
  settled(wanted: Type): Type {
    this.#walk(10)
    const known = this.#known.get(wanted.name)
    if (known) return this.settled(known)
    return wanted.of.length === 0 ? wanted : type(wanted.name, ...wanted.of.map((part) => this.settled(part)))
  }

  /** The wider of two types that agree. */
  wider(a: Type, b: Type): Type {
    return atMostAsNarrow(a, b) ? a : b
  }

  #set({ name }: Type, known: Type): void {
    this.#journal.push([name, this.#known.get(name)])
    this.#known.set(name, known)
  }

  // `{x: x}` is twice as large as x: written forty times inside one another it is larger than all memory.
  #walk(steps: number): void {
    this.#steps += steps
    if (this.#steps > MAX_STEPS) throw new CompileFault('the types of this are too large', 0)
  }

  #all(from: readonly Type[], to: readonly Type[]): boolean {
    return from.length === to.length && from.every((part, i) => this.#agrees(part, to[i] ?? DYN))
  }

  #agrees(a: Type, b: Type): boolean {
    this.#walk(1)
    if (isUnknown(b)) {
      const bound = this.#bind(a, b)
      if (bound !== undefined) return bound
    }
    if (isUnknown(a)) return this.#bind(b, a) ?? false
    if (isDyn(a) || isDyn(b)) return true
    if (a.name === 'null_type') return NULLABLE.test(b.name)
    if (b.name === 'null_type') return NULLABLE.test(a.name)
    if (a.name !== b.name) return false
    return a.name === 'type' || this.#all(a.of, b.of)
  }

  /** Whether `unknown` can be `a`; undefined when it is free but would stand inside itself. */
  #bind(a: Type, unknown: Type): boolean | undefined {
    if (same(a, unknown)) return true
    const known = this.#known.get(unknown.name)
    if (!known) {
      if (!this.#free(unknown, a)) return undefined
      this.#set(unknown, a)
      return true
    }
    if (same(a, known)) return true
    if (!this.#agrees(a, known)) return false
    const wider = this.wider(a, known)
    if (this.#free(unknown, wider)) this.#set(unknown, wider)
    return true
  }

  #free(unknown: Type, within: Type): boolean {
    this.#walk(1)
    if (same(unknown, within)) return false
    if (isUnknown(within)) {
      const known = this.#known.get(within.name)
      return !known || this.#free(unknown, known)
    }
    return within.of.every((part) => this.#free(unknown, part))
  }
}

function atMostAsNarrow(a: Type, b: Type): boolean {
  if (a.name === 'dyn' || isUnknown(a)) return true
  if (b.name === 'dyn' || isUnknown(b)) return false
  if (a.name !== b.name) return false
  if (a.name === 'type') return true
  return a.of.length === b.of.length && a.of.every((part, i) => atMostAsNarrow(part, at(b, i)))
}

/** A signature's types: `list(A)`, `map(string, dyn)`, `kubernetes.URL`, `optional_type(A)`. */
export function parseType(text: string): Type {
  const open = text.indexOf('(')
  if (open < 0) return type(text.trim())
  return type(text.slice(0, open).trim(), ...parseTypes(text.slice(open + 1, text.lastIndexOf(')'))))
}

export function parseTypes(text: string): Type[] {
  const parts: string[] = []
  let depth = 0
  let part = ''
  for (const character of text) {
    if (character === '(') depth++
    if (character === ')') depth--
    if (character === ',' && depth === 0) {
      parts.push(part)
      part = ''
    } else part += character
  }
  if (part.trim() !== '') parts.push(part)
  return parts.map(parseType)
}
