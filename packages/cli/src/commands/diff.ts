import type { SkerryObject } from '@skerry/api'
import { ApiError } from '@skerry/client'
import type { Command } from 'commander'
import { EXIT, Faults } from '../errors.ts'
import { applyManifest } from '../objects/apply.ts'
import { readFiles } from '../objects/files.ts'
import { nameOf } from '../objects/kinds.ts'
import { LAST_APPLIED } from '../objects/merge.ts'
import { toYaml } from '../output/forms.ts'
import { lineDiff } from '../output/line-diff.ts'
import { type Shell, withHub } from '../shell.ts'
import { applicable, DEFAULT_NAMESPACE, faultsOf } from './apply.ts'

export function diffCommand(program: Command, shell: Shell): void {
  program
    .command('diff')
    .description('Shows what apply would change. Exit code 1 when something would.')
    .requiredOption('-f, --filename <path...>', 'a file, a folder, or - for standard input')
    .option('-n, --namespace <name>', 'for objects that name none')
    .addHelpText('after', '\nExample:\n  skerry diff -f rollout.yaml')
    .action(async (options: { filename: string[]; namespace?: string }, command: Command) => {
      const manifests = (await readFiles(options.filename, shell.stdin)).map(applicable)
      let differs = false
      await withHub(command, shell, async ({ client, namespace }) => {
        for (const manifest of manifests) {
          try {
            const { before, after } = await applyManifest(
              client,
              manifest,
              options.namespace ?? namespace ?? DEFAULT_NAMESPACE,
              true,
            )
            const text = lineDiff(before ? shown(before) : '', shown(after))
            if (text === '') continue
            const name = nameOf(manifest.row, manifest.object.metadata.name)
            shell.out(`--- ${name} (hub)\n+++ ${name} (${manifest.place()})\n${text}`)
            differs = true
          } catch (error) {
            throw error instanceof ApiError ? new Faults(faultsOf(manifest, error), EXIT.usage) : error
          }
        }
      })
      // The exit code is the answer: there is nothing to say about it.
      if (differs) throw new Faults([], EXIT.error)
    })
}

// Without what follows from the change itself.
function shown({ apiVersion, kind, metadata, spec }: SkerryObject): string {
  const { name, namespace, labels, annotations = {} } = metadata
  const kept = Object.entries(annotations).filter(([key]) => key !== LAST_APPLIED)
  return toYaml({
    apiVersion,
    kind,
    metadata: {
      name,
      ...(namespace ? { namespace } : {}),
      ...(labels ? { labels } : {}),
      ...(kept.length > 0 ? { annotations: Object.fromEntries(kept) } : {}),
    },
    ...(spec === undefined ? {} : { spec }),
  })
}
