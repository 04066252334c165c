import { ApiError, type Client, type Explanation } from '@skerry/client'
import type { Command } from 'commander'
import { exitCodeOf, Faults, NotFound, UsageError } from '../errors.ts'
import { wouldBe } from '../objects/apply.ts'
import type { Declared, Manifest } from '../objects/documents.ts'
import { readFiles } from '../objects/files.ts'
import { kindOf } from '../objects/kinds.ts'
import { locate } from '../objects/locate.ts'
import { only } from '../objects/only.ts'
import { limitsOf, members, type Schema, schemaAt, typeOf } from '../objects/schema.ts'
import { formatColumns } from '../output/columns.ts'
import { formOption, toText } from '../output/forms.ts'
import { type Shell, withHub } from '../shell.ts'
import { DEFAULT_NAMESPACE, faultsOf } from './apply.ts'

type Options = {
  filename?: string[]
  namespace?: string
  cluster?: string
  recursive?: boolean
  output: 'table' | 'json' | 'yaml'
}

export function explainCommand(program: Command, shell: Shell): void {
  program
    .command('explain')
    .summary('why a placement chose as it did; what the fields of a kind mean')
    .description(
      'With a placement and its name: for every cluster, why it was or was not chosen, as of now. With a placement and a file: the same of the placement that the file would make, of which nothing is written. With a kind or a path in it: what its fields mean.',
    )
    .argument('<kind>', '"placement", or KIND[.field…]')
    .argument('[name]', 'the placement')
    .option('-f, --filename <path...>', 'the placement, as apply takes it, or - for standard input')
    .option('-n, --namespace <name>', 'the namespace of the placement; with -f, where the file names none')
    .option('--cluster <name>', 'only this cluster')
    .option('--recursive', 'the fields of fields, too')
    .addOption(formOption('table', 'json', 'yaml'))
    .addHelpText(
      'after',
      '\nExample:\n  skerry explain placement all-shops\n  skerry explain placement -f shops.yaml --cluster shop-17\n  skerry explain rollout.spec.strategy',
    )
    .action(async (word: string, name: string | undefined, options: Options, command: Command) => {
      const [kind = '', ...path] = word.split('.')
      const row = kindOf(kind)
      if (options.filename !== undefined) {
        if (row.kind !== 'Placement' || path.length > 0 || name !== undefined)
          throw new UsageError('-f has the placement that is explained: skerry explain placement -f FILE')
        const manifest = only('Placement', await readFiles(options.filename, shell.stdin))
        await withHub(command, shell, async ({ client, namespace }) => {
          const placement = await wouldBe(client, manifest, options.namespace ?? namespace ?? DEFAULT_NAMESPACE)
          show(shell, await asked(client, manifest, placement, options.cluster), options)
        })
        return
      }
      if (name === undefined) {
        shell.out(
          explainSchema(row.kind, `${row.group}/${row.version}`, path, schemaAt(row, path), options.recursive === true),
        )
        return
      }
      if (/^(spec|status|metadata)(\.|$)/.test(name))
        throw new UsageError(`a field is named behind its kind: skerry explain ${word}.${name}`)
      if (row.kind !== 'Placement' || path.length > 0)
        throw new UsageError(
          `only a placement's choice is explained; "skerry describe ${row.singular} ${name}" tells of this one`,
        )
      await withHub(command, shell, async ({ client, namespace }) => {
        const { metadata } = await locate(client, row, name, options, namespace)
        const shown = await client.why(metadata.namespace ?? '', name, options.cluster)
        show(shell, shown, options)
      })
    })
}

async function asked(
  client: Client,
  manifest: Manifest,
  placement: Declared,
  cluster: string | undefined,
): Promise<Explanation> {
  const { namespace = '', name } = placement.metadata
  try {
    return await client.whyIf(namespace, name, placement, cluster)
  } catch (error) {
    throw error instanceof ApiError ? new Faults(faultsOf(manifest, error), exitCodeOf(error)) : error
  }
}

function show(shell: Shell, shown: Explanation, { cluster, output }: Options): void {
  if (cluster !== undefined && shown.clusters.length === 0) throw new NotFound(`the hub knows no cluster "${cluster}"`)
  shell.out(output === 'table' ? whyText(shown) : toText(shown, output))
}

function whyText({ placement, outcome, selected, unscheduled, conditions, clusters }: Explanation): string {
  const scorers = [...new Set(clusters.flatMap(({ scores = [] }) => scores.map((one) => one.name)))]
  const rows = clusters.map(({ cluster, reason, rank, score, scores, message }) => [
    cluster,
    reason,
    rank === undefined ? '' : String(rank),
    score === undefined ? '' : String(score),
    ...scorers.map((scorer) =>
      (scores ?? [])
        .filter((one) => one.name === scorer)
        .map((one) => (one.weight === 1 ? `${one.score}` : `${one.score}×${one.weight}`))
        .join('+'),
    ),
    message,
  ])
  const missing = unscheduled > 0 ? `, ${unscheduled} more wanted` : ''
  const said = conditions.map(({ type, status, reason, message }) => `  ${type}=${status} (${reason}): ${message}\n`)
  const headers = ['CLUSTER', 'REASON', 'RANK', 'SCORE', ...scorers.map((scorer) => scorer.toUpperCase()), 'MESSAGE']
  const table = rows.length === 0 ? 'There is no cluster to speak of.\n' : formatColumns([headers, ...rows])
  return `Placement ${placement}: ${outcome}, ${selected} selected${missing}\n${said.join('')}\n${table}`
}

function explainSchema(
  kind: string,
  version: string,
  path: readonly string[],
  schema: Schema,
  recursive: boolean,
): string {
  const head = `KIND:       ${kind}\nVERSION:    ${version}\n\n`
  const field = path.length === 0 ? '' : `FIELD: ${path.at(-1)} <${typeOf(schema)}>\n\n`
  const description = schema.description ?? schema.items?.description
  const limits = limitsOf(schema)
  const about = [...(description ? [description] : []), ...limits].map((text) => `    ${text}\n`).join('')
  const inside = members(schema)
  const fields = inside ? `FIELDS:\n${fieldsText(schema, '  ', recursive)}` : ''
  return `${head}${field}${about ? `DESCRIPTION:\n${about}\n` : ''}${fields}`
}

function fieldsText(schema: Schema, indent: string, recursive: boolean): string {
  const required = (schema.items ?? schema).required ?? []
  return Object.entries(members(schema) ?? {})
    .map(([name, field]) => {
      const about = [field.description ?? field.items?.description, ...limitsOf(field)].filter(
        (text) => text !== undefined,
      )
      const mark = required.includes(name) ? ' -required-' : ''
      const line = `${indent}${name}\t<${typeOf(field)}>${mark}\n`
      if (recursive) return `${line}${members(field) ? fieldsText(field, `${indent}  `, true) : ''}`
      return `${line}${about.map((text) => `${indent}  ${text}\n`).join('')}\n`
    })
    .join('')
}
