import { until } from '@skerry/supervise'
import pino from 'pino'
import { expect, test } from 'vitest'
import { testApi } from '../http/testing.ts'
import { type Ends, endAll } from './ends.ts'
import { makeLoops } from './loops.ts'

const ENDINGS: [string, () => Promise<unknown>, string][] = [
  ['throws', () => Promise.reject(new Error('out of luck')), 'out of luck'],
  ['returns', async () => undefined, 'it returned without being asked'],
]

test.each(ENDINGS)(
  'a loop that %s: /readyz names its part, why, and what to do; the others are well',
  async (_, ending, why) => {
    const loops = makeLoops(pino({ level: 'silent' }))
    const going = new Promise<void>((done) => loops.signal.addEventListener('abort', () => done()))
    loops.run('ingest', going)
    const { ask } = await testApi({ checks: ['ingest', 'controllers'].map(loops.check) })
    const ready = () => ask('GET', '/readyz?verbose', { token: '' })
    expect(await ready()).toMatchObject({ code: 200, text: expect.stringContaining('[+]controllers ok\n') })
    loops.run('controllers', ending())
    await until(async () => (await ready()).code === 503, 'unreadiness', 30_000)
    const { text } = await ready()
    expect(text).toContain('[+]ingest ok\n')
    expect(text).toContain(`[-]controllers failed: it ended and does not begin again (${why}); restart this hub\n`)
    await loops.end()
  },
)

test('loops that end because they are told to are no fault', async () => {
  const loops = makeLoops(pino({ level: 'silent' }))
  const told = () => new Promise<never>((_, no) => loops.signal.addEventListener('abort', () => no(new Error('told'))))
  loops.run('ingest', told())
  await loops.end()
  expect(await loops.check('ingest').fault()).toBeUndefined()
})

test('of loops that are told to end, those that do not are named', async () => {
  const loops = makeLoops(pino({ level: 'silent' }))
  loops.run('ingest', new Promise<void>((done) => loops.signal.addEventListener('abort', () => done())))
  loops.run('controllers', new Promise(() => {}))
  const ends: Ends = [{ what: () => `loops (${loops.still()})`, end: loops.end, withinMs: 50 }]
  const faults: string[] = []
  await endAll(ends, (what) => faults.push(what))
  expect(faults).toEqual(['loops (controllers)'])
})
