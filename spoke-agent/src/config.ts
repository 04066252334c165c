import { hostname } from 'node:os'
import { Command, InvalidArgumentError, Option } from 'commander'
import { BOUND_MIB, LEAST_BOUND_MIB } from './outbox/room.ts'
import { EVENT_LOG } from './tpm/index.ts'

/** How this machine boots, and what its driver has to know. */
export type DriverConfig =
  | { readonly name: 'slots'; readonly factoryImage: string | undefined }
  | {
      readonly name: 'uki'
      readonly esp: string | undefined
      readonly bootTries: number
      readonly rebootCommand: string
      readonly healthCommand: string | undefined
    }

export type AgentConfig = {
  readonly dataDir: string
  readonly bundleFile: string | undefined
  readonly nodeName: string
  readonly cluster: string | undefined
  readonly hardwareId: string
  readonly driver: DriverConfig
  /** auto, off, or where the TPM is: a device, or the unix socket of an emulated one. */
  readonly tpm: string
  /** The firmware's log of what it measured. */
  readonly eventLog: string
  readonly claims: Readonly<Record<string, string>>
  readonly hubUrls: readonly string[]
  readonly natsUrls: readonly string[]
  readonly pollMs: number
  readonly heartbeatMs: number
  readonly reconnectMs: number
  readonly unheardMs: number
  readonly watchMs: number
  readonly outboxBytes: number
  readonly logLevel: string
  readonly endWithStdin: boolean
}
export type AgentCommand = { readonly verb: 'run' | 'status'; readonly config: AgentConfig }

/** What argv and environment ask for. Unknown flags end in an error that names them (exit 2). */
export function parseCommand(argv: readonly string[]): AgentCommand {
  let parsed: AgentCommand | undefined
  const program = new Command('skerry-agent')
    .description(
      'The agent of one node: verifies what the site shall be, carries it out by itself, and says what happened.',
    )
    .showHelpAfterError('"skerry-agent run --help" shows what there is')
    .addHelpText(
      'after',
      '\n"run" may be left out; its options: skerry-agent run --help\n\nExample:\n  skerry-agent --data /var/lib/skerry-agent --bundle shop-17.bundle.json --node-name shop-17 --hardware-id shop-box --driver uki',
    )
    .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : 2))
  program
    .command('run', { isDefault: true })
    .description('run the agent until it is told to stop')
    .addOption(
      new Option('--bundle <file>', 'site bundle: the hub to trust, where to knock, a join token').env(
        'SKERRY_AGENT_BUNDLE',
      ),
    )
    .option('--node-name <name>', "this node's name", hostname())
    .option('--cluster <id>', 'the cluster to join; by default what the token or the node name says')
    .option('--hardware-id <id>', 'what images must be for to be installed here', 'generic')
    .addOption(new Option('--driver <name>', 'how this machine boots').choices(['slots', 'uki']).default('slots'))
    .option(
      '--tpm <auto|off|path>',
      'the TPM to register with: a device, or the socket of an emulated one; auto uses /dev/tpmrm0 where it is, or the node’s key lies in it',
      'auto',
    )
    .option('--event-log <file>', "the firmware's log of what it measured", EVENT_LOG)
    .option('--factory-image <file>', 'slots: the image this machine came with; needed the first time')
    .option('--esp <folder>', 'uki: where the EFI system partition is mounted; by default looked for in usual places')
    .option('--boot-tries <n>', 'uki: boots in which an image may prove itself', tries, 3)
    .option('--reboot-command <words>', 'uki: what reboots this machine', 'systemctl reboot')
    .option(
      '--health-command <words>',
      'uki: ends with 0 when this machine is well; by default it is when the agent runs',
    )
    .addOption(
      new Option('--claim <name=value...>', 'cluster claims to register with').argParser(claim).default({}, 'none'),
    )
    .option('--hub-url <url...>', 'reach the hub there instead of at the addresses it signed (a relay, a NAT)', [])
    .option('--nats-url <url...>', 'the same for its NATS', [])
    .option('--poll-seconds <n>', 'look for a newer desired state so often, hints apart', seconds, 600)
    .option('--heartbeat-seconds <n>', 'say so often that this node is there', seconds, 30)
    .option('--reconnect-seconds <n>', 'the longest pause between two attempts to connect', seconds, 300)
    .option('--unheard-seconds <n>', 'ask the hub why when it has taken no statement for so long', seconds, 300)
    .option('--watch-seconds <n>', 'look so often at a boot that must prove itself', seconds, 1)
    .option('--outbox-mib <n>', 'from so much in agent.db on, only what proves an upgrade is said', mib, BOUND_MIB)
    .option('--end-with-stdin', 'stop when standard input closes: for a program that starts this one')
    .addOption(
      new Option('--log-level <level>', 'the least that is logged')
        .choices(['fatal', 'error', 'warn', 'info', 'debug', 'trace'])
        .default('info'),
    )
  program.command('status').description("print this site's own view, with no hub needed (JSON)")
  for (const command of program.commands) {
    command
      .addOption(
        new Option('--data <folder>', 'where keys, database and slots live')
          .env('SKERRY_AGENT_DATA')
          .default('.data/agent'),
      )
      .action((options: Record<string, unknown>) => {
        parsed = { verb: command.name() === 'status' ? 'status' : 'run', config: toConfig(options) }
      })
  }
  program.parse([...argv], { from: 'user' })
  if (!parsed) throw new Error('commander ran no command')
  return parsed
}

