import pino from 'pino'
import { runAgent } from './agent.ts'
import { parseCommand } from './config.ts'
import { reasonOf } from './reason.ts'
import { siteView } from './status.ts'

// skerry-agent: `run` (default) and `status`. Logs are JSON lines on standard error.

const { verb, config } = parseCommand(process.argv.slice(2))
if (verb === 'status') {
  try {
    console.log(JSON.stringify(siteView(config.dataDir), null, 2))
  } catch (error) {
    console.error(`skerry-agent: ${reasonOf(error)}`)
    process.exit(1)
  }
} else {
  const log = pino({ level: config.logLevel, base: null }, pino.destination(2))
  const over = new AbortController()
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => over.abort(new Error(signal)))
  if (config.endWithStdin)
    process.stdin.resume().once('close', () => over.abort(new Error('standard input has closed')))
  try {
    await runAgent(config, log, over.signal)
  } catch (error) {
    if (!over.signal.aborted) {
      log.fatal({ err: error }, 'the agent cannot go on')
      console.error(`skerry-agent: ${reasonOf(error)}`)
      process.exit(1)
    }
  }
  process.exit(0)
}
