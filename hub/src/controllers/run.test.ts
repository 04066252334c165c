import { until } from '@skerry/supervise'
import pino from 'pino'
import { expect, onTestFinished, test } from 'vitest'
import { openMirrors } from '../store/mirrors.ts'
import { openStore } from '../store/store.ts'
import { type Controller, runController } from './run.ts'

// The loop alone: its controller is a counter, its store is never asked.

function running(reconcile: (look: number) => Promise<{ recheckAtMs?: number }>) {
  const stop = new AbortController()
  let [looks, failures] = [0, 0]
  const listeners = new Set<() => void>()
  const store = openStore('postgres://nobody@127.0.0.1:1/none')
  const controller: Controller = { name: 'counted', reconcile: () => reconcile(++looks) }
  const log = pino(
    { level: 'error' },
    {
      write() {
        failures += 1
      },
    },
  )
  const lease = { name: 'none', token: 1, lost: stop.signal, release: async () => {} }
  const ended = runController(
    controller,
    { store, lease, mirrors: openMirrors(store), now: () => Date.now(), log, signal: stop.signal },
    {
      subscribe(listener) {
        listeners.add(listener)
        return () => void listeners.delete(listener)
      },
    },
  )
  onTestFinished(async () => {
    stop.abort()
    await ended
    await store.close()
  })
  return {
    stop,
    ended,
    looks: () => looks,
    failures: () => failures,
    listeners,
    hint: () => {
      for (const listener of listeners) listener()
    },
  }
}

/** Less than the half minute after which the loop looks without any hint. */
const SOON_MS = 20_000

/** Hints as fast as the loop of events turns, until it is so. */
async function storm(hint: () => void, over: () => boolean): Promise<number> {
  let hints = 0
  while (!over()) {
    for (let n = 0; n < 100; n += 1) hint()
    hints += 100
    await new Promise((done) => setImmediate(done))
  }
  return hints
}

test('a hint is answered by a look, and one that comes during a look by another one after it', async () => {
  let release = () => {}
  const first = new Promise<void>((done) => {
    release = done
  })
  const run = running(async (look) => {
    if (look === 1) await first
    return {}
  })
  run.hint()
  release()
  await until(() => run.looks() === 2, 'the look for the hint that came in between', SOON_MS)
  run.hint()
  await until(() => run.looks() === 3, 'a look for the next hint', SOON_MS)
})

test('a storm of hints is answered by few looks: at least 20 ms lie between two', async () => {
  const startedAt = performance.now()
  const run = running(async () => ({}))
  const hints = await storm(run.hint, () => run.looks() >= 5)
  expect(hints).toBeGreaterThan(run.looks())
  // Four rests lie between five looks; a slow machine makes it longer, nothing makes it shorter (timers may fire 1 ms early).
  expect(performance.now() - startedAt).toBeGreaterThanOrEqual(4 * 19)
})

test('a look that took long is followed by a rest of three times as long, however many hints come', async () => {
  const began: number[] = []
  const ended: number[] = []
  const run = running(async () => {
    began.push(performance.now())
    await new Promise((done) => setTimeout(done, 40))
    ended.push(performance.now())
    return {}
  })
  await storm(run.hint, () => run.looks() >= 2)
  // A slow machine makes it longer, nothing makes it shorter (timers may fire 1 ms early).
  expect((began[1] ?? 0) - (ended[0] ?? 0)).toBeGreaterThanOrEqual(3 * 39 - 1)
})

test('who fails looks again after a second, however many hints come', async () => {
  const at: number[] = []
  const run = running(async () => {
    at.push(performance.now())
    throw new Error('cannot')
  })
  await storm(run.hint, () => run.looks() >= 2)
  expect((at[1] ?? 0) - (at[0] ?? 0)).toBeGreaterThanOrEqual(990)
  expect(run.failures()).toBeGreaterThanOrEqual(1)
})

test('at its recheckAtMs it looks again though nothing was hinted', async () => {
  const run = running(async () => ({ recheckAtMs: Date.now() + 30 }))
  await until(() => run.looks() >= 3, 'looks by time alone', SOON_MS)
})

test.each<[string, (look: number) => Promise<{ recheckAtMs?: number }>]>([
  ['in its long sleep', async () => ({})],
  [
    'in its rest after a failure',
    async () => {
      throw new Error('cannot')
    },
  ],
])('an abort %s ends it at once, and it listens no more', async (_, reconcile) => {
  const run = running(reconcile)
  await until(() => run.looks() >= 1, 'the first look', 30_000)
  await new Promise((done) => setImmediate(done))
  const looks = run.looks()
  run.stop.abort()
  // No timer stands between: it is over before the loop of events turns.
  const later = new Promise((done) => setImmediate(() => done('later')))
  expect(await Promise.race([run.ended.then(() => 'ended'), later])).toBe('ended')
  expect(run.listeners.size).toBe(0)
  expect(run.looks()).toBe(looks)
})

test('an abort that was there before it began lets it look never', async () => {
  const run = running(async () => ({}))
  const { stop, ended } = run
  stop.abort()
  await ended
  expect(run.looks()).toBeLessThanOrEqual(1)
})
