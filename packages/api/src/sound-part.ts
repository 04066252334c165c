import type { TSchema } from 'typebox'
import { type Cause, causes } from './validate.ts'

// Of an object with faults, the part that can be judged further.

type Json = Record<string, unknown>
/** What a path leads through: members of objects and items of lists, each with its piece of the path. */
type Step = { readonly of: Json; readonly member: string; readonly path: string }
/** What of a kind's objects is judged by other parts of them, by paths in which `[]` is any item of a list. */
export type Judged = {
  /** Lists whose items are judged by one another: with one of them at fault, none can be. */
  readonly together?: readonly string[]
  /** What says how the other members of its object are judged: with it at fault, none of them can be. */
  readonly decides?: readonly string[]
}
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

/**
 * An object without what is wrong by its schema. What lacks a member that it must have stays without it, so whoever judges the
 * rest takes any member for one that may be missing. A list that loses its last item so is left out, because what an empty
 * one would be faulted for is not known of it. undefined where too much is at fault.
 */
export function soundPart(schema: TSchema, object: Json, judged: Judged = {}): SoundPart | undefined {
  const rest = structuredClone(object)
  /** Of lists that items were taken out of: where those that are left were. */
  const origins = new WeakMap<object, readonly number[]>()
  const leftOut = new Set<string>()
  for (;;) {
    const faults = causes(schema, rest)
    if (faults.length > MOST_FAULTS) return undefined
    const parts = faults.map((fault) => partAt(rest, fault, judged)).filter((steps) => steps.length > 0)
    if (parts.length === 0) {
      if (!faults.every(isMissing)) return undefined
      for (const { field } of faults) leftOut.add(field)
      return { rest, placeOf, isLeftOut }
    }
    for (const list of leaveOut(parts)) close(list)
  }

  // Takes parts out, and each list that has nothing left then. Gives the lists that have gaps.
  function leaveOut(parts: readonly (readonly Step[])[]): Iterable<unknown[]> {
    for (const steps of parts) leftOut.add(placeOf(pathOf(steps)))
    for (const steps of parts) remove(steps)
    const ways = new Map(
      parts.flatMap((steps) => {
        const list = listOf(steps)
        return list ? [[list, steps.slice(0, -1)] as const] : []
      }),
    )
    const emptied = [...ways].filter(([list]) => Object.keys(list).length === 0).map(([, steps]) => steps)
    return new Set([...ways.keys(), ...(emptied.length > 0 ? leaveOut(emptied) : [])])
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
    if (leftOut.has(field)) return true
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

// The list that a way leads to an item of.
function listOf(steps: readonly Step[]): unknown[] | undefined {
  const of: unknown = steps.at(-1)?.of
  return Array.isArray(of) ? of : undefined
}

const isMissing = ({ reason }: Cause) => reason === 'FieldValueRequired'

function pathOf(steps: readonly Step[]): string {
  const last = steps.at(-1)
  const path = steps.map((step) => step.path).join('')
  return last && last.path !== last.member ? path.replace(/\.$/, '') : path
}

// The way to the part that a fault leaves nothing of.
function partAt(object: Json, fault: Cause, { together = [], decides = [] }: Judged): readonly Step[] {
  const steps = stepsTo(object, fault.field)
  const list = together.find((path) => fault.field.startsWith(`${path}[`))
  if (list !== undefined && fault.reason !== 'FieldValueForbidden') return steps.slice(0, list.split('.').length)
  if (isMissing(fault)) return []
  return decides.includes(fault.field.replaceAll(/\[\d+\]/g, '[]')) ? steps.slice(0, -1) : steps
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
