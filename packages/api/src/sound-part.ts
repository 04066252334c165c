import type { TSchema } from 'typebox'
import { type Cause, causes } from './validate.ts'

// Of an object with faults, the part that can be judged further.

type Json = Record<string, unknown>
/** What a path leads through: members of objects and items of lists, each with its piece of the path. */
type Step = { readonly of: Json; readonly member: string; readonly path: string }
type SoundPart = {
  readonly rest: Json
  /** A path in the rest (`spec.predicates[0].x`) as it is in the whole object. */
  readonly placeOf: (field: string) => string
  /** Whether what is at a path of the whole object is not there, or not whole, because it was taken out, or was never. */
  readonly isLeftOut: (field: string) => boolean
}

/** Nobody mends more at once. */
const MOST_FAULTS = 1_000
/** No schema goes deeper. */
const DEEPEST = 20
/** A list whose items are judged by one another: with one of them at fault, none can be. */
const TOGETHER = /^spec\.waves\[/
/** What says how the other members of its object are judged: with it at fault, none of them can be. */
const DECIDES = /^spec\.tolerations\[\d+\]\.operator$|\.scoreCoordinate\.type$/

/**
 * An object without what is wrong by its schema. What lacks a member that it must have stays without it, so whoever judges the
 * rest takes any member for one that may be missing. undefined where too much is at fault.
 */
export function soundPart(schema: TSchema, object: Json): SoundPart | undefined {
  const rest = structuredClone(object)
  /** Of lists that items were taken out of: where those that are left were. */
  const origins = new WeakMap<object, readonly number[]>()
  const leftOut = new Set<string>()
  /** Lists that items were taken out of: whether one is too short is not known. */
  const shortened = new Set<string>()
  for (;;) {
    const faults = causes(schema, rest)
    if (faults.length > MOST_FAULTS) return undefined
    const parts = faults.map((fault) => partAt(rest, fault)).filter((steps) => steps.length > 0)
    for (const steps of parts) {
      leftOut.add(placeOf(pathOf(steps)))
      if (Array.isArray(steps.at(-1)?.of)) shortened.add(placeOf(pathOf(steps.slice(0, -1))))
    }
    if (parts.length === 0) {
      if (!faults.every(isMissing)) return undefined
      for (const { field } of faults) leftOut.add(field)
      return { rest, placeOf, isLeftOut }
    }
    for (const steps of parts) remove(steps)
    for (const list of new Set(parts.map((steps) => steps.at(-1)?.of))) if (Array.isArray(list)) close(list)
  }

  function close(list: unknown[]): void {
    const kept = [...list.keys()].filter((index) => index in list)
    const were = origins.get(list)
    origins.set(
      list,
      kept.map((index) => were?.[index] ?? index),
    )
    for (const [to, from] of kept.entries()) list[to] = list[from]
    list.length = kept.length
  }

  function placeOf(field: string): string {
    const steps = stepsTo(rest, field)
    const told = steps.map(({ of, member, path }) =>
      path.replace(`[${member}]`, `[${origins.get(of)?.[Number(member)] ?? member}]`),
    )
    return told.join('') + field.slice(steps.reduce((length, { path }) => length + path.length, 0))
  }

  function isLeftOut(field: string): boolean {
    if (leftOut.has(field) || shortened.has(field)) return true
    let depth = 0
    for (const { index } of field.matchAll(/[.[]/g)) {
      if (leftOut.has(field.slice(0, index))) return true
      depth += 1
      if (depth === DEEPEST) break
    }
    return false
  }
}

/** Takes away what a path leads to. */
export function takeOut(object: Json, field: string): void {
  remove(stepsTo(object, field))
}

function remove(steps: readonly Step[]): void {
  const last = steps.at(-1)
  if (last) Reflect.deleteProperty(last.of, last.member)
}

const isMissing = ({ reason }: Cause) => reason === 'FieldValueRequired'

function pathOf(steps: readonly Step[]): string {
  const last = steps.at(-1)
  const path = steps.map((step) => step.path).join('')
  return last && last.path !== last.member ? path.replace(/\.$/, '') : path
}

// The way to the part that a fault leaves nothing of.
function partAt(object: Json, fault: Cause): readonly Step[] {
  const steps = stepsTo(object, fault.field)
  if (TOGETHER.test(fault.field) && fault.reason !== 'FieldValueForbidden') return steps.slice(0, 2)
  if (isMissing(fault)) return []
  return DECIDES.test(fault.field) ? steps.slice(0, -1) : steps
}

/** As far as it is there. */
function stepsTo(object: Json, field: string): Step[] {
  const steps: Step[] = []
  let at: unknown = object
  let rest = field
  for (let goesOn = true; goesOn && typeof at === 'object' && at !== null; ) {
    // A member may have dots in its name, as labels do, or no name.
    const [path = '', index, name] = Object.hasOwn(at, rest)
      ? [rest, undefined, rest]
      : (/^(?:\[(\d+)\]|([^.[]+))\.?/.exec(rest) ?? [])
    const member = index ?? name
    if (member === undefined || !Object.hasOwn(at, member)) break
    steps.push({ of: at as Json, member, path })
    at = Reflect.get(at, member)
    rest = rest.slice(path.length)
    goesOn = rest !== '' || path.endsWith('.')
  }
  return steps
}
