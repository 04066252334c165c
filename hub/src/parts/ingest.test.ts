import { createKey } from '@skerry/trust'
import { expect, onTestFinished, test } from 'vitest'
import { stretchPauses } from '../testing.ts'
import { openWorld, silent } from '../transport/fixture.ts'
import { type Ends, endAll } from './ends.ts'
import { openWakes } from './hints.ts'
import { takeIn } from './ingest.ts'

test('who waits for the streams ends with what failed beside it, not when its pause is over', async () => {
  const world = await openWorld()
  onTestFinished(() => world.close())
  const ends: Ends = []
  const wakes = await openWakes(world.store, ends)
  onTestFinished(() => endAll(ends, () => {}))
  // Over a closed connection no heartbeats are heard and no streams are made; and no pause is over before the test.
  await world.hub.close()
  stretchPauses()
  const taking = takeIn({
    ...{ store: world.store, hub: world.hub, wakes, log: silent, now: Date.now },
    signal: new AbortController().signal,
    signer: createKey('EdDSA'),
    onRefused: () => {},
    onCommitted: () => {},
  })
  await expect(taking).rejects.toThrow()
})
