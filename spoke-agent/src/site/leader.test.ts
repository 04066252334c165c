import { createHash } from 'node:crypto'
import { join } from 'node:path'
import {
  type DesiredState,
  HUB_TARGET,
  type HubDescription,
  type HubKey,
  manifestTarget,
  type OSImageManifest,
} from '@skerry/api'
import type { Memory } from '@skerry/policy'
import { until } from '@skerry/supervise'
import { testFolder } from '@skerry/supervise/testing'
import {
  createKey,
  makeOnline,
  makeRoot,
  makeTargets,
  openTrust,
  readTargets,
  type Signer,
  type Source,
  sha256Hex,
  signDocument,
  signMetadata,
} from '@skerry/trust'
import pino from 'pino'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { openOutbox } from '../outbox/outbox.ts'
import { openBus } from '../store/bus.ts'
import { openClock } from '../store/clock.ts'
import { type Database, openDatabase } from '../store/database.ts'
import { enrollment } from '../testing.ts'
import { startLeader } from './leader.ts'

// What a site makes of what the courier brings. The courier may bring anything; only what hub.json's keys signed, for
// this cluster, newer than what is held, about an image that offline keys signed and that may come here, is taken.

const log = pino({ level: 'silent' })
const DAY_MS = 86_400_000
const startMs = Date.parse('2026-06-01T12:00:00Z')
const [rootKeys, targetsKeys] = [[1, 2, 3].map(() => createKey('EdDSA')), [1, 2, 3].map(() => createKey('EdDSA'))]
const online = { snapshot: createKey('EdDSA'), timestamp: createKey('EdDSA') }
const [hubKey, nextKey, stranger] = [createKey('EdDSA'), createKey('EdDSA'), createKey('EdDSA')]
const listed = (signer: Signer) => ({ jwk: signer.jwk, notBefore: '1970-01-01T00:00:00Z' })
const iso = (ms: number) => new Date(ms).toISOString().replace(/\.\d+Z$/, 'Z')

/** The hub's repository as it is served: bytes by path. */
function openRepository() {
  const served = new Map<string, Uint8Array>()
  const root = signMetadata(
    makeRoot({
      version: 1,
      rootKeys: rootKeys.map(({ jwk }) => jwk),
      targetsKeys: targetsKeys.map(({ jwk }) => jwk),
      threshold: 2,
      online: { snapshot: online.snapshot.jwk, timestamp: online.timestamp.jwk },
      expires: iso(startMs + 3_650 * DAY_MS),
    }),
    rootKeys.slice(0, 2),
  )
  let targets: Uint8Array | undefined
  let asked = 0
  return {
    root,
    asked: () => asked,
    source: async (path: string) => {
      if (path === 'timestamp.json') asked += 1
      return served.get(path)
    },
    /** A mirror's own timestamp: newer, and signed by nobody the root names. */
    tamper() {
      const bytes = served.get('timestamp.json')
      if (!bytes) throw new Error('nothing is published')
      const text = Buffer.from(bytes).toString('utf8')
      served.set(
        'timestamp.json',
        Buffer.from(text.replace(/"version":\s*(\d+)/g, (_, version) => `"version":${Number(version) + 1}`)),
      )
    },
    publish(files: { path: string; bytes: Uint8Array }[], nowMs: number) {
      targets = signMetadata(
        makeTargets({ previous: targets, files, expires: iso(nowMs + 365 * DAY_MS) }),
        targetsKeys.slice(0, 2),
      )
      const { version } = readTargets(targets).signed
      for (const { path, bytes } of files) {
        const cut = path.lastIndexOf('/') + 1
        served.set(`targets/${path.slice(0, cut)}${sha256Hex(bytes)}.${path.slice(cut)}`, bytes)
      }
      served.set(`${version}.targets.json`, targets)
      const at = { snapshotExpires: iso(nowMs + 30 * DAY_MS), timestampExpires: iso(nowMs + 14 * DAY_MS) }
      const made = makeOnline({ targets, version: Math.floor(nowMs / 1000) + version, ...online, ...at })
      served.set(`${Math.floor(nowMs / 1000) + version}.snapshot.json`, made.snapshot)
      served.set('timestamp.json', made.timestamp)
    },
  }
}

