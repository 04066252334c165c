import { createKey } from '@skerry/trust'
import { expect, test } from 'vitest'
import { openWorld } from './fixture.ts'
import { registrationController } from './registration.ts'

const KEYS = ['A', 'B'].map((letter) => `U${letter.repeat(55)}`)

test('after a push that failed nothing is taken for told: what was told before is told again when the rows go back to it', async () => {
  const world = await openWorld()
  const { sql } = world.store
  const pushes: { keys: string[]; taken: boolean }[] = []
  let away = false
  const controller = registrationController({
    mint: () => 'credential',
    newRoutingToken: () => 'token',
    acceptanceSigner: createKey('EdDSA'),
    onConnected: () => undefined,
    // NATS may have taken what it did not answer: the failure says nothing about what it holds.
    pushRevocations: async (told) => {
      pushes.push({ keys: [...told.keys()], taken: !away })
      if (away) throw new Error('no answer')
    },
  })
  const revoke = (key: string | undefined) =>
    sql`insert into nats_revocation (nats_key, cluster, node, revoked_at, expires_at)
      values (${key ?? ''}, 'shop', 'n1', now(), now() + interval '1 day')`

  await revoke(KEYS[0])
  await world.look(controller)
  await world.look(controller)
  expect(pushes).toEqual([{ keys: [KEYS[0]], taken: true }])

  away = true
  await revoke(KEYS[1])
  expect((await world.look(controller)).recheckAtMs).toBeGreaterThan(0)
  await sql`delete from nats_revocation where nats_key = ${KEYS[1] ?? ''}`
  away = false
  await world.look(controller)
  await world.look(controller)
  expect(pushes.slice(1).map(({ keys, taken }) => [keys.toSorted(), taken])).toEqual([
    [KEYS, false],
    [[KEYS[0]], true],
  ])
})
