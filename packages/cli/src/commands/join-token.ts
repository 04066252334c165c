import { randomBytes } from 'node:crypto'
import { NODE_CLASSES, type NodeClass } from '@skerry/api'
import type { Client } from '@skerry/client'
import { rootThumbprint } from '@skerry/trust'
import { type Command, Option } from 'commander'
import { UsageError } from '../errors.ts'
import { joinTokenSpec, siteBundle } from '../objects/join-token.ts'
import { otherRoot, rootGiven } from '../offline/roots.ts'
import { writeOut } from '../output/files.ts'
import { formOption, toJson } from '../output/forms.ts'
import { tableWriter } from '../output/table.ts'
import { type Hub, line, type Shell, say, withHub } from '../shell.ts'
import { collect, count, duration } from '../values.ts'

type Options = {
  ttl: number
  uses: number
  class: NodeClass[]
  clusterSet?: string
  cluster?: string
  acceptAutomatically?: boolean
  bundle?: string
  acceptHub?: string
  root?: string
  trust?: string
  hubUrl?: string[]
  output: 'table' | 'json'
}

export function joinTokenCommand(program: Command, shell: Shell): void {
  const token = program.command('join-token').description('Join tokens: with one, a new machine may ask to belong.')
  createCommand(token, shell)
  token
    .command('list')
    .description('Lists join tokens and how often each was used.')
    .addHelpText('after', '\nExample:\n  skerry join-token list')
    .action((_: object, command: Command) =>
      withHub(command, shell, async ({ client }) => {
        const table = await client.table('JoinToken', {})
        if (table.rows.length === 0) return say(shell, 'No resources found')
        shell.out(tableWriter({ wide: false, headers: true, withNamespace: false })(table))
      }),
    )
  token
    .command('revoke')
    .description('Ends a token: nobody joins with it any more. Who has joined stays.')
    .argument('<name>', 'the token’s name, the part before the point')
    .addHelpText('after', '\nExample:\n  skerry join-token revoke shop-17')
    .action((name: string, _: object, command: Command) =>
      withHub(command, shell, async ({ client }) => {
        await client.delete('JoinToken', undefined, name)
        line(shell, `jointoken.skerry.dev "${name}" deleted`)
      }),
    )
}

function createCommand(token: Command, shell: Shell): void {
  token
    .command('create')
    .description('Makes a join token. Its secret is made here and shown once; the hub is told its hash alone.')
    .argument('[name]', 'a name for it')
    .option('--ttl <duration>', 'it ends after so long', duration, 86_400_000)
    .option('--uses <n>', 'so many nodes may join with it', count, 1)
    .addOption(
      new Option(
        '--class <class...>',
        'key classes it admits; software-key is a file and proves nothing about the machine',
      )
        .choices(NODE_CLASSES)
        .makeOptionMandatory(),
    )
    .option('--cluster-set <name>', 'only into this cluster set')
    .option('--cluster <name>', 'only into this cluster')
    .option('--accept-automatically', 'the token is the rule that accepts; without it a person does')
    .option('--bundle <file>', 'also write a site bundle for the machine')
    .option('--accept-hub <thumbprint>', 'the bundle’s hub must have this root 1')
    .option('--root <file>', 'root 1 for the bundle, from elsewhere than the hub')
    .option('--trust <folder>', 'root 1 for the bundle, from a signers’ folder')
    .option('--hub-url <url>', 'where the machine knocks, when not where you do; once for each', collect)
    .addOption(formOption('table', 'json'))
    .addHelpText(
      'after',
      '\nExample:\n  skerry join-token create --ttl 24h --uses 1 --class software-key --bundle shop-17.bundle.json',
    )
    .action(async (given: string | undefined, options: Options, command: Command) => {
      const name = given ?? `token-${randomBytes(4).toString('hex')}`
      const secret = randomBytes(20).toString('hex')
      await withHub(command, shell, async (hub) => {
        // Whom the machine will believe is settled before there is a token.
        const root = options.bundle === undefined ? undefined : await rootFor(hub.client, options, shell)
        const { ttl: ttlMs, uses, class: classes, clusterSet, cluster } = options
        const wish = { ttlMs, uses, classes, clusterSet, cluster, automatic: options.acceptAutomatically === true }
        const made = await hub.client.create('JoinToken', {
          metadata: { name },
          spec: joinTokenSpec(secret, wish, shell.now()),
        })
        const text = `${name}.${secret}`
        if (root) writeBundle(hub, root, text, options)
        if (options.output === 'json')
          shell.out(toJson({ name, token: text, ...made.spec, ...(options.bundle ? { bundle: options.bundle } : {}) }))
        else line(shell, text)
        const { expiresAt, maxUses, acceptance } = made.spec
        say(
          shell,
          `join token ${name}: ${maxUses} use${maxUses === 1 ? '' : 's'} until ${expiresAt}, acceptance ${acceptance}; its secret is shown this once`,
        )
        if (options.bundle) say(shell, `${options.bundle} holds it too: whoever has that file can ask to belong`)
      })
    })
}

function writeBundle({ client, server }: Hub, root: Uint8Array, token: string, { bundle = '', hubUrl }: Options): void {
  const content = siteBundle(root, { hubUrls: hubUrl ?? [client.server], caPem: server.caPem, token })
  writeOut(bundle, toJson(content), { secret: true })
}

/** Root 1 for a bundle: a person's, or the hub's own with its thumbprint confirmed or said aloud. */
async function rootFor(client: Client, { acceptHub, root: file, trust }: Options, shell: Shell): Promise<Uint8Array> {
  if ([acceptHub, file, trust].filter((one) => one !== undefined).length > 1)
    throw new UsageError('--accept-hub, --root and --trust each say whom to believe: give one of them')
  const hubs = await client.file('/tuf/1.root.json')
  if (!hubs) throw new Error('the hub has no root yet: "skerry image publish --trust FOLDER" uploads it')
  const given = rootGiven({ trust, root: file })
  const wanted = acceptHub ?? (given && rootThumbprint(given))
  const other = wanted === undefined ? undefined : otherRoot(hubs, wanted)
  if (other !== undefined) throw new Error(`no token was made: ${other}`)
  if (wanted === undefined)
    say(
      shell,
      `The machine will believe the hub with this root, for ever. Compare it with the signers' own:\n\n  ${rootThumbprint(hubs)}\n`,
    )
  return hubs
}