function hubJson(...keys: Signer[]) {
  return hubJsonOf(keys.map(listed))
}

function hubJsonOf(desiredState: HubKey[]): { path: string; bytes: Uint8Array } {
  const description: HubDescription = {
    kind: 'HubDescription',
    keys: { desiredState, ack: [listed(hubKey)], acceptance: [listed(hubKey)] },
    caPem: '',
    apiUrls: ['https://127.0.0.1:1'],
    natsUrls: ['nats://127.0.0.1:1'],
  }
  return { path: HUB_TARGET, bytes: Buffer.from(JSON.stringify(description)) }
}

function manifest(version: string, more: Partial<OSImageManifest> = {}) {
  const value: OSImageManifest = {
    kind: 'OSImageManifest',
    family: 'edge-os',
    version,
    releaseCounter: Number(version),
    hardwareIds: ['shop-box'],
    image: {
      sha256: createHash('sha256').update(`image ${version}`).digest('hex'),
      length: 10,
      mediaType: 'application/octet-stream',
    },
    boot: { kind: 'none' },
    ...more,
  }
  return { path: manifestTarget('edge-os', version), bytes: Buffer.from(JSON.stringify(value)), value }
}
const images = {
  two: manifest('2'),
  three: manifest('3'),
  other: manifest('4', { hardwareIds: ['farm-box'] }),
}

function order(
  generation: number,
  image: { path: string; bytes: Uint8Array } | undefined,
  more: Partial<DesiredState> = {},
): DesiredState {
  return {
    kind: 'DesiredState',
    cluster: 'shop-1',
    timeline: 0,
    generation,
    issuedAt: iso(startMs),
    ...(image ? { image: { target: image.path, sha256: sha256Hex(image.bytes), rollout: 'default/r' } } : {}),
    windows: { activation: [] },
    gates: { healthySeconds: 1, timeoutSeconds: 10 },
    drain: { timeoutSeconds: 0 },
    budget: { maxUnavailable: 1 },
    onFailure: 'RollBack',
    attestation: 'warning',
    paused: false,
    works: [],
    tombstones: [],
    ...more,
  }
}
const signed = (document: DesiredState, signer = hubKey, aud = 'shop-1') =>
  signDocument('DesiredState', document, signer, aud)

let dir: string
let repository: ReturnType<typeof openRepository>
let wallMs: number
let tpmFloor: number | undefined
let brought: string | undefined
let site: ReturnType<typeof open>
/** Asked before the repository. */
let liars: Source[]

function open(incarnation = 1, prepare?: (database: Database) => void, boundBytes?: number) {
  const over = new AbortController()
  const database = openDatabase(dir)
  prepare?.(database)
  const bus = openBus(database)
  const outbox = openOutbox(database, { ...enrollment, incarnation }, () => wallMs, boundBytes)
  const { root, source } = repository
  const trust = openTrust({ dir: join(dir, 'tuf'), root, pinned: sha256Hex(root), sources: () => [...liars, source] })
  const keys = () => {
    if (trust.versions().targets > 0) return trust.hub().keys
  }
  const clock = openClock(database, () => wallMs, keys)
  let looks = 0
  const leader = startLeader({
    enrollment: { ...enrollment, incarnation },
    ...{ database, bus, outbox, log, signal: over.signal },
    trust,
    fetchDesired: async () => {
      looks += 1
      return brought
    },
    hardwareId: 'shop-box',
    tpmFloor: () => tpmFloor,
    measuresBoot: false,
    pollMs: 600_000,
    now: () => wallMs,
    clock,
  })
  return {
    bus,
    clock,
    database,
    outbox,
    looks: () => looks,
    hint: leader.hint,
    told: () =>
      database.sql
        .prepare('select text from statement order by seq')
        .all()
        .map(
          (row) =>
            JSON.parse(String(row['text'])) as {
              kind: string
              body: { document?: string; code?: string; generation?: number }
            },
        ),
    async close() {
      over.abort(new Error('the end'))
      await leader.done
      database.close()
    },
  }
}

