import { createHash, randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { JoinTokenSpec, Refusal } from '@skerry/api'
import { createKey, signBytes } from '@skerry/trust'
import pino from 'pino'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { registrationController } from '../controllers/registration.ts'
import { saveIdentities } from '../store/identities.ts'
import { acquireLease } from '../store/leases.ts'
import { openMirrors } from '../store/mirrors.ts'
import { createObject, deleteObject, getObject, listObjects } from '../store/resources.ts'
import { openStore, type Store, write } from '../store/store.ts'
import { migratedDatabase } from '../store/testing.ts'
import { createNkey } from '../transport/index.ts'
import {
  ask,
  codeOf,
  makeNode,
  type Reply,
  readAnswer,
  readChallenge,
  register,
  type Send,
  type TestNode,
} from './agent/test-node.ts'
import { agentRoutes } from './agent.ts'
import { makeMetrics } from './health.ts'
import { buildServer } from './server.ts'

// The agents' door on a real database, with a clock of its own and no controller behind it: what it takes, what it
// refuses, and what it keeps of either.

const NOW = Date.parse('2026-06-01T12:00:00Z')
let nowMs = NOW
let store: Store
let drop: () => Promise<void>
let refusals: Refusal[] = []

beforeAll(async () => {
  const database = await migratedDatabase()
  drop = database.drop
  store = openStore(database.connection)
})
afterAll(async () => {
  await store.close()
  await drop()
})

/** A door that no caller has used up. */
function door(): { send: Send; from: (address: string) => Send } {
  const onRefused = (_: string, refusal: Refusal) => void refusals.push(refusal)
  const app = buildServer({
    store,
    metrics: makeMetrics(),
    tls: undefined,
    log: pino({ level: 'silent' }),
    routes: [(app) => agentRoutes(app, { store, now: () => nowMs, onRefused })],
  })
  const from =
    (remoteAddress: string): Send =>
    async (method, path, body) => {
      const url = `/agent/v1/registrations${path}`
      const headers = { 'content-type': 'application/jose' }
      const reply = await app.inject({ method, url, headers, remoteAddress, ...(body === undefined ? {} : { body }) })
      const retryAfter = reply.headers['retry-after']
      return { status: reply.statusCode, body: reply.body, retryAfter: retryAfter && String(retryAfter) }
    }
  nowMs = NOW
  refusals = []
  return { send: from('10.0.0.1'), from }
}

let made = 0
const fresh = (what: string) => `${what}-${++made}`

async function token(spec: Partial<JoinTokenSpec> = {}): Promise<string> {
  const [name, secret] = [fresh('token'), randomBytes(20).toString('hex')]
  const secretSha256 = createHash('sha256').update(secret).digest('hex')
  const expiresAt = new Date(NOW + 86_400_000).toISOString()
  const full: JoinTokenSpec = { secretSha256, expiresAt, maxUses: 1, classes: ['software-key'], acceptance: 'Manual' }
  await write(store, (tx) => createObject(tx, 'JoinToken', { metadata: { name }, spec: { ...full, ...spec } }))
  return `${name}.${secret}`
}

const uses = async (text: string) =>
  (await getObject(store.sql, 'JoinToken', '', text.split('.')[0] ?? ''))?.status?.uses ?? 0
const exchanges = async () => (await store.sql`select id from registration_request`).length

describe('a node that asks to belong', () => {
  test('comes to be with its cluster, not accepted, its class and its fingerprint in plain sight, and one use counted', async () => {
    const { send } = door()
    const text = await token()
    const node = makeNode({ nodeName: fresh('Site'), token: text })
    const answer = await register(send, node)
    const id = node.name.toLowerCase()
    expect(answer).toMatchObject({ state: 'Pending', reason: 'AwaitingDecision' })
    const registration = await getObject(store.sql, 'Registration', id, id)
    expect(registration).toMatchObject({
      spec: {
        class: 'software-key',
        nodeName: node.name,
        fingerprint: answer.fingerprint,
        claims: { region: 'north' },
      },
      status: { state: 'Pending' },
    })
    expect(registration?.spec.decision).toBeUndefined()
    expect((await getObject(store.sql, 'ManagedCluster', '', id))?.spec.hubAcceptsClient).toBe(false)
    expect(await uses(text)).toBe(1)
  })

  test('repeats each call after a lost answer, also with other signatures: one row, one Registration, one use', async () => {
    const { send } = door()
    const text = await token()
    const node = makeNode({ nodeName: fresh('site'), token: text })
    const before = await exchanges()
    await ask(send, node)
    const { asked, challenge } = await ask(send, node)
    const { id } = readChallenge(challenge)
    const proof = await node.proof(asked, challenge)
    const first = readAnswer(await send('POST', `/${id}/proof`, proof))
    expect(readAnswer(await send('POST', `/${id}/proof`, proof))).toEqual(first)
    expect(readAnswer(await send('GET', `/${id}`))).toEqual(first)
    // To the letter the same request: the exchange stands.
    expect((await send('POST', '', asked)).body).toBe(challenge)
    expect(readAnswer(await send('GET', `/${id}`))).toEqual(first)
    // The agent was killed and begins again with the same keys.
    expect((await register(send, node)).id).toBe(id)
    expect(await exchanges()).toBe(before + 1)
    expect(await uses(text)).toBe(1)
    expect(await listObjects(store.sql, 'Registration', { namespace: node.name })).toHaveLength(1)
  })

  test('twenty times at once, is one Registration and one use', async () => {
    const { send } = door()
    const text = await token()
    const node = makeNode({ nodeName: fresh('site'), token: text })
    const { asked, challenge } = await ask(send, node)
    const { id } = readChallenge(challenge)
    const proofs = await Promise.all(Array.from({ length: 20 }, () => node.proof(asked, challenge)))
    const replies = await Promise.all(proofs.map((proof) => send('POST', `/${id}/proof`, proof)))
    expect(new Set(replies.map(codeOf))).toEqual(new Set(['200']))
    expect(await uses(text)).toBe(1)
    expect(await listObjects(store.sql, 'Registration', { namespace: node.name })).toHaveLength(1)
  })

  test('of a class with a TPM names its keys', async () => {
    const { send } = door()
    const node = makeNode({ nodeName: fresh('site'), token: await token({ classes: ['tpm'] }) })
    expect(codeOf(await send('POST', '', await node.request({ class: 'tpm' })))).toBe('422 InvalidField')
  })
})

describe('a join token', () => {
  test.each<[string, Partial<JoinTokenSpec>, string]>([
    ['that is past its time', { expiresAt: '2026-06-01T11:59:59Z' }, '403 TokenExpired'],
    ['that does not name software-key', { classes: ['tpm'] }, '403 TokenOutOfScope'],
    ['of another cluster', { cluster: 'elsewhere' }, '403 TokenOutOfScope'],
  ])('%s is refused', async (_, spec, code) => {
    const { send } = door()
    const node = makeNode({ nodeName: fresh('site'), cluster: fresh('cluster'), token: await token(spec) })
    expect(codeOf(await send('POST', '', await node.request()))).toBe(code)
    expect(refusals.map((refusal) => `403 ${refusal.code}`)).toEqual([code])
  })

  test.each([
    ['of nobody', () => `nobody.${'a'.repeat(40)}`],
    ['with a wrong secret', (right: string) => `${right.split('.')[0]}.${'a'.repeat(40)}`],
    ['with no secret', (right: string) => String(right.split('.')[0])],
    ['that is empty', () => ''],
  ])('%s is unknown, in the same words', async (_, wrong) => {
    const { send } = door()
    const node = makeNode({ nodeName: fresh('site'), token: wrong(await token()) })
    const reply = await send('POST', '', await node.request())
    expect(codeOf(reply)).toBe('403 TokenUnknown')
    expect(reply.body).toContain('no such join token, or a wrong secret')
  })

  test('that was stolen after it was used up lets no second key in, at either call', async () => {
    const { send } = door()
    const text = await token()
    const thief = makeNode({ nodeName: fresh('thief'), token: text })
    // He asks before, and proves after.
    const early = await ask(send, thief)
    await register(send, makeNode({ nodeName: fresh('site'), token: text }))
    const { id } = readChallenge(early.challenge)
    const proof = await thief.proof(early.asked, early.challenge)
    expect(codeOf(await send('POST', `/${id}/proof`, proof))).toBe('403 TokenUsedUp')
    expect(codeOf(await send('POST', '', await thief.request()))).toBe('403 TokenUsedUp')
    expect(await listObjects(store.sql, 'Registration', { namespace: thief.name })).toEqual([])
    expect(await uses(text)).toBe(1)
  })

  test('admits as many keys as it says, however many prove at once', async () => {
    const { send } = door()
    const text = await token({ maxUses: 3 })
    const nodes = Array.from({ length: 8 }, () => makeNode({ nodeName: fresh('site'), token: text }))
    const replies = await Promise.all(
      nodes.map(async (node) => {
        const { asked, challenge } = await ask(send, node)
        return send('POST', `/${readChallenge(challenge).id}/proof`, await node.proof(asked, challenge))
      }),
    )
    expect(replies.map(codeOf).toSorted()).toEqual([
      ...Array.from({ length: 3 }, () => '200'),
      ...Array.from({ length: 5 }, () => '403 TokenUsedUp'),
    ])
    expect(await uses(text)).toBe(3)
  })

  test('that is not bound to a cluster lets nobody into one that exists; one that is bound does, when it is accepted', async () => {
    const { send } = door()
    const cluster = fresh('plant')
    await register(send, makeNode({ nodeName: 'first', cluster, token: await token() }))
    const second = (text: string) => makeNode({ nodeName: 'second', cluster, token: text })
    expect(codeOf(await send('POST', '', await second(await token()).request()))).toBe('403 TokenOutOfScope')
    expect(codeOf(await send('POST', '', await second(await token({ cluster })).request()))).toBe('403 NotAllowed')
    await store.sql`update resource set spec = ${store.sql.json({ hubAcceptsClient: true })} where kind = 'ManagedCluster' and name = ${cluster}`
    expect((await register(send, second(await token({ cluster })))).state).toBe('Pending')
  })

  test('lets no other key take a name that is held', async () => {
    const { send } = door()
    const text = await token({ maxUses: 2 })
    const node = makeNode({ nodeName: fresh('site'), token: text })
    await register(send, node)
    const other = makeNode({ nodeName: node.name.toUpperCase(), cluster: node.name, token: text })
    expect(codeOf(await send('POST', '', await other.request()))).toBe('409 NodeTaken')
    expect(await uses(text)).toBe(1)
  })

  test('that was deleted between request and proof admits nobody', async () => {
    const { send } = door()
    const text = await token()
    const node = makeNode({ nodeName: fresh('site'), token: text })
    const { asked, challenge } = await ask(send, node)
    await write(store, (tx) => deleteObject(tx, 'JoinToken', '', text.split('.')[0] ?? ''))
    const { id } = readChallenge(challenge)
    const proof = await node.proof(asked, challenge)
    expect(codeOf(await send('POST', `/${id}/proof`, proof))).toBe('403 TokenUnknown')
  })
})

describe('a request that is refused', () => {
  const part = (value: string | object) =>
    Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url')
  const cases: [string, string, (node: ReturnType<typeof makeNode>) => Promise<string> | string][] = [
    ['nothing', '400 MalformedJson', () => ''],
    ['no JWS', '400 MalformedJson', () => 'hello'],
    ['a JWS of JSON that is no object', '400 MalformedJws', () => `${part('{}')}.${part('7')}.x`],
    ['JSON of a lone member', '422 InvalidField', () => `${part('{}')}.${part({ nodeKey: 7 })}.x`],
    [
      'a member twice',
      '400 DuplicateMember',
      async (node) => {
        const [header, body = '', signature] = (await node.request()).split('.')
        const text = Buffer.from(body, 'base64url').toString('utf8')
        return [header, part(text.replace('{', '{"nodeName":"other",')), signature].join('.')
      },
    ],
    ['an unknown member', '422 InvalidField', (node) => node.request({ admin: true })],
    ['no claims', '422 InvalidField', (node) => node.request({ claims: undefined })],
    ['a name with a slash', '422 InvalidField', (node) => node.request({ nodeName: 'a/b' })],
    ['a cluster that is a wildcard', '422 InvalidField', (node) => node.request({ cluster: '*' })],
    ['a NATS key that is none', '422 InvalidField', (node) => node.request({ natsKey: 'UABC' })],
    ['the signature of another key', '403 UnknownKey', (node) => node.request({}, createKey('ES256'))],
    ['a key named that did not sign', '403 UnknownKey', (node) => node.request({ nodeKey: createKey('ES256').jwk })],
    [
      'a broken signature',
      '403 BadSignature',
      async (node) => {
        const [header, body, signature = ''] = (await node.request()).split('.')
        const bytes = Buffer.from(signature, 'base64url')
        bytes[0] = (bytes[0] ?? 0) ^ 1
        return [header, body, bytes.toString('base64url')].join('.')
      },
    ],
    [
      'the type of another document',
      '403 WrongType',
      (node) => signBytes('RegistrationProof', Buffer.from(JSON.stringify(node.unsigned())), node.key),
    ],
    ['a document that is too large', '413 TooLarge', () => `${part('{}')}.${'A'.repeat(90_000)}.x`],
    ['a body that is too large', '413', () => 'A'.repeat(100_000)],
  ]
  test.each(cases)('%s: %s', async (_, code, make) => {
    const { send } = door()
    const before = await exchanges()
    const node = makeNode({ nodeName: fresh('site'), token: await token() })
    expect(codeOf(await send('POST', '', await make(node)))).toBe(code)
    expect(await exchanges()).toBe(before)
  })

  test('is counted each time and told as an event once a minute, with how many there were', async () => {
    const { send } = door()
    const told = async () =>
      (await listObjects(store.sql, 'Event')).filter(({ spec }) => spec.reason === 'TokenUnknown')
    const before = (await told()).length
    const node = makeNode({ nodeName: fresh('site'), token: `nobody.${'a'.repeat(40)}` })
    for (let n = 0; n < 5; n += 1) await send('POST', '', await node.request())
    expect(refusals).toHaveLength(5)
    expect(await told()).toHaveLength(before + 1)
    expect((await told()).at(-1)?.spec.message).toContain(`a node that calls itself ${node.name}, at `)
    nowMs += 60_000
    await send('POST', '', await node.request())
    expect((await told()).some(({ spec }) => spec.message.includes('4 more since'))).toBe(true)
  })
})

describe('a proof that is refused', () => {
  test.each<[string, string, Parameters<ReturnType<typeof makeNode>['proof']>[2]]>([
    ['another nonce', '403 ProofMismatch', { nonce: 'a'.repeat(64) }],
    ['another transcript', '403 ProofMismatch', { transcript: 'a'.repeat(64) }],
    ['another exchange', '403 ProofMismatch', { id: 'a'.repeat(64) }],
  ])('for %s: %s', async (_, code, more) => {
    const { send } = door()
    const node = makeNode({ nodeName: fresh('site'), token: await token() })
    const { asked, challenge } = await ask(send, node)
    const { id } = readChallenge(challenge)
    expect(codeOf(await send('POST', `/${id}/proof`, await node.proof(asked, challenge, more)))).toBe(code)
    expect(readAnswer(await send('GET', `/${id}`)).state).toBe('Challenged')
  })

  test('one by another key, one of an earlier challenge, one that is too late, one for nothing', async () => {
    const { send } = door()
    const node = makeNode({ nodeName: fresh('site'), token: await token() })
    const first = await ask(send, node)
    const { id } = readChallenge(first.challenge)
    const path = `/${id}/proof`
    const foreign = await node.proof(first.asked, first.challenge, {}, createKey('ES256'))
    expect(codeOf(await send('POST', path, foreign))).toBe('403 UnknownKey')
    const early = await node.proof(first.asked, first.challenge)
    const { asked, challenge } = await ask(send, node)
    expect(codeOf(await send('POST', path, early))).toBe('403 ProofMismatch')
    const proof = await node.proof(asked, challenge)
    nowMs = Date.parse(readChallenge(challenge).expiresAt)
    expect(codeOf(await send('POST', path, proof))).toBe('403 ChallengeExpired')
    nowMs -= 1
    expect(codeOf(await send('POST', path, proof))).toBe('200')
    expect(codeOf(await send('POST', `/${'a'.repeat(64)}/proof`, proof))).toBe('403 ChallengeExpired')
    expect(codeOf(await send('GET', `/${'a'.repeat(64)}`))).toBe('404 ChallengeExpired')
  })

  test('one that was heard on the way opens nothing for another key', async () => {
    const { send } = door()
    const text = await token({ maxUses: 2 })
    const node = makeNode({ nodeName: fresh('site'), token: text })
    const { asked, challenge } = await ask(send, node)
    const proof = await node.proof(asked, challenge)
    await send('POST', `/${readChallenge(challenge).id}/proof`, proof)
    const thief = makeNode({ nodeName: fresh('thief'), token: text })
    const his = await ask(send, thief)
    expect(codeOf(await send('POST', `/${readChallenge(his.challenge).id}/proof`, proof))).toBe('403 UnknownKey')
  })
})

test("a token's secret is nowhere in the database, neither before the proof nor after, and a repeat still meets its exchange", async () => {
  const { send } = door()
  const text = await token()
  const [, secret = ''] = text.split('.')
  const stored = async () => {
    const rows: string[] = []
    for (const { name } of await store.sql<{ name: string }[]>`
      select table_name as name from information_schema.tables where table_schema = current_schema()`)
      for (const row of await store.sql`select t::text as row from ${store.sql(name)} t`) rows.push(String(row['row']))
    // Signed texts carry their payload in base64url.
    return rows.flatMap((row) => [
      row,
      ...(row.match(/[A-Za-z0-9_-]{40,}/g) ?? []).map((part) => Buffer.from(part, 'base64url').toString('latin1')),
    ])
  }
  const node = makeNode({ nodeName: fresh('site'), token: text })
  const { asked, challenge } = await ask(send, node)
  const rows = await stored()
  expect(rows.some((row) => row.includes(node.key.jwk.x))).toBe(true)
  expect(rows.filter((row) => row.includes(secret))).toEqual([])
  const { id } = readChallenge(challenge)
  expect(readAnswer(await send('POST', `/${id}/proof`, await node.proof(asked, challenge))).state).toBe('Pending')
  expect((await stored()).filter((row) => row.includes(secret))).toEqual([])
  expect(await send('POST', '', asked)).toMatchObject({ status: 201, body: challenge })
})

test('an exchange that an earlier hub kept as it came loses its secret by migration and can still be proven', async () => {
  const { send } = door()
  const node = makeNode({ nodeName: fresh('site'), token: await token(), claims: { place: 'Søråsen ☃' } })
  const { asked, challenge } = await ask(send, node)
  const { id } = readChallenge(challenge)
  await store.sql`update registration_request set request = ${asked} where id = ${id}`
  await store.sql.unsafe(readFileSync(new URL('../migrations/0006_request_without_token.sql', import.meta.url), 'utf8'))
  const [row] = await store.sql<{ request: string }[]>`select request from registration_request where id = ${id}`
  const { token: _, ...rest } = node.unsigned()
  expect(JSON.parse(row?.request ?? '')).toEqual(rest)
  expect(readAnswer(await send('POST', `/${id}/proof`, await node.proof(asked, challenge))).state).toBe('Pending')
})

/** A node whose key a record holds, as after the controller accepted it. */
async function accepted(send: Send): Promise<ReturnType<typeof makeNode>> {
  const node = makeNode({ nodeName: fresh('site'), token: await token() })
  const { id } = await register(send, node)
  const [row] = await store.sql<{ cluster: string; node: string; transcript: string }[]>`
    select cluster, node, transcript from registration_request where id = ${id}`
  if (!row) throw new Error(`no exchange ${id}`)
  await store.sql.begin((tx) =>
    saveIdentities(tx, [
      {
        ...row,
        state: 'Accepted',
        class: 'software-key',
        nodeKey: node.key.jwk,
        nodeKeyThumbprint: node.key.thumbprint,
        natsKey: node.nats().pub,
        incarnation: 1,
        requestId: id,
        acceptance: 'a.b.c',
        natsJwt: 'a.b.c',
        credentialIssuedAt: new Date(NOW),
        credentialExpiresAt: new Date(NOW + 86_400_000),
        decidedBy: 'test',
        decidedAt: new Date(NOW),
      },
    ]),
  )
  const decision = { state: 'Accepted', by: 'test', at: new Date(NOW).toISOString() }
  await store.sql`update resource set spec = spec || ${store.sql.json({ decision })} where kind = 'Registration' and namespace = ${row.cluster}`
  await store.sql`update resource set spec = spec || '{"hubAcceptsClient": true}' where kind = 'ManagedCluster' and name = ${row.cluster}`
  return node
}

describe('a flood', () => {
  test('with a stolen token keeps a bounded number of rows, is told when to come back, and stops no other token', async () => {
    const { from } = door()
    const text = await token({ maxUses: 1 })
    const open = async () => (await store.sql`select id from registration_request where proven_at is null`).length
    const before = await open()
    const replies: Reply[] = []
    for (let n = 0; n < 60; n += 1)
      replies.push(await from(`10.1.0.${n}`)('POST', '', await makeNode({ nodeName: 'flood', token: text }).request()))
    const full = replies.filter(({ status }) => status === 429)
    expect(full.length).toBeGreaterThan(0)
    expect(full[0]).toMatchObject({ status: 429, retryAfter: '30' })
    expect(codeOf(full[0] ?? { status: 0, body: '', retryAfter: undefined })).toBe('429 TooManyRequests')
    expect((await open()) - before).toBe(33)
    const honest = makeNode({ nodeName: fresh('site'), token: await token() })
    expect((await register(from('10.2.0.1'), honest)).state).toBe('Pending')
    // What nobody proved is gone when its time is over, at the next request.
    nowMs += 10 * 60_000
    await ask(from('10.2.0.1'), makeNode({ nodeName: fresh('site'), token: await token() }))
    expect(await open()).toBe(1)
  })

  test('of nonsense from one address is cut short before any work, with the time to come back, and no other address with it', async () => {
    const { from } = door()
    const replies: Reply[] = []
    for (let n = 0; n < 130; n += 1) replies.push(await from('10.3.0.1')('POST', '', 'nonsense'))
    expect(replies.map(({ status }) => status).slice(0, 120)).not.toContain(429)
    expect(replies.at(-1)).toMatchObject({ status: 429, retryAfter: '60' })
    expect(refusals).toHaveLength(120)
    expect((await register(from('10.3.0.2'), makeNode({ nodeName: fresh('site'), token: await token() }))).state).toBe(
      'Pending',
    )
    nowMs += 60_000
    expect(codeOf(await from('10.3.0.1')('POST', '', 'nonsense'))).toBe('400 MalformedJson')
  })

  test('that the hub could not judge is not charged: after an outage the same address is heard', async () => {
    const { from } = door()
    const send = from('10.6.0.1')
    const node = makeNode({ nodeName: fresh('site'), token: await token() })
    const asked = await node.request()
    await store.sql`alter table registration_request rename to away`
    onTestFinished(async () => {
      await store.sql`alter table if exists away rename to registration_request`
    })
    const codes = new Set<string>()
    for (let n = 0; n < 130; n += 1) codes.add(codeOf(await send('POST', '', asked)))
    await store.sql`alter table away rename to registration_request`
    expect([...codes]).toEqual(['500'])
    expect((await register(send, node)).state).toBe('Pending')
  })

  test('of nonsense behind the address of a site does not stop what the hub knows: not its proofs, its polls, or its return', async () => {
    const { from } = door()
    const send = from('10.4.0.1')
    const waiting = makeNode({ nodeName: fresh('site'), token: await token() })
    const first = await ask(send, waiting)
    const { id } = readChallenge(first.challenge)
    const member = await accepted(send)
    for (let n = 0; n < 120; n += 1) await send('POST', '', 'nonsense')
    expect(codeOf(await send('POST', `/${id}/proof`, await waiting.proof(first.asked, first.challenge)))).toBe('200')
    for (let n = 0; n < 130; n += 1) expect(codeOf(await send('GET', `/${id}`))).toBe('200')
    member.renew()
    expect((await register(send, member, { token: undefined })).state).toBe('Pending')
    // Strangers, and who only names a known key, stay out.
    for (const body of [
      'nonsense',
      await member.request({ token: undefined }, createKey('ES256')),
      await makeNode({ nodeName: 'stranger', token: await token() }).request(),
    ])
      expect(codeOf(await send('POST', '', body))).toBe('429 TooManyRequests')
    expect(codeOf(await send('GET', `/${'a'.repeat(64)}`))).toBe('429 TooManyRequests')
  })

  test('of bad proofs for a known exchange ends at its own bound, and its polls go on', async () => {
    const { from } = door()
    const send = from('10.5.0.1')
    const node = makeNode({ nodeName: fresh('site'), token: await token() })
    const { challenge } = await ask(send, node)
    const path = `/${readChallenge(challenge).id}`
    const codes: string[] = []
    for (let n = 0; n < 241; n += 1) codes.push(codeOf(await send('POST', `${path}/proof`, 'nonsense')))
    expect(codes.indexOf('429 TooManyRequests')).toBe(240)
    expect(codeOf(await send('GET', path))).toBe('200')
  })
})

describe('a node that comes with a new NATS key again and again', () => {
  const MINUTE = 60_000

  /** The controller that gives what the door let in its credential, by the same clock. */
  async function settler(): Promise<() => Promise<unknown>> {
    const lease = await acquireLease(store, 'controllers', AbortSignal.timeout(60_000))
    onTestFinished(() => lease.release())
    const controller = registrationController({
      mint: ({ natsKey }) => `credential of ${natsKey}`,
      newRoutingToken: () => randomBytes(13).toString('hex'),
      acceptanceSigner: createKey('EdDSA'),
      pushRevocations: async () => undefined,
      onConnected: () => undefined,
    })
    const log = pino({ level: 'silent' })
    const mirrors = openMirrors(store)
    return () =>
      controller.reconcile({ store, lease, mirrors, now: () => nowMs, log, signal: AbortSignal.timeout(60_000) })
  }

  /** A node that has entered and come back so often, one minute after the other. */
  async function returned(send: Send, settle: () => Promise<unknown>, times: number) {
    const node = makeNode({ nodeName: fresh('site'), token: await token({ acceptance: 'Automatic' }) })
    await register(send, node)
    await settle()
    for (let n = 0; n < times; n += 1) {
      nowMs += MINUTE
      node.renew()
      await register(send, node, { incarnation: 1 })
      await settle()
    }
    return node
  }

  // The first of the keys was ended a minute after NOW, the sixth six minutes after it.
  test.each([
    { times: 5, afterMs: 0, code: '201', retryAfter: undefined },
    { times: 6, afterMs: 0, code: '429 TooManyRequests', retryAfter: '3300' },
    { times: 6, afterMs: 55 * MINUTE - 1, code: '429 TooManyRequests', retryAfter: '1' },
    { times: 6, afterMs: 55 * MINUTE, code: '201', retryAfter: undefined },
  ])('after $times returns and $afterMs ms: $code', async ({ times, afterMs, code, retryAfter }) => {
    const { send } = door()
    const settle = await settler()
    const node = await returned(send, settle, times)
    const present = await node.request({ incarnation: 1 })
    nowMs += afterMs
    node.renew()
    const reply = await send('POST', '', await node.request({ incarnation: 1 }))
    expect([codeOf(reply), reply.retryAfter]).toEqual([code, retryAfter])
    if (retryAfter !== undefined) expect(reply.body).toContain('has ended 6 NATS keys within an hour')
    // With the key it has it is answered to the letter, and others are not hurt.
    expect(codeOf(await send('POST', '', present))).toBe('201')
    await register(send, makeNode({ nodeName: fresh('site'), token: await token() }))
    const others = await returned(send, settle, 1)
    expect((await ask(send, others, { incarnation: 1 })).challenge).toBeDefined()
  })

  test('is told at the proof, too, beside another whose proof comes with it; what it had stays', async () => {
    const { send } = door()
    const settle = await settler()
    const node = await returned(send, settle, 5)
    node.renew()
    const early = await ask(send, node, { incarnation: 1 })
    const earlyProof = await node.proof(early.asked, early.challenge)
    node.renew()
    const { id } = await register(send, node, { incarnation: 1 })
    await settle()
    // While the first of them is written, the others come together.
    const proofs: [TestNode, { asked: string; challenge: string }, string?][] = [[node, early, earlyProof]]
    for (let n = 0; n < 8; n += 1) {
      const other = makeNode({ nodeName: fresh('site'), token: await token() })
      proofs.splice(n % 2, 0, [other, await ask(send, other)])
    }
    const replies = await Promise.all(
      proofs.map(async ([who, { asked, challenge }, proof]) => ({
        who,
        reply: await send(
          'POST',
          `/${readChallenge(challenge).id}/proof`,
          proof ?? (await who.proof(asked, challenge)),
        ),
      })),
    )
    const late = replies.find(({ who }) => who === node)?.reply
    expect(late).toMatchObject({ status: 429, retryAfter: '3360' })
    expect(replies.filter(({ who }) => who !== node).map(({ reply }) => codeOf(reply))).toEqual(Array(8).fill('200'))
    expect(readAnswer(await send('GET', `/${id}`))).toMatchObject({
      state: 'Accepted',
      natsJwt: `credential of ${node.nats().pub}`,
    })
  })
})

test('a NATS key that was ended is refused, for a node that never had it too', async () => {
  const { send } = door()
  const node = makeNode({ nodeName: fresh('site'), token: await token() })
  const held = createNkey('user').pub
  await store.sql`insert into nats_revocation (nats_key, cluster, node, revoked_at, expires_at) values (${held}, 'a', 'a', now(), now() + interval '1 day')`
  expect(codeOf(await send('POST', '', await node.request({ natsKey: held })))).toBe('403 NotAllowed')
})
