import { createHash, randomBytes } from 'node:crypto'
import { dirname } from 'node:path'
import { connect, credsAuthenticator, type NatsConnection } from '@nats-io/transport-node'
import { type Acceptance, type JoinTokenSpec, type PublicJwk, subjects } from '@skerry/api'
import { type Client, openClient } from '@skerry/client'
import { until } from '@skerry/supervise'
import { testDatabase } from '@skerry/supervise/testing'
import { keyRing, signDocument, verifyDocument } from '@skerry/trust'
import pino from 'pino'
import { afterAll, beforeAll, describe, expect, inject, onTestFinished, test, vi } from 'vitest'
import { codeOf, makeNode, overHttps, readAnswer, register, type Send, type TestNode } from '../http/agent/test-node.ts'
import { type Hub, startHub } from '../index.ts'
import { lockHeads, saveHeads } from '../store/heads.ts'
import { loadIdentity } from '../store/identities.ts'
import { loadLife } from '../store/lives.ts'
import { openStore, type Store, write } from '../store/store.ts'
import { configOn } from '../testing.ts'
import { createNkey } from '../transport/index.ts'

// Decisions, and what becomes of them: on a whole hub over HTTPS, with nodes on the real NATS.

let hub: Hub
let client: Client
let store: Store
let drop: () => Promise<void>
let send: Send

beforeAll(async () => {
  vi.stubEnv('PATH', `${dirname(inject('natsServer'))}:${process.env['PATH']}`)
  const database = await testDatabase()
  drop = database.drop
  hub = await startHub(configOn(database.connection, { logLevel: 'silent' }), pino({ level: 'silent' }))
  store = openStore(database.connection)
  client = openClient({ server: hub.apiUrl, caPem: hub.caPem, token: hub.adminToken })
  send = overHttps(hub.apiUrl, hub.caPem)
})
afterAll(async () => {
  await client.close()
  await store.close()
  await hub.stop()
  await drop()
})

/** Less than the half minute after which a controller looks by time alone: what is waited for follows from a hint. */
const SOON_MS = 20_000

let made = 0
const fresh = (what: string) => `${what}-${++made}`

async function token(spec: Partial<JoinTokenSpec> = {}): Promise<string> {
  const [name, secret] = [fresh('token'), randomBytes(20).toString('hex')]
  const secretSha256 = createHash('sha256').update(secret).digest('hex')
  const expiresAt = new Date(Date.now() + 86_400_000).toISOString()
  const full: JoinTokenSpec = {
    secretSha256,
    expiresAt,
    maxUses: 1,
    classes: ['software-key'],
    acceptance: 'Automatic',
  }
  await client.create('JoinToken', { metadata: { name }, spec: { ...full, ...spec } })
  return `${name}.${secret}`
}

const place = ({ name }: TestNode) => [name, name] as const
const registration = (node: TestNode) => client.get('Registration', ...place(node))
const reason = async (node: TestNode) => (await registration(node)).status?.reason

type Credential = { readonly acceptance: Acceptance; readonly natsJwt: string; readonly id: string }

/** Asks, proves and waits until the hub has made the credential. */
async function join(node: TestNode, more: object = {}): Promise<Credential> {
  const { id } = await register(send, node, more)
  let credential: Credential | undefined
  await until(
    async () => {
      const answer = readAnswer(await send('GET', `/${id}`))
      const { acceptance, natsJwt } = answer
      if (answer.state !== 'Accepted' || !acceptance || !natsJwt) return false
      const payload = JSON.parse(
        Buffer.from(acceptance.split('.')[1] ?? '', 'base64url').toString('utf8'),
      ) as Acceptance
      credential = { acceptance: payload, natsJwt, id }
      return true
    },
    `${node.name} being accepted`,
    SOON_MS,
  )
  if (!credential) throw new Error('no credential')
  return credential
}

