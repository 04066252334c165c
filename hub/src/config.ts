import { LONGEST_REMOVAL_WINDOW_MS, REMOVAL_GUARD, type ReachabilityLimits, type RemovalGuard } from '@skerry/policy'
import { Command, InvalidArgumentError, Option } from 'commander'

/** Which parts of the hub one process runs. */
export const ROLES = ['api', 'controllers', 'ingest'] as const
type Role = (typeof ROLES)[number]

export type HubConfig = {
  readonly dataDir: string
  readonly roles: readonly Role[]
  readonly host: string
  readonly port: number
  readonly httpPort: number | undefined
  readonly names: readonly string[]
  readonly databaseUrl: string | undefined
  readonly natsUrl: string | undefined
  /** The hub's own nats-server speaks TLS. */
  readonly natsTls: boolean
  /** How long the hub hears nothing before it says so. Changes no desired state. */
  readonly reachability: ReachabilityLimits
  /** How many of a placement's clusters may leave without an approval, and within what time. */
  readonly removalGuard: RemovalGuard
  readonly logLevel: string
}

export type HubCommand =
  | { readonly verb: 'serve'; readonly config: HubConfig; readonly endWithStdin: boolean }
  | { readonly verb: 'init'; readonly config: HubConfig }
  | { readonly verb: 'leftovers'; readonly config: HubConfig; readonly remove: boolean }
  | { readonly verb: 'nats-config'; readonly config: HubConfig; readonly nats: OwnNats }

/** A nats-server of somebody's own, as its configuration has to say. */
type OwnNats = {
  readonly dir: string
  readonly listen: string
  /** By what names it is reached, which its certificate has to show; undefined on loopback, where nothing is encrypted. */
  readonly tlsNames: readonly string[] | undefined
}

const LOG_LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'trace']
const LONGEST_WINDOW_S = LONGEST_REMOVAL_WINDOW_MS / 1_000
const LOOPBACK = ['127.0.0.1', '::1', 'localhost']

/** What argv and environment ask for. An unknown flag, or a value that cannot be, ends in commander's error naming it (exit 2). */
export function parseCommand(argv: readonly string[], env: NodeJS.ProcessEnv): HubCommand {
  let parsed: HubCommand | undefined
  const program = new Command('skerry-hub')
    .description('The hub: stores placements and signed OS images, publishes desired state, takes in statements.')
    .showHelpAfterError()
    .exitOverride((error) => {
      process.exit(error.exitCode === 0 ? 0 : 2)
    })

  program
    .command('serve', { isDefault: true })
    .description('run the hub until it is told to stop')
    .addOption(roles())
    .option('--http-port <port>', 'also serve plain HTTP on 127.0.0.1 (loopback only)', port)
    .option('--late-after <seconds>', 'a cluster not heard from for so long is Late', seconds, 90)
    .option('--offline-after <seconds>', 'and for so long is Offline', seconds, 300)
    .option('--stale-after <seconds>', 'and for so long is Stale', seconds, 1_209_600)
    .option(
      '--max-removal-percent <percent>',
      'of the clusters of a placement no more may leave within the window without an approval; 100 is any number',
      percent,
      REMOVAL_GUARD.maxRemovalPercent,
    )
    .option(
      '--removal-window <seconds>',
      'what leaves a placement within that time counts together; 0 is each look by itself',
      window,
      REMOVAL_GUARD.windowMs / 1000,
    )
    .option('--min-held-removals <count>', 'fewer than so many are never held', whole, REMOVAL_GUARD.minimum)
    .option('--end-with-stdin', 'stop when standard input closes: for a program that starts this one')
    .addOption(new Option('--log-level <level>', 'the least that is logged').choices(LOG_LEVELS).default('info'))
  program.command('init').description('make keys, CA and addresses, and print what the offline signers need (JSON)')
  program
    .command('nats-config')
    .description(
      "print the configuration of a nats-server of your own, with this hub's accounts; NATS_URL then names it",
    )
    .option('--nats-data <folder>', 'where that server keeps its streams and accounts', '/var/lib/nats')
    .option('--listen <address:port>', 'where that server listens; with TLS unless it is loopback', '127.0.0.1:4222')
    .option('--name <name...>', 'DNS names and addresses by which sites reach it, for its certificate')
    .addOption(dataFolder())
    .action((options: Record<string, unknown>, command: Command) => {
      const listen = String(options['listen'])
      const [, host, port] = /^(.+):(\d{1,5})$/.exec(listen) ?? []
      if (host === undefined || Number(port) > 65_535) command.error(`error: --listen ${listen} is no ADDRESS:PORT`)
      const names = Array.isArray(options['name']) ? options['name'].map(String) : undefined
      const open = !LOOPBACK.includes(String(host).replace(/^\[(.*)\]$/, '$1'))
      if (open && !names)
        command.error(
          `error: --listen ${listen} is reached over a network: --name says by which names, which its certificate has to show`,
        )
      if (!open && names) command.error('error: --name is for a certificate, which a server on loopback does not need')
      const dir = String(options['natsData'])
      parsed = { verb: 'nats-config', config: toConfig(options, env), nats: { dir, listen, tlsNames: names } }
    })

  const hubs = program.commands.filter((command) => command.name() === 'serve' || command.name() === 'init')
  program
    .command('leftovers')
    .description(
      'list the PostgreSQL files, kept elsewhere when a hub runs as root, of data folders that are gone. A disk that is not mounted looks gone, and so does a data folder that was moved and on which no hub was started since: read before you delete',
    )
    .option('--delete', 'delete what is listed')
    .action((options: Record<string, unknown>) => {
      parsed = { verb: 'leftovers', config: toConfig({ data: '' }, env), remove: options['delete'] === true }
    })

  for (const command of hubs) {
    command
      .addOption(dataFolder())
      .option('--host <address>', 'address to listen on', '127.0.0.1')
      .option('--port <port>', 'HTTPS port; when it is taken, another is chosen and said', port, 7443)
      .option('--nats-tls', "TLS on the hub's own nats-server; always so when --host is no loopback address")
      .option('--name <name...>', 'DNS names and addresses in the server certificate and in hub.json', [...LOOPBACK])
      .action((options: Record<string, unknown>) => {
        const config = toConfig(options, env)
        const { lateMs, offlineMs, staleMs } = config.reachability
        if (lateMs >= offlineMs || offlineMs >= staleMs)
          command.error('error: --late-after must be less than --offline-after, and that less than --stale-after')
        if (command.name() === 'init') parsed = { verb: 'init', config }
        else parsed = { verb: 'serve', config, endWithStdin: options['endWithStdin'] === true }
      })
  }
  program.parse([...argv], { from: 'user' })
  if (!parsed) throw new Error('commander ran no command')
  return parsed
}

