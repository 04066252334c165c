import assert from 'node:assert/strict'
import type { Part } from '@skerry/demo'
import { assertActivatedOnce, assertEvidenceBooted } from '../boots.ts'
import { assertChain, transitionsOf } from '../chain.ts'
import type { LogEntry, Site } from '../site.ts'
import type { World } from '../world.ts'
import type { Story } from './story.ts'

/** Named points of an upgrade: the moment the site's agent says so, the part is killed. */
const POINTS: Readonly<Record<string, (entry: LogEntry) => boolean>> = {
  accepted: ({ msg }) => msg === 'desired state accepted',
  staging: ({ msg, effect }) => msg === 'effect begins' && effect === 'Stage',
  activating: ({ msg, effect }) => msg === 'effect begins' && effect === 'Activate',
  verifying: ({ msg, to }) => msg === 'node went on' && to === 'Verifying',
  confirming: ({ msg, effect }) => msg === 'effect begins' && effect === 'Confirm',
  confirmed: ({ msg, reason }) => msg === 'node went on' && reason === 'Confirmed',
}

const VICTIMS: Readonly<Record<string, (world: World, site: Site) => Promise<void>>> = {
  agent: async (_, site) => {
    await site.kill()
    site.start()
  },
  hub: (world) => world.restartHub(),
  // The hub's own children: it starts them again by itself.
  nats: (world) => killChild(world, 'nats'),
  postgres: (world) => killChild(world, 'postgres'),
}

export const killAnything: Story = {
  name: 'kill-anything',
  tells: 'kill -9 of agent, hub, nats-server and PostgreSQL at named points of an upgrade: the same end every time',
  async play(world) {
    const rounds = Object.keys(VICTIMS).flatMap((victim) => Object.keys(POINTS).map((point) => ({ victim, point })))
    await world.raise(rounds.length + 1)
    await world.join(['plant-a', 'plant-b'])
    const [watched] = world.sites
    assert.ok(watched)
    for (const [index, { victim, point }] of rounds.entries()) {
      const [kill, matches] = [VICTIMS[victim], POINTS[point]]
      assert.ok(kill && matches)
      const version = index + 2
      const reached = watched.says(`being ${point}`, matches)
      const [name] = await Promise.all([world.rollOut(version), reached])
      await kill(world, watched)
      // A site that is out of reach for a moment does not hold up completion: it catches up, and then the end is the same.
      const end = await world.rolloutUntil(
        name,
        `Completed on both sites after kill -9 of ${victim} when ${point}`,
        ({ phase, counts }) => phase === 'Completed' && counts?.succeeded === world.sites.length,
        180_000,
      )
      assert.deepEqual(
        end.clusters?.map(({ name, state }) => [name, state]),
        world.sites.map(({ name }) => [name, 'Succeeded']),
      )
      world.say(`kill -9 of ${victim} when ${point}: both sites run version ${version}`)
    }

    const client = world.client()
    const images = await Promise.all(
      Array.from({ length: rounds.length + 1 }, async (_, index) => {
        return (await client.get('OSImage', undefined, `edge-os-${index + 1}`)).spec.image.sha256
      }),
    )
    for (const site of world.sites) {
      const chain = await assertChain(client, site)
      // What the machine did, beside what the node said of it.
      assertActivatedOnce(site.name, site.boots(), images)
      assertEvidenceBooted(site.name, site.boots(), chain)
      for (const [index, sha256] of images.entries()) {
        if (index === 0) continue
        const version = index + 1
        const transitions = transitionsOf(chain, sha256)
        const count = (holds: (body: (typeof transitions)[number]) => boolean) => transitions.filter(holds).length
        const about = `${site.name}, version ${version}`
        assert.equal(
          count(({ to }) => to === 'Activating'),
          1,
          `${about}: activated once`,
        )
        assert.equal(
          count(({ reason }) => reason === 'Confirmed'),
          1,
          `${about}: confirmed once`,
        )
        assert.equal(
          count(({ to }) => to === 'Failed' || to === 'RollingBack'),
          0,
          `${about}: never taken back`,
        )
      }
    }
    world.say(
      `no statement lost or doubled, no image activated twice, in ${rounds.length} upgrades of two sites and ${world.boots()} boots of their machines`,
    )
  },
}

async function killChild(world: World, part: Part): Promise<void> {
  const again = world.hub().restarted(part)
  process.kill(world.hub().pidOf(part), 'SIGKILL')
  await again
}