function dial(
  node: TestNode,
  { natsJwt, acceptance: { cluster, node: id, routingToken } }: Credential,
  seed = node.nats().seed,
) {
  const creds = `-----BEGIN NATS USER JWT-----\n${natsJwt}\n------END NATS USER JWT------\n\n-----BEGIN USER NKEY SEED-----\n${seed}\n------END USER NKEY SEED------\n`
  return connect({
    servers: hub.natsUrl,
    authenticator: credsAuthenticator(Buffer.from(creds)),
    inboxPrefix: subjects.inbox(cluster, id, routingToken),
    reconnect: false,
  })
}

/** A node that has joined and is connected. */
async function connected(spec: Partial<JoinTokenSpec> = {}) {
  const node = makeNode({ nodeName: fresh('site'), token: await token(spec) })
  const credential = await join(node)
  const nc = await dial(node, credential)
  onTestFinished(() => nc.close().catch(() => undefined))
  return { node, credential, nc }
}

async function cutOff(nc: NatsConnection, node: TestNode, credential: Credential, seed?: string): Promise<void> {
  await until(() => nc.isClosed(), `${node.name} being cut off`, SOON_MS)
  await expect(dial(node, credential, seed)).rejects.toThrow(/authorization/i)
}

describe('acceptance', () => {
  test('by a rule: credential, acceptance, EdgeNode and cluster come to be, with the rule’s name under the decision', async () => {
    const text = await token()
    const node = makeNode({ nodeName: fresh('site'), token: text })
    const { acceptance } = await join(node)
    const by = `JoinToken/${text.split('.')[0]}`
    expect(acceptance).toMatchObject({
      cluster: node.name,
      node: node.name,
      incarnation: 1,
      class: 'software-key',
      natsKey: node.nats().pub,
      decidedBy: by,
    })
    expect((await registration(node)).spec).toMatchObject({
      class: 'software-key',
      decision: { state: 'Accepted', by },
    })
    expect((await client.get('EdgeNode', ...place(node))).status).toMatchObject({ class: 'software-key' })
    await until(
      async () => {
        const { spec, status } = await client.get('ManagedCluster', undefined, node.name)
        const types = status?.conditions?.filter(({ status }) => status === 'True').map(({ type }) => type)
        return spec.hubAcceptsClient === true && types?.includes('ManagedClusterJoined') === true
      },
      'the cluster being joined',
      SOON_MS,
    )
  })

  test('by a person wants both halves: the node’s decision and the cluster’s', async () => {
    const node = makeNode({ nodeName: fresh('site'), token: await token({ acceptance: 'Manual' }) })
    expect((await register(send, node)).reason).toBe('AwaitingDecision')
    await client.approve(...place(node), { state: 'Accepted' })
    await until(async () => (await reason(node)) === 'AwaitingClusterAcceptance', 'waiting for the cluster', SOON_MS)
    await client.mergePatch('ManagedCluster', undefined, node.name, { spec: { hubAcceptsClient: true } })
    expect((await join(node)).acceptance.decidedBy).toBe('admin')
  })

  test('by nobody: a denied node stays denied, for a rule of any later token too', async () => {
    const node = makeNode({ nodeName: fresh('site'), token: await token({ acceptance: 'Manual', maxUses: 2 }) })
    await register(send, node)
    await client.approve(...place(node), { state: 'Denied', reason: 'not ours' })
    await until(async () => (await reason(node)) === 'Denied', 'the denial', SOON_MS)
    const automatic = await token({ cluster: node.name })
    expect((await register(send, node, { token: automatic })).state).not.toBe('Accepted')
    await until(async () => (await reason(node)) === 'Denied', 'the denial to stay', SOON_MS)
    expect((await registration(node)).spec.decision).toMatchObject({ state: 'Denied', reason: 'not ours' })
    const rows = await store.sql`select 1 from node_identity where cluster = ${node.name}`
    expect(rows).toHaveLength(0)
  })

  test('is read by whoever polls with what every viewer sees, and the credential connects nobody without the node’s own seed', async () => {
    const node = makeNode({ nodeName: fresh('site'), token: await token() })
    await join(node)
    const { acceptance, natsJwt } = readAnswer(await send('GET', `/${(await registration(node)).spec.keysDigest}`))
    if (!acceptance || !natsJwt) throw new Error('the poll brought no acceptance')
    const payload = JSON.parse(Buffer.from(acceptance.split('.')[1] ?? '', 'base64url').toString('utf8')) as Acceptance
    const credential = { acceptance: payload, natsJwt, id: '' }
    for (const { seed } of [createNkey('user'), makeNode({ nodeName: 'thief' }).nats()])
      await expect(dial(node, credential, seed)).rejects.toThrow(/authorization/i)
    const own = await dial(node, credential)
    await own.close()
  })

  test('comes once: asked ten times, it is one credential', async () => {
    const node = makeNode({ nodeName: fresh('site'), token: await token() })
    const first = await join(node)
    for (let n = 0; n < 3; n += 1) expect((await join(node)).natsJwt).toBe(first.natsJwt)
  })
})

