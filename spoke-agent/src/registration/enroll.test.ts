import { createServer } from 'node:http'
import {
  type Acceptance,
  type HubDescription,
  type HubKey,
  parse,
  type RegistrationAnswer,
  type RegistrationChallenge,
  RegistrationRequest,
} from '@skerry/api'
import { until } from '@skerry/supervise'
import { testFolder } from '@skerry/supervise/testing'
import { createKey, type Signer, sha256Hex, signDocument, thumbprint, transcriptDigest } from '@skerry/trust'
import pino from 'pino'
import { describe, expect, onTestFinished, test } from 'vitest'
import { openDatabase } from '../store/database.ts'
import { enrollment as known } from '../testing.ts'
import { enroll } from './enroll.ts'
import type { Enrollment } from './enrollment.ts'
import type { HubWord } from './standing.ts'

// The three calls, against a hub that answers as the test wants. What a whole hub does is played by the end-to-end tests.

const nowMs = Date.parse('2026-06-01T12:00:00Z')
const [serving, retired] = [createKey('EdDSA'), createKey('EdDSA')]
const key = (signer: Signer, notAfter?: string): HubKey => ({
  jwk: signer.jwk,
  notBefore: '1970-01-01T00:00:00Z',
  ...(notAfter ? { notAfter } : {}),
})
const ID = 'a'.repeat(64)
const jwt = `x.${Buffer.from(JSON.stringify({ iat: 0, exp: 86_400 })).toString('base64url')}.x`
const payloadOf = (jws: string): unknown => JSON.parse(Buffer.from(jws.split('.')[1] ?? '', 'base64url').toString())

/** A hub that accepts each exchange as the signer whose turn it is. Counts the NATS keys it was asked with. */
async function openHub(signers: readonly Signer[]) {
  const natsKeys: string[] = []
  let request: RegistrationRequest | undefined
  let transcript = ''
  async function accept(): Promise<RegistrationAnswer> {
    if (!request) throw new Error('a proof before a request')
    const acceptance: Acceptance = {
      ...{ kind: 'Acceptance', cluster: 'shop-1', node: 'n1', incarnation: 1, class: 'software-key' },
      ...{ nodeKeyThumbprint: thumbprint(request.nodeKey), natsKey: request.natsKey, transcript },
      ...{ routingToken: 'a'.repeat(26), decidedBy: 'token/x', decidedAt: '2026-06-01T00:00:00Z' },
    }
    const signer = signers[Math.min(natsKeys.length, signers.length) - 1] ?? serving
    return {
      ...{ kind: 'RegistrationAnswer', id: ID, state: 'Accepted', reason: 'Accepted', message: '' },
      fingerprint: '786e-253d-ba32-bcd2',
      acceptance: await signDocument('Acceptance', acceptance, signer, 'shop-1/n1'),
      natsJwt: jwt,
    }
  }
  async function answerTo(url: string, text: string): Promise<[status: number, body: string]> {
    if (url.endsWith('/proof')) return [200, JSON.stringify(await accept())]
    request = parse(RegistrationRequest, payloadOf(text), 'request')
    natsKeys.push(request.natsKey)
    const challenge: RegistrationChallenge = {
      ...{ kind: 'RegistrationChallenge', id: ID, nonce: sha256Hex(text), expiresAt: '2026-06-01T13:00:00Z' },
    }
    const body = JSON.stringify(challenge)
    transcript = transcriptDigest(text, body)
    return [201, body]
  }
  const server = createServer((request_, response) => {
    let text = ''
    request_.setEncoding('utf8').on('data', (piece: string) => {
      text += piece
    })
    request_.on('end', () => {
      void answerTo(request_.url ?? '', text).then(([status, body]) => response.writeHead(status).end(body))
    })
  })
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  onTestFinished(() => new Promise((done) => server.close(() => done())))
  const address = server.address()
  return { natsKeys, url: `http://127.0.0.1:${typeof address === 'object' ? address?.port : 0}` }
}

function enter(url: string, acceptance: HubKey[], before?: Enrollment) {
  const dataDir = testFolder()
  const database = openDatabase(dataDir)
  if (before) database.save('enrollment', before)
  const over = new AbortController()
  onTestFinished(() => {
    over.abort()
    database.close()
  })
  const description: HubDescription = {
    kind: 'HubDescription',
    keys: { desiredState: [key(serving)], ack: [key(serving)], acceptance },
    ...{ caPem: '', apiUrls: [url], natsUrls: ['nats://127.0.0.1:1'] },
  }
  const said: string[] = []
  const entered = enroll({
    ...{
      dataDir,
      database,
      signal: over.signal,
      slowestMs: 20,
      now: () => nowMs,
      hubUrls: () => [url],
      hardware: undefined,
    },
    bundle: { kind: 'SiteBundle', acceptHub: '0'.repeat(64), root: '', hubUrls: [url] },
    trust: {
      hub: () => description,
      refresh: async () => [],
      versions: () => ({ root: 1, timestamp: 1, snapshot: 1, targets: 1 }),
    },
    facts: { nodeName: 'n1', hardwareId: 'shop-box', claims: {}, agentVersion: '0' },
    log: pino({ level: 'warn' }, { write: (line: string) => void said.push(line) }),
  })
  return { entered, database, said, over }
}

