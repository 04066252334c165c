import { until } from '@skerry/supervise'
import pino from 'pino'
import { expect, test } from 'vitest'
import { readiness, testApi } from '../http/testing.ts'
import { type Ends, endAll } from './ends.ts'
import { makeLoops } from './loops.ts'

const ENDINGS: [string, () => Promise<unknown>, string][] = [
  ['throws', () => Promise.reject(new Error('out of luck')), 'out of luck'],
  ['returns', async () => undefined, 'it returned without being asked'],
]

test.each(ENDINGS)(
  'a loop that %s is begun again until it goes on; until it has for a minute, /readyz names its part and why',
  async (_, ending, why) => {
    let clockMs = 0
    const loops = makeLoops(pino({ level: 'silent' }), () => clockMs, { leastWaitMs: 1, mostWaitMs: 1 })
    const going = () => new Promise<void>((done) => loops.signal.addEventListener('abort', () => done()))
    loops.run('ingest', going)
    const api = await testApi({ checks: ['ingest', 'controllers'].map(loops.check) })
    const ready = () => readiness(api, '?verbose')
    expect(await ready()).toMatchObject({ code: 200, text: expect.stringContaining('[+]controllers ok\n') })
    let begun = 0
    loops.run('controllers', () => {
      begun += 1
      return begun < 4 ? ending() : going()
    })
    await until(() => begun === 4, 'the fourth beginning', 30_000)
    const { code, text } = await ready()
    expect(code).toBe(503)
    expect(text).toContain('[+]ingest ok\n')
    expect(text).toContain(`[-]controllers failed: it ended (${why}), and begins again by itself`)
    clockMs = 60_001
    expect((await ready()).code).toBe(200)
    await loops.end()
    expect(begun).toBe(4)
  },
)

test('loops that end because they are told to are no fault', async () => {
  const loops = makeLoops(pino({ level: 'silent' }))
  const told = () => new Promise<never>((_, no) => loops.signal.addEventListener('abort', () => no(new Error('told'))))
  loops.run('ingest', told)
  await loops.end()
  expect(await loops.check('ingest').fault()).toBeUndefined()
})

test('of loops that are told to end, those that do not are named', async () => {
  const loops = makeLoops(pino({ level: 'silent' }))
  loops.run('ingest', () => new Promise<void>((done) => loops.signal.addEventListener('abort', () => done())))
  loops.run('controllers', () => new Promise(() => {}))
  const ends: Ends = [{ what: () => `loops (${loops.still()})`, end: loops.end, withinMs: 50 }]
  const faults: string[] = []
  await endAll(ends, (what) => faults.push(what))
  expect(faults).toEqual(['loops (controllers)'])
})

test('it is begun again later and later, 30 s at most, and soon again once it has run for a minute; a pause is no running', async () => {
  let clockMs = 0
  const waits: number[] = []
  const log = pino({ level: 'error' }, { write: (line: string) => void waits.push(JSON.parse(line).waitMs) })
  const loops = makeLoops(log, () => clockMs, { leastWaitMs: 20, mostWaitMs: 80 })
  const check = loops.check('ingest')
  const runs = [1, 1, 1, 59_999, 60_000, 1]
  loops.run('ingest', async () => {
    if (waits.length > 0) expect(await check.fault()).toMatch(/^it ended \(it returned without being asked\)/)
    const ranMs = runs[waits.length]
    if (ranMs === undefined) await new Promise((done) => loops.signal.addEventListener('abort', done))
    clockMs += ranMs ?? 0
  })
  await until(() => waits.length === runs.length, 'six ends', 30_000)
  expect(waits).toEqual([20, 40, 80, 80, 20, 40])
  await loops.end()
})