beforeEach(() => {
  dir = testFolder()
  repository = openRepository()
  wallMs = startMs
  tpmFloor = undefined
  brought = undefined
  liars = []
  repository.publish([hubJson(hubKey), images.two, images.three, images.other], startMs)
  site = open()
})
afterEach(() => site.close())

async function bring(text: string): Promise<void> {
  brought = text
  const before = site.looks()
  site.hint()
  await until(() => site.looks() > before, 'a look', 30_000)
}
const accepted = (generation: number) =>
  until(() => site.bus.site()?.holds.generation === generation, `generation ${generation} being held`, 30_000)
const refusedAs = (code: string) =>
  until(() => site.told().some(({ kind, body }) => kind === 'refused' && body.code === code), `refusal ${code}`, 30_000)

test('an order for this cluster is stored with the statement that says so, and becomes a target', async () => {
  await bring(await signed(order(1, images.two)))
  await accepted(1)
  expect(site.bus.site()?.target).toMatchObject({ version: '2', imageSha256: images.two.value.image.sha256 })
  expect(site.told()).toMatchObject([{ kind: 'accepted', body: { generation: 1 } }])
})

test('who signed the image is the target’s to know, where the manifest says so whole', async () => {
  const digest = 'a'.repeat(64)
  const boot = {
    kind: 'uki' as const,
    stub: { vendor: 'systemd' as const, version: '252' },
    sections: [{ name: '.linux', length: 1, sha256: digest }],
    commandLine: 'panic=1',
    signers: [digest],
    measured: {
      sha256: {
        applications: { loaders: [digest], uki: 'b'.repeat(64), kernel: digest },
        pcr9: digest,
        pcr11: { phases: [{ phase: '' as const, value: digest }] },
        pcr12: { on: digest, off: digest },
      },
    },
  }
  const [five, six] = [manifest('5', { boot }), manifest('6', { boot: { ...boot, certificates: ['AAAA'] } })]
  repository.publish([hubJson(hubKey), five, six], wallMs)
  await bring(await signed(order(1, five)))
  await accepted(1)
  expect(site.bus.site()?.target).not.toHaveProperty('signed')
  await bring(await signed(order(2, six)))
  await accepted(2)
  expect(site.bus.site()?.target?.signed).toEqual({
    authenticodeSha256: 'b'.repeat(64),
    signers: [digest],
    certificates: ['AAAA'],
  })
})

test('what is held is said once more where what said it may be lost, once', async () => {
  await bring(await signed(order(1, images.two)))
  await accepted(1)
  const { outbox } = site
  const key = createKey('EdDSA')
  const keys = [{ jwk: key.jwk, notBefore: '1970-01-01T00:00:00Z' }]
  const hears = (watermark: number, minute: number) =>
    outbox.acknowledged(watermark, { digest: 'd'.repeat(64), by: key.thumbprint, atMs: minute * 60_000, keys })
  outbox.append({ kind: 'transition', body: { from: 'Idle', to: 'Preflight', reason: 'Said', message: '' } })
  hears(2, 1)
  wallMs += 8 * 86_400_000
  hears(2, 2)
  hears(0, 3)
  const kinds = () => site.told().map(({ kind }) => kind)
  await until(() => kinds().length >= 3, 'what is held being said', 30_000)
  await bring(await signed(order(2, images.three)))
  await accepted(2)
  expect(kinds()).toEqual(['transition', 'gap', 'accepted', 'accepted'])
  await site.close()
  site = open()
  await bring(await signed(order(3, images.three)))
  await accepted(3)
  expect(kinds()).toEqual(['transition', 'gap', 'accepted', 'accepted', 'accepted'])
})

test('an order without an image holds nothing to run', async () => {
  await bring(await signed(order(1, undefined)))
  await accepted(1)
  expect(site.bus.site()?.target).toBeUndefined()
})

test('a newer order takes the place of the one before; the same one again changes nothing', async () => {
  const first = await signed(order(1, images.two))
  await bring(first)
  await accepted(1)
  await bring(await signed(order(2, images.three)))
  await accepted(2)
  await bring(await signed(order(2, images.three)))
  expect(site.told().filter(({ kind }) => kind === 'accepted')).toHaveLength(2)
})

