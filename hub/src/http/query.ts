import { StatusError } from './status-error.ts'

/** A query string as fastify reads it: a parameter that stands twice is a list. */
export type Query = Readonly<Record<string, string | string[] | undefined>>

/** A parameter's value; 400 when it stands twice, because nobody can know which one was meant. */
export function single(query: Query, name: string): string | undefined {
  const value = query[name]
  if (Array.isArray(value)) throw new StatusError(400, `${name} stands twice in the query`)
  return value
}

/** A whole number from `min` on; undefined when the parameter is not there. */
export function wholeNumber(query: Query, name: string, min: number): number | undefined {
  const text = single(query, name)
  if (text === undefined || text === '') return undefined
  const value = Number(text)
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(value) || value < min)
    throw new StatusError(400, `${name} is a whole number from ${min} on, not "${text}"`)
  return value
}

/** Kubernetes' booleans: true and 1. */
export function flag(query: Query, name: string): boolean {
  const value = single(query, name)
  return value === 'true' || value === '1'
}
