import type { KindRow } from '@skerry/api'
import { ApiError } from '@skerry/client'
import type { Command } from 'commander'
import { NotFound, UsageError } from '../errors.ts'
import { readFiles } from '../objects/files.ts'
import { parseTargets } from '../objects/kinds.ts'
import { locate } from '../objects/locate.ts'
import { line, type Shell, withHub } from '../shell.ts'
import { DEFAULT_NAMESPACE } from './apply.ts'

type Options = { filename?: string[]; namespace?: string; ignoreNotFound?: boolean }

export function deleteCommand(program: Command, shell: Shell): void {
  program
    .command('delete')
    .description('Deletes objects by kind and name, or those that files declare.')
    .argument('[kind]', 'a kind, or KIND/NAME')
    .argument('[name...]', 'which ones')
    .option('-f, --filename <path...>', 'a file, a folder, or - for standard input')
    .option('-n, --namespace <name>', 'the namespace they are in')
    .option('--ignore-not-found', 'what is not there is no error')
    .addHelpText('after', '\nExample:\n  skerry delete rollout edge-os-43 -n fleet')
    .action(async (kind: string | undefined, names: string[], options: Options, command: Command) => {
      if ((kind === undefined) === (options.filename === undefined))
        throw new UsageError('say what to delete: KIND NAME, or -f FILE')
      const manifests = options.filename ? await readFiles(options.filename, shell.stdin) : []
      const targets = kind === undefined ? [] : parseTargets([kind, ...names])
      for (const { row, name } of targets)
        if (name === undefined)
          throw new UsageError(`which ${row.plural}? "skerry delete ${row.singular} NAME" deletes one`)
      for (const { row } of [...targets, ...manifests]) deletable(row)
      await withHub(command, shell, async ({ client, namespace }) => {
        const remove = async (row: KindRow, name: string, find: () => Promise<string | undefined>) => {
          try {
            const from = await find()
            await client.delete(row.kind, from, name)
            const where = from === undefined ? '' : ` from ${from} namespace`
            line(shell, `${row.singular}.${row.group} "${name}" deleted${where}`)
          } catch (error) {
            const missing = error instanceof NotFound || (error instanceof ApiError && error.code === 404)
            if (!missing || !options.ignoreNotFound) throw error
          }
        }
        for (const { row, name = '' } of targets)
          await remove(row, name, async () => (await locate(client, row, name, options, namespace)).metadata.namespace)
        for (const { row, object } of manifests)
          await remove(row, object.metadata.name, async () =>
            row.namespaced
              ? (object.metadata.namespace ?? options.namespace ?? namespace ?? DEFAULT_NAMESPACE)
              : undefined,
          )
      })
    })
}

function deletable(row: KindRow): void {
  if (row.verbs.includes('delete')) return
  throw new UsageError(`${row.plural} cannot be deleted: the hub alone writes them`)
}
