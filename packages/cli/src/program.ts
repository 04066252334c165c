import { Command } from 'commander'
import { applyCommand } from './commands/apply.ts'
import { deleteCommand } from './commands/delete.ts'
import { describeCommand } from './commands/describe.ts'
import { diffCommand } from './commands/diff.ts'
import { getCommand } from './commands/get.ts'
import { waitCommand } from './commands/wait.ts'
import type { Shell } from './shell.ts'

const COMMANDS = [getCommand, describeCommand, applyCommand, diffCommand, deleteCommand, waitCommand]

export function buildProgram(shell: Shell): Command {
  const program = new Command('skerry')
    .description('What the fleet shall run, what it runs, and why.')
    .option('--context <name>', 'the context of the config file to use')
    .option('--server <url>', 'a hub by its address instead of by a context; needs --token')
    .option('--token <token>', 'the bearer token to use')
    .option('--ca <file>', 'the CA to trust for the hub, PEM')
    .configureHelp({ showGlobalOptions: true })
    .configureOutput({
      writeOut: (text) => shell.out(text),
      writeErr: (text) => shell.err(text),
      outputError: () => {},
    })
    .exitOverride()
  for (const add of COMMANDS) add(program, shell)
  return program
}
