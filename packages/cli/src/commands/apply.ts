import { ApiError } from '@skerry/client'
import { type Command, Option } from 'commander'
import { EXIT, exitCodeOf, Faults } from '../errors.ts'
import { applyManifest } from '../objects/apply.ts'
import type { Manifest } from '../objects/documents.ts'
import { readFiles } from '../objects/files.ts'
import { nameOf } from '../objects/kinds.ts'
import { formOption, toText } from '../output/forms.ts'
import { line, type Shell, withHub } from '../shell.ts'

type Options = { filename: string[]; namespace?: string; dryRun?: string; output: 'name' | 'json' | 'yaml' }

/** The namespace of a manifest that names none. */
export const DEFAULT_NAMESPACE = 'default'

export function applyCommand(program: Command, shell: Shell): void {
  program
    .command('apply')
    .description('Makes the hub’s objects what files declare. What was declared before and is not any more goes.')
    .requiredOption('-f, --filename <path...>', 'a file, a folder, or - for standard input')
    .option('-n, --namespace <name>', 'for objects that name none')
    .addOption(new Option('--dry-run <how>', 'server: judge everything, write nothing').choices(['server']))
    .addOption(formOption('name', 'json', 'yaml'))
    .addHelpText('after', '\nExample:\n  skerry apply -f fleet/')
    .action(async (options: Options, command: Command) => {
      const manifests = (await readFiles(options.filename, shell.stdin)).map(applicable)
      await withHub(command, shell, async ({ client, namespace }) => {
        const faults: string[] = []
        let exitCode: number = EXIT.error
        const dryRun = options.dryRun === 'server'
        for (const manifest of manifests) {
          const { row, object } = manifest
          try {
            const { outcome, after } = await applyManifest(
              client,
              manifest,
              options.namespace ?? namespace ?? DEFAULT_NAMESPACE,
              dryRun,
            )
            if (options.output === 'name')
              line(shell, `${nameOf(row, object.metadata.name)} ${outcome}${dryRun ? ' (server dry run)' : ''}`)
            else shell.out(`${options.output === 'yaml' ? '---\n' : ''}${toText(after, options.output)}`)
          } catch (error) {
            // One that is refused does not keep the others from being applied; a hub that is away does.
            if (!(error instanceof ApiError)) throw error
            faults.push(...faultsOf(manifest, error))
            exitCode = exitCodeOf(error)
          }
        }
        if (faults.length > 0) throw new Faults(faults, exitCode)
      })
    })
}

/** A manifest of a kind that people write. Faults otherwise. */
export function applicable(manifest: Manifest): Manifest {
  const { row } = manifest
  if (row.verbs.includes('patch')) return manifest
  throw new Faults([`${manifest.place({ field: 'kind' })}: ${row.kind} cannot be applied: the hub alone writes it`])
}

/** What the server said of a manifest, each cause with its place in the file. */
export function faultsOf(manifest: Manifest, error: ApiError): string[] {
  const { row, object } = manifest
  const name = nameOf(row, object.metadata.name)
  if (error.causes.length === 0) return [`${manifest.place()}: ${name}: ${error.message}`]
  return error.causes.map(
    (cause) => `${manifest.place(cause)}: ${name}: ${cause.field}${cause.field ? ' ' : ''}${cause.message}`,
  )
}