describe('is refused by its code, told once, and what is held stays', () => {
  const small = (text: string) =>
    `${text.split('.')[0]}.${Buffer.from('{').toString('base64url')}.${text.split('.')[2]}`
  const cases: Record<string, [code: string, make: () => Promise<string>]> = {
    'no JWS': ['MalformedJws', async () => 'hello'],
    'a text of a megabyte': ['TooLarge', async () => 'a'.repeat(1_000_000)],
    'a payload that was changed': ['BadSignature', async () => small(await signed(order(9, images.three)))],
    'an order for another cluster': ['WrongAudience', async () => signed(order(9, images.three), hubKey, 'shop-10')],
    'an order that names another cluster': [
      'WrongAudience',
      async () => signed(order(9, images.three, { cluster: 'shop-10' })),
    ],
    'an older order': ['OlderPosition', async () => signed(order(1, images.three))],
    'another order of the same place': ['PositionReused', async () => signed(order(2, images.three))],
    'a manifest that nobody signed': [
      'ManifestMismatch',
      async () => signed(order(9, { path: images.three.path, bytes: Buffer.from('{}') })),
    ],
    'an image for other hardware': ['HardwareMismatch', async () => signed(order(9, images.other))],
    'a boot that cannot be proven here': [
      'AttestationImpossible',
      async () => signed(order(9, images.three, { attestation: 'affirming' })),
    ],
    'works for a machine without Kubernetes': [
      'WorksUnsupported',
      async () => signed(order(9, images.three, { works: [{ name: 'w', sha256: '0'.repeat(64) }] })),
    ],
  }
  test.each(Object.keys(cases))('%s', async (what) => {
    await bring(await signed(order(2, images.two)))
    await accepted(2)
    const [code, make] = cases[what] ?? ['', async () => '']
    const bad = await make()
    await bring(bad)
    await refusedAs(code)
    await bring(bad)
    await site.close()
    site = open()
    await bring(bad)
    await until(() => site.looks() > 1, 'another look', 30_000)
    expect(site.told().filter(({ kind }) => kind === 'refused')).toHaveLength(1)
    expect(site.bus.site()).toMatchObject({ holds: { generation: 2 }, target: { version: '2' } })
  })

  test('bytes that failed here, and an image below what was confirmed', async () => {
    const { state } = site.bus.node()
    const { sha256: imageSha256 } = images.three.value.image
    const failure = { imageSha256, outcome: 'RolledBack' as const, reason: 'x', message: 'x', at: iso(startMs) }
    const confirmed = { imageSha256: 'f'.repeat(64), releaseCounter: 3 }
    site.bus.saveNode({ state: { ...state, memory: { failures: [failure], confirmed } } })
    await bring(await signed(order(3, images.three)))
    await refusedAs('ImageFailedBefore')
    await bring(await signed(order(4, images.two)))
    await refusedAs('ReleaseCounterTooLow')
    expect(site.bus.site()).toBeUndefined()
  })
})

describe('an order that asks to try again what failed here', () => {
  const [act, another] = ['0b7e4d6e-6c0a-4a5c-9b57-0d6a4b1f2c3d', '1b7e4d6e-6c0a-4a5c-9b57-0d6a4b1f2c3d']
  const { sha256: imageSha256 } = images.three.value.image
  const remember = (more: Partial<Memory> = {}) => {
    const { state } = site.bus.node()
    const failure = { imageSha256, outcome: 'RolledBack' as const, reason: 'x', message: 'x', at: iso(startMs) }
    site.bus.saveNode({ state: { ...state, memory: { failures: [failure], ...more } } })
  }
  const retry = async (generation: number, of: string, bytes = imageSha256) =>
    bring(await signed(order(generation, images.three, { retry: { imageSha256: bytes, act: of } })))

  test('is taken, and its act becomes the target’s', async () => {
    remember()
    await bring(await signed(order(3, images.three)))
    await refusedAs('ImageFailedBefore')
    await retry(4, act)
    await accepted(4)
    expect(site.bus.site()?.target).toMatchObject({ imageSha256, retry: act })
    // The leader forgets nothing: that is the node's, with the statement about it.
    expect(site.bus.node().state.memory.failures).toHaveLength(1)
  })

  test('is refused for good once its act was carried out; another act is taken', async () => {
    remember({ retried: [act] })
    await retry(3, act)
    await refusedAs('ImageFailedBefore')
    await retry(4, another)
    await accepted(4)
  })

  test('is refused where it means other bytes than it names', async () => {
    remember()
    await retry(3, act, images.two.value.image.sha256)
    await refusedAs('InvalidField')
    expect(site.bus.site()).toBeUndefined()
  })
})

