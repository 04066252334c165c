import { kindRow, type ObjectOf } from '@skerry/api'
import type { Command } from 'commander'
import { UsageError } from '../errors.ts'
import { namespaceFor, parseTargets } from '../objects/kinds.ts'
import { formatRow, widthsOf } from '../output/columns.ts'
import { formOption, listOf, toText } from '../output/forms.ts'
import { ago } from '../output/times.ts'
import { lost, type Shell, say, withHub } from '../shell.ts'

type Options = {
  namespace?: string
  allNamespaces?: boolean
  watch?: boolean
  for?: string
  headers: boolean
  output: 'table' | 'json' | 'yaml'
}
type Event = ObjectOf<'Event'>

const HEADERS = ['LAST SEEN', 'NAMESPACE', 'TYPE', 'REASON', 'OBJECT', 'MESSAGE']

export function eventsCommand(program: Command, shell: Shell): void {
  program
    .command('events')
    .description('Tells what happened, oldest first.')
    .option('-n, --namespace <name>', 'only in this namespace; a cluster’s is its own name')
    .option('-A, --all-namespaces', 'in all namespaces (the default)')
    .option('--for <kind/name>', 'only what happened to this object')
    .option('-w, --watch', 'go on with what happens')
    .option('--no-headers', 'no line of column names')
    .addOption(formOption('table', 'json', 'yaml'))
    .addHelpText('after', '\nExample:\n  skerry events --for rollout/edge-os-43 -w')
    .action(async (options: Options, command: Command) => {
      const about = options.for === undefined ? () => true : regarding(options.for)
      await withHub(command, shell, async ({ client }) => {
        const namespace = namespaceFor(kindRow('Event'), options, undefined)
        const { objects, version: from } = await client.snapshot('Event', { namespace })
        const events = objects.filter(about).toSorted(byTime)
        const write = writer(options, shell)
        if (options.output !== 'table' && !options.watch) return shell.out(toText(listOf(events), options.output))
        if (events.length === 0 && !options.watch) return say(shell, 'No events found')
        write(events)
        if (!options.watch) return
        // A watch that had to begin anew shows everything again.
        const told = new Set(objects.map(({ metadata }) => metadata.uid))
        for await (const { type, object } of client.watch('Event', {
          namespace,
          from,
          signal: shell.signal,
          onLost: lost(shell),
        })) {
          if (type !== 'ADDED' || !about(object) || told.has(object.metadata.uid)) continue
          told.add(object.metadata.uid)
          write([object])
        }
      })
    })
}

function writer(options: Options, shell: Shell): (events: readonly Event[]) => void {
  const { output } = options
  if (output !== 'table')
    return (events) => {
      for (const event of events) shell.out(`${output === 'yaml' ? '---\n' : ''}${toText(event, output)}`)
    }
  let headers = options.headers
  let widths: number[] = []
  return (events) => {
    const rows = events.map(({ metadata, spec }) => [
      ago(spec.eventTime, shell.now()),
      metadata.namespace ?? '',
      spec.type,
      spec.reason,
      `${spec.regarding.kind}/${spec.regarding.name}`,
      spec.message.replaceAll(/\s*\n\s*/g, ' '),
    ])
    if (headers) rows.unshift(HEADERS)
    headers = false
    widths = widthsOf(rows, widths)
    shell.out(rows.map((row) => `${formatRow(row, widths)}\n`).join(''))
  }
}

function regarding(text: string): (event: Event) => boolean {
  const [target, ...more] = parseTargets([text])
  if (!target?.name || more.length > 0) throw new UsageError('--for: write KIND/NAME')
  return ({ spec }) => spec.regarding.kind === target.row.kind && spec.regarding.name === target.name
}

function byTime(a: Event, b: Event): number {
  return Date.parse(a.spec.eventTime) - Date.parse(b.spec.eventTime) || a.metadata.name.localeCompare(b.metadata.name)
}