/** How a person takes back what was accepted, and how it is given again. */
const ENDS: Record<
  string,
  { end(node: TestNode): Promise<unknown>; again?(node: TestNode): Promise<unknown>; code: string }
> = {
  'a cluster that is denied': {
    end: ({ name }) => client.mergePatch('ManagedCluster', undefined, name, { spec: { hubAcceptsClient: false } }),
    again: ({ name }) => client.mergePatch('ManagedCluster', undefined, name, { spec: { hubAcceptsClient: true } }),
    code: '403 NotAllowed',
  },
  'a node that is denied': {
    end: (node) => client.approve(...place(node), { state: 'Denied' }),
    again: (node) => client.approve(...place(node), { state: 'Accepted' }),
    code: '403 NotAllowed',
  },
  'a node that is revoked': {
    end: (node) => client.approve(...place(node), { state: 'Revoked' }),
    again: (node) => client.approve(...place(node), { state: 'Accepted' }),
    code: '403 NotAllowed',
  },
  'a Registration that is deleted': {
    end: (node) => client.delete('Registration', ...place(node)),
    code: '403 TokenUsedUp',
  },
  'a ManagedCluster that is deleted': {
    end: ({ name }) => client.delete('ManagedCluster', undefined, name),
    code: '403 TokenUsedUp',
  },
}

