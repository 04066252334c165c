import { randomBytes } from 'node:crypto'
import { connect, credsAuthenticator } from '@nats-io/transport-node'
import { until } from '@skerry/supervise'
import { testFolder, testNatsServer } from '@skerry/supervise/testing'
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import { listRevocations, MAX_TOLD, revokeKey } from '../store/nats-keys.ts'
import { write } from '../store/store.ts'
import { openWorld } from './fixture.ts'
import { serverConfig } from './layout.ts'
import { base32 } from './nkeys.ts'

// All revocations travel in one account JWT, and nats-server has a bound for it: that there are many must not keep the
// next one from being told, nor a server from starting.

let world: Awaited<ReturnType<typeof openWorld>>
beforeAll(async () => {
  world = await openWorld()
})
afterAll(() => world?.close())
beforeEach(async () => {
  await world.store.sql`delete from nats_revocation`
})

/** A node that ended so many keys, one a second, the newest a minute ago. */
async function ended(node: string, count: number): Promise<string[]> {
  const keys = Array.from({ length: count }, () => `U${base32(randomBytes(35)).slice(1)}`)
  await world.store.sql`insert into nats_revocation (nats_key, cluster, node, revoked_at, expires_at)
    select key, ${node}, 'n1', now() - make_interval(secs => 60 + ${count} - n), now() + interval '90 days'
    from unnest(${keys}::text[]) with ordinality as u(key, n)`
  return keys
}

const revoke = ({ cluster, node, user }: Awaited<ReturnType<typeof world.addNode>>) => {
  const row = { cluster, node, natsKey: user.pub, credentialExpiresAt: new Date(Date.now() + 3_600_000) }
  return write(world.store, (tx) => revokeKey(tx, row, Date.now()))
}

describe('with 20,000 rows of one node', () => {
  test('a key of another that is ended now is cut off and refused; a third goes on', async () => {
    await ended('loop', 20_000)
    const [stolen, other] = [await world.addNode('stolen'), await world.addNode('other')]
    const [nc, otherNc] = [await world.connectNode(stolen), await world.connectNode(other)]
    await revoke(stolen)
    const { told, leftOut } = await listRevocations(world.store.sql)
    expect([told.size, leftOut]).toEqual([MAX_TOLD, 20_001 - MAX_TOLD])
    await world.hub.pushSites(told)
    await until(() => nc.isClosed(), 'the ended node being cut off', 30_000)
    const again = connect({ servers: world.url, authenticator: credsAuthenticator(Buffer.from(stolen.creds)) })
    await expect(again).rejects.toThrow(/authorization/i)
    await otherNc.flush()
  })

  test('a server starts', async () => {
    await ended('loop', 20_000)
    const { told } = await listRevocations(world.store.sql)
    const dir = testFolder()
    const server = await testNatsServer(serverConfig(world.keys, told, dir), { dir })
    onTestFinished(() => server.stop())
  })
})

const rows = (count: number) =>
  new Map(Array.from({ length: count }, () => [`U${base32(randomBytes(35)).slice(1)}`, 9_999_999_999]))

test('the bound is what the server takes: 300 rows more are refused', async () => {
  await world.hub.pushSites(rows(MAX_TOLD))
  await expect(world.hub.pushSites(rows(MAX_TOLD + 300))).rejects.toThrow(/max.?payload|too large/i)
  await world.hub.pushSites(new Map())
})

test('a push that fails is a fault with its reason and what to do, until one succeeds or another hub pushes', async () => {
  const fails = () => expect(world.hub.pushSites(many)).rejects.toThrow()
  const many = rows(12_000)
  expect(world.hub.revocationsFault()).toBeUndefined()
  await fails()
  expect(world.hub.revocationsFault()).toMatch(/not told of 12000 revoked keys.*max_payload.*nats-config/)
  await world.hub.pushSites(new Map())
  expect(world.hub.revocationsFault()).toBeUndefined()
  await fails()
  world.hub.leaveSites()
  expect(world.hub.revocationsFault()).toBeUndefined()
})

test('what does not fit are the oldest keys of whoever has most', async () => {
  const [many, few, one] = [await ended('many', 9), await ended('few', 2), await ended('one', 1)]
  const { told, leftOut } = await listRevocations(world.store.sql, 6)
  expect(leftOut).toBe(6)
  expect([...told.keys()].toSorted()).toEqual([...many.slice(-3), ...few, ...one].toSorted())
})
