const FIRST_MS = 10_000
const LONGEST_MS = 60_000

/**
 * Milliseconds until a site repeats what was not answered, having repeated it so many times already: 5 to 15 s, twice as
 * long each time, at most 30 to 90 s. `random` is from 0 to 1. A hub to which thousands return at once answers late: who
 * asks at a steady pace asks most when there is most to do, and all would ask together.
 */
export function repeatPauseMs(times: number, random: number): number {
  return Math.min(FIRST_MS * 2 ** times, LONGEST_MS) * (0.5 + random)
}
