import { CLUSTER_STATES, type ClusterState } from '@skerry/api'
import { InvalidArgumentError } from 'commander'
import { didYouMean } from './nearby.ts'

// Which clusters of a rollout a command tells of.

/** Those in `states`, all of them without; at most `limit` in a list, 0 is no limit. */
export type ClusterChoice = { readonly states?: readonly ClusterState[]; readonly limit: number }

/** So many are told of where nobody says how many. */
export const SHOWN = 100
/** What is said of a list that is cut short. */
export const LEFT_OUT = '--limit 0 shows all, --state STATE,… those in some states'

export function parseStates(text: string): ClusterState[] {
  return text.split(',').map((given) => {
    const word = given.trim()
    const found = CLUSTER_STATES.find((state) => state.toLowerCase() === word.toLowerCase())
    if (found) return found
    throw new InvalidArgumentError(
      `There is no state "${word}"${didYouMean(word, CLUSTER_STATES)}; there are ${CLUSTER_STATES.join(', ')}.`,
    )
  })
}

export function parseLimit(text: string): number {
  const limit = Number(text)
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(limit))
    throw new InvalidArgumentError('A whole number is wanted, 0 for all of them.')
  return limit
}

/** The first of a list, and those that the limit leaves out. */
export function cutAt<T>(
  all: readonly T[],
  limit: number,
): { readonly shown: readonly T[]; readonly left: readonly T[] } {
  return limit === 0 ? { shown: all, left: [] } : { shown: all.slice(0, limit), left: all.slice(limit) }
}
