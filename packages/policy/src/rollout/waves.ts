import type { RolloutSpec, Waves } from '@skerry/api'
import { durationMs } from '../duration.ts'

// The waves of a rollout's spec: whether they can be used, and as its sites are told them.

type Given = NonNullable<RolloutSpec['waves']>

/** As long as the wire can tell. */
const LONGEST_MS = 31_536_000_000

/** A rollout's waves as its sites are told them, with every spread worked out; undefined where it has none. */
export function wavesOf({ waves }: Pick<RolloutSpec, 'waves'>, startsAtMs: number): Waves | undefined {
  return (
    waves && {
      startsAt: new Date(startsAtMs).toISOString(),
      schedule: waves.map((wave, index) => ({
        startAfterSeconds: startOf(wave) / 1000,
        spreadSeconds: spreadOf(waves, index) / 1000,
        percent: wave.percent,
      })),
    }
  )
}

/** What is wrong with the waves of a rollout, each with its place in them; empty when they can be used. */
export function waveFaults(waves: Given): { readonly field: string; readonly message: string }[] {
  return waves.flatMap((wave, index) => {
    const faults: { field: string; message: string }[] = []
    const say = (member: string, message: string) => faults.push({ field: `[${index}].${member}`, message })
    const [before, next] = [waves[index - 1], waves[index + 1]]
    if (before && startOf(wave) <= startOf(before))
      say('startAfter', `must be later than ${before.startAfter}, when the wave before it begins`)
    if (before && wave.percent <= before.percent)
      say('percent', `must be more than ${before.percent}: a wave includes those before it`)
    if (!next && wave.percent !== 100)
      say('percent', 'must be 100 in the last wave, or some clusters would never activate')
    if (waves.length === 1 && wave.spread === undefined)
      say('spread', 'is wanted where there is one wave: within how long its clusters are spread, such as 4h')
    if (
      next &&
      wave.spread !== undefined &&
      startOf(next) > startOf(wave) &&
      startOf(wave) + lengthOf(wave.spread) > startOf(next)
    )
      say('spread', `must end before ${next.startAfter}, when the next wave begins`)
    if (startOf(wave) + Math.max(0, spreadOf(waves, index)) > LONGEST_MS)
      say('startAfter', 'must be so that the wave is over within a year (8760h)')
    return faults
  })
}

function spreadOf(waves: Given, index: number): number {
  const [before, wave, next] = [waves[index - 1], waves[index], waves[index + 1]]
  if (!wave) return 0
  if (wave.spread !== undefined) return lengthOf(wave.spread)
  if (next) return startOf(next) - startOf(wave)
  return before ? startOf(wave) - startOf(before) : 0
}

function startOf({ startAfter }: Given[number]): number {
  return lengthOf(startAfter)
}

function lengthOf(span: string): number {
  return durationMs(span) ?? 0
}
