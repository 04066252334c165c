import { existsSync } from 'node:fs'
import { createServer } from 'node:http'
import { join } from 'node:path'
import { testFolder } from '@skerry/supervise/testing'
import { openTrust } from '@skerry/trust'
import fc from 'fast-check'
import { describe, expect, onTestFinished, test } from 'vitest'
import { enrollment as known } from '../testing.ts'
import { type Enrollment, isSameLife, renewalAtMs } from './enrollment.ts'
import { makeEntryPauses } from './entries.ts'
import { ask, tufSources } from './http.ts'
import { forgetEntrySeed, isEntering, openEntrySeed, openNodeKey } from './keys.ts'

const DAY_MS = 86_400_000
const enrollment: Enrollment = { ...known, cluster: 'plant', node: 'a' }

describe('the renewal of a credential', () => {
  test('falls between half and two thirds of its life, wherever the clock stands, and is the same after a restart', () => {
    fc.assert(
      fc.property(
        fc.string({ minLength: 1 }),
        fc.date({ min: new Date(0), max: new Date('2110-01-01T00:00:00Z'), noInvalidDate: true }),
        fc.integer({ min: 60_000, max: 400 * DAY_MS }),
        (natsKey, at, credentialLifeMs) => {
          const one = { ...enrollment, natsKey, acceptedAt: at.toISOString(), credentialLifeMs }
          const after = renewalAtMs(one) - at.getTime()
          expect(after).toBeGreaterThanOrEqual(credentialLifeMs / 2)
          expect(after).toBeLessThanOrEqual((credentialLifeMs * 2) / 3)
          expect(renewalAtMs({ ...one })).toBe(renewalAtMs(one))
        },
      ),
    )
  })

  test('is spread over that time: a fleet that joined in one minute does not come back in one', () => {
    const days = Array.from({ length: 1_000 }, (_, n) =>
      Math.floor(renewalAtMs({ ...enrollment, natsKey: `U${n}` }) / DAY_MS),
    )
    const counts = [...Map.groupBy(days, (day) => day).values()].map((same) => same.length)
    expect(counts.length).toBeGreaterThanOrEqual(15)
    expect(Math.max(...counts)).toBeLessThan(150)
  })
})

describe('entries that are forced from outside', () => {
  const pauses = () => {
    const made = makeEntryPauses()
    return { ...made, longest: (nowMs: number) => made.nextMs(nowMs, 1) }
  }

  test('the first comes within two seconds, each further one of the hour within twice as long, none later than an hour', () => {
    const { longest, entered } = pauses()
    const seen = Array.from({ length: 14 }, (_, n) => {
      const ms = longest(n)
      entered(n)
      return ms / 1000
    })
    expect(seen).toEqual([2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 3600, 3600, 3600])
  })

  test('come at random points, so that those who were cut off together do not come together', () => {
    const { nextMs } = pauses()
    expect([0, 0.25, 0.5].map((random) => nextMs(0, random))).toEqual([0, 500, 1_000])
  })

  test('are forgotten after an hour, one after another', () => {
    const { longest, entered } = pauses()
    for (const atMs of [0, 1_800_000]) entered(atMs)
    expect(longest(3_600_000)).toBe(8_000)
    expect(longest(3_600_001)).toBe(4_000)
    expect(longest(5_400_001)).toBe(2_000)
  })
})

describe('one life', () => {
  test.each<[string, Partial<Enrollment>, boolean]>([
    ['a new credential', { natsKey: 'UB', acceptedAt: '2026-07-01T00:00:00.000Z', acceptance: 'y' }, true],
    ['another incarnation', { incarnation: 2 }, false],
    ['another routing token', { routingToken: 'b'.repeat(26) }, false],
    ['another cluster', { cluster: 'plant-1' }, false],
    ['another node', { node: 'a-b' }, false],
    ['another node key', { nodeKeyThumbprint: 'other' }, false],
  ])('with %s: %s', (_, more, same) => {
    expect(isSameLife(enrollment, { ...enrollment, ...more })).toBe(same)
  })
})

describe('the keys of an entry', () => {
  test('the node key stays, the NATS key is the same until the entry has ended, and then another', () => {
    const dir = testFolder()
    expect(isEntering(dir)).toBe(false)
    const [key, seed] = [openNodeKey(dir).thumbprint, openEntrySeed(dir)]
    expect(isEntering(dir)).toBe(true)
    expect(openEntrySeed(dir)).toBe(seed)
    forgetEntrySeed(dir)
    expect(isEntering(dir)).toBe(false)
    expect(openEntrySeed(dir)).not.toBe(seed)
    expect(openNodeKey(dir).thumbprint).toBe(key)
  })
})

describe('where a token may go', () => {
  const heard = async () => {
    const bodies: string[] = []
    const server = createServer((request, response) => {
      request.on('data', (chunk) => bodies.push(String(chunk)))
      request.on('end', () => response.end('{}'))
    })
    await new Promise<void>((done) => server.listen(0, done))
    onTestFinished(() => new Promise((done) => server.close(() => done())))
    const address = server.address()
    return { port: typeof address === 'object' ? address?.port : 0, bodies }
  }
  const send = (urls: readonly string[]) => ask(urls, undefined, 'POST', '/x', 'secret', AbortSignal.timeout(10_000))

  test.each(['0.0.0.0', '127.1.example', '[::]', 'hub.example', '10.0.0.1'])(
    'not to http://%s, which is not this machine: nothing is sent',
    async (host) => {
      const { port, bodies } = await heard()
      const refused = expect(send([`http://${host}:${port}`])).rejects
      await refused.toMatchObject({
        code: 'MetadataUnavailable',
        cause: { message: expect.stringContaining('over HTTPS') },
      })
      expect(bodies).toEqual([])
    },
  )

  test('to loopback, also when the first address is one it may not go to', async () => {
    const { port, bodies } = await heard()
    expect((await send([`http://hub.example:${port}`, `http://127.0.0.1:${port}`])).status).toBe(200)
    expect(bodies).toEqual(['secret'])
  })
})

test('each address is a source of its own: what one has not, refuses or overdoes is known of it alone', async () => {
  const serve = async (status: number, body: string) => {
    const server = createServer((_, response) => response.writeHead(status).end(body))
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
    onTestFinished(() => new Promise((done) => server.close(() => done())))
    const address = server.address()
    return `http://127.0.0.1:${typeof address === 'object' ? address?.port : 0}`
  }
  const urls = [await serve(404, ''), await serve(503, ''), await serve(200, 'far too much'), await serve(200, 'right')]
  const answers = await Promise.allSettled(tufSources(() => urls)().map((source) => source('timestamp.json', 5)))
  expect(answers).toMatchObject([
    { status: 'fulfilled', value: undefined },
    { status: 'rejected', reason: { message: `${urls[1]} answered 503` } },
    { status: 'rejected', reason: { code: 'TooLarge' } },
    { status: 'fulfilled', value: Buffer.from('right') },
  ])
})

test('a root that is not the one the site accepts is refused before anything is asked of anybody', () => {
  const dir = join(testFolder(), 'tuf')
  const open = () =>
    openTrust({
      dir,
      root: new TextEncoder().encode('{}'),
      pinned: '0'.repeat(64),
      sources: () => {
        throw new Error('nobody may be asked')
      },
    })
  expect(open).toThrow(/not the one it names in acceptHub/)
  expect(existsSync(dir)).toBe(false)
})
