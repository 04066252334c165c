import { Command } from 'commander'
import { applyCommand } from './commands/apply.ts'
import { attestCommand } from './commands/attest.ts'
import { auditCommand } from './commands/audit.ts'
import { clusterCommand } from './commands/cluster.ts'
import { contextCommand, loginCommand } from './commands/context.ts'
import { deleteCommand } from './commands/delete.ts'
import { describeCommand } from './commands/describe.ts'
import { diffCommand } from './commands/diff.ts'
import { eventsCommand } from './commands/events.ts'
import { explainCommand } from './commands/explain.ts'
import { getCommand } from './commands/get.ts'
import { imageCommand } from './commands/image.ts'
import { joinTokenCommand } from './commands/join-token.ts'
import { kubeconfigCommand } from './commands/kubeconfig.ts'
import { nodeCommand } from './commands/node.ts'
import { placementCommand } from './commands/placement.ts'
import { reportCommand } from './commands/report.ts'
import { rolloutCommand } from './commands/rollout.ts'
import { tokenCommand } from './commands/token.ts'
import { trustCommand } from './commands/trust.ts'
import { versionCommand } from './commands/version.ts'
import { waitCommand } from './commands/wait.ts'
import type { Shell } from './shell.ts'

/** In the order in which help shows them: looking, changing, deciding, signing, and which hub. */
const COMMANDS = [
  getCommand,
  describeCommand,
  explainCommand,
  eventsCommand,
  reportCommand,
  attestCommand,
  auditCommand,
  applyCommand,
  diffCommand,
  deleteCommand,
  waitCommand,
  rolloutCommand,
  clusterCommand,
  nodeCommand,
  placementCommand,
  joinTokenCommand,
  trustCommand,
  imageCommand,
  tokenCommand,
  loginCommand,
  contextCommand,
  kubeconfigCommand,
  versionCommand,
]

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
