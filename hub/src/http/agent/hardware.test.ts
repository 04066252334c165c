import { createHash, randomBytes } from 'node:crypto'
import type { HardwareProfile, JoinTokenSpec, RegistrationProof, RegistrationRequest, TpmQuote } from '@skerry/api'
import { type EccArea, EK_TEMPLATES, parsePublic, writePublic } from '@skerry/measured-boot'
import { makeTpm, referenceOf, valuesOf } from '@skerry/policy/testing'
import { createKey, sha256Hex, transcriptDigest } from '@skerry/trust'
import pino from 'pino'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { settle } from '../../controllers/registration-settle.ts'
import { identitiesAt } from '../../store/identities.ts'
import { createObject, deleteObject, getObject, listObjects, updateObject } from '../../store/resources.ts'
import { openStore, type Store, write } from '../../store/store.ts'
import { migratedDatabase } from '../../store/testing.ts'
import { agentRoutes } from '../agent.ts'
import { makeMetrics } from '../health.ts'
import { buildServer } from '../server.ts'
import { ask, codeOf, makeNode, type Reply, readAnswer, readChallenge, type Send, type TestNode } from './test-node.ts'
import { makeHardware, type TestTpm } from './test-tpm.ts'

// Registration by hardware at the door: a real database, TPMs whose keys are in our hands, and decisions carried out when
// a test says so.

const NOW = Date.parse('2026-06-01T12:00:00Z')
const HARDWARE = 'shop-box'
let store: Store
let drop: () => Promise<void>
let send: Send
const inventory: string[] = []

beforeAll(async () => {
  const database = await migratedDatabase()
  drop = database.drop
  store = openStore(database.connection)
  const app = buildServer({
    store,
    metrics: makeMetrics(),
    tls: undefined,
    log: pino({ level: 'silent' }),
    routes: [(app) => agentRoutes(app, { store, now: () => NOW, onRefused: () => {} })],
  })
  let caller = 0
  send = async (method, path, body): Promise<Reply> => {
    const url = `/agent/v1/registrations${path}`
    const headers = { 'content-type': 'application/jose' }
    // Nobody here has used up what one address may ask.
    caller += 1
    const remoteAddress = `10.0.${caller >> 8}.${caller & 0xff}`
    const reply = await app.inject({ method, url, headers, remoteAddress, ...(body === undefined ? {} : { body }) })
    return { status: reply.statusCode, body: reply.body, retryAfter: undefined }
  }
})
afterAll(async () => {
  await store.close()
  await drop()
})

let made = 0
const fresh = (what: string) => `${what}-${++made}`
const id = ({ name }: TestNode) => ({ cluster: name, node: name })

/** Signs the profile anew: what its inventory lists, and what else differs. */
async function profile(more: Partial<HardwareProfile> = {}, name = HARDWARE): Promise<void> {
  const { kind: _, name: __, ...usual } = referenceOf(makeTpm()).profile
  const spec = {
    ...{ target: `hardware/${name}.json`, profileSha256: sha256Hex(fresh('profile')), signers: [] },
    ...{ ...usual, hardwareIds: [name], tpm: { roots: [], inventory: [...inventory] }, ...more },
  }
  await write(store, async (tx) => {
    const object = { metadata: { name }, spec }
    if (await getObject(tx, 'HardwareProfile', '', name)) await updateObject(tx, 'HardwareProfile', object)
    else await createObject(tx, 'HardwareProfile', object)
  })
}

/** A TPM that the profile's inventory lists. */
async function own(): Promise<TestTpm> {
  const tpm = makeHardware()
  inventory.push(tpm.ekSha256)
  await profile()
  return tpm
}

