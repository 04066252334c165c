import assert from 'node:assert/strict'
import { eventually, FAMILY } from '@skerry/demo'
import { assertChain, statementsOf, transitionsOf } from '../chain.ts'
import { NAMESPACE } from '../world.ts'
import type { Story } from './story.ts'

const [FAR, ...NEAR] = ['farm-far', 'farm-near', 'farm-town']
/** Enough to stage on a busy machine, and no longer than a person likes to wait. */
const UNTIL_WINDOW_MS = 25_000
const WAVES = [{ startAfter: `${UNTIL_WINDOW_MS / 1000}s`, percent: 100, spread: '30s' }]

export const offlineSlots: Story = {
  name: 'offline-slots',
  tells:
    "a site's link is cut after staging and before its window and its minute in the rollout's waves: it activates by itself when both have come, and its statements arrive later, in order, once",
  async play(world) {
    await world.raise(2)
    const client = world.client()
    await world.join([FAR, ...NEAR])
    const far = world.sites[0]
    assert.ok(far)

    const opens = nextMinute(Date.now() + UNTIL_WINDOW_MS)
    const name = await world.rollOut(2, {
      strategy: {
        type: 'Progressive',
        progressive: { maxConcurrency: 1, minSuccessTime: '0s', progressDeadline: '10m' },
      },
      windows: {
        activation: [
          { at: `${opens.getUTCMinutes()} ${opens.getUTCHours()} * * *`, timeZone: 'UTC', durationSeconds: 600 },
        ],
      },
      waves: WAVES,
    })
    const staged = await world.rolloutUntil(name, `${FAR} staged and waiting`, (status) =>
      (status.clusters ?? []).some((cluster) => cluster.name === FAR && cluster.state === 'WaitingForWindow'),
    )
    const { waveAt = '' } = staged.clusters?.find((cluster) => cluster.name === FAR) ?? {}
    assert.equal(far.view().desired?.waveAt, waveAt, 'site and hub work out the same minute')
    const dueMs = Math.max(opens.getTime(), Date.parse(waveAt))
    const known = (await statementsOf(client, FAR)).length
    far.link.cut()
    assert.ok(Date.now() < opens.getTime(), 'the link is cut before the window opens')
    world.say(
      `${FAR} has staged ${FAMILY}-2; its link is cut ${Math.round((dueMs - Date.now()) / 1000)} s before its window is open and its minute, ${waveAt}, has come`,
    )

    // One at a time: the others get their turn, because a cluster that waits for its window holds no slot.
    const meanwhile = await world.rolloutUntil(
      name,
      'the other sites Succeeded while one is away',
      ({ counts }) => counts?.succeeded === NEAR.length,
      180_000,
    )
    await eventually(
      async () => {
        const { status } = await client.get('ManagedCluster', undefined, FAR)
        return status?.conditions?.some(({ type, reason }) => type === 'Reachable' && reason === 'Offline')
      },
      `the hub saying that ${FAR} is Offline`,
      60_000,
    )
    // It had the order before it went dark, so it is not Offline in the rollout: what it does is not known, and not claimed.
    assert.equal(meanwhile.clusters?.find((one) => one.name === FAR)?.state, 'WaitingForWindow')
    assert.notEqual(meanwhile.phase, 'Completed', 'nothing is claimed of a site that is away')
    const decided = await client.list('PlacementDecision', { namespace: NAMESPACE })
    assert.ok(
      decided.some(({ status }) => status?.decisions?.some(({ clusterName }) => clusterName === FAR)),
      'a site that is away stays selected',
    )
    assert.equal((await statementsOf(client, FAR)).length, known, 'nothing came through the cut link')
    assert.notEqual((await client.list('EdgeNode', { namespace: FAR }))[0]?.status?.image?.name, `${FAMILY}-2`)
    world.say(`the hub goes on: ${NEAR.join(' and ')} run ${FAMILY}-2, ${FAR} is Offline and still selected`)

    const imageSha256 = (await client.get('OSImage', undefined, `${FAMILY}-2`)).spec.image.sha256
    await eventually(
      async () => {
        const { phase, confirmed } = far.view()
        return phase === 'Idle' && confirmed?.imageSha256 === imageSha256
      },
      `${FAR} activating and confirming with no link`,
      120_000,
    )
    assert.equal((await statementsOf(client, FAR)).length, known, 'it still has no link')
    assert.ok(far.view().statementsWaiting > 0, 'its statements wait')
    world.say(`${FAR} activated by itself; ${far.view().statementsWaiting} statements wait`)

    const mended = new Date()
    far.link.mend()
    const end = await world.rolloutUntil(
      name,
      'Completed once the link is back',
      ({ phase }) => phase === 'Completed',
      90_000,
    )
    assert.equal(end.counts?.succeeded, 3)
    const chain = await assertChain(client, far)
    assert.equal(transitionsOf(chain, imageSha256).filter(({ to }) => to === 'Activating').length, 1, 'activated once')
    const waits = transitionsOf(chain, imageSha256).find(({ reason }) => reason === 'WaveNotDue')
    assert.match(waits?.message ?? '', new RegExp(`waves is ${waveAt}`), 'it said what it waits for')
    const late = (await statementsOf(client, FAR)).slice(known)
    assert.ok(late.length > 0)
    for (const { told, statement } of late) {
      assert.ok(
        Date.parse(told.receivedAt) >= mended.getTime() - 1_000,
        `statement ${told.seq} came after the link was back`,
      )
      assert.ok(
        Date.parse(statement.time.wall) < mended.getTime() || statement.seq > known,
        'it tells when it happened',
      )
    }
    const activated = late.find(
      ({ statement }) => statement.kind === 'transition' && statement.body.to === 'Activating',
    )
    assert.ok(activated, 'the activation is among what came late')
    const at = Date.parse(activated.statement.time.wall)
    assert.ok(
      at >= dueMs && at < mended.getTime(),
      'it activated inside its window, not before its minute, and before the link was back',
    )
    await eventually(async () => far.view().statementsWaiting === 0, 'the hub acknowledging all of it', 30_000)
    world.say(`${late.length} statements arrived late, in order, once`)
  },
}

function nextMinute(afterMs: number): Date {
  return new Date(Math.ceil(afterMs / 60_000) * 60_000)
}
