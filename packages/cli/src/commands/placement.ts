import { kindRow, type ObjectOf } from '@skerry/api'
import { counted, firstOf } from '@skerry/policy'
import type { Command } from 'commander'
import { locate } from '../objects/locate.ts'
import { line, type Shell, withHub } from '../shell.ts'

type Options = { namespace?: string; removal?: string; reason?: string }

export function placementCommand(program: Command, shell: Shell): void {
  program
    .command('placement')
    .description('Decides about placements.')
    .command('approve')
    .description(
      'Lets go the clusters that a placement holds because too many of them would leave at once, or one after the other. Without --removal it only says which.',
    )
    .argument('<name>', 'the placement')
    .option('-n, --namespace <name>', 'the namespace of the placement')
    .option('--removal <hash>', "exactly this removal, by the hash in the placement's status")
    .option('--reason <sentence>', 'why, for those who look later')
    .addHelpText(
      'after',
      '\nExample:\n  skerry placement approve all-shops\n\nIt prints the command that approves what it tells.',
    )
    .action(async (name: string, options: Options, command: Command) => {
      await withHub(command, shell, async ({ client, namespace }) => {
        const { metadata, status } = (await locate(
          client,
          kindRow('Placement'),
          name,
          options,
          namespace,
        )) as ObjectOf<'Placement'>
        const { removal, reason } = options
        if (removal === undefined) return line(shell, heldText(name, metadata.namespace ?? '', status?.heldRemoval))
        await client.approveRemoval(metadata.namespace ?? '', name, { removal, reason })
        line(shell, `Placement ${metadata.namespace}/${name}: removal approved`)
      })
    })
}

function heldText(
  name: string,
  namespace: string,
  held: NonNullable<ObjectOf<'Placement'>['status']>['heldRemoval'],
): string {
  if (!held) return `Placement ${namespace}/${name} holds no removal`
  const { hash, count, of, sample, recent, until } = held
  const before = recent === undefined ? '' : `, after ${recent} that left not long ago`
  const wait = until === undefined ? '' : `; by themselves they go at ${until}`
  return `${count} of ${counted(of, 'selected cluster')} would leave${before}: ${firstOf(sample, sample.length, count)}${wait}\nskerry placement approve ${name} -n ${namespace} --removal ${hash}`
}