async function token(spec: Partial<JoinTokenSpec> = {}): Promise<string> {
  const [name, secret] = [fresh('token'), randomBytes(20).toString('hex')]
  const full: JoinTokenSpec = {
    secretSha256: createHash('sha256').update(secret).digest('hex'),
    expiresAt: new Date(NOW + 86_400_000).toISOString(),
    ...{ maxUses: 1, classes: ['tpm'], acceptance: 'Automatic' },
  }
  await write(store, (tx) => createObject(tx, 'JoinToken', { metadata: { name }, spec: { ...full, ...spec } }))
  return `${name}.${secret}`
}

const machine = (tpm: TestTpm, more: Partial<RegistrationRequest> & { nodeName: string }) =>
  makeNode({ ...tpm.keys, hardwareId: HARDWARE, ...more })

/** Both calls; the members of the proof that differ from what an honest TPM answers. */
async function enter(
  node: TestNode,
  tpm: TestTpm,
  more: Partial<NonNullable<RegistrationProof['tpm']>> = {},
  change = (quote: TpmQuote): TpmQuote => quote,
) {
  const { asked, challenge } = await ask(send, node)
  const { id, tpm: credential } = readChallenge(challenge)
  if (!credential) throw new Error('the TPM was not asked')
  const secret = tpm.activate(credential) ?? 'f'.repeat(64)
  const quote = change(tpm.quote(transcriptDigest(asked, challenge)))
  return send('POST', `/${id}/proof`, await node.proof(asked, challenge, { tpm: { secret, quote, ...more } }))
}

/** Carries out what is decided about this cluster. */
async function decide(cluster: string): Promise<void> {
  const due = await listObjects(store.sql, 'Registration', { namespace: cluster })
  const options = {
    mint: () => 'jwt',
    newRoutingToken: () => 'a'.repeat(26),
    acceptanceSigner: createKey('EdDSA'),
  }
  await write(store, (tx) => settle(tx, due, options, NOW))
}

async function joined(tpm: TestTpm): Promise<TestNode> {
  const node = machine(tpm, { nodeName: fresh('site'), token: await token() })
  expect(codeOf(await enter(node, tpm))).toBe('200')
  await decide(node.name)
  expect((await registration(node))?.status?.state).toBe('Accepted')
  return node
}

const registration = ({ name }: TestNode) => getObject(store.sql, 'Registration', name, name)
const record = async (node: TestNode) => (await identitiesAt(store.sql, [id(node)])).get(`${node.name}/${node.name}`)
const events = async (cluster: string) =>
  (await listObjects(store.sql, 'Event', { namespace: cluster })).map(({ spec }) => spec.reason)

describe('a node with a TPM', () => {
  test('is registered with it, judged by its profile, accepted by a rule, and its record says which TPM it is', async () => {
    const tpm = await own()
    const node = await joined(tpm)
    const { ekSha256, akName } = tpm
    expect((await registration(node))?.spec).toMatchObject({
      class: 'tpm',
      tpm: {
        ...{ ekSha256, akName, profile: HARDWARE, endorsedBy: `inventory of ${HARDWARE}` },
        firstBoot: { verdict: 'warning', reason: 'NoReference' },
      },
    })
    const { firmware, ...row } = (await record(node)) ?? {}
    expect(row).toMatchObject({ class: 'tpm', akName, incarnation: 1 })
    expect(Object.keys(firmware ?? {})).toEqual(['0', '2', '3', '6'])
  })

  test('has its secret stored as a hash alone, and its challenge says what to quote', async () => {
    const tpm = await own()
    const node = machine(tpm, { nodeName: fresh('site'), token: await token() })
    const { challenge } = await ask(send, node)
    const { tpm: credential } = readChallenge(challenge)
    expect(credential).toMatchObject({ bank: 'sha256', pcrs: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14] })
    const secret = credential && tpm.activate(credential)
    expect(secret).toMatch(/^[0-9a-f]{64}$/)
    const rows = JSON.stringify(await store.sql`select * from registration_request`)
    expect(rows).not.toContain(secret)
    expect(rows).toContain(
      createHash('sha256')
        .update(Buffer.from(secret ?? '', 'hex'))
        .digest('hex'),
    )
  })

  test('whose firmware kept no log is registered, and waits for a person', async () => {
    const tpm = await own()
    const node = machine(tpm, { nodeName: fresh('site'), token: await token() })
    expect(codeOf(await enter(node, tpm, {}, ({ eventLog: _, ...quote }) => quote))).toBe('200')
    await decide(node.name)
    const { status, spec } = (await registration(node)) ?? {}
    expect(spec?.tpm?.firstBoot).toMatchObject({ verdict: 'none', reason: 'EventLogMissing' })
    expect(status?.state).toBe('Pending')
  })

  test('whose first quote shows an unknown firmware waits for a person, who reads why', async () => {
    const tpm = await own()
    await profile({ firmware: [], learn: 'off' })
    const node = machine(tpm, { nodeName: fresh('site'), token: await token() })
    expect(codeOf(await enter(node, tpm))).toBe('200')
    await decide(node.name)
    await profile()
    const { status, spec } = (await registration(node)) ?? {}
    expect(spec?.tpm?.firstBoot).toMatchObject({ verdict: 'contraindicated', reason: 'FirmwareUnknown' })
    expect(status).toMatchObject({
      state: 'Pending',
      message: expect.stringMatching(/^a person decides: the first boot is contraindicated \(FirmwareUnknown: /),
    })
  })
})

