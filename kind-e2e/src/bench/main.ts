import { Command, InvalidArgumentError } from 'commander'
import { benchAppraisal } from './appraisal.ts'
import { benchFleet } from './fleet.ts'
import { benchIngest } from './ingest.ts'
import { benchPlacement, boundYoungGeneration } from './placement.ts'
import { benchRefusals } from './refusals.ts'

// npm run bench -- BENCH [options]. With --json the last line is one JSON object; without it, the same as a table.

type Figures = Readonly<Record<string, unknown>>

const program = new Command('npm run bench --')
  .description('Measures the real parts on this machine. Figures are to be read with its cores beside them.')
  .showHelpAfterError('"npm run bench -- --help" shows what there is')

program
  .command('ingest')
  .description('Statements a second from signed batches into PostgreSQL: one hub process, everything on this machine.')
  .option('--seconds <n>', 'how long there shall be work, at the rate of the goal', count, 10)
  .option('--nodes <n>', 'nodes that send', count, 20)
  .option('--profile <folder>', "write the hub's CPU profile there")
  .option('--json', 'print JSON alone')
  .action(async ({ json, ...options }) => show(await benchIngest({ ...options, say: sayer(json) }), json))

program
  .command('fleet')
  .description('N sites on one hub: time to register, to join and to verify a change, and memory for each.')
  .option('--agents <n>', 'sites, of one node each', count, 2_000)
  .option('--json', 'print JSON alone')
  .action(async ({ json, ...options }) => show(await benchFleet({ ...options, say: sayer(json) }), json))

program
  .command('appraisal')
  .description('Whole appraisals of boots a second, on one core, with the logs of real machines.')
  .option('--seconds <n>', 'for how long', count, 10)
  .option('--nodes <n>', 'machines, each with its own key', count, 200)
  .option('--json', 'print JSON alone')
  .action(({ json, ...options }) => show(benchAppraisal({ ...options, say: sayer(json) }), json))

program
  .command('refusals')
  .description('What "skerry attest" says to hostile files, each by a process of its own: code, seconds, memory.')
  .option('--only <words>', 'inputs with these words in their name')
  .option('--runs <n>', 'how often each is played: the least time counts, and the most memory', count, 1)
  .option('--json', 'print JSON alone')
  .action(async ({ json, ...options }) => show(await benchRefusals({ ...options, say: sayer(json) }), json))

program
  .command('placement')
  .description('Every placement of a fleet decided once on one core, and again what one changed cluster touches.')
  .option('--load <file>', "a load of Open Cluster Management's objects, one JSON object a line; generated without it")
  .option('--json', 'print JSON alone')
  .action(async ({ json, load }) => {
    boundYoungGeneration()
    show(await benchPlacement({ load, say: sayer(json) }), json)
  })

await program.parseAsync()

function sayer(json: boolean | undefined): (sentence: string) => void {
  return json ? () => {} : (sentence) => console.error(sentence)
}

function show(figures: Figures, json: boolean | undefined): void {
  if (json) console.log(JSON.stringify(figures))
  else for (const [name, value] of Object.entries(figures)) console.log(`${name.padEnd(22)} ${JSON.stringify(value)}`)
}

function count(text: string): number {
  const value = Number(text)
  if (Number.isInteger(value) && value > 0) return value
  throw new InvalidArgumentError('a whole number above 0 is needed')
}
