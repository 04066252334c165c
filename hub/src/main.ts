import pino from 'pino'
import { parseCommand } from './config.ts'
import { introduce, startHub } from './hub.ts'

// skerry-hub: `serve` (default) and `init`. Logs go to standard error, answers to standard output.

const command = parseCommand(process.argv.slice(2), process.env)
const log = pino(
  { level: command.config.logLevel, base: null, redact: ['req.headers.authorization', 'token'] },
  pino.destination(2),
)

if (command.verb === 'init') {
  process.stdout.write(`${JSON.stringify(await introduce(command.config, log), null, 2)}\n`)
} else {
  try {
    const hub = await startHub(command.config, log)
    process.stdout.write(
      `${JSON.stringify({ ready: true, apiUrl: hub.apiUrl, natsUrl: hub.natsUrl, pids: hub.pids })}\n`,
    )
    const stop = async (signal: string) => {
      log.info({ signal }, 'stopping')
      await hub.stop()
      process.exit(0)
    }
    process.once('SIGTERM', () => void stop('SIGTERM'))
    process.once('SIGINT', () => void stop('SIGINT'))
  } catch (error) {
    log.fatal({ err: error }, 'the hub cannot start')
    console.error(`skerry-hub: ${error instanceof Error ? error.message : String(error)}`)
    process.exit(1)
  }
}
