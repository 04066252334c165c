import { existsSync } from 'node:fs'
import { createServer } from 'node:http'
import { join } from 'node:path'
import type { Acceptance, HubDescription } from '@skerry/api'
import { until } from '@skerry/supervise'
import { testFolder } from '@skerry/supervise/testing'
import { createKey, keyRing, openTrust, signDocument } from '@skerry/trust'
import fc from 'fast-check'
import pino from 'pino'
import { describe, expect, onTestFinished, test } from 'vitest'
import { openDatabase } from '../store/database.ts'
import { enrollment as known } from '../testing.ts'
import { type Asked, believeAcceptance, type Enrollment, isSameLife, renewalAtMs } from './enrollment.ts'
import { makeEntryPauses } from './entries.ts'
import { ask, tufSources } from './http.ts'
import { forgetEntrySeed, isEntering, openEntrySeed } from './keys.ts'
import { createUserKey, publicUserKey } from './nkey.ts'
import { type HubWord, nextStep, watchStanding } from './standing.ts'

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
    [
      'another beginning: a hub that lost this life counts the same number again',
      { transcript: 'f'.repeat(64) },
      false,
    ],
  ])('with %s: %s', (_, more, same) => {
    expect(isSameLife(enrollment, { ...enrollment, ...more })).toBe(same)
  })
})

describe('an acceptance', () => {
  const [hub, retired] = [createKey('EdDSA'), createKey('EdDSA')]
  const own = createKey('ES256')
  const natsKey = publicUserKey(createUserKey())
  const asked: Asked = {
    ...{ nodeKeyThumbprint: own.thumbprint, natsKey, class: 'software-key', node: 'n1', cluster: 'shop-1' },
    ...{ transcripts: ['1'.repeat(64), '2'.repeat(64)], incarnation: 2 },
  }
  const acceptance: Acceptance = {
    ...{ kind: 'Acceptance', cluster: 'shop-1', node: 'n1', incarnation: 2, class: 'software-key' },
    ...{ nodeKeyThumbprint: own.thumbprint, natsKey, routingToken: 'a'.repeat(26), transcript: '2'.repeat(64) },
    ...{ decidedBy: 'token/x', decidedAt: '2026-06-01T00:00:00Z' },
  }
  const believe = async (more: Partial<Acceptance> = {}, aud?: string, mine = asked, signer = hub) => {
    const payload = { ...acceptance, ...more }
    const text = await signDocument('Acceptance', payload, signer, aud ?? `${payload.cluster}/${payload.node}`)
    return believeAcceptance(text, keyRing([hub.jwk]), mine)
  }

  test('that answers what was asked is believed, also in a later life, and in the cluster the hub chose', async () => {
    expect(await believe()).toEqual(acceptance)
    expect((await believe({ incarnation: 3 })).incarnation).toBe(3)
    expect((await believe({ cluster: 'shop-2' }, undefined, { ...asked, cluster: undefined })).cluster).toBe('shop-2')
  })

  test.each<[string, Partial<Acceptance>, aud?: string]>([
    ['cluster', { cluster: 'shop-2' }],
    ['node', { node: 'n2' }],
    ['class', { class: 'tpm' }],
    ['nodeKeyThumbprint', { nodeKeyThumbprint: 'another' }],
    ['natsKey', { natsKey: publicUserKey(createUserKey()) }],
    ['transcript', { transcript: '3'.repeat(64) }],
    ['incarnation', { incarnation: 1 }],
    ['', {}, 'shop-1/n2'],
    ['', {}, 'shop-2/n1'],
  ])('of another %s is not believed', async (field, more, aud) => {
    await expect(believe(more, aud)).rejects.toMatchObject({ code: 'WrongAudience', field })
  })

  test('by another key is not believed', async () => {
    await expect(believe({}, undefined, asked, retired)).rejects.toMatchObject({ code: 'UnknownKey' })
  })
})