test('an image below what the TPM holds is refused, though the disk knows of nothing: it was put back', async () => {
  tpmFloor = 3
  await bring(await signed(order(1, images.two)))
  await refusedAs('ReleaseCounterTooLow')
  expect(site.bus.site()).toBeUndefined()
  await bring(await signed(order(2, images.three)))
  await until(() => site.bus.site()?.target?.version === '3', 'the image at the floor', 30_000)
})

describe('what cannot be judged yet', () => {
  test('an unknown key is asked about once a try, with longer and longer pauses, and believed when hub.json has it', async () => {
    await bring(await signed(order(1, images.two), nextKey))
    await until(() => repository.asked() >= 3, 'the metadata being asked for again', 30_000)
    expect(site.bus.site()).toBeUndefined()
    expect(site.told()).toMatchObject([{ kind: 'refused', body: { document: 'DesiredState', code: 'UnknownKey' } }])
    // A look each second would have asked far more often by now.
    expect(repository.asked()).toBeLessThan(8)
    repository.publish([hubJson(hubKey, nextKey)], startMs + 1_000)
    site.hint()
    await accepted(1)
  })

  test('a stranger’s order is never taken', async () => {
    await bring(await signed(order(1, images.two), stranger))
    await until(() => repository.asked() >= 2, 'a refresh', 30_000)
    expect(site.bus.site()).toBeUndefined()
  })

  test('a manifest that is not published yet is taken when it is', async () => {
    const late = manifest('5')
    await bring(await signed(order(1, late)))
    await refusedAs('TargetUnknown')
    await until(() => repository.asked() >= 2, 'a refresh', 30_000)
    expect(site.bus.site()).toBeUndefined()
    // Nothing was refused for good: the order's place is not named, so that the hub still counts on it.
    expect(site.told()).toMatchObject([{ body: { message: expect.stringContaining('(0, 1) waits') } }])
    expect(site.told()[0]?.body).not.toHaveProperty('position')
    repository.publish([late], startMs + 1_000)
    site.hint()
    await accepted(1)
  })

  test('nothing new comes under expired metadata; what is held stays, and fresh metadata ends it', async () => {
    await bring(await signed(order(1, images.two)))
    await accepted(1)
    wallMs = startMs + 20 * DAY_MS
    await bring(await signed(order(2, images.three)))
    await until(() => repository.asked() >= 2, 'a refresh', 30_000)
    expect(site.bus.site()).toMatchObject({ holds: { generation: 1 }, target: { version: '2' } })
    await refusedAs('MetadataExpired')
    // Newer terms for what is held need no newer metadata.
    await bring(await signed(order(3, images.two, { paused: true })))
    await accepted(3)
    repository.publish([], wallMs)
    await bring(await signed(order(4, images.three)))
    await accepted(4)
  })
})

describe('a wrong clock', () => {
  test('turned back, makes nothing valid again: the floor is what the hub has signed, and it is kept', async () => {
    await bring(await signed(order(1, images.two)))
    await accepted(1)
    await bring(await signed(order(2, images.two, { issuedAt: iso(startMs + 20 * DAY_MS) })))
    await accepted(2)
    await site.close()
    wallMs = Date.parse('1970-01-02T00:00:00Z')
    site = open()
    const asked = repository.asked()
    await bring(await signed(order(3, images.three)))
    await until(() => repository.asked() >= asked + 2, 'a refresh', 30_000)
    expect(site.bus.site()?.holds.generation).toBe(2)
  })

  test('far ahead, installs nothing new, stops nothing, and does no harm once it is right again', async () => {
    await bring(await signed(order(1, images.two)))
    await accepted(1)
    wallMs = Date.parse('2100-01-01T00:00:00Z')
    await bring(await signed(order(2, images.three)))
    await until(() => repository.asked() >= 2, 'a refresh', 30_000)
    expect(site.bus.site()).toMatchObject({ holds: { generation: 1 }, target: { version: '2' } })
    wallMs = startMs + DAY_MS
    site.hint()
    await accepted(2)
  })
})