describe('what a request names is refused, all of it in one answer', () => {
  const changed = (base64: string | undefined, change: (area: ReturnType<typeof parsePublic>) => object) => {
    const area = parsePublic(new Uint8Array(Buffer.from(base64 ?? '', 'base64')))
    return Buffer.from(writePublic({ ...area, ...change(area) } as typeof area)).toString('base64')
  }
  const without = (base64: string | undefined, ...gone: string[]) =>
    changed(base64, ({ attributes }) => ({ attributes: attributes.filter((one) => !gone.includes(one)) }))
  const cases: [string, (tpm: TestTpm) => object, string, RegExp][] = [
    ['hardware that no profile names', () => ({ hardwareId: 'other' }), '403 ProfileUnknown', /--hardware-id/],
    ['no AK', () => ({ ak: undefined }), '422 InvalidField', /attestation key \(ak\)/],
    ['keys of a TPM without its class', () => ({ class: 'software-key' }), '422 InvalidField', /names no keys/],
    ['an EK that is no key', () => ({ ek: 'AAAA' }), '403 EkUntrusted', /no TPM2B_PUBLIC/],
    ['an EK of no template', ({ keys }) => ({ ek: keys.ak }), '403 EkUntrusted', /inventory.*of no template/],
    [
      'a certificate that is none',
      () => ({ ekCertificates: ['AAAA'], ek: makeHardware().keys.ek }),
      '403 EkUntrusted',
      /is no certificate.*inventory/,
    ],
    ['an EK of another inventory', () => ({ ek: makeHardware().keys.ek }), '403 EkUntrusted', /no EK certificate came/],
    [
      'an AK without restricted',
      ({ keys }) => ({ ak: without(keys.ak, 'restricted') }),
      '403 AkUnfit',
      /signs whatever/,
    ],
    [
      'an AK that decrypts',
      ({ keys }) => ({ ak: changed(keys.ak, ({ attributes }) => ({ attributes: [...attributes, 'decrypt'] })) }),
      '403 AkUnfit',
      /decrypts/,
    ],
    [
      'an unknown EK and an AK that may leave its TPM',
      ({ keys }) => ({ ek: makeHardware().keys.ek, ak: without(keys.ak, 'fixedTPM', 'fixedParent') }),
      '403 EkUntrusted',
      /no EK certificate came.*it can leave its TPM.*moved under another key/,
    ],
  ]
  test.each(cases)('%s', async (_, more, code, words) => {
    const tpm = await own()
    const node = machine(tpm, { nodeName: fresh('site'), token: await token() })
    const { ak, ...rest } = { ak: tpm.keys.ak, ...more(tpm) }
    const reply = await send('POST', '', await node.request(ak === undefined ? { ...rest, ak } : { ...rest, ak }))
    expect(codeOf(reply)).toBe(code)
    expect(JSON.parse(reply.body).message).toMatch(words)
  })

  test('a token is asked about before', async () => {
    const node = machine(makeHardware(), { nodeName: fresh('site'), token: 'none.0123456789abcdef0123456789abcdef' })
    expect(codeOf(await send('POST', '', await node.request()))).toBe('403 TokenUnknown')
  })
})

