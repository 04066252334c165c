import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Command } from 'commander'
import { STORIES } from './stories.ts'
import { openWorld } from './world.ts'

// npm run e2e -- list | STORY [--keep DIR]. The last line is JSON: {"story","passed","wallS","boots"}.

const program = new Command('npm run e2e --')
  .description('Plays a story on real processes and asserts every step from outside.')
  .argument('<story>', 'a story, or "list"')
  .option('--keep <folder>', 'leave logs, data and reports there')
  .showHelpAfterError()
  .parse()
const [name = ''] = program.args

if (name === 'list') {
  for (const story of STORIES) console.log(`${story.name.padEnd(28)} ${story.tells}`)
  process.exit(0)
}
const story = STORIES.find((known) => known.name === name)
if (!story)
  program.error(`"${name}" is no story; there are: ${STORIES.map((known) => known.name).join(', ')}`, { exitCode: 2 })
else process.exit(await play(story, program.opts<{ keep?: string }>().keep))

async function play(told: (typeof STORIES)[number], keep: string | undefined): Promise<number> {
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
  if (!keep) rmSync(dir, { recursive: true, force: true })
  if (failure !== undefined) console.error(`skerry: failed: story ${told.name}: ${firstWords(failure)}`)
  const wallS = Math.round((performance.now() - started) / 100) / 10
  console.log(JSON.stringify({ story: told.name, passed: failure === undefined, wallS, boots: world.boots() }))
  return failure === undefined ? 0 : 1
}

/** What a gate repeats at its end: one line. */
function firstWords(failure: unknown): string {
  const said = failure instanceof Error ? failure.message : String(failure)
  return said.replaceAll(/\s+/g, ' ').slice(0, 1_000)
}
