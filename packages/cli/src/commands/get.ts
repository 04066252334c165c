import type { KindRow, SkerryObject } from '@skerry/api'
import type { Client, Frame, ListQuery, Table } from '@skerry/client'
import type { Command } from 'commander'
import { UsageError } from '../errors.ts'
import { nameOf, namespaceFor, parseTargets } from '../objects/kinds.ts'
import { listObjects, locate } from '../objects/locate.ts'
import { type Form, formOption, listOf, toText } from '../output/forms.ts'
import { tableWriter } from '../output/table.ts'
import { type Hub, line, lost, type Shell, say, withHub } from '../shell.ts'

type Options = {
  namespace?: string
  allNamespaces?: boolean
  selector?: string
  fieldSelector?: string
  output: Form
  watch?: boolean
  headers: boolean
}
type Target = { readonly row: KindRow; readonly name?: string }

export function getCommand(program: Command, shell: Shell): void {
  program
    .command('get')
    .summary('list objects of a kind, or show some by name')
    .description(
      'Lists objects, or shows some by name. Without -n nodes, registrations, decisions and events are listed in all namespaces; everything else in the context’s namespace, or in all if it names none.',
    )
    .argument('<kind>', 'clusters, nodes, images, rollouts, …; several by comma; or KIND/NAME')
    .argument('[name...]', 'only these')
    .option('-n, --namespace <name>', 'only in this namespace')
    .option('-A, --all-namespaces', 'in all namespaces')
    .option('-l, --selector <labels>', 'only with these labels: a=b, a!=b, a in (b, c), !a')
    .option('--field-selector <fields>', 'metadata.name=X or metadata.namespace=X')
    .option('-w, --watch', 'go on with what changes')
    .option('--no-headers', 'no line of column names')
    .addOption(formOption('table', 'wide', 'json', 'yaml', 'name'))
    .addHelpText('after', '\nExample:\n  skerry get rollouts -A -o wide\n  skerry get nodes -w')
    .action(async (kind: string, names: string[], options: Options, command: Command) => {
      const targets = parseTargets([kind, ...names])
      const byName = targets.some(({ name }) => name !== undefined)
      if (byName && (options.selector || options.fieldSelector))
        throw new UsageError('names and selectors cannot be given together')
      if (options.watch && targets.length !== 1) throw new UsageError('-w watches one kind, or one object by its name')
      await withHub(command, shell, (hub) => (options.watch ? watch : show)(hub, targets, options, shell))
    })
}

async function show(hub: Hub, targets: readonly Target[], options: Options, shell: Shell): Promise<void> {
  const { output } = options
  if (output === 'table' || output === 'wide') return showTables(hub, targets, options, shell)
  const [first, ...more] = targets
  const found: { row: KindRow; objects: SkerryObject[] }[] = []
  for (const { row, name } of targets) {
    const objects = name
      ? [await locate(hub.client, row, name, options, hub.namespace)]
      : await listObjects(hub.client, row, listQuery(row, options, hub.namespace))
    found.push({ row, objects })
  }
  if (output === 'name') {
    for (const { row, objects } of found) for (const { metadata } of objects) line(shell, nameOf(row, metadata.name))
    return
  }
  const items = found.flatMap(({ objects }) => objects)
  shell.out(toText(first?.name && more.length === 0 ? items[0] : listOf(items), output))
}

async function showTables(hub: Hub, targets: readonly Target[], options: Options, shell: Shell): Promise<void> {
  const several = new Set(targets.map(({ row }) => row.kind)).size > 1
  let shown = 0
  // Names of one kind share one table, as several kinds do not.
  const writers = new Map<string, (table: Table) => string>()
  for (const target of targets) {
    const table = await tableOf(hub, target, options)
    const isNew = !writers.has(target.row.kind)
    const write = writers.get(target.row.kind) ?? tableWriter(styleOf(target, options, hub.namespace))
    writers.set(target.row.kind, write)
    const prefixed = several
      ? {
          ...table,
          rows: table.rows.map((row) => ({
            ...row,
            cells: [nameOf(target.row, String(row.cells[0])), ...row.cells.slice(1)],
          })),
        }
      : table
    if (table.rows.length === 0) continue
    shell.out(`${shown > 0 && isNew ? '\n' : ''}${write(prefixed)}`)
    shown += table.rows.length
  }
  if (shown === 0) {
    const [target] = targets
    const where = target && namespaceFor(target.row, options, hub.namespace)
    say(shell, where === undefined ? 'No resources found' : `No resources found in ${where} namespace.`)
  }
}

async function watch(hub: Hub, targets: readonly Target[], options: Options, shell: Shell): Promise<void> {
  const [target] = targets
  if (!target) return
  const { row, name } = target
  const { client } = hub
  // The object first, so that a name that nobody bears ends at once.
  const query: ListQuery = name
    ? await byName(client, row, name, options, hub.namespace)
    : listQuery(row, options, hub.namespace)
  const { output } = options
  if (output === 'table' || output === 'wide') {
    const write = tableWriter(styleOf(target, options, hub.namespace))
    const table = await client.table(row.kind, query)
    shell.out(write(table))
    const from = table.metadata.resourceVersion
    for await (const { object } of client.watch(row.kind, {
      ...query,
      asTable: true,
      from,
      signal: shell.signal,
      onLost: lost(shell),
    }))
      shell.out(write(object as unknown as Table))
    return
  }
  for await (const frame of client.watch(row.kind, {
    ...query,
    signal: shell.signal,
    onLost: lost(shell),
  }) as AsyncIterable<Frame<SkerryObject>>) {
    if (output === 'name') line(shell, nameOf(row, frame.object.metadata.name))
    else shell.out(`${output === 'yaml' ? '---\n' : ''}${toText(frame.object, output)}`)
  }
}

async function byName(
  client: Client,
  row: KindRow,
  name: string,
  options: Options,
  ofContext: string | undefined,
): Promise<ListQuery> {
  const { metadata } = await locate(client, row, name, options, ofContext)
  return { namespace: metadata.namespace, fieldSelector: `metadata.name=${name}` }
}

async function tableOf({ client, namespace }: Hub, { row, name }: Target, options: Options): Promise<Table> {
  if (name === undefined) return client.table(row.kind, listQuery(row, options, namespace))
  const { metadata } = await locate(client, row, name, options, namespace)
  return client.table(row.kind, { namespace: metadata.namespace, name })
}

function listQuery(row: KindRow, options: Options, ofContext: string | undefined): ListQuery {
  return {
    namespace: namespaceFor(row, options, ofContext),
    labelSelector: options.selector,
    fieldSelector: options.fieldSelector,
  }
}

function styleOf({ row }: Target, options: Options, ofContext: string | undefined) {
  return {
    wide: options.output === 'wide',
    headers: options.headers,
    withNamespace: row.namespaced && namespaceFor(row, options, ofContext) === undefined,
  }
}
