import { type Context, contextsFile, openClient, readContexts, saveContext, writeContexts } from '@skerry/client'
import type { Command } from 'commander'
import { UsageError } from '../errors.ts'
import { formatColumns } from '../output/columns.ts'
import { findContext, readCa, type ServerFlags, trimSlash } from '../server.ts'
import { line, type Shell, say } from '../shell.ts'

export function contextCommand(program: Command, shell: Shell): void {
  const context = program.command('context').description('The hubs this machine knows, each under a name.')
  const file = () => contextsFile(shell.env)
  context
    .command('list')
    .description('Lists them; * marks the one that is used.')
    .addHelpText('after', '\nExample:\n  skerry context list')
    .action(() => {
      const { current, contexts } = readContexts(file())
      if (contexts.length === 0) return say(shell, `${file()} names no context`)
      const rows = contexts.map(({ name, server, namespace }) => [
        name === current ? '*' : '',
        name,
        server,
        namespace ?? '',
      ])
      shell.out(formatColumns([['CURRENT', 'NAME', 'SERVER', 'NAMESPACE'], ...rows]))
    })
  context
    .command('use')
    .description('Chooses the one that is used from now on.')
    .argument('<name>', 'a context')
    .addHelpText('after', '\nExample:\n  skerry context use local')
    .action((name: string) => {
      const all = readContexts(file())
      writeContexts({ ...all, current: findContext(name, all).name }, file())
      line(shell, `context ${name} is used from now on`)
    })
  context
    .command('set')
    .description(
      'Changes a context: the namespace that is meant without -n, or with --server, --ca and --token the hub.',
    )
    .argument('[name]', 'a context; the one that is used when none is named')
    .option('-n, --namespace <name>', 'the namespace that is meant without -n; empty for none')
    .addHelpText('after', '\nExample:\n  skerry context set local --namespace fleet')
    .action((name: string | undefined, _: object, command: Command) => {
      const all = readContexts(file())
      const flags = command.optsWithGlobals<ServerFlags & { namespace?: string }>()
      const changed = change(findContext(name ?? flags.context, all), flags)
      writeContexts(
        { ...all, contexts: all.contexts.map((one) => (one.name === changed.name ? changed : one)) },
        file(),
      )
      line(shell, `context ${changed.name} changed`)
    })
}

function change(
  { namespace: before, ...context }: Context,
  { server, token, ca, namespace = before }: ServerFlags & { namespace?: string | undefined },
): Context {
  return {
    ...context,
    ...(server === undefined ? {} : { server: trimSlash(server) }),
    ...(token === undefined ? {} : { token }),
    ...(ca === undefined ? {} : { caPem: readCa(ca) }),
    ...(namespace ? { namespace } : {}),
  }
}

export function loginCommand(program: Command, shell: Shell): void {
  program
    .command('login')
    .description('Stores a hub with a token as a context and uses it from now on. The hub must take the token.')
    .option('-n, --namespace <name>', 'the namespace that is meant without -n')
    .addHelpText(
      'after',
      '\nExample:\n  skerry login --server https://hub.example.com:7443 --ca ca.pem --token - < token.txt',
    )
    .action(async (_: object, command: Command) => {
      const flags = command.optsWithGlobals<ServerFlags & { namespace?: string }>()
      if (flags.server === undefined || flags.token === undefined)
        throw new UsageError('login needs --server URL and --token TOKEN (- reads it from standard input)')
      const token = flags.token === '-' ? (await shell.stdin()).trim() : flags.token
      const server = trimSlash(flags.server)
      const caPem = flags.ca === undefined ? undefined : readCa(flags.ca)
      const name = flags.context ?? new URL(server).hostname
      const found = {
        name,
        server,
        token,
        ...(caPem ? { caPem } : {}),
        ...(flags.namespace ? { namespace: flags.namespace } : {}),
      }
      const client = openClient(found)
      try {
        await client.call('/apis')
      } finally {
        await client.close()
      }
      saveContext(found, contextsFile(shell.env))
      line(shell, `context ${name} is used from now on`)
    })
}
