import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { NoMachine } from './machine/parts.ts'
import type { Story } from './stories/story.ts'
import { openWorld } from './world.ts'

/** As a program ends: 2 is a word that it does not know. */
const EXIT = { passed: 0, failed: 1, notPlayed: 3 } as const

/**
 * Plays a story in a folder that is kept or not, and ends with a line of JSON. Resolves to the exit code: 3 where this
 * computer cannot play it, which is neither good nor bad.
 */
export async function play(told: Story, keep: string | undefined): Promise<number> {
  const started = performance.now()
  const dir = keep ?? mkdtempSync(join(tmpdir(), 'skerry-e2e-'))
  const world = openWorld({
    dir,
    say: (sentence) => console.log(`${((performance.now() - started) / 1000).toFixed(1).padStart(6)} s  ${sentence}`),
  })
  let failure: unknown
  try {
    await told.play(world)
  } catch (error) {
    failure = error
    if (!(error instanceof NoMachine)) {
      console.error(error instanceof Error ? (error.stack ?? error.message) : error)
      await world.explain().catch((cause: unknown) => console.error('no explanation could be had:', cause))
    }
  }
  const end = failure === undefined ? 'passed' : failure instanceof NoMachine ? 'notPlayed' : 'failed'
  await world.close()
  // Some are read in that folder.
  const boots = world.boots()
  if (!keep) rmSync(dir, { recursive: true, force: true })
  const how = { passed: undefined, failed: 'failed', notPlayed: 'not played' }[end]
  if (how) console.error(`skerry: ${how}: story ${told.name}: ${firstWords(failure)}`)
  const wallS = Math.round((performance.now() - started) / 100) / 10
  console.log(JSON.stringify({ story: told.name, passed: end === 'passed', wallS, boots }))
  return EXIT[end]
}

/** What a gate repeats at its end: one line. */
function firstWords(failure: unknown): string {
  const cause = failure instanceof Error && failure.cause instanceof Error ? ` (${failure.cause.message})` : ''
  const said = failure instanceof Error ? failure.message + cause : String(failure)
  return said.replaceAll(/\s+/g, ' ').slice(0, 1_000)
}
