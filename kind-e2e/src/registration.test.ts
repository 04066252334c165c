import { existsSync, readFileSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { connect, credsAuthenticator } from '@nats-io/transport-node'
import {
  buildImage,
  type Ceremony,
  createJoinToken,
  eventually,
  type HubProcess,
  type Image,
  introduction,
  openCeremony,
  type Program,
  releaseOf,
  startAgent,
} from '@skerry/demo'
import { freePort } from '@skerry/supervise'
import { testFolder } from '@skerry/supervise/testing'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { type Call, type Door, openDoor } from './door.ts'
import { type Ground, hubGround, siteStatus } from './testing.ts'

// Registration on real processes that are killed between any two calls: the same end, one record, one credential, one use
// of the token.

let dir: string
let ground: Ground
let hub: HubProcess
let httpPort: number
let door: Door
let ceremony: Ceremony
let image: Image

const serve = (roles = 'api,controllers,ingest') => ground.serve('--http-port', String(httpPort), '--roles', roles)

beforeAll(async () => {
  dir = testFolder()
  ground = await hubGround(dir)
  httpPort = await freePort(0)
  hub = await serve()
  door = await openDoor(() => httpPort)
  ceremony = ground.ceremony()
  image = buildImage(join(dir, 'images'), '1', { healthy: true, ballastBytes: 1_000 })
  await ceremony.publish(hub.client, [releaseOf(image, 1)])
})

afterAll(async () => {
  await door.close()
  await hub.program.stop(20_000)
  await hub.client.close()
  await ground.drop()
})

let made = 0
type Site = {
  readonly name: string
  readonly dir: string
  readonly token: string
  readonly secret: string
  start(bundle?: ReturnType<Ceremony['bundle']>, hubUrl?: string, more?: readonly string[]): Program
}

const pinned = ({ root, thumbprint }: Ceremony) => ({ acceptHub: thumbprint, root: Buffer.from(root).toString('utf8') })

/** A site with a token of one use that a rule accepts, and nobody running yet. */
async function site(spec: Parameters<typeof createJoinToken>[2] = {}): Promise<Site> {
  const name = `site-${++made}`
  const token = `token-${made}`
  const secret = await createJoinToken(hub.client, token, { maxUses: 1, ...spec }, Date.now())
  const data = join(dir, name)
  return {
    name,
    dir: data,
    token,
    secret,
    start(bundle = ceremony.bundle([door.url], hub.caPem, secret), hubUrl = door.url, more = []) {
      const program = startAgent({
        name,
        dir: data,
        bundle,
        factoryImage: image.file,
        args: ['--hub-url', hubUrl, '--heartbeat-seconds', '1', ...more],
      })
      onTestFinished(() => program.kill())
      return program
    },
  }
}

async function restartHub(roles?: string): Promise<void> {
  await hub.program.kill()
  await hub.client.close()
  hub = await serve(roles)
}

/** Resolves once the named answer is on its way; `act` runs then, and the answer is lost. */
function atAnswer(wanted: Call, matches: (body: string) => boolean, act: () => Promise<unknown>): Promise<void> {
  return new Promise((resolve, reject) => {
    let seen = false
    door.watch(async (call, body) => {
      if (seen || call !== wanted || !matches(body)) return 'passed'
      seen = true
      await act().then(() => resolve(), reject)
      return 'lost'
    })
  })
}

type View = {
  readonly cluster: string | null
  readonly node: string | null
  readonly registration?: Record<'state' | 'reason' | 'message' | 'next', string> & { readonly fingerprint?: string }
}

const viewOf = (data: string) => siteStatus<View>(data)

type Row = { state: string; incarnation: number; natsJwt: string; statements: number }

const rows = (name: string, incarnation: number) =>
  ground.query<Row>(
    `select i.state, i.incarnation, i.nats_jwt as "natsJwt", (select count(*)::int from statement s
       where s.cluster = i.cluster and s.node = i.node and s.incarnation = i.incarnation and s.kind = 'evidence') as statements
     from node_identity i where i.cluster = $1 and i.incarnation >= ${incarnation}`,
    [name],
  )

/** Waits until the site's first word has come in, and asserts that everything is there once. */
async function joinedOnce({ name, token, dir: data }: Site, incarnation = 1): Promise<Row> {
  const row = await eventually(
    async () => (await rows(name, incarnation)).find(({ statements }) => statements > 0),
    `${name} telling of its boot`,
    120_000,
  )
  expect(row).toMatchObject({ state: 'Accepted', incarnation })
  const states = async () =>
    (await hub.client.list('Registration', { namespace: name })).map(({ status }) => status?.state)
  await eventually(async () => (await states()).join() === 'Accepted', `one registration of ${name}, accepted`, 120_000)
  expect((await hub.client.get('JoinToken', undefined, token)).status?.uses).toBe(1)
  // Who died in the midst of an entry speaks with the credential that is there while the entry is ended.
  const seed = join(data, 'keys', 'nats.seed')
  await eventually(async () => !existsSync(seed), `the end of the entry of ${name}`, 120_000)
  expect(readFileSync(join(data, 'nats.creds'), 'utf8')).toContain(row.natsJwt)
  return row
}

const any = () => true
const withCredential = (body: string) => body.includes('"natsJwt"')

describe('killed between two calls', () => {
  test.each<[string, Call, (body: string) => boolean]>([
    ['the request', 'ask', any],
    ['the proof', 'prove', any],
  ])('a hub that took %s and died: both go on', async (_, call, matches) => {
    const one = await site()
    const killed = atAnswer(call, matches, () => restartHub())
    one.start()
    await killed
    await joinedOnce(one)
  })

  test('the site’s own status shows what the hub says of it and what to do next: waiting, and denied', async () => {
    const one = await site({ acceptance: 'Manual' })
    one.start()
    const word = () => viewOf(one.dir)?.registration
    await eventually(async () => word()?.state === 'Pending', 'the site waiting', 120_000)
    const [registration] = await hub.client.list('Registration', { namespace: one.name })
    expect(word()).toMatchObject({
      fingerprint: registration?.spec.fingerprint,
      next: expect.stringContaining(`cluster accept <cluster> --fingerprint ${registration?.spec.fingerprint}`),
    })
    await hub.client.approve(one.name, one.name, { state: 'Denied' })
    await eventually(async () => word()?.state === 'Denied', 'the site knowing that it was denied', 120_000)
    expect(word()?.next).toContain('node accept')
  })

  test('the site’s own status shows what became of a node that waited: let in, and then revoked', async () => {
    const one = await site({ acceptance: 'Manual' })
    one.start()
    const view = () => viewOf(one.dir)
    await eventually(async () => view()?.registration?.state === 'Pending', 'the site waiting', 120_000)
    const slots = [{ slot: 'a', booted: true, state: 'confirmed', imageSha256: expect.any(String) }]
    expect(view()).toMatchObject({ cluster: null, node: null, slots })
    await hub.client.mergePatch('ManagedCluster', undefined, one.name, { spec: { hubAcceptsClient: true } })
    await hub.client.approve(one.name, one.name, { state: 'Accepted' })
    await joinedOnce(one)
    expect(view()).toMatchObject({ cluster: one.name, node: one.name, slots })
    expect(view()).not.toHaveProperty('registration')
    await hub.client.approve(one.name, one.name, { state: 'Revoked' })
    await eventually(async () => view()?.registration !== undefined, 'the site being told why', 120_000)
    expect(view()?.registration).toMatchObject({
      ...{ state: 'Revoked', reason: 'Revoked', message: expect.stringMatching(/^revoked by \S/) },
      next: expect.stringContaining('node accept'),
    })
  })

  test('a site whose node was suspended keeps its credential, asks why nothing is taken in, and shows it', async () => {
    const one = await site()
    const agent = one.start()
    await joinedOnce(one)
    await agent.kill()
    // As the hub does it when it has seen two machines speak as this node.
    await ground.query(
      "update node_identity set state = 'Suspended', decided_at = now() where cluster = $1 returning pg_notify('skerry_wake', 'identity')",
      [one.name],
    )
    const state = async () => (await hub.client.get('Registration', one.name, one.name)).status?.state
    await eventually(async () => (await state()) === 'Suspended', 'the hub having suspended it', 120_000)
    one.start(undefined, undefined, ['--unheard-seconds', '1'])
    const word = () => viewOf(one.dir)?.registration
    await eventually(async () => word() !== undefined, 'the site being told why', 120_000)
    expect(word()).toMatchObject({
      ...{ state: 'Suspended', reason: 'ForkedChain' },
      next: expect.stringContaining('find the copy and switch it off'),
    })
  })

  test('a hub that died between a person’s approval and the credential: it is made by the next', async () => {
    const one = await site({ acceptance: 'Manual' })
    await restartHub('api,ingest')
    const proven = atAnswer('prove', any, async () => {})
    one.start()
    await proven
    door.watch(undefined)
    await hub.client.mergePatch('ManagedCluster', undefined, one.name, { spec: { hubAcceptsClient: true } })
    await hub.client.approve(one.name, one.name, { state: 'Accepted' })
    expect(await rows(one.name, 1)).toEqual([])
    await restartHub()
    await joinedOnce(one)
  })

  test.each<[string, Call, (body: string) => boolean]>([
    ['its request was answered', 'ask', any],
    ['its proof was answered', 'prove', any],
    ['its credential was on the way', 'poll', withCredential],
  ])('an agent that died when %s: it goes on where it was', async (_, call, matches) => {
    const one = await site()
    let agent: Program | undefined
    const killed = atAnswer(call, matches, async () => agent?.kill())
    agent = one.start()
    await killed
    door.watch(undefined)
    one.start()
    await joinedOnce(one)
  })

  test('an agent that died right after it had kept its credential: it goes on where it was', async () => {
    const one = await site()
    const agent = one.start()
    await eventually(async () => existsSync(join(one.dir, 'nats.creds')), 'the credential', 120_000)
    await agent.kill()
    const before = readFileSync(join(one.dir, 'nats.creds'), 'utf8')
    one.start()
    await joinedOnce(one)
    expect(readFileSync(join(one.dir, 'nats.creds'), 'utf8')).toBe(before)
  })
})

describe('a hub that is not the one', () => {
  const waits = (program: Program) =>
    program.line((line) => line.includes('registration waits and tries again') || undefined, 'the refusal', 120_000)

  test('has another root under the right CA: the site never shows it a token', async () => {
    const one = await site()
    const rogue = openCeremony(join(dir, 'rogue'), introduction(join(dir, 'hub'), []), Date.now())
    const calls: Call[] = []
    door.watch(async (call) => {
      calls.push(call)
      return 'passed'
    })
    await waits(one.start({ ...ceremony.bundle([door.url], hub.caPem, one.secret), ...pinned(rogue) }))
    door.watch(undefined)
    expect(new Set(calls)).toEqual(new Set(['other']))
    expect(await hub.client.list('Registration', { namespace: one.name })).toEqual([])
  })

  test('shows a certificate of another CA and the true metadata: the site never shows it a token', async () => {
    const one = await site()
    introduction(join(dir, 'other-hub'), [])
    const pem = (name: string) => readFileSync(join(dir, 'other-hub', 'keys', name), 'utf8')
    const between = await openDoor(() => httpPort, { cert: pem('server.crt.pem'), key: pem('server.key.pem') })
    onTestFinished(() => between.close())
    const calls: Call[] = []
    between.watch(async (call) => {
      calls.push(call)
      return 'passed'
    })
    await waits(one.start(ceremony.bundle([between.url], hub.caPem, one.secret), between.url))
    expect(new Set(calls)).toEqual(new Set(['other']))
    expect(await hub.client.list('Registration', { namespace: one.name })).toEqual([])
  })

  test('is one that speaks plain HTTP to the world: this one listens on 127.0.0.1 alone', async () => {
    expect((await fetch(`http://127.0.0.1:${httpPort}/livez`)).status).toBe(200)
    await expect(fetch(`http://127.0.0.2:${httpPort}/livez`)).rejects.toThrow()
  })
})

describe('a node that comes back by itself', () => {
  test('with another NATS key, after its own was ended because it was stolen, in the same life', async () => {
    const one = await site()
    const agent = one.start()
    const before = await joinedOnce(one)
    // The file is the standard one: any NATS client enters with it, and nobody else on the machine may read it.
    const file = join(one.dir, 'nats.creds')
    expect(statSync(file).mode & 0o777).toBe(0o600)
    const authenticator = credsAuthenticator(readFileSync(file))
    await (await connect({ servers: hub.natsUrl, authenticator, reconnect: false })).close()
    const stolen = readFileSync(file, 'utf8')
    const again = agent.line(
      (line) => line.includes('a new credential is here') || undefined,
      'the return',
      120_000,
      'now',
    )
    await hub.client.call(`/apis/skerry.dev/v1alpha1/namespaces/${one.name}/registrations/${one.name}/rotation`, {
      method: 'PUT',
      body: { reason: 'stolen' },
    })
    await again
    const row = await joinedOnce(one)
    expect(row.natsJwt).not.toBe(before.natsJwt)
    const seed = /SEED-----\n(\S+)/
    expect(seed.exec(readFileSync(join(one.dir, 'nats.creds'), 'utf8'))?.[1]).not.toBe(seed.exec(stolen)?.[1])
    // It is taken up without a new life, and said once: no second entry follows.
    await agent.line((line) => line.includes('courier connected') || undefined, 'the connection', 120_000)
    expect(await rows(one.name, 2)).toEqual([])
  })

  test('in the next life, with no token, when its database was lost and its keys were not', async () => {
    const one = await site()
    await one.start().kill()
    const agent = one.start()
    await joinedOnce(one)
    await agent.kill()
    for (const file of ['agent.db', 'agent.db-wal', 'agent.db-shm']) rmSync(join(one.dir, file), { force: true })
    one.start()
    await joinedOnce(one, 2)
  })

  test('in the next life, without being started again, when its cluster was deleted and a person takes it in again', async () => {
    const one = await site({ maxUses: 2 })
    const agent = one.start()
    await joinedOnce(one)
    const again = agent.line(
      (line) => (line.includes('belongs') && line.includes('"incarnation":2')) || undefined,
      'the next life',
      120_000,
      'now',
    )
    await hub.client.delete('ManagedCluster', undefined, one.name)
    // No rule takes in what a person put out.
    await eventually(
      async () => {
        const [found] = await hub.client.list('Registration', { namespace: one.name })
        return found?.status?.reason === 'AwaitingClusterAcceptance'
      },
      'waiting for a person',
      120_000,
    )
    await hub.client.mergePatch('ManagedCluster', undefined, one.name, { spec: { hubAcceptsClient: true } })
    await again
    const row = await eventually(
      async () => (await rows(one.name, 2)).find(({ statements }) => statements > 0),
      'evidence in the new chain',
      120_000,
    )
    expect(row.incarnation).toBe(2)
  })

  test('only when a person helps, when its node key was lost: another key is another node', async () => {
    const one = await site({ maxUses: 2 })
    const agent = one.start()
    await joinedOnce(one)
    await agent.kill()
    rmSync(join(one.dir, 'keys'), { recursive: true })
    const told = one
      .start()
      .line((line) => line.includes('belongs to another key') || undefined, 'the refusal', 120_000)
    await told
    expect((await rows(one.name, 1)).map(({ incarnation }) => incarnation)).toEqual([1])
  })
})
