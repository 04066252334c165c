import type { ObjectOf } from '@skerry/api'
import { firstOf } from '@skerry/policy'
import type { Command } from 'commander'
import { NotFound, UsageError } from '../errors.ts'
import { WAITING } from '../objects/locate.ts'
import { formatColumns } from '../output/columns.ts'
import { formOption, listOf, toText } from '../output/forms.ts'
import { ago } from '../output/times.ts'
import { type Shell, say, withHub } from '../shell.ts'

type Options = { results?: boolean; output: 'table' | 'json' | 'yaml' }
type Node = ObjectOf<'EdgeNode'>

const HEADERS = ['CLUSTER', 'NODE', 'CLASS', 'VERDICT', 'REASON', 'FINDINGS', 'BANK', 'JUDGED']

export function statusCommand(attest: Command, shell: Shell): void {
  attest
    .command('status')
    .description('Tells what the hub made of each node’s present boot; the worst first.')
    .argument('[node]', 'CLUSTER or CLUSTER/NODE')
    .option('--results', 'every verdict on one node’s boots as the hub signed it (EAR), the newest first')
    .addOption(formOption('table', 'json', 'yaml'))
    .addHelpText('after', '\nExample:\n  skerry attest status shop-17')
    .action(async (target: string | undefined, options: Options, command: Command) => {
      const [cluster, name] = target?.split('/') ?? []
      if (options.results && (!cluster || !name)) throw new UsageError('--results: name one node, as CLUSTER/NODE')
      await withHub(command, shell, async ({ client }) => {
        if (options.results) {
          const path = `/apis/skerry.dev/v1alpha1/namespaces/${cluster}/edgenodes/${name}/results`
          return shell.out(
            toText(await client.call<object>(path), options.output === 'table' ? 'yaml' : options.output),
          )
        }
        const { objects } = await client.snapshot('EdgeNode', { namespace: cluster })
        const nodes = objects.filter(({ metadata }) => name === undefined || metadata.name === name).toSorted(byWorst)
        if (nodes.length === 0 && target !== undefined)
          throw new NotFound(`no node is registered as ${target}; ${WAITING}`)
        if (options.output !== 'table') return shell.out(toText(listOf(nodes), options.output))
        if (nodes.length === 0) return say(shell, 'No nodes found')
        shell.out(formatColumns([HEADERS, ...nodes.map((node) => rowOf(node, shell.now()))]))
        const learned = learnedRows(nodes)
        if (learned.length > 0) shell.out(`\n${formatColumns([LEARNED, ...learned])}`)
      })
    })
}

const LEARNED = ['LEARNED BY QUORUM', 'EXPECTED', 'NODES', 'FROM']

/** Firmware that is expected because so many clusters show it: each value once, with the nodes that show it. */
function learnedRows(nodes: readonly Node[]): string[][] {
  const found = new Map<string, { pcr: number; expected: string; nodes: number; from: Set<string> }>()
  for (const { status } of nodes)
    for (const { pcr, expected, by, learnedFrom = [] } of status?.attestation?.pcrs ?? []) {
      const [value] = expected
      if (by !== 'quorum' || value === undefined) continue
      const one = found.get(`${pcr} ${value}`) ?? { pcr, expected: value, nodes: 0, from: new Set() }
      one.nodes += 1
      for (const name of learnedFrom) one.from.add(name)
      found.set(`${pcr} ${value}`, one)
    }
  const rows = [...found.values()].toSorted((a, b) => a.pcr - b.pcr || (a.expected < b.expected ? -1 : 1))
  return rows.map(({ pcr, expected, nodes: count, from }) => {
    return [`PCR ${pcr}`, expected, String(count), firstOf([...from].toSorted(), SHOWN)]
  })
}

/** So many names stand in a row. */
const SHOWN = 8

/** A node of which nothing is known stands above one that is well. */
const ORDER = ['contraindicated', 'none', undefined, 'warning', 'affirming']

function byWorst(one: Node, other: Node): number {
  const place = ({ status }: Node) => ORDER.indexOf(status?.attestation?.verdict)
  const name = ({ metadata }: Node) => `${metadata.namespace}/${metadata.name}`
  return place(one) - place(other) || (name(one) < name(other) ? -1 : 1)
}

function rowOf({ metadata, status }: Node, now: number): string[] {
  const { verdict, reason, findings = [], bank, judgedAt } = status?.attestation ?? {}
  const codes = [...new Set(findings.filter(({ tier }) => tier !== 'affirming').map(({ code }) => code))]
  const shown = codes.length > 3 ? [...codes.slice(0, 3), `and ${codes.length - 3} more`] : codes
  return [
    metadata.namespace ?? '',
    metadata.name,
    status?.class ?? '-',
    verdict ?? 'not judged',
    reason ?? '-',
    shown.join(', ') || '-',
    bank ?? '-',
    judgedAt === undefined ? '-' : ago(judgedAt, now),
  ]
}
