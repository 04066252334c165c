import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { onTestFinished } from 'vitest'
import { buildProgram } from '../program.ts'

// The other end of the wire where no hub would say what a test needs: one that answers as it is told to.

/** What a command prints of a hub that answers so. */
export async function printedOf(
  answer: RequestListener,
  command: readonly string[],
  { now, stdin = '' }: { now: () => string; stdin?: string },
): Promise<string> {
  const server = createServer(answer)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(async () => {
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  })
  const out: string[] = []
  const shell = {
    out: (text: string) => void out.push(text),
    err: () => {},
    now: () => Date.parse(now()),
    env: {},
    signal: new AbortController().signal,
    stdin: async () => stdin,
  }
  const there = ['--server', `http://127.0.0.1:${(server.address() as AddressInfo).port}`, '--token', 'secret']
  await buildProgram(shell).parseAsync([...command, ...there], { from: 'user' })
  return out.join('')
}