describe('a proof is refused', () => {
  const cases: [string, (tpm: TestTpm) => Partial<NonNullable<RegistrationProof['tpm']>>, RegExp][] = [
    ['with another secret', () => ({ secret: 'a'.repeat(64) }), /another TPM answers/],
    [
      'with a quote over something else',
      (tpm) => ({ quote: tpm.quote('b'.repeat(64)) }),
      /nonce: the quote answers another question/,
    ],
  ]
  test.each(cases)('%s', async (_, more, words) => {
    const tpm = await own()
    const node = machine(tpm, { nodeName: fresh('site'), token: await token() })
    const reply = await enter(node, tpm, more(tpm))
    expect(codeOf(reply)).toBe('403 ProofMismatch')
    expect(JSON.parse(reply.body).message).toMatch(words)
    expect(await registration(node)).toBeUndefined()
  })

  test('without the TPM’s answer, by another AK, of another bank, and again for a later challenge', async () => {
    const tpm = await own()
    const node = machine(tpm, { nodeName: fresh('site'), token: await token() })
    const { asked, challenge } = await ask(send, node)
    const { id, tpm: credential } = readChallenge(challenge)
    const secret = (credential && tpm.activate(credential)) ?? ''
    const transcript = transcriptDigest(asked, challenge)
    const prove = async (tpmAnswer?: RegistrationProof['tpm']) =>
      send('POST', `/${id}/proof`, await node.proof(asked, challenge, tpmAnswer ? { tpm: tpmAnswer } : {}))
    const quote = tpm.quote(transcript)
    const refused = async (answer?: RegistrationProof['tpm']) => JSON.parse((await prove(answer)).body).message
    expect(await refused()).toMatch(/no answer of it/)
    expect(await refused({ secret, quote: makeHardware().quote(transcript) })).toMatch(/another attestation key/)
    expect(await refused({ secret, quote: { ...quote, pcrs: { sha384: quote.pcrs.sha256 ?? {} } } })).toMatch(
      /sha256 was asked/,
    )
    // What an AK says of a node key is judged in packages/policy, and held against an emulator by the agent's tests.
    const nodeKey = { public: tpm.keys.ak ?? '', attest: quote.quote, signature: quote.signature }
    expect(await refused({ secret, quote, nodeKey })).toMatch(/not certified to lie in this TPM/)
    const proof = await node.proof(asked, challenge, { tpm: { secret, quote } })
    await ask(send, node)
    expect(codeOf(await send('POST', `/${id}/proof`, proof))).toBe('403 ProofMismatch')
    expect(await registration(node)).toBeUndefined()
  })

  test('of an AK that is in no TPM with this EK: the credential does not open', async () => {
    const [tpm, other] = [await own(), makeHardware()]
    const node = machine(tpm, { nodeName: fresh('site'), token: await token(), ak: other.keys.ak ?? '' })
    const { challenge } = await ask(send, node)
    const { tpm: credential } = readChallenge(challenge)
    expect(credential && tpm.activate(credential)).toBeUndefined()
    expect(credential && other.activate(credential)).toBeUndefined()
  })
})

