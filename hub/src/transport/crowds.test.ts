import { connect, credsAuthenticator } from '@nats-io/transport-node'
import { until } from '@skerry/supervise'
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import { MAX_CONNECTIONS } from './crowds.ts'
import { openWorld, type TestNode } from './fixture.ts'

let world: Awaited<ReturnType<typeof openWorld>>
beforeAll(async () => {
  world = await openWorld()
})
afterAll(() => world?.close())

async function dial({ creds }: TestNode) {
  const nc = await connect({
    servers: world.url,
    authenticator: credsAuthenticator(Buffer.from(creds)),
    reconnect: false,
  })
  onTestFinished(() => nc.close())
  return nc
}

test('a credential holds a bounded number of connections; its first ones and its neighbours stay, and an end makes room', async () => {
  const [greedy, other] = [await world.addNode('greedy'), await world.addNode('other')]
  const neighbour = await dial(other)
  const first = await dial(greedy)
  const all = [first]
  for (let n = 1; n < MAX_CONNECTIONS; n += 1) all.push(await dial(greedy))
  // One too many may be ended before its client has heard that it is connected.
  for (let n = 0; n < 12; n += 1)
    all.push(
      ...(await dial(greedy).then(
        (nc) => [nc],
        () => [],
      )),
    )
  const open = () => all.filter((nc) => !nc.isClosed())
  await until(() => open().length <= MAX_CONNECTIONS, 'the others being ended', 30_000)
  await Promise.all([first, neighbour, ...open()].map((nc) => nc.flush()))
  expect([open().length, first.isClosed(), neighbour.isClosed()]).toEqual([MAX_CONNECTIONS, false, false])

  await open()[1]?.close()
  await until(
    async () => {
      const next = await dial(greedy).catch(() => undefined)
      return (
        next?.flush().then(
          () => !next.isClosed(),
          () => false,
        ) ?? false
      )
    },
    'a place for another',
    30_000,
  )
})