describe('a hub that signs the date of 2100', () => {
  const until2100 = Date.parse('2100-01-01T00:00:00Z')
  const poisoned = async () => {
    await bring(await signed(order(1, images.two, { issuedAt: iso(until2100) })))
    await refusedAs('MetadataExpired')
    expect(site.clock.now()).toBe(until2100)
  }

  test.each<[string, () => HubKey[]]>([
    ['lists its key no longer', () => [listed(nextKey)]],
    [
      'says until when its key could sign',
      () => [{ ...listed(hubKey), notAfter: iso(startMs + DAY_MS) }, listed(nextKey)],
    ],
  ])('does no lasting harm: it is healed by metadata of the offline keys that %s', async (_, keys) => {
    await poisoned()
    wallMs = startMs + 2 * DAY_MS
    repository.publish([hubJsonOf(keys()), images.two, images.three], wallMs)
    await bring(await signed(order(2, images.three, { issuedAt: iso(wallMs) }), nextKey))
    await accepted(2)
    expect(site.clock.now()).toBe(wallMs)
    // Also after a restart.
    await site.close()
    site = open()
    expect(site.clock.now()).toBe(wallMs)
  })

  test('leaves no position behind that keeps every later order away', async () => {
    await bring(await signed(order(1, images.two)))
    await accepted(1)
    const ahead = { timeline: until2100 / 1_000, issuedAt: iso(until2100) }
    await bring(await signed(order(9, images.two, ahead)))
    await accepted(9)
    wallMs = startMs + DAY_MS
    repository.publish([hubJson(nextKey), images.two, images.three], wallMs)
    await bring(await signed(order(2, images.three, { issuedAt: iso(wallMs) }), nextKey))
    await accepted(2)
    // From here on order counts again, also after a restart.
    await site.close()
    site = open()
    await bring(await signed(order(1, images.two, { issuedAt: iso(wallMs) }), nextKey))
    await refusedAs('OlderPosition')
    expect(site.bus.site()?.holds.generation).toBe(2)
  })

  test('is told as what it is while it counts: by it all metadata has expired', async () => {
    await poisoned()
    const of = (document: string) => site.told().some(({ body }) => body.document === document)
    await until(() => of('Metadata'), 'the metadata being refused', 30_000)
  })

  test('hides no source that lies: what is wrong in itself is told, also where only the floor calls the rest expired', async () => {
    await poisoned()
    wallMs = startMs + 2 * DAY_MS
    repository.publish([hubJson(nextKey), images.two, images.three], wallMs)
    const { source } = repository
    liars = [(path) => (path === 'timestamp.json' ? Promise.resolve(Buffer.from('{}')) : source(path))]
    await bring(await signed(order(2, images.three, { issuedAt: iso(wallMs) }), nextKey))
    await accepted(2)
    await refusedAs('MetadataInvalid')
  })

  test('is healed by no metadata that has expired by the clock of the machine', async () => {
    await poisoned()
    repository.publish([hubJson(nextKey), images.two, images.three], startMs + DAY_MS)
    wallMs = startMs + 20 * DAY_MS
    const asked = repository.asked()
    await bring(await signed(order(2, images.three), nextKey))
    await until(() => repository.asked() > asked, 'a refresh', 30_000)
    await refusedAs('UnknownKey')
    expect(site.clock.now()).toBe(until2100)
  })
})

