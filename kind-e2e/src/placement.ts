import { closeSync, createReadStream, openSync, writeSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { conform, type PlacementScenario } from '@skerry/policy'
import { Command } from 'commander'

// npm run placement -- --scenario FILE --out FILE: scenarios in, Open Cluster Management's answers out, a JSON object a line.
// This is the engine that decides in the hub, without what Skerry does with its answers.

const { scenario: from, out } = new Command('npm run placement --')
  .description('What a placement selects, as Open Cluster Management would store it, for scenarios as JSON lines.')
  .requiredOption('--scenario <file>', 'scenarios, one a line; - is the standard input')
  .requiredOption('--out <file>', 'answers, one a line, in the same order; - is the standard output')
  .showHelpAfterError('"npm run placement -- --help" shows what there is')
  .parse()
  .opts<{ scenario: string; out: string }>()

const input = from === '-' ? process.stdin : createReadStream(from)
const output = out === '-' ? 1 : openSync(out, 'w')
const counts = { answered: 0, refused: 0 }
try {
  let line = 0
  for await (const text of createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY })) {
    line += 1
    if (text.trim() !== '') writeSync(output, `${JSON.stringify(answer(text, line))}\n`)
  }
} finally {
  if (output !== 1) closeSync(output)
}
console.error(`${counts.answered} answered, ${counts.refused} refused`)

// One bad scenario never ends the call: its line says what is wrong with it.
function answer(text: string, line: number): object {
  let id: unknown
  try {
    const scenario = JSON.parse(text) as PlacementScenario
    id = scenario?.id
    const found = conform(scenario)
    counts.answered += 1
    return found
  } catch (error) {
    counts.refused += 1
    const why = error instanceof Error ? error.message : String(error)
    return { id: typeof id === 'string' ? id : null, outcome: 'error', error: `line ${line}: ${why}` }
  }
}
