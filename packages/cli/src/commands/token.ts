import { API_ROLES, type ApiRole } from '@skerry/api'
import { type Command, Option } from 'commander'
import { formatColumns } from '../output/columns.ts'
import { formOption, listOf, toJson } from '../output/forms.ts'
import { line, type Shell, say, withHub } from '../shell.ts'
import { duration } from '../values.ts'

const PATH = '/apis/skerry.dev/v1alpha1/apitokens'
type Token = { name: string; role: ApiRole; createdAt: string; expiresAt?: string }
type Output = 'table' | 'json'

export function tokenCommand(program: Command, shell: Shell): void {
  const token = program.command('token').description('Tokens of people and programs that use the hub’s API.')
  token
    .command('create')
    .description('Makes a token and prints its secret, this once.')
    .argument('<name>', 'whose it is: changes are recorded under this name')
    .addOption(new Option('--role <role>', 'what it may do').choices(API_ROLES).default('viewer'))
    .option('--ttl <duration>', 'it ends after so long', duration)
    .addOption(formOption('table', 'json'))
    .addHelpText('after', '\nExample:\n  skerry token create auditors --role viewer --ttl 30d')
    .action(
      async (
        name: string,
        { role, ttl, output }: { role: ApiRole; ttl?: number; output: Output },
        command: Command,
      ) => {
        const expires = ttl === undefined ? {} : { expiresAt: new Date(shell.now() + ttl).toISOString() }
        await withHub(command, shell, async ({ client }) => {
          const made = await client.call<Token & { token: string }>(PATH, {
            method: 'POST',
            body: { name, role, ...expires },
          })
          if (output === 'json') return shell.out(toJson(made))
          line(shell, made.token)
          say(
            shell,
            `token ${name}, role ${role}, ${made.expiresAt ? `until ${made.expiresAt}` : 'without end'}; it is shown this once`,
          )
        })
      },
    )
  token
    .command('list')
    .description('Lists tokens, without their secrets.')
    .addOption(formOption('table', 'json'))
    .addHelpText('after', '\nExample:\n  skerry token list')
    .action(({ output }: { output: Output }, command: Command) =>
      withHub(command, shell, async ({ client }) => {
        const { items } = await client.call<{ items: Token[] }>(PATH)
        if (output === 'json') return shell.out(toJson(listOf(items)))
        const rows = items.map(({ name, role, createdAt, expiresAt }) => [name, role, createdAt, expiresAt ?? 'never'])
        shell.out(formatColumns([['NAME', 'ROLE', 'CREATED', 'EXPIRES'], ...rows]))
      }),
    )
  token
    .command('revoke')
    .description('Ends a token.')
    .argument('<name>', 'which one')
    .addHelpText('after', '\nExample:\n  skerry token revoke auditors')
    .action((name: string, _: object, command: Command) =>
      withHub(command, shell, async ({ client }) => {
        await client.call(`${PATH}/${encodeURIComponent(name)}`, { method: 'DELETE' })
        line(shell, `token "${name}" revoked`)
      }),
    )
}
