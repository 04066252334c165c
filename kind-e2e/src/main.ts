import { Command } from 'commander'
import { play } from './play.ts'
import { STORIES } from './stories.ts'

// npm run e2e -- list | STORY [--keep DIR]. The last line is JSON: {"story","passed","wallS","boots"}.

const program = new Command('npm run e2e --')
  .description('Plays a story on real processes and asserts every step from outside.')
  .argument('<story>', 'a story, or "list"')
  .option('--keep <folder>', 'leave logs, data and reports there')
  .showHelpAfterError('"npm run e2e -- list" names the stories')
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