test('a turn is given to what is staged, held outside the window, and gone with a newer order', async () => {
  const night = [{ at: '0 2 * * *', timeZone: 'UTC', durationSeconds: 3_600 }]
  await bring(await signed(order(1, images.two, { windows: { activation: night } })))
  await accepted(1)
  const { target } = site.bus.site() ?? {}
  if (!target) throw new Error('no target')
  const staged = { ...site.bus.node().state, stage: { phase: 'Staged' as const, target } }
  site.bus.saveNode({ state: staged })
  await until(() => site.bus.site()?.plan?.hold[0]?.reason === 'WindowClosed', 'a hold', 30_000)
  wallMs = Date.parse('2026-06-02T02:10:00Z')
  await until(() => site.bus.site()?.plan?.turns[0] === 'n1', 'a turn', 30_000)
  expect(site.bus.site()?.plan?.staged).toEqual(target.position)
  // The node has not looked yet: what is staged is still the older image, and a turn names it.
  await bring(await signed(order(2, images.three)))
  await accepted(2)
  await until(() => site.bus.site()?.plan !== undefined, 'a plan', 30_000)
  expect(site.bus.site()?.plan?.staged).toEqual(target.position)
  site.bus.saveNode({ state: { ...staged, stage: { phase: 'Idle' } } })
  await until(() => site.bus.site()?.plan?.turns.length === 0, 'no turn', 30_000)
  expect(site.bus.site()?.plan?.staged).toBeUndefined()
})

test('what is staged waits for its minute in the waves, also over a restart and with nobody there; a newer order that shortens them counts at once', async () => {
  const waves = (startAfterSeconds: number) => ({
    startsAt: iso(startMs),
    schedule: [{ startAfterSeconds, spreadSeconds: 0, percent: 100 }],
  })
  const held = () => site.bus.site()?.plan?.hold[0]
  await bring(await signed(order(1, images.two, { waves: waves(2 * 86_400) })))
  await accepted(1)
  const { target } = site.bus.site() ?? {}
  if (!target) throw new Error('no target')
  site.bus.saveNode({ state: { ...site.bus.node().state, stage: { phase: 'Staged', target } } })
  await until(() => held()?.reason === 'WaveNotDue', 'a hold', 30_000)
  const due = startMs + 2 * DAY_MS
  expect(site.bus.site()?.plan).toMatchObject({ turns: [], nextWindowMs: due })
  await site.close()
  brought = undefined
  site = open()
  wallMs = due - 1
  await until(() => site.looks() > 0, 'a look', 30_000)
  expect(held()?.message).toContain(new Date(due).toISOString())
  await bring(await signed(order(2, images.two, { waves: waves(3 * 86_400) })))
  await accepted(2)
  await until(() => held()?.recheckAtMs === startMs + 3 * DAY_MS, 'a later minute', 30_000)
  await bring(await signed(order(3, images.two, { waves: waves(60) })))
  await accepted(3)
  await until(() => site.bus.site()?.plan?.turns[0] === 'n1', 'a turn', 30_000)
  await bring(await signed(order(4, images.two, { waves: waves(3 * 86_400) })))
  await until(() => held()?.reason === 'WaveNotDue', 'a hold', 30_000)
  // Without any it is as before there were waves.
  await bring(await signed(order(5, images.two)))
  await until(() => site.bus.site()?.plan?.turns[0] === 'n1', 'a turn', 30_000)
})

test('what was admitted when it came is asked about again before its turn', async () => {
  await bring(await signed(order(1, images.two)))
  await accepted(1)
  const { target } = site.bus.site() ?? {}
  if (!target) throw new Error('no target')
  const { state } = site.bus.node()
  const { imageSha256 } = target
  const failure = { imageSha256, outcome: 'RolledBack' as const, reason: 'x', message: 'x', at: iso(startMs) }
  const memory = { ...state.memory, failures: [failure] }
  site.bus.saveNode({ state: { ...state, memory, stage: { phase: 'Staged', target } } })
  await until(() => site.bus.site()?.plan?.hold[0]?.reason === 'ImageFailedBefore', 'a hold', 30_000)
  expect(site.bus.site()?.plan?.turns).toEqual([])
})

test('metadata that was tampered with is told once, and keeps no good order away', async () => {
  const asked = repository.asked()
  repository.tamper()
  await bring(await signed(order(1, images.two), stranger))
  await until(() => repository.asked() > asked, 'a refresh', 30_000)
  await refusedAs('MetadataUntrusted')
  await bring(await signed(order(1, images.two)))
  await accepted(1)
  expect(site.told().filter(({ body }) => body.document === 'Metadata')).toHaveLength(1)
})

