import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { contextsFile, saveContext } from '@skerry/client'
import { Command, InvalidArgumentError } from 'commander'
import { startAgent, tellEnd } from './agent-process.ts'
import { openCeremony } from './ceremony.ts'
import { type HubProcess, introduction, startHub } from './hub-process.ts'
import { buildImage, FAMILY, releaseOf } from './images.ts'
import { createJoinToken } from './objects.ts'
import { type Program, ROOT } from './program.ts'
import { openScreen } from './screen.ts'
import { placeShops, SHOPS, tellJoining, tellRollout } from './story.ts'

// npm start: a hub and three sites on this machine, and the story they tell. Then it keeps serving.

const options = new Command('npm start --')
  .description('A hub, three sites, an upgrade that works and one that is rolled back.')
  .option('--data <folder>', 'where everything is kept; the next start goes on from it', '.data')
  .option('--port <port>', "the hub's port; when it is taken, another is chosen", port, 7443)
  .option('--no-demo', 'only the hub: no sites, no story')
  .showHelpAfterError()
  .parse()
  .opts<{ data: string; port: number; demo: boolean }>()

const data = resolve(options.data)
const screen = openScreen()
const agents: Program[] = []
let hub: HubProcess | undefined
let hubProgram: Program | undefined
let stopping: Promise<void> | undefined

// Who read what we print is gone, as after `npm start | head`: that is an end as Ctrl-C is.
process.stdout.on('error', () => void stop(1))
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => void stop(0))
// npm that was killed without a turn leaves us behind: another parent is all there is to see of it.
if (process.env['npm_lifecycle_event'] === 'start') {
  const parent = process.ppid
  setInterval(() => process.ppid !== parent && void stop(1), 1_000).unref()
}

try {
  await main()
} catch (error) {
  if (!stopping) {
    screen.bad(error instanceof Error ? error.message : String(error))
    await stop(1)
  }
}

async function main(): Promise<void> {
  mkdirSync(data, { recursive: true, mode: 0o700 })
  const args = ['--port', String(options.port)]
  const hubDir = join(data, 'hub')
  screen.step('Starting the hub: PostgreSQL, nats-server and the API (a first start may take a minute or two)')
  const started = await startHub({
    ...{ dataDir: hubDir, args, logFile: join(data, 'hub.log'), say: screen.say },
    onProgram: (program) => {
      hubProgram = program
    },
  })
  hub = started
  void started.program.exited.then((code) => {
    if (stopping) return
    screen.bad(`the hub ended (${code}); its log is ${join(data, 'hub.log')}`)
    void stop(1)
  })
  saveContext({ name: 'local', server: started.apiUrl, caPem: started.caPem, token: started.adminToken })
  screen.good(`the hub answers at ${started.apiUrl}`)
  if (options.demo) await tell(started, introduction(hubDir, args))
  ending(started)
}

async function tell(started: HubProcess, known: ReturnType<typeof introduction>): Promise<void> {
  const { client } = started
  screen.step('Signing: six offline keys, two of three needed for root and for images')
  screen.say(
    '(this demo keeps the “offline” keys on the same disk as the hub: yours must lie elsewhere, with different people)',
  )
  const ceremony = openCeremony(join(data, 'offline'), known, Date.now())
  const images = [
    releaseOf(buildImage(join(data, 'images'), '1', { healthy: true, ballastBytes: 2_000_000 }), 1),
    releaseOf(buildImage(join(data, 'images'), '2', { healthy: true, ballastBytes: 2_000_000 }), 2),
    releaseOf(buildImage(join(data, 'images'), '3', { healthy: false, ballastBytes: 2_000_000 }), 3),
  ]
  await ceremony.publish(client, images)
  screen.good(`published ${FAMILY} 1, 2 and 3; sites will trust root ${ceremony.thumbprint.slice(0, 16)}…`)

  screen.step('Three sites start; a new one registers with a join token and is accepted by its rule')
  const token = await joinToken(started)
  const sinceMs = Date.now()
  const bundle = ceremony.bundle([started.apiUrl], started.caPem, token)
  for (const name of SHOPS) {
    const dir = join(data, 'sites', name)
    const agent = startAgent({
      name,
      dir,
      bundle,
      factoryImage: images[0]?.file ?? '',
      args: ['--claim', 'kind=shop', '--hub-url', started.apiUrl, '--nats-url', started.natsUrl],
    })
    agents.push(agent)
    void tellEnd(agent, { name, dir }, screen, () => stopping !== undefined)
  }
  await tellJoining(client, screen, sinceMs)
  await placeShops(client)

  await tellRollout(client, screen, {
    name: `${FAMILY}-2`,
    opening: 'one shop at a time',
    phase: 'Completed',
    ending: 'every shop runs it, each in a boot it proved healthy; the rollout is Completed',
  })
  await tellRollout(client, screen, {
    name: `${FAMILY}-3`,
    opening: 'an image that never becomes healthy',
    phase: 'Paused',
    ending: 'one shop tried it and went back by itself; the rollout is Breached, and no other shop was sent it',
  })
}

// One token for the demo's life: its secret is kept where the demo's other secrets are.
async function joinToken({ client }: HubProcess): Promise<string> {
  const file = join(data, 'join.token')
  if (existsSync(file)) return readFileSync(file, 'utf8')
  const token = await createJoinToken(
    client,
    `demo-${Date.now().toString(36)}`,
    { maxUses: SHOPS.length, expiresAt: new Date(Date.now() + 30 * 86_400_000).toISOString() },
    Date.now(),
  )
  writeFileSync(file, token, { mode: 0o600 })
  return token
}

function ending({ apiUrl, adminToken }: HubProcess): void {
  const commands = options.demo
    ? [
        'npx skerry get clusters',
        `npx skerry describe rollout ${FAMILY}-3`,
        'npx skerry explain placement all-shops',
        'npx skerry report export -o json',
      ]
    : [
        'npx skerry get clusters',
        `npx skerry-hub init --data ${join(options.data, 'hub')} > introduction.json`,
        'npx skerry trust init --introduction introduction.json --out trust',
        'npx skerry image sign --trust trust --key signer-1 --key signer-2 && npx skerry image publish --trust trust',
      ]
  console.log(
    `\nThe hub serves at ${apiUrl}\nAdmin token: ${adminToken}\nContext "local" is in ${contextsFile()}\n\nIn a second terminal, in this folder (elsewhere npx would ask the registry for another skerry):\n  cd ${ROOT}\n${commands.map((command) => `  ${command}`).join('\n')}\n\nCtrl-C stops everything. The next start goes on from ${options.data}; delete that folder to begin anew.`,
  )
}

function stop(code: number): Promise<void> {
  stopping ??= (async () => {
    await Promise.allSettled(agents.map((agent) => agent.stop()))
    if (hub === undefined) screen.say('stopping before the hub has started …')
    await hubProgram?.stop(30_000)
    await hub?.client.close().catch(() => undefined)
    process.exit(code)
  })()
  return stopping
}

function port(text: string): number {
  const value = Number(text)
  if (!Number.isInteger(value) || value < 0 || value > 65_535)
    throw new InvalidArgumentError('A port is a number from 0 to 65535.')
  return value
}
