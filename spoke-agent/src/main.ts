import { once } from 'node:events'
import pino from 'pino'
import { runAgent } from './agent.ts'
import { parseCommand } from './config.ts'
import { reasonOf } from './reason.ts'
import { siteView } from './status.ts'

// skerry-agent: `run` (default) and `status`. Logs are JSON lines on standard error.

const out = pino.destination(2)

const { verb, config } = parseCommand(process.argv.slice(2))
if (verb === 'status') {
  try {
    console.log(JSON.stringify(siteView(config.dataDir), null, 2))
  } catch (error) {
    console.error(`skerry-agent: ${reasonOf(error)}`)
    process.exit(1)
  }
} else {
  const log = pino({ level: config.logLevel, base: null }, out)
  const over = new AbortController()
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => over.abort(new Error(signal)))
  if (config.endWithStdin)
    process.stdin.resume().once('close', () => over.abort(new Error('standard input has closed')))
  try {
    await runAgent(config, log, over.signal)
  } catch (error) {
    if (!over.signal.aborted) {
      log.fatal({ err: error }, 'the agent cannot go on')
      await end(1, `skerry-agent: ${reasonOf(error)}\n`)
    }
  }
  await end(0)
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