function toConfig(options: Record<string, unknown>): AgentConfig {
  const text = (name: string) => (typeof options[name] === 'string' ? options[name] : undefined)
  const list = (name: string) => (Array.isArray(options[name]) ? options[name].map(String) : [])
  const ms = (name: string, otherwise: number) => (typeof options[name] === 'number' ? options[name] : otherwise) * 1000
  return {
    dataDir: String(options['data']),
    bundleFile: text('bundle'),
    nodeName: text('nodeName') ?? hostname(),
    cluster: text('cluster'),
    hardwareId: text('hardwareId') ?? 'generic',
    driver:
      text('driver') === 'uki'
        ? {
            name: 'uki',
            esp: text('esp'),
            bootTries: typeof options['bootTries'] === 'number' ? options['bootTries'] : 3,
            rebootCommand: text('rebootCommand') ?? 'systemctl reboot',
            healthCommand: text('healthCommand'),
          }
        : { name: 'slots', factoryImage: text('factoryImage') },
    tpm: text('tpm') ?? 'auto',
    eventLog: text('eventLog') ?? EVENT_LOG,
    claims: options['claim'] as AgentConfig['claims'],
    hubUrls: list('hubUrl'),
    natsUrls: list('natsUrl'),
    pollMs: ms('pollSeconds', 600),
    heartbeatMs: ms('heartbeatSeconds', 30),
    reconnectMs: ms('reconnectSeconds', 300),
    unheardMs: ms('unheardSeconds', 300),
    watchMs: ms('watchSeconds', 1),
    outboxBytes: (typeof options['outboxMib'] === 'number' ? options['outboxMib'] : BOUND_MIB) * 1024 ** 2,
    logLevel: text('logLevel') ?? 'info',
    endWithStdin: options['endWithStdin'] === true,
  }
}

function claim(text: string, before: Readonly<Record<string, string>>): Record<string, string> {
  const [name, ...value] = text.split('=')
  if (!name || value.length === 0) throw new InvalidArgumentError('A claim is written as name=value.')
  return { ...before, [name]: value.join('=') }
}

function seconds(text: string): number {
  const value = Number(text)
  if (!Number.isFinite(value) || value <= 0) throw new InvalidArgumentError('A number of seconds above 0 is wanted.')
  return value
}

function tries(text: string): number {
  const value = Number(text)
  if (!Number.isInteger(value) || value < 1 || value > 9)
    throw new InvalidArgumentError('A whole number from 1 to 9 is wanted.')
  return value
}

function mib(text: string): number {
  const value = Number(text)
  if (!Number.isInteger(value) || value < LEAST_BOUND_MIB)
    throw new InvalidArgumentError(`A whole number of MiB is wanted, ${LEAST_BOUND_MIB} or more.`)
  return value
}
