import { InvalidArgumentError } from 'commander'
import { parseDuration } from './output/times.ts'

// Readers of flags' values: what cannot be is told by commander with the flag's name.

export function duration(text: string): number {
  const ms = parseDuration(text)
  if (ms === undefined || ms === 0) throw new InvalidArgumentError('Write a duration such as 90s, 10m, 24h or 7d.')
  return ms
}

export function count(text: string): number {
  const value = Number(text)
  if (!Number.isSafeInteger(value) || value < 1) throw new InvalidArgumentError('A whole number from 1 on is wanted.')
  return value
}

/** The same flag several times, one value each: `--name a --name b`. */
export function collect(text: string, before: readonly string[] | undefined): string[] {
  return [...(before ?? []), text]
}
