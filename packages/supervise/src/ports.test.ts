import { once } from 'node:events'
import { createServer } from 'node:net'
import { expect, onTestFinished, test } from 'vitest'
import { freePort } from './ports.ts'

async function take(port: number): Promise<void> {
  const server = createServer().listen(port, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => void server.close())
}

test('no port is given twice, none that is taken, and none that a system hands to whoever asks for any', async () => {
  const first = await freePort()
  await take(first + 1)
  const more = [await freePort(), await freePort()]
  expect(new Set([first, first + 1, ...more]).size).toBe(4)
  for (const port of [first, ...more]) {
    expect(port).toBeGreaterThanOrEqual(20_000)
    expect(port).toBeLessThan(30_000)
  }
})

test('the preferred one is given while it is free', async () => {
  const port = await freePort()
  expect(await freePort(port)).toBe(port)
  await take(port)
  expect(await freePort(port)).not.toBe(port)
})