test('a refusal that finds the disk full does not end the leader: there is another look when there is room', async () => {
  await site.close()
  repository.tamper()
  const asked = repository.asked()
  site = open(1, ({ sql }) => {
    const { page_count: pages } = sql.prepare('pragma page_count').get() as { page_count: number }
    sql.exec(`pragma max_page_count = ${pages}`)
    // What is refused is noted in this table: not one row more may fit.
    const fill = sql.prepare("insert into kept (name, value) values (?, printf('%.*c', ?, 'x'))")
    for (const bytes of [1_000, 100, 1])
      try {
        for (let n = 0; ; n += 1) fill.run(`filler ${bytes} ${n}`, bytes)
      } catch {}
  })
  await until(() => repository.asked() > asked && site.looks() > 0, 'the refused metadata', 30_000)
  expect(() => site.database.save('refused', ['a'.repeat(64)])).toThrow('full')
  site.database.sql.exec('pragma max_page_count = 1000000')
  await bring(await signed(order(1, images.two)))
  await accepted(1)
})

test('a place in the far future is refused, and what comes in its time is taken', async () => {
  const far = { ...order(1, images.two), timeline: 2 ** 53 - 1, generation: 2 ** 53 - 1 }
  await bring(await signed(far))
  await until(() => site.told().length > 0, 'a refusal', 30_000)
  expect(site.told()).toMatchObject([{ kind: 'refused', body: { code: 'InvalidField' } }])
  await bring(await signed(order(1, images.two)))
  await accepted(1)
})

test('a new timeline is taken, whatever generation it begins with; the old one is not taken back', async () => {
  await bring(await signed(order(9, images.two)))
  await accepted(9)
  await bring(await signed(order(2, images.two, { timeline: Math.floor(startMs / 1_000) })))
  await accepted(2)
  await bring(await signed(order(10, images.two)))
  await refusedAs('OlderPosition')
})

test('a place half a day ahead of this clock keeps its rank: an honest hub could have named it', async () => {
  await bring(await signed(order(1, images.two, { timeline: startMs / 1_000 + 43_200 })))
  await accepted(1)
  await bring(await signed(order(2, images.three)))
  await refusedAs('OlderPosition')
  expect(site.bus.site()?.holds.generation).toBe(1)
})

test('in another life it is told again what is held, once', async () => {
  await bring(await signed(order(7, images.two)))
  await accepted(7)
  await site.close()
  const database = openDatabase(dir)
  database.sql.exec('delete from statement')
  database.close()
  site = open(2)
  await until(() => site.told().length > 0, 'the statement', 30_000)
  expect(site.told()).toMatchObject([{ kind: 'accepted', body: { generation: 7 } }])
  await site.close()
  site = open(2)
  await until(() => site.looks() > 0, 'a look', 30_000)
  expect(site.told()).toHaveLength(1)
})

test('an outbox that has used up its reserve takes no new order and activates nothing; with room again it does', async () => {
  await bring(await signed(order(1, images.two)))
  await accepted(1)
  const { target } = site.bus.site() ?? {}
  if (!target) throw new Error('no target')
  await site.close()
  site = open(1, undefined, 1)
  site.bus.saveNode({ state: { ...site.bus.node().state, stage: { phase: 'Staged', target } } })
  await until(() => site.bus.site()?.plan?.hold[0]?.reason === 'OutboxFull', 'a hold', 30_000)
  expect(site.bus.site()?.plan?.turns).toEqual([])
  await bring(await signed(order(2, images.three)))
  await until(() => site.database.load('left_out') !== undefined, 'a refusal being counted', 30_000)
  site.hint()
  await until(() => site.looks() > 2, 'another look', 30_000)
  expect(site.bus.site()?.holds.generation).toBe(1)
  expect(site.database.load('left_out')).toMatchObject({ counts: { refused: 1 } })
  expect(site.told()).toMatchObject([{ kind: 'accepted' }])
  await site.close()
  site = open()
  await accepted(2)
  expect(site.told().map(({ kind, body }) => body.document ?? kind)).toEqual(['accepted', 'Statement', 'accepted'])
})