describe('an end of trust', () => {
  test('of a cluster is told in events with its reason, and as what decided about its nodes', async () => {
    const { node } = await connected()
    const told = async () =>
      (await client.list('Event', { namespace: node.name }))
        .map(({ spec }) => spec)
        .filter(({ regarding }) => regarding.kind === 'ManagedCluster')
        .map(({ type, reason, message }) => [type, reason, message])
    const decider = async () => {
      const { columnDefinitions, rows } = await client.table('Registration', { namespace: node.name })
      return rows[0]?.cells[columnDefinitions.findIndex(({ name }) => name === 'Decided-By')]
    }
    expect(await told()).toEqual([])
    const rule = await decider()
    expect(rule).toMatch(/^JoinToken\//)
    const set = (accepted: boolean, because: string | null) =>
      client.mergePatch('ManagedCluster', undefined, node.name, {
        metadata: { annotations: { 'skerry.dev/denied-because': because } },
        spec: { hubAcceptsClient: accepted },
      })
    await set(false, 'stolen on Monday')
    await until(async () => (await told()).length === 1, 'the event', SOON_MS)
    await until(async () => (await reason(node)) === 'HubClusterAdminDenied', 'the denial', SOON_MS)
    expect(await decider()).toBe(`ManagedCluster/${node.name}`)
    await set(true, null)
    await until(async () => (await told()).length === 2, 'the second event', SOON_MS)
    expect(await told()).toEqual([
      [
        'Warning',
        'ClusterDenied',
        'the hub does not accept this cluster any more, and its nodes are cut off: stolen on Monday',
      ],
      ['Normal', 'ClusterAccepted', 'the hub accepts this cluster'],
    ])
  })

  test.each(Object.entries(ENDS))(
    '%s: cut off at NATS, its reports and its return refused',
    async (_, { end, again, code }) => {
      const { node, credential, nc } = await connected()
      const other = await connected()
      const used = node.nats().seed
      await end(node)
      await cutOff(nc, node, credential)
      // A neighbour notices nothing.
      expect(other.nc.isClosed()).toBe(false)
      await other.nc.flush()
      // Neither with the old NATS key nor with a new one.
      expect(codeOf(await send('POST', '', await node.request({ incarnation: 1 })))).toMatch(/^403/)
      node.renew()
      expect(codeOf(await send('POST', '', await node.request({ incarnation: 1 })))).toBe(code)
      const states = await store.sql<{ state: string }[]>`select state from node_identity where cluster = ${node.name}`
      expect(states.map(({ state }) => state)).not.toContain('Accepted')
      if (!again) return

      await again(node)
      await until(async () => (await reason(node)) === 'AwaitingProof', 'waiting for the node', SOON_MS)
      // The key that was ended stays ended, whoever has it.
      const stolen = await node.request({ incarnation: 1, natsKey: credential.acceptance.natsKey })
      expect(codeOf(await send('POST', '', stolen))).toBe('403 NotAllowed')
      const back = await join(node, { incarnation: 1 })
      expect(back.acceptance).toMatchObject({ incarnation: 1, transcript: credential.acceptance.transcript })
      const now = await dial(node, back)
      onTestFinished(() => now.close().catch(() => undefined))
      await expect(dial(node, credential, used)).rejects.toThrow(/authorization/i)
      expect(now.isClosed()).toBe(false)
    },
  )

  test('a report of a denied node that was sent before it was cut off is refused and told', async () => {
    const { node, credential, nc } = await connected()
    // Denied in the record alone: NATS has not heard of it yet.
    await store.sql`update node_identity set state = 'Denied' where cluster = ${node.name}`
    await store.sql`select pg_notify('skerry_wake', 'identity')`
    const { cluster, node: id } = credential.acceptance
    const batch = { kind: 'StatementBatch' as const, cluster, node: id, incarnation: 1, statements: ['{}'] }
    await until(
      async () => {
        await nc.request(
          subjects.report(cluster, id, 'statements'),
          await signDocument('StatementBatch', batch, node.key),
          {
            timeout: SOON_MS,
          },
        )
        const events = await client.list('Event', { namespace: cluster })
        return events.some(({ spec }) => spec.reason === 'NotAllowed')
      },
      'the refusal being told',
      SOON_MS,
    )
  })
})

describe('a suspension', () => {
  test('is ended by no decision but a later one, and then the node comes back with a new key in the same life', async () => {
    const { node, credential, nc } = await connected()
    // Decided once more, before.
    await client.approve(...place(node), { state: 'Accepted' })
    await store.sql`update node_identity set state = 'Suspended', decided_at = now() where cluster = ${node.name}`
    await store.sql`select pg_notify('skerry_wake', 'identity')`
    await until(async () => (await reason(node)) === 'ForkedChain', 'the suspension', SOON_MS)
    // Its evidence is still taken in, so its connection stays; a return is for a person to allow.
    expect(nc.isClosed()).toBe(false)
    node.renew()
    expect(codeOf(await send('POST', '', await node.request({ incarnation: 1 })))).toBe('403 NotAllowed')
    await client.approve(...place(node), { state: 'Accepted' })
    await cutOff(nc, node, credential, undefined)
    expect((await join(node, { incarnation: 1 })).acceptance).toMatchObject({
      incarnation: 1,
      transcript: credential.acceptance.transcript,
    })
  })
})

test("another node's NATS key is refused: ending it would end that node", async () => {
  const { credential, nc } = await connected()
  const thief = makeNode({ nodeName: fresh('site'), token: await token() })
  const reply = await send('POST', '', await thief.request({ natsKey: credential.acceptance.natsKey }))
  expect(codeOf(reply)).toBe('403 NotAllowed')
  expect(reply.body).toContain('belongs to another node')
  expect(nc.isClosed()).toBe(false)
})

describe('a rotation', () => {
  test('ends the present NATS key alone: whoever stole it is out, the node comes back by itself', async () => {
    const { node, credential, nc } = await connected()
    const stolen = node.nats().seed
    await client.call(`/apis/skerry.dev/v1alpha1/namespaces/${node.name}/registrations/${node.name}/rotation`, {
      method: 'PUT',
      body: { reason: 'a laptop was stolen' },
    })
    await cutOff(nc, node, credential)
    node.renew()
    const back = await join(node, { incarnation: 1 })
    expect(back.acceptance).toMatchObject({ incarnation: 1, transcript: credential.acceptance.transcript })
    const now = await dial(node, back)
    await expect(dial(node, credential, stolen)).rejects.toThrow(/authorization/i)
    await now.close()
  })
})

/** The lives that the hub keeps of a node, each with the exchange that its key has signed. */
async function livesOf(node: TestNode): Promise<{ incarnation: number; transcript: string }[]> {
  const rows = await store.sql<{ incarnation: number; transcript: string; proof: string; node_key: PublicJwk }[]>`
    select incarnation, transcript, proof, node_key from node_life where cluster = ${node.name} order by incarnation`
  return Promise.all(
    rows.map(async ({ incarnation, transcript, proof, node_key }) => {
      expect(node_key).toEqual(node.key.jwk)
      const { payload } = await verifyDocument('RegistrationProof', proof, keyRing([node_key]))
      expect(payload.transcript).toBe(transcript)
      return { incarnation, transcript: payload.transcript }
    }),
  )
}

describe('a return', () => {
  test('is a new credential in the same life, with no token, and ends the key before it', async () => {
    const { node, credential, nc } = await connected()
    const before = node.nats().seed
    node.renew()
    const back = await join(node, { incarnation: 1, token: undefined })
    expect(back.natsJwt).not.toBe(credential.natsJwt)
    expect(back.acceptance).toMatchObject({ incarnation: 1, transcript: credential.acceptance.transcript })
    // What the life began with stays what its key is proven by.
    expect(await livesOf(node)).toEqual([{ incarnation: 1, transcript: credential.acceptance.transcript }])
    await cutOff(nc, node, credential, before)
  })

  test('of a name whose node went to another place is the next life of that name: no number is given twice', async () => {
    const { node: gone, credential } = await connected()
    const first = { cluster: gone.name, node: gone.name, incarnation: 1 }
    const heard = (incarnation: number) => write(store, (tx) => lockHeads(tx, [{ ...first, incarnation }]))
    await heard(1)
    await write(store, (tx) => saveHeads(tx, [{ ...first, watermark: 5, newestSeq: 5 }]))
    await client.delete('Registration', ...place(gone))
    const state = async () => (await loadIdentity(store.sql, gone.name, gone.name))?.state
    await until(async () => (await state()) === 'Left', `${gone.name} having left`, SOON_MS)
    gone.renew()
    await join(gone, { nodeName: fresh('site'), token: await token() })
    expect(await state()).toBeUndefined()

    const next = makeNode({ nodeName: gone.name, token: await token({ cluster: gone.name }) })
    expect((await join(next)).acceptance.incarnation).toBe(2)
    // The one before keeps its key and where its chain began; the next is counted from its own beginning.
    expect(await loadLife(store.sql, first)).toMatchObject({
      nodeKey: gone.key.jwk,
      transcript: credential.acceptance.transcript,
    })
    expect(await loadLife(store.sql, { ...first, incarnation: 2 })).toMatchObject({ nodeKey: next.key.jwk })
    expect([...(await heard(2)).values()]).toEqual([{ incarnation: 2, watermark: 0, newestSeq: 0 }])
  })

  test('of a node that lost its database is the next life, with no token', async () => {
    const { node, credential } = await connected()
    node.renew()
    const back = await join(node, { token: undefined })
    expect(back.acceptance.incarnation).toBe(2)
    expect(back.acceptance.transcript).not.toBe(credential.acceptance.transcript)
    expect(await livesOf(node)).toEqual([
      { incarnation: 1, transcript: credential.acceptance.transcript },
      { incarnation: 2, transcript: back.acceptance.transcript },
    ])
  })

  test.each(['node', 'cluster'])('under the name of another %s that begins alike is refused', async (what) => {
    const { node } = await connected()
    node.renew()
    const other = { [what === 'node' ? 'nodeName' : 'cluster']: `${node.name}0` }
    expect(codeOf(await send('POST', '', await node.request({ incarnation: 1, ...other })))).toBe('403 WrongSender')
  })
})
