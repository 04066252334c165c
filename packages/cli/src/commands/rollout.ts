import { type ActVerb, GATE_PATTERN, kindRow, type ObjectOf } from '@skerry/api'
import type { Client } from '@skerry/client'
import { type Command, InvalidArgumentError } from 'commander'
import { actText, missedText, subjectText } from '../describe/acts.ts'
import { nameOf } from '../objects/kinds.ts'
import { locate } from '../objects/locate.ts'
import { formatColumns } from '../output/columns.ts'
import { formOption, listOf, toJson } from '../output/forms.ts'
import { line, type Shell, withHub } from '../shell.ts'
import { collect } from '../values.ts'
import { previewCommand } from './rollout-preview.ts'
import { simulateCommand } from './rollout-simulate.ts'

const row = kindRow('Rollout')

type Where = { readonly namespace?: string }
type Asked = Where & {
  readonly reason: string
  readonly gate?: string
  readonly manifest?: string
  readonly cluster?: string[]
}

const VERBS: readonly (readonly [ActVerb, string])[] = [
  ['pause', 'Pauses a rollout: nothing new starts, what is staged holds, and what is activating finishes.'],
  ['resume', 'Lets a rollout go on after a pause or a breach, with the same statuses and the same budget.'],
  [
    'abort',
    'Ends a rollout for good. Clusters that were not sent the image keep what they have; nothing is rolled back.',
  ],
  ['retry', 'Has clusters that failed try the same image once more; all that failed, where none are named.'],
  ['approve', 'Approves the image of a rollout at a gate. Another image needs another approval.'],
]

export function rolloutCommand(program: Command, shell: Shell): void {
  const rollout = program
    .command('rollout')
    .description(
      'Steers rollouts: pause, resume, abort, retry, approve, what was done so far, and what would become of one.',
    )
  for (const [verb, description] of VERBS) {
    const command = rollout
      .command(verb)
      .description(description)
      .argument('<name>', 'the rollout')
      .requiredOption('--reason <sentence>', 'why, for those who look later')
      .option('-n, --namespace <name>', 'the namespace it is in')
    if (verb === 'retry')
      command.option('--cluster <name>', 'a cluster that failed; may be given several times', collect)
    if (verb === 'approve')
      command
        .requiredOption('--gate <gate>', 'Start, Group/<index> (before that decision group) or Completion', parseGate)
        .option('--manifest <sha256>', 'only if its image has this manifest; the one that is shown now by default')
    command
      .addHelpText('after', `\nExample:\n  skerry rollout ${verb} edge-os-43 ${EXAMPLES[verb]}`)
      .action(async (name: string, asked: Asked, self: Command) => {
        await withHub(self, shell, async ({ client, namespace }) => {
          const found = await findRollout(client, name, asked, namespace)
          const { metadata } = found
          const answer = await client.act(metadata.namespace ?? '', metadata.name, verb, bodyOf(verb, asked, found))
          line(shell, `${nameOf(row, metadata.name)} ${actText(answer.act)}`)
          const missed = missedText(answer)
          if (missed) line(shell, missed)
        })
      })
  }
  previewCommand(rollout, shell)
  simulateCommand(rollout, shell)
  rollout
    .command('history')
    .description('Lists what people did to a rollout, oldest first. What the hub did is in "skerry events".')
    .argument('<name>', 'the rollout')
    .option('-n, --namespace <name>', 'the namespace it is in')
    .addOption(formOption('table', 'json'))
    .addHelpText('after', '\nExample:\n  skerry rollout history edge-os-43')
    .action(async (name: string, asked: Where & { output: 'table' | 'json' }, self: Command) => {
      await withHub(self, shell, async ({ client, namespace }) => {
        const { metadata } = await findRollout(client, name, asked, namespace)
        const acts = await client.acts(metadata.namespace ?? '', metadata.name)
        if (asked.output === 'json') return shell.out(toJson(listOf(acts)))
        const rows = acts.map((act) => [act.at, act.by, act.verb, subjectText(act), act.expiresAt ?? '', act.reason])
        shell.out(formatColumns([['TIME', 'WHO', 'DID', 'OF', 'UNTIL', 'WHY'], ...rows]))
      })
    })
}

const EXAMPLES: Record<ActVerb, string> = {
  pause: '--reason "the tills are open"',
  resume: '--reason "the tills are closed"',
  abort: '--reason "withdrawn by the vendor"',
  retry: '--cluster shop-17 --reason "a loose cable"',
  approve: '--gate Group/1 --reason "the first group is well"',
}
async function findRollout(
  client: Client,
  name: string,
  where: Where,
  ofContext: string | undefined,
): Promise<ObjectOf<'Rollout'>> {
  return (await locate(client, row, name, where, ofContext)) as ObjectOf<'Rollout'>
}

function bodyOf(verb: ActVerb, { reason, gate, manifest, cluster }: Asked, { status }: ObjectOf<'Rollout'>): object {
  if (verb === 'retry') return { reason, ...(cluster ? { clusters: cluster } : {}) }
  if (verb !== 'approve') return { reason }
  // What is shown goes along: a rollout that names another image meanwhile is not the one that was looked at.
  const seen = manifest ?? status?.image?.manifestSha256
  return { reason, gate, ...(seen ? { manifestSha256: seen } : {}) }
}

function parseGate(text: string): string {
  if (!new RegExp(GATE_PATTERN).test(text)) throw new InvalidArgumentError('Write Start, Group/<index> or Completion.')
  return text
}
