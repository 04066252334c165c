import { readFileSync } from 'node:fs'
import { contextsFile, readContexts } from '@skerry/client'
import type { Command } from 'commander'
import type { ServerFlags } from '../server.ts'
import { line, type Shell, withHub } from '../shell.ts'

const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
  version: string
}

export function versionCommand(program: Command, shell: Shell): void {
  program
    .command('version')
    .description('Tells the version of this program, and of the hub where one is known.')
    .option('--client', 'only of this program')
    .addHelpText('after', '\nExample:\n  skerry version')
    .action(async (options: { client?: boolean }, command: Command) => {
      line(shell, `skerry ${version}`)
      const flags = command.optsWithGlobals<ServerFlags>()
      const known =
        flags.server !== undefined ||
        flags.context !== undefined ||
        readContexts(contextsFile(shell.env)).contexts.length > 0
      if (options.client || !known) return
      await withHub(command, shell, async ({ client }) => {
        const { gitVersion } = await client.call<{ gitVersion: string }>('/version')
        line(shell, `hub    ${gitVersion} at ${client.server}`)
      })
    })
}