describe('a TPM that is on record', () => {
  test('renews with no token and no profile any more', async () => {
    const tpm = await own()
    const node = await joined(tpm)
    node.renew()
    const again = machine(tpm, { nodeName: node.name })
    expect(again.name).toBe(node.name)
    const { asked, challenge } = await ask(send, node, { token: undefined, hardwareId: 'gone' })
    const { id, tpm: credential } = readChallenge(challenge)
    const secret = (credential && tpm.activate(credential)) ?? ''
    const quote = tpm.quote(transcriptDigest(asked, challenge))
    const answer = await send('POST', `/${id}/proof`, await node.proof(asked, challenge, { tpm: { secret, quote } }))
    expect(readAnswer(answer).state).toMatch(/Accepted|Pending/)
    await decide(node.name)
    expect((await registration(node))?.status?.state).toBe('Accepted')
  })

  test('stays the hardware that was decided about: it does not choose itself another profile when it returns', async () => {
    const tpm = await own()
    const node = await joined(tpm)
    await profile({ hardwareIds: ['lax'], learn: 'tofu' }, 'lax')
    const wiped = machine(tpm, { nodeName: node.name, hardwareId: 'lax' })
    expect(codeOf(await enter(wiped, tpm))).toBe('200')
    await decide(node.name)
    expect((await registration(node))?.spec).toMatchObject({ hardwareId: HARDWARE, tpm: { profile: HARDWARE } })
  })

  test('returns after its disk was wiped, with no token: the next life, still accepted, its first boot kept', async () => {
    const tpm = await own()
    const node = await joined(tpm)
    const before = await registration(node)
    const wiped = machine(tpm, { nodeName: node.name })
    expect(codeOf(await enter(wiped, tpm))).toBe('200')
    await decide(node.name)
    expect(await record(node)).toMatchObject({
      incarnation: 2,
      nodeKeyThumbprint: wiped.key.thumbprint,
      state: 'Accepted',
    })
    expect((await registration(node))?.spec.tpm).toEqual(before?.spec.tpm)
  })

  test('whose earlier disk comes back beside the new one is suspended: two machines hold it', async () => {
    const tpm = await own()
    const node = await joined(tpm)
    const copy = machine(tpm, { nodeName: node.name })
    expect(codeOf(await enter(copy, tpm))).toBe('200')
    await decide(node.name)
    node.renew()
    const reply = await enter(node, tpm)
    expect(codeOf(reply)).toBe('403 ForkedChain')
    expect(await record(node)).toMatchObject({ state: 'Suspended' })
    expect(await events(node.name)).toContain('ForkedChain')
    await decide(node.name)
    expect((await registration(node))?.status?.state).toBe('Suspended')
    expect(codeOf(await send('POST', '', await copy.request()))).toBe('403 NotAllowed')
  })

  test('is no other node, nor another cluster’s: refused, and told at both', async () => {
    const tpm = await own()
    const node = await joined(tpm)
    const other = machine(tpm, { nodeName: node.name, cluster: 'elsewhere' })
    expect(codeOf(await send('POST', '', await other.request()))).toBe('409 IdentityChanged')
    expect(await events('elsewhere')).toEqual(['IdentityChanged'])
    expect(await events(node.name)).toContain('IdentityChanged')
  })

  test('is noticed by its EK alone: refused, and told at both', async () => {
    const tpm = await own()
    const node = await joined(tpm)
    // An AK of its own and the same EK: nobody's record, and yet this TPM.
    const elsewhere = machine(tpm, { nodeName: fresh('site'), token: await token(), ak: makeHardware().keys.ak ?? '' })
    expect(codeOf(await send('POST', '', await elsewhere.request()))).toBe('409 IdentityChanged')
    expect(await events(node.name)).toContain('IdentityChanged')
    expect(await events(elsewhere.name)).toContain('IdentityChanged')
  })

  test('is noticed when its EK comes as a key of the profile’s other template, which the same certificate and credential fit', async () => {
    const tpm = await own()
    const node = await joined(tpm)
    const { x, y } = parsePublic(new Uint8Array(Buffer.from(tpm.keys.ek ?? '', 'base64'))) as EccArea
    const twin = writePublic({ ...EK_TEMPLATES['H-2'].area, x, y })
    // As a maker's certificate would, which is of the key.
    inventory.push(createHash('sha256').update(twin).digest('hex'))
    await profile()
    const ek = Buffer.from(twin).toString('base64')
    const elsewhere = machine(tpm, {
      nodeName: fresh('site'),
      token: await token(),
      ek,
      ak: makeHardware().keys.ak ?? '',
    })
    expect(codeOf(await send('POST', '', await elsewhere.request()))).toBe('409 IdentityChanged')
    expect(await events(node.name)).toContain('IdentityChanged')
  })

  test('keeps its name against another TPM, and its key against none', async () => {
    const tpm = await own()
    const node = await joined(tpm)
    const other = await own()
    const thief = machine(other, { nodeName: node.name, token: await token({ cluster: node.name }) })
    expect(codeOf(await send('POST', '', await thief.request()))).toBe('409 NodeTaken')
    expect(codeOf(await send('POST', '', await node.request({ ...other.keys })))).toBe('409 IdentityChanged')
    const bare = { class: 'software-key', ek: undefined, ak: undefined }
    expect(codeOf(await send('POST', '', await node.request(bare)))).toBe('409 IdentityChanged')
  })

  test('keeps what its firmware showed first, whatever it shows when it returns', async () => {
    const tpm = await own()
    const node = await joined(tpm)
    const first = (await record(node))?.firmware
    const wiped = machine(tpm, { nodeName: node.name })
    const values = valuesOf('secure-boot-off').set(0, 'd'.repeat(64))
    const { asked, challenge } = await ask(send, wiped)
    const { id, tpm: credential } = readChallenge(challenge)
    const secret = (credential && tpm.activate(credential)) ?? ''
    const quote = tpm.quote(transcriptDigest(asked, challenge), { values })
    const reply = await send('POST', `/${id}/proof`, await wiped.proof(asked, challenge, { tpm: { secret, quote } }))
    expect(codeOf(reply)).toBe('200')
    await decide(node.name)
    expect(await record(node)).toMatchObject({ incarnation: 2, firmware: first })
  })

  test('whose public keys a stranger names leaves room for itself', async () => {
    const tpm = await own()
    const node = await joined(tpm)
    for (let n = 0; n < 4; n++) await ask(send, machine(tpm, { nodeName: node.name }))
    const stranger = machine(tpm, { nodeName: node.name })
    expect(codeOf(await send('POST', '', await stranger.request()))).toBe('429 TooManyRequests')
    node.renew()
    expect(codeOf(await enter(node, tpm))).toBe('200')
  })

  test('whose registration a person deleted begins anew, also with the node key of a life that ended', async () => {
    const tpm = await own()
    const node = await joined(tpm)
    expect(codeOf(await enter(machine(tpm, { nodeName: node.name }), tpm))).toBe('200')
    await decide(node.name)
    await write(store, async (tx) => {
      await deleteObject(tx, 'Registration', node.name, node.name)
      await tx`update node_identity set state = 'Left' where cluster = ${node.name}`
    })
    node.renew()
    const text = await token({ cluster: node.name })
    const again = makeNode({ ...tpm.keys, hardwareId: HARDWARE, nodeName: node.name, token: text })
    const kept = {
      ...again,
      key: node.key,
      request: (more: object = {}) => again.request({ nodeKey: node.key.jwk, ...more }, node.key),
    }
    const proven = {
      ...kept,
      proof: (...[asked, challenge, more]: Parameters<typeof again.proof>) =>
        again.proof(asked, challenge, more, node.key),
    }
    expect(codeOf(await enter(proven, tpm))).toBe('200')
  })

  test('is free again once its registration was deleted', async () => {
    const tpm = await own()
    const node = await joined(tpm)
    await write(store, async (tx) => {
      await deleteObject(tx, 'Registration', node.name, node.name)
      await tx`update node_identity set state = 'Left' where cluster = ${node.name}`
    })
    await joined(tpm)
  })
})
