import type { Command } from 'commander'
import { formatRow, widthsOf } from '../output/columns.ts'
import { formOption, listOf, toJson } from '../output/forms.ts'
import { line, type Shell, withHub } from '../shell.ts'

const PATH = '/apis/skerry.dev/v1alpha1/auditrecords'
type AuditRecord = {
  id: number
  at: string
  actor: string
  sourceIp: string
  verb: string
  kind: string
  namespace: string
  name: string
}
type Verdict = { whole: boolean; reason?: string; head: { count: number; hash: string } }

export function auditCommand(program: Command, shell: Shell): void {
  const audit = program.command('audit').description('Who changed what: a chain of records, each over the one before.')
  audit
    .command('list')
    .description('Lists the records, oldest first.')
    .addOption(formOption('table', 'json'))
    .addHelpText('after', '\nExample:\n  skerry audit list')
    .action(({ output }: { output: 'table' | 'json' }, command: Command) =>
      withHub(command, shell, async ({ client }) => {
        const records: AuditRecord[] = []
        for (let after: number | undefined = 0; after !== undefined; ) {
          const page: { items: AuditRecord[]; next?: number } = await client.call(`${PATH}?after=${after}`)
          records.push(...page.items)
          after = page.next
        }
        if (output === 'json') return shell.out(toJson(listOf(records)))
        const rows = records.map(({ id, at, actor, sourceIp, verb, kind, namespace, name }) => [
          String(id),
          at,
          actor,
          sourceIp || '<hub>',
          verb,
          `${kind}/${namespace ? `${namespace}/` : ''}${name}`,
        ])
        const table = [['NUMBER', 'TIME', 'WHO', 'FROM', 'DID', 'TO'], ...rows]
        const widths = widthsOf(table)
        for (const row of table) line(shell, formatRow(row, widths))
      }),
    )
  audit
    .command('verify')
    .description('Reads the whole chain and says whether it holds. Exit code 1 when it does not.')
    .addHelpText('after', '\nExample:\n  skerry audit verify')
    .action((_: object, command: Command) =>
      withHub(command, shell, async ({ client }) => {
        const { whole, reason, head } = await client.call<Verdict>(`${PATH}/verdict`)
        if (!whole) throw new Error(`the chain of ${head.count} audit records is broken: ${reason}`)
        line(shell, `the chain of ${head.count} audit records holds; its head is ${head.hash}`)
      }),
    )
}
