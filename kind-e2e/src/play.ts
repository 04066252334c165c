import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Story } from './stories/story.ts'
import { openWorld } from './world.ts'

/** Plays a story in a folder that is kept or not, and ends with a line of JSON. Resolves to the exit code. */
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
    console.error(error instanceof Error ? (error.stack ?? error.message) : error)
    await world.explain().catch((cause: unknown) => console.error('no explanation could be had:', cause))
  }
  await world.close()
  // Some are read in that folder.
  const boots = world.boots()
  if (!keep) rmSync(dir, { recursive: true, force: true })
  if (failure !== undefined) console.error(`skerry: failed: story ${told.name}: ${firstWords(failure)}`)
  const wallS = Math.round((performance.now() - started) / 100) / 10
  console.log(JSON.stringify({ story: told.name, passed: failure === undefined, wallS, boots }))
  return failure === undefined ? 0 : 1
}

/** What a gate repeats at its end: one line. */
function firstWords(failure: unknown): string {
  const said = failure instanceof Error ? failure.message : String(failure)
  return said.replaceAll(/\s+/g, ' ').slice(0, 1_000)
}