function dataFolder(): Option {
  return new Option('--data <folder>', 'where keys, blobs, database and broker live')
    .env('SKERRY_HUB_DATA')
    .default('.data/hub')
}

function toConfig(options: Record<string, unknown>, env: NodeJS.ProcessEnv): HubConfig {
  const number = (name: string, otherwise: number) => (typeof options[name] === 'number' ? options[name] : otherwise)
  return {
    dataDir: String(options['data']),
    roles: Array.isArray(options['roles']) ? (options['roles'] as Role[]) : [...ROLES],
    host: String(options['host']),
    port: number('port', 7443),
    httpPort: typeof options['httpPort'] === 'number' ? options['httpPort'] : undefined,
    names: Array.isArray(options['name']) ? options['name'].map(String) : [...LOOPBACK],
    databaseUrl: env['DATABASE_URL'] || undefined,
    natsUrl: env['NATS_URL'] || undefined,
    natsTls: options['natsTls'] === true || !LOOPBACK.includes(String(options['host'])),
    reachability: {
      lateMs: number('lateAfter', 90) * 1000,
      offlineMs: number('offlineAfter', 300) * 1000,
      staleMs: number('staleAfter', 1_209_600) * 1000,
    },
    removalGuard: {
      maxRemovalPercent: number('maxRemovalPercent', REMOVAL_GUARD.maxRemovalPercent),
      minimum: number('minHeldRemovals', REMOVAL_GUARD.minimum),
      windowMs: number('removalWindow', REMOVAL_GUARD.windowMs / 1000) * 1000,
    },
    logLevel: String(options['logLevel'] ?? 'info'),
  }
}

function roles(): Option {
  return new Option('--roles <list>', `which parts to run, by comma: ${ROLES.join(', ')}`)
    .default([...ROLES], 'all')
    .argParser((text) => {
      const wanted = text.split(',').map((role) => role.trim())
      for (const role of wanted) {
        if (!ROLES.some((known) => known === role))
          throw new InvalidArgumentError(`"${role}" is no role; there are ${ROLES.join(', ')}.`)
      }
      return wanted
    })
}

function port(text: string): number {
  const value = Number(text)
  if (!Number.isInteger(value) || value < 0 || value > 65_535)
    throw new InvalidArgumentError('A port is a number from 0 to 65535.')
  return value
}

function percent(text: string): number {
  const value = Number(text)
  if (!Number.isInteger(value) || value < 0 || value > 100 || text === '')
    throw new InvalidArgumentError('A percentage is a whole number from 0 to 100.')
  return value
}

function window(text: string): number {
  const value = Number(text)
  if (!Number.isInteger(value) || value < 0 || value > LONGEST_WINDOW_S || text === '')
    throw new InvalidArgumentError(`A whole number of seconds from 0 to ${LONGEST_WINDOW_S}, a week, is wanted.`)
  return value
}

function whole(text: string): number {
  const value = Number(text)
  if (!Number.isInteger(value) || value < 1) throw new InvalidArgumentError('A whole number above 0 is wanted.')
  return value
}

function seconds(text: string): number {
  const value = Number(text)
  if (!Number.isFinite(value) || value <= 0) throw new InvalidArgumentError('A number of seconds above 0 is wanted.')
  return value
}