test.each<[string, HubKey[]]>([
  ['without an end', [key(serving)]],
  ['before its end', [key(serving, '2026-06-01T12:00:01Z'), key(retired)]],
])('an acceptance by a key %s is believed', async (_, keys) => {
  const hub = await openHub([serving])
  const { enrollment, sameLife } = await enter(hub.url, keys).entered
  expect(enrollment).toMatchObject({ cluster: 'shop-1', node: 'n1' })
  expect(sameLife).toBe(false)
})

test('one by a key that has ended is not, and the node asks with another key: the hub signs anew with the one that serves', async () => {
  const hub = await openHub([retired, serving])
  const { entered, said } = enter(hub.url, [key(retired, '2026-06-01T12:00:00Z'), key(serving)])
  const { enrollment } = await entered
  expect(said.join()).toContain(`may sign nothing since 2026-06-01T12:00:00Z`)
  expect(said.join(), 'nobody has to decide anything').toContain('"decided":false')
  expect(hub.natsKeys).toHaveLength(2)
  expect(new Set(hub.natsKeys).size).toBe(2)
  expect(enrollment.natsKey).toBe(hub.natsKeys[1])
})

test('one by a key that nobody listed is not, and no key is spent on it', async () => {
  const hub = await openHub([createKey('EdDSA')])
  const { entered, said, database, over } = enter(hub.url, [key(serving)])
  entered.catch(() => {})
  await until(() => said.length >= 2, 'two refusals', 60_000)
  over.abort()
  expect(said[0]).toContain('not listed')
  expect(new Set(hub.natsKeys).size).toBe(1)
  expect(database.load('enrollment')).toBeUndefined()
})

describe('what a site says of itself when its entry was refused', () => {
  const answer = (state: string, reason = state): [number, object] => [
    200,
    {
      ...{ kind: 'RegistrationAnswer', id: ID, state, reason, message: `${state} by anna` },
      fingerprint: '786e-253d-ba32-bcd2',
    },
  ]

  /** A hub that refuses whoever asks to enter with this code, and says of every registration the same. */
  async function openRefusing(code: string, [status, body]: [number, object]) {
    const asked: string[] = []
    const server = createServer((request, response) => {
      asked.push(`${request.method} ${request.url}`)
      if (request.method === 'GET') return void response.writeHead(status).end(JSON.stringify(body))
      request.resume().once('end', () => {
        response.writeHead(403).end(JSON.stringify({ message: 'a person decides', details: { code } }))
      })
    })
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
    onTestFinished(() => new Promise((done) => server.close(() => done())))
    const address = server.address()
    return { asked, url: `http://127.0.0.1:${typeof address === 'object' ? address?.port : 0}` }
  }
  const tried = async (url: string, before: Enrollment | undefined) => {
    const { entered, said, database, over } = enter(url, [key(serving)], before)
    entered.catch(() => {})
    await until(() => said.length >= 2, 'two refusals', 60_000)
    for (const line of said) expect(line, 'the log says that a person decides').toContain('"decided":true')
    const word = database.load<HubWord>('registration')
    over.abort()
    return word
  }
  const member: Enrollment = { ...known, registrationId: ID }
  const refused = (reason: string): HubWord => ({ state: 'Refused', reason, message: 'a person decides' })

  test.each<[string, [number, object], Partial<HubWord>]>([
    ['revoked', answer('Revoked'), { state: 'Revoked', reason: 'Revoked', message: 'Revoked by anna' }],
    ['denied with its cluster', answer('Denied', 'HubClusterAdminDenied'), { reason: 'HubClusterAdminDenied' }],
    ['suspended', answer('Suspended', 'ForkedChain'), { state: 'Suspended', reason: 'ForkedChain' }],
    ['waiting for a person', answer('Pending', 'AwaitingDecision'), { fingerprint: '786e-253d-ba32-bcd2' }],
    ['asked for by a later exchange', answer('Challenged', 'AwaitingProof'), refused('NotAllowed')],
    ['accepted meanwhile', answer('Accepted'), refused('NotAllowed')],
    ['forgotten', [404, {}], refused('NotAllowed')],
    ['not to be read', [503, {}], refused('NotAllowed')],
  ])('its registration is %s', async (_, says, word) => {
    const hub = await openRefusing('NotAllowed', says)
    expect(await tried(hub.url, member)).toMatchObject(word)
    expect(hub.asked).toContain(`GET /agent/v1/registrations/${ID}`)
  })

  test.each<[string, string, Enrollment | undefined]>([
    ['the refusal is about its token', 'TokenExpired', member],
    ['it never belonged to a site', 'NotAllowed', undefined],
  ])('%s: nothing more is asked', async (_, code, before) => {
    const hub = await openRefusing(code, answer('Revoked'))
    expect(await tried(hub.url, before)).toEqual(refused(code))
    expect(hub.asked.filter((call) => call.startsWith('GET'))).toEqual([])
  })
})
