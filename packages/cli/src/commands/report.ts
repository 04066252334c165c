import type { Command } from 'commander'
import { formatColumns } from '../output/columns.ts'
import { writeOut } from '../output/files.ts'
import { formOption, toText } from '../output/forms.ts'
import { type Shell, say, withHub } from '../shell.ts'

type Ref = { cluster: string; node: string; incarnation: number; seq: number; digest: string }
type Report = {
  asOf: string
  totals: Record<string, number>
  clusters: {
    cluster: string
    reachability: string
    result: string
    nodes: {
      node: string
      class: string
      limitation?: string
      claims: { claim: string; result: string; message: string; statements: Ref[] }[]
    }[]
  }[]
}
type Options = { output: 'json' | 'yaml' | 'table'; out?: string }

export function reportCommand(program: Command, shell: Shell): void {
  const report = program
    .command('report')
    .description('What can be claimed of the fleet, and on what each claim rests.')
  report
    .command('export')
    .description(
      'Exports the report: each claim with the signed statement it rests on. A site never heard from is not-assessed.',
    )
    .addOption(formOption('json', 'table', 'yaml'))
    .option('--out <file>', 'write it there')
    .addHelpText('after', '\nExample:\n  skerry report export -o json --out report.json')
    .action(async ({ output, out }: Options, command: Command) => {
      await withHub(command, shell, async ({ client }) => {
        const found = (await client.report()) as Report
        const text = output === 'table' ? reportText(found) : toText(found, output)
        if (out === undefined) return shell.out(text)
        writeOut(out, text)
        say(shell, `${out}: ${found.clusters.length} clusters as of ${found.asOf}`)
      })
    })
}

/** The report as a table: one line a claim, and what a class cannot prove below it. */
function reportText({ asOf, totals, clusters }: Report): string {
  const rows = clusters.flatMap(({ cluster, reachability, result, nodes }) => {
    if (nodes.length === 0) return [[cluster, '', '', reachability, '', result, 'no node is registered', '']]
    return nodes.flatMap(({ node, class: kind, claims }) =>
      claims.map(({ claim, result: found, message, statements }) => [
        cluster,
        node,
        kind,
        reachability,
        claim,
        found,
        message,
        statements.map(({ incarnation, seq, digest }) => `${incarnation}/${seq} ${digest.slice(0, 12)}`).join(', '),
      ]),
    )
  })
  const limits = new Map(
    clusters.flatMap(({ nodes }) =>
      nodes.flatMap(({ class: kind, limitation }) => (limitation ? [[kind, limitation] as const] : [])),
    ),
  )
  const counts = Object.entries(totals).map(([result, count]) => `${count} ${result}`)
  const headers = ['CLUSTER', 'NODE', 'CLASS', 'REACHABILITY', 'CLAIM', 'RESULT', 'MESSAGE', 'STATEMENTS']
  return `As of ${asOf}: ${counts.join(', ')}\n\n${formatColumns([headers, ...rows])}${[...limits].map(([kind, limitation]) => `\nClass ${kind}: ${limitation}\n`).join('')}`
}
