import { once } from 'node:events'
import { rmSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { leftovers } from '@skerry/supervise'
import pino from 'pino'
import { type HubCommand, parseCommand } from './config.ts'
import { startHub } from './hub.ts'
import { introduce } from './introduction.ts'
import { openCertificates } from './keys/certificates.ts'
import { openKeys } from './keys/keys.ts'
import { serverConfig } from './transport/index.ts'

// skerry-hub: `serve` (default), `init`, `nats-config` and `leftovers`. Logs go to standard error, answers to standard output.

const command = parseCommand(process.argv.slice(2), process.env)
const out = pino.destination(2)
const log = pino({ level: command.config.logLevel, base: null, redact: ['req.headers.authorization', 'token'] }, out)

if (command.verb === 'serve') await serve(command)
else
  await answer(command).catch((error: unknown) => {
    console.error(`skerry-hub: ${reasonOf(error)}`)
    process.exit(1)
  })

/** What is done at once and needs no hub that runs. */
async function answer(command: Exclude<HubCommand, { verb: 'serve' }>): Promise<void> {
  if (command.verb === 'init') {
    process.stdout.write(
      `${JSON.stringify(await introduce(command.config, (sentence) => log.info(sentence)), null, 2)}\n`,
    )
  } else if (command.verb === 'leftovers') {
    const found = leftovers()
    if (found.length === 0) log.info('there are no leftovers')
    for (const { path, dataDir } of found) {
      if (command.remove) rmSync(path, { recursive: true, force: true })
      process.stdout.write(`${command.remove ? 'deleted ' : ''}${path} of ${dataDir}, which is gone\n`)
    }
  } else if (command.verb === 'nats-config') {
    const folder = join(resolve(command.config.dataDir), 'keys')
    const { dir, listen, tlsNames } = command.nats
    const { nats } = openKeys(folder)
    const tls = tlsNames && (await openCertificates(folder, tlsNames, 'nats')).files
    const port = listen.slice(listen.lastIndexOf(':') + 1)
    const url = tls ? `tls://${tlsNames[0]}:${port}` : `nats://127.0.0.1:${port}`
    const remark = tls
      ? "# tls: a certificate of the hub's own CA, which sites know. On another machine, copy both files and say where.\n"
      : ''
    // Whom the hub has revoked it tells the server itself, at every connection.
    process.stdout.write(
      `# The hub is started with NATS_URL=${url}\nlisten: "${listen}"\n${remark}${serverConfig(nats, new Map(), resolve(dir), tls)}`,
    )
  }
}

async function serve(command: Extract<HubCommand, { verb: 'serve' }>): Promise<void> {
  // A person may end it while it starts: a first start builds a nats-server.
  const over = new AbortController()
  const stop = (because: string) => {
    if (over.signal.aborted) return
    log.info({ because }, 'stopping')
    over.abort(new Error(because))
  }
  if (command.endWithStdin) process.stdin.resume().once('close', () => stop('end of standard input'))
  process.on('SIGTERM', () => stop('SIGTERM'))
  process.on('SIGINT', () => stop('SIGINT'))
  // Whoever read there is gone; how this hub ends says its standard input or a signal.
  process.stdout.on('error', () => {})
  try {
    // Two forms of line, for a program that started this one: once it answers, and whenever a part of it was started again.
    const tell = (line: object) => process.stdout.write(`${JSON.stringify(line)}\n`)
    const hub = await startHub(command.config, log, {
      onRestart: (restarted, pid) => tell({ restarted, pid }),
      starting: over.signal,
    })
    const { apiUrl, plainUrl, natsUrl, pids } = hub
    tell({ ready: true, apiUrl, ...(plainUrl ? { plainUrl } : {}), natsUrl, pids })
    if (!over.signal.aborted) await once(over.signal, 'abort')
    await hub.stop()
    await end(0)
  } catch (error) {
    if (over.signal.aborted) await end(0)
    log.fatal({ err: error }, 'the hub cannot start')
    await end(1, `skerry-hub: ${reasonOf(error)}\n`)
  }
}

/** Ends with this as the last line: what the log still has under way would be lost, or come after it. */
async function end(code: number, last = ''): Promise<never> {
  // Whoever read there may be gone, or read no more: then it is not waited for.
  const long = new Promise((done) => setTimeout(done, 2_000))
  const written = once(out, 'drain').catch(() => undefined)
  out.write(last)
  await Promise.race([written, long])
  process.exit(code)
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