describe('statements that are not taken in', () => {
  const description: HubDescription = {
    kind: 'HubDescription',
    keys: { desiredState: [], ack: [], acceptance: [] },
    ...{ caPem: '', apiUrls: [], natsUrls: [] },
  }
  const id = 'a'.repeat(64)
  const answer = (state: string) => ({
    ...{ kind: 'RegistrationAnswer', id, state, reason: 'ForkedChain', message: 'two machines' },
    fingerprint: '786e-253d-ba32-bcd2',
  })

  test('make the node ask why; the hub’s word is kept for the person at the site, and goes when it is over', async () => {
    const says: { status: number; body: string } = { status: 200, body: JSON.stringify(answer('Suspended')) }
    const asked: string[] = []
    const server = createServer((request, response) => {
      asked.push(request.url ?? '')
      response.writeHead(says.status).end(says.body)
    })
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
    const address = server.address()
    const database = openDatabase(testFolder())
    database.save('enrollment', { ...enrollment, registrationId: id })
    const over = new AbortController()
    let oldest: number | undefined
    const watching = watchStanding(
      {
        ...{ database, log: pino({ level: 'silent' }), signal: over.signal, trust: { hub: () => description } },
        bundle: { kind: 'SiteBundle', acceptHub: '', root: '', hubUrls: [] },
        hubUrls: () => [`http://127.0.0.1:${typeof address === 'object' ? address?.port : 0}`],
      },
      { connected: () => true, oldest: () => oldest },
      { unheardMs: 20, againMs: 20 },
    )
    onTestFinished(async () => {
      over.abort()
      await watching
      database.close()
      await new Promise((done) => server.close(done))
    })
    const word = () => database.load<HubWord>('registration')
    oldest = 7
    await until(() => word() !== undefined, 'a word of the hub', 30_000)
    expect(asked[0]).toBe(`/agent/v1/registrations/${id}`)
    expect(word()).toEqual({
      ...{ state: 'Suspended', reason: 'ForkedChain', message: 'two machines', fingerprint: '786e-253d-ba32-bcd2' },
    })
    says.status = 503
    const before = asked.length
    await until(() => asked.length > before + 1, 'another try', 30_000)
    expect(word()).toBeDefined()
    says.status = 404
    await until(() => word()?.state === 'Left', 'the hub having forgotten it', 30_000)
    Object.assign(says, { status: 200, body: JSON.stringify(answer('Accepted')) })
    await until(() => word() === undefined, 'the word being over', 30_000)
  })

  test('and those that are ask nothing', async () => {
    let looks = 0
    const over = new AbortController()
    const database = openDatabase(testFolder())
    database.save('enrollment', { ...enrollment, registrationId: id })
    const watching = watchStanding(
      {
        ...{ database, log: pino({ level: 'silent' }), signal: over.signal, trust: { hub: () => description } },
        bundle: { kind: 'SiteBundle', acceptHub: '', root: '', hubUrls: [] },
        hubUrls: () => {
          throw new Error('nobody may be asked')
        },
      },
      // One after another is committed: the oldest that waits is always another one.
      { connected: () => true, oldest: () => ++looks },
      { unheardMs: 5, againMs: 5 },
    )
    await until(() => looks > 20, 'twenty looks', 30_000)
    over.abort()
    await watching
    expect(database.load('registration')).toBeUndefined()
    database.close()
  })
})

test.each<[HubWord['state'], string, RegExp]>([
  ['Pending', 'AwaitingDecision', /read the fingerprint .*cluster accept .*--fingerprint 786e/],
  ['Denied', 'Denied', /ask .* why.*node accept/],
  ['Revoked', 'Revoked', /ask .* why.*node accept/],
  ['Suspended', 'ForkedChain', /find the copy and switch it off.*node accept/],
  ['Refused', 'NotAllowed', /ask .* why.*node accept/],
  ['Refused', 'TokenExpired', /another bundle.*--bundle/],
  ['Refused', 'ProfileUnknown', /hardware profiles.*image publish.*asks again/],
  ['Refused', 'EkUntrusted', /hardware profiles.*image publish.*asks again/],
  ['Refused', 'NodeTaken', /^read the message [^:]*asks again by itself$/],
])('a node that is %s (%s) says what the technician does next', (state, reason, next) => {
  expect(nextStep({ state, reason, message: '', fingerprint: '786e-253d-ba32-bcd2' })).toMatch(next)
})

describe('the key of an entry', () => {
  test('the NATS key is the same until the entry has ended, and then another', () => {
    const dir = testFolder()
    expect(isEntering(dir)).toBe(false)
    const seed = openEntrySeed(dir)
    expect(isEntering(dir)).toBe(true)
    expect(openEntrySeed(dir)).toBe(seed)
    forgetEntrySeed(dir)
    expect(isEntering(dir)).toBe(false)
    expect(openEntrySeed(dir)).not.toBe(seed)
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
  const send = (urls: readonly string[]) => ask(urls, undefined, 'POST', '/x', 'secret', AbortSignal.timeout(60_000))

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
