import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { HubIntroduction, OSImageManifest } from '@skerry/api'
import fc from 'fast-check'
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import { sha256Hex } from '../digest.ts'
import { createKey, type Signer } from '../keys.ts'
import { openTrust, type Source, type Trust } from './client.ts'
import { readRoot, readTargets, signMetadata } from './metadata.ts'
import { judgeRoot, judgeTargets, makeOnline, makeRoot, makeTargets, makeTimestamp } from './repository.ts'

const NOW = Date.parse('2026-11-24T00:00:00Z')
const DAY = 86_400_000
const iso = (ms: number) => new Date(ms).toISOString().replace(/\.\d+Z/, 'Z')
const code = (expected: string) => expect.objectContaining({ name: 'Refusal', code: expected })
const text = (bytes: Uint8Array) => Buffer.from(bytes).toString('utf8')

const rootKeys = [1, 2, 3].map(() => createKey('EdDSA'))
const targetsKeys = [1, 2, 3].map(() => createKey('EdDSA'))
const snapshotKey = createKey('EdDSA')
const timestampKey = createKey('EdDSA')
const online = { snapshot: snapshotKey.jwk, timestamp: timestampKey.jwk }

const jwk = createKey('EdDSA').jwk
const key = { jwk, notBefore: iso(0) }
const hub: HubIntroduction['hub'] = {
  kind: 'HubDescription',
  keys: { desiredState: [key], ack: [key], acceptance: [key] },
  caPem: 'pem',
  apiUrls: ['https://hub.example'],
  natsUrls: ['tls://hub.example'],
}
const manifest = (version: string, releaseCounter: number): OSImageManifest => ({
  kind: 'OSImageManifest',
  family: 'edge-os',
  version,
  releaseCounter,
  hardwareIds: ['x'],
  image: { sha256: sha256Hex(version), length: 3, mediaType: 'a/b' },
  boot: { kind: 'none' },
})
const file = (path: string, value: object) => ({ path, bytes: Buffer.from(JSON.stringify(value)) })
const image = (version: string, counter: number) => file(`images/edge-os/${version}.json`, manifest(version, counter))

/** A repository as a source of files, and what an attacker may put into it. */
class Repository {
  readonly files = new Map<string, Uint8Array>()
  root: Uint8Array = new Uint8Array()
  targets: Uint8Array | undefined
  version = 0

  addRoot(
    version: number,
    options: { signers?: readonly Signer[]; keys?: readonly Signer[]; online?: HubIntroduction['tuf'] } = {},
  ): void {
    const { signers = rootKeys.slice(0, 2), keys = rootKeys } = options
    const plan = {
      version,
      rootKeys: keys.map((k) => k.jwk),
      targetsKeys: targetsKeys.map((k) => k.jwk),
      threshold: 2,
      online: options.online ?? online,
      expires: iso(NOW + 365 * DAY),
    }
    this.root = signMetadata(makeRoot(plan), signers)
    this.files.set(`${version}.root.json`, this.root)
  }

  publish(
    added: { path: string; bytes: Uint8Array }[],
    options: { signers?: readonly Signer[]; snapshot?: Signer; timestamp?: Signer; expires?: string } = {},
  ): void {
    const {
      signers = targetsKeys.slice(0, 2),
      snapshot = snapshotKey,
      timestamp = timestampKey,
      expires = iso(NOW + 30 * DAY),
    } = options
    this.targets = signMetadata(makeTargets({ previous: this.targets, files: added, expires }), signers)
    for (const { path, bytes } of added) {
      const cut = path.lastIndexOf('/') + 1
      this.files.set(`targets/${path.slice(0, cut)}${sha256Hex(bytes)}.${path.slice(cut)}`, bytes)
    }
    this.seal({ snapshot, timestamp, expires })
  }

  seal({ snapshot = snapshotKey, timestamp = timestampKey, expires = iso(NOW + DAY) } = {}): void {
    if (!this.targets) throw new Error('nothing to seal')
    this.version += 1
    const made = makeOnline({
      targets: this.targets,
      version: this.version,
      snapshot,
      timestamp,
      snapshotExpires: expires,
      timestampExpires: expires,
    })
    this.files.set(`${readTargets(this.targets).signed.version}.targets.json`, this.targets)
    this.files.set(`${this.version}.snapshot.json`, made.snapshot)
    this.files.set('timestamp.json', made.timestamp)
  }

  source = async (path: string) => this.files.get(path)
}

let repository: Repository
let dir: string
let trust: Trust
const open = (from = repository) =>
  openTrust({
    dir,
    root: repository.files.get('1.root.json') ?? new Uint8Array(),
    pinned: sha256Hex(repository.files.get('1.root.json') ?? ''),
    sources: () => [from.source],
  })

beforeEach(async () => {
  repository = new Repository()
  repository.addRoot(1)
  repository.publish([file('hub.json', hub), image('1', 1)])
  dir = mkdtempSync(join(tmpdir(), 'skerry-tuf-'))
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }))
  trust = open()
  await trust.refresh(NOW)
})

describe('the site follows the repository', () => {
  test('a manifest is believed by its path and digest, and kept for the dark', async () => {
    const { bytes } = image('1', 1)
    expect(await trust.manifest('images/edge-os/1.json', sha256Hex(bytes), NOW)).toEqual(manifest('1', 1))
    const first = repository.files.get('1.root.json') ?? new Uint8Array()
    repository.files.clear()
    repository.files.set('1.root.json', first)
    await expect(open().refresh(NOW)).rejects.toThrow(code('MetadataUnavailable'))
    expect(await open().manifest('images/edge-os/1.json', sha256Hex(bytes), NOW)).toEqual(manifest('1', 1))
    expect(open().hub()).toEqual(hub)
    await expect(trust.manifest('images/edge-os/1.json', 'a'.repeat(64), NOW)).rejects.toThrow(code('ManifestMismatch'))
    await expect(trust.manifest('images/edge-os/9.json', 'a'.repeat(64), NOW)).rejects.toThrow(code('TargetUnknown'))
  })

  test('another root than the pinned one is refused for ever', () => {
    const other = new Repository()
    other.addRoot(1, { keys: [1, 2, 3].map(() => createKey('EdDSA')) })
    expect(() =>
      openTrust({ dir, root: other.root, pinned: sha256Hex(other.root), sources: () => [other.source] }),
    ).toThrow(code('MetadataUntrusted'))
    expect(() => openTrust({ dir, root: other.root, pinned: 'a'.repeat(64), sources: () => [other.source] })).toThrow(
      code('MetadataUntrusted'),
    )
  })

  test('the given time judges, not the wall clock: this still reaches into tuf-js', async () => {
    await expect(trust.refresh(NOW + 400 * DAY)).rejects.toThrow(code('MetadataExpired'))
    await trust.refresh(NOW)
  })

  test('freeze: expired metadata allows no new install, and what was trusted stays readable', async () => {
    const { bytes } = image('1', 1)
    await expect(trust.manifest('images/edge-os/1.json', sha256Hex(bytes), NOW + 31 * DAY)).rejects.toThrow(
      code('MetadataExpired'),
    )
    expect(trust.hub()).toEqual(hub)
  })

  test('long-root-chain: twelve roots later the site still follows', async () => {
    for (let version = 2; version <= 13; version += 1) repository.addRoot(version)
    await trust.refresh(NOW)
    expect(trust.versions().root).toBe(13)
  })
})

describe('attacks on metadata', () => {
  const refused = async (expected: string) => {
    const before = trust.versions()
    await expect(trust.refresh(NOW)).rejects.toThrow(code(expected))
    expect(open().versions()).toEqual(before)
  }

  test('rollback: an older timestamp', async () => {
    const old = repository.files.get('timestamp.json') ?? new Uint8Array()
    repository.publish([image('2', 2)])
    await trust.refresh(NOW)
    repository.files.set('timestamp.json', old)
    await refused('MetadataRollback')
  })

  test('mix-and-match: a snapshot of another publication', async () => {
    const old = repository.files.get('1.snapshot.json') ?? new Uint8Array()
    repository.publish([image('2', 2)])
    repository.files.set('2.snapshot.json', old)
    await refused('MetadataInvalid')
  })

  test('fast-forward: rotating the key that was pushed ahead lets the site follow again', async () => {
    repository.version = 1_000_000
    repository.seal()
    await trust.refresh(NOW)
    const fresh = { snapshot: createKey('EdDSA'), timestamp: createKey('EdDSA') }
    repository.addRoot(2, { online: { snapshot: fresh.snapshot.jwk, timestamp: fresh.timestamp.jwk } })
    repository.version = 5
    repository.seal(fresh)
    await trust.refresh(NOW)
    expect(trust.versions()).toMatchObject({ root: 2, timestamp: 6 })
  })

  test('one-offline-key and duplicate-signer: one key, even twice, is no threshold', async () => {
    const [one] = targetsKeys
    if (!one) throw new Error('no key')
    repository.publish([image('2', 2)], { signers: [one, one] })
    await refused('MetadataUntrusted')
  })

  test.each([
    [0, 3, 'a threshold of 0 is none: at least one key has to sign'],
    [2, 1, 'a threshold of 2 needs at least as many root keys; there is 1'],
    [3, 2, 'a threshold of 3 needs at least as many root keys; there are 2'],
  ])('a root with a threshold of %i is not made of %i keys', (threshold, count, message) => {
    const keys = rootKeys.slice(0, count).map(({ jwk }) => jwk)
    const plan = { version: 1, rootKeys: keys, targetsKeys: keys, threshold, online, expires: iso(NOW + DAY) }
    expect(() => makeRoot(plan)).toThrow(message)
  })

  test('one public key under two ids in a role is refused when the root is loaded', async () => {
    const root = JSON.parse(text(repository.root)) as {
      signed: { keys: Record<string, object>; roles: { targets: { keyids: string[] } } }
    }
    const id = root.signed.roles.targets.keyids[0] ?? ''
    root.signed.keys['f'.repeat(64)] = root.signed.keys[id] ?? {}
    expect(() => readRoot(Buffer.from(JSON.stringify(root)))).toThrow(code('MetadataInvalid'))
  })

  describe('a root that would count one signer twice is refused when it is loaded', () => {
    type Root = {
      signed: {
        keys: Record<string, { keyval: { public: string }; [more: string]: unknown }>
        roles: Record<string, { keyids: string[] }>
      }
    }
    const canonical = (value: object): string =>
      JSON.stringify(value, (_, part) =>
        part && typeof part === 'object' && !Array.isArray(part)
          ? Object.fromEntries(Object.entries(part).toSorted(([a], [b]) => (a < b ? -1 : 1)))
          : part,
      )
    test.each<[string, (root: Root, id: string, key: Root['signed']['keys'][string]) => void]>([
      ['an id twice in a role', ({ signed }, id) => signed.roles['targets']?.keyids.push(id)],
      [
        'one public key in upper case under its own hash',
        ({ signed }, _, key) => {
          const twin = { ...key, keyval: { public: key.keyval.public.toUpperCase() } }
          const id = sha256Hex(canonical(twin))
          signed.keys[id] = twin
          signed.roles['targets']?.keyids.push(id)
        },
      ],
      [
        'one public key with a member more under its own hash',
        ({ signed }, _, key) => {
          const twin = { ...key, keyid_hash_algorithms: ['sha256'] }
          const id = sha256Hex(canonical(twin))
          signed.keys[id] = twin
          signed.roles['targets']?.keyids.push(id)
        },
      ],
      [
        'a key of the hub among the targets keys',
        ({ signed }) => signed.roles['targets']?.keyids.push(signed.roles['timestamp']?.keyids[0] ?? ''),
      ],
      [
        'a second key for the timestamp',
        ({ signed }) => signed.roles['timestamp']?.keyids.push(signed.roles['snapshot']?.keyids[0] ?? ''),
      ],
      [
        'a key under an id that is not its hash',
        ({ signed }, id, key) => {
          delete signed.keys[id]
          signed.keys['f'.repeat(64)] = key
        },
      ],
      ['a threshold of nothing', ({ signed }) => Object.assign(signed.roles['targets'] ?? {}, { threshold: 0 })],
    ])('%s', (_, change) => {
      const root = JSON.parse(text(repository.root)) as Root
      const id = root.signed.roles['targets']?.keyids[0] ?? ''
      expect(readRoot(Buffer.from(JSON.stringify(root))).signed.version).toBe(1)
      change(root, id, structuredClone(root.signed.keys[id]) as never)
      expect(() => readRoot(Buffer.from(JSON.stringify(root)))).toThrow(code('MetadataInvalid'))
    })
  })

  test.each<[string, (old: Map<string, Uint8Array>) => void]>([
    [
      'an older snapshot under a new timestamp',
      (old) => {
        const snapshot = old.get('1.snapshot.json') ?? new Uint8Array()
        repository.files.set(
          'timestamp.json',
          makeTimestamp({ snapshot, version: 99, timestamp: timestampKey, expires: iso(NOW + DAY) }),
        )
      },
    ],
    [
      'older targets under a new snapshot',
      (old) => {
        repository.targets = old.get('1.targets.json')
        repository.seal()
      },
    ],
  ])('rollback: %s', async (_, attack) => {
    const old = new Map(repository.files)
    repository.publish([image('2', 2)])
    await trust.refresh(NOW)
    attack(old)
    await refused('MetadataRollback')
  })

  test.each(['snapshot', 'timestamp'] as const)(
    'fast-forward: rotating the %s key alone is enough to follow again',
    async (role) => {
      repository.version = 1_000_000
      repository.seal()
      await trust.refresh(NOW)
      const keys = { snapshot: snapshotKey, timestamp: timestampKey, [role]: createKey('EdDSA') }
      repository.addRoot(2, { online: { snapshot: keys.snapshot.jwk, timestamp: keys.timestamp.jwk } })
      repository.version = 5
      repository.seal(keys)
      await trust.refresh(NOW)
      expect(trust.versions()).toMatchObject({ root: 2, timestamp: 6, snapshot: 6 })
      repository.version = 3
      repository.seal(keys)
      await refused('MetadataRollback')
    },
  )

  test('a root that rotates nothing forgets nothing', async () => {
    repository.version = 9
    repository.seal()
    await trust.refresh(NOW)
    repository.addRoot(2)
    repository.version = 5
    repository.seal()
    await refused('MetadataRollback')
  })

  test('a source that fails, or hangs until it is given up, changes nothing', async () => {
    const before = trust.versions()
    const failing = openTrust({
      dir,
      root: repository.root,
      pinned: sha256Hex(repository.root),
      sources: () => [() => Promise.reject(new Error('reset'))],
    })
    await expect(failing.refresh(NOW)).rejects.toThrow(code('MetadataUnavailable'))
    const hanging = openTrust({
      dir,
      root: repository.root,
      pinned: sha256Hex(repository.root),
      sources: () => [
        (_, __, signal) =>
          new Promise((_resolve, reject) => signal?.addEventListener('abort', () => reject(signal.reason))),
      ],
    })
    const giveUp = new AbortController()
    const waiting = hanging.refresh(NOW, giveUp.signal)
    giveUp.abort(new Error('too slow'))
    await expect(waiting).rejects.toThrow(code('MetadataUnavailable'))
    expect(open().versions()).toEqual(before)
    expect(open().hub()).toEqual(hub)
  })

  describe('a source that stands before an honest one and', () => {
    const garbage = Buffer.from('garbage')
    const sources: [what: string, from: (honest: Source) => Source, told: string | undefined][] = [
      ['has nothing', () => async () => undefined, undefined],
      ['fails', () => () => Promise.reject(new Error('reset')), undefined],
      ['sends garbage', () => async () => garbage, 'MalformedJson'],
      ['sends more than may be', () => async (_, most) => new Uint8Array(most + 1), 'TooLarge'],
      [
        'lies about the timestamp',
        (honest) => async (path, most) => {
          const bytes = await honest(path, most)
          return path === 'timestamp.json' && bytes
            ? Buffer.from(text(bytes).replace(/"version": *\d+/, '"version":999'))
            : bytes
        },
        'MetadataUntrusted',
      ],
      [
        'lies about hub.json',
        (honest) => async (path, most) => (path.endsWith('hub.json') ? garbage : honest(path, most)),
        undefined,
      ],
    ]
    test.each(sources)('%s keeps nothing away; what it brought is told', async (_, from, told) => {
      const other = { ...hub, apiUrls: ['https://127.0.0.1:2'] }
      repository.publish([file('hub.json', other), image('1', 1), image('2', 2)])
      const site = openTrust({
        dir,
        root: repository.root,
        pinned: sha256Hex(repository.root),
        sources: () => [from(repository.source), repository.source],
      })
      expect((await site.refresh(NOW)).map((lie) => lie.code)).toEqual(told === undefined ? [] : [told])
      expect(site.hub()).toEqual(other)
    })

    test('lies about a manifest does not stand for it', async () => {
      const { bytes } = image('2', 2)
      repository.publish([file('hub.json', hub), image('1', 1), image('2', 2)])
      const lying: Source = async (path) => (path.includes('images/') ? garbage : repository.source(path))
      const open = (...sources: Source[]) =>
        openTrust({ dir, root: repository.root, pinned: sha256Hex(repository.root), sources: () => sources })
      const alone = open(lying)
      await alone.refresh(NOW)
      const ask = (site: Trust) => site.manifest('images/edge-os/2.json', sha256Hex(bytes), NOW)
      // A courier's lie is no fault of the order: it waits for a better one.
      await expect(ask(alone)).rejects.toThrow(code('MetadataUnavailable'))
      expect(await ask(open(lying, repository.source))).toEqual(manifest('2', 2))
    })

    test('says that it is expired says more than a lie before it', async () => {
      const site = openTrust({
        dir,
        root: repository.root,
        pinned: sha256Hex(repository.root),
        sources: () => [async () => garbage, repository.source],
      })
      await expect(site.refresh(NOW + 400 * DAY)).rejects.toThrow(code('MetadataExpired'))
    })
  })

  test('parser-differential: a doubled member in any file', async () => {
    const original = text(repository.files.get('timestamp.json') ?? new Uint8Array())
    repository.version += 1
    repository.seal()
    repository.files.set('timestamp.json', Buffer.from(original.replace('"signed": {', '"signed": {\n "version": 7,')))
    await refused('DuplicateMember')
  })

  test('persist-first: a set that fails its last check is not switched to, and a crash leaves the old one', async () => {
    repository.publish([image('2', 2), file('hub.json', { ...hub, apiUrls: ['https://other.example'] })])
    for (const path of repository.files.keys()) if (path.endsWith('hub.json')) repository.files.delete(path)
    // The old hub.json is cached by digest; the new one cannot be had.
    await refused('MetadataUnavailable')
    expect(readdirSync(dir).filter((name) => name.startsWith('set-')).length).toBeGreaterThan(1)
    expect(open().hub()).toEqual(hub)
  })

  test('endless-data: more bytes than a file may have', async () => {
    repository.files.set('timestamp.json', Buffer.alloc(20_000, 0x20))
    await refused('TooLarge')
  })

  test.each([0, -3, 1.5, 2 ** 53])('a version of %s is refused', async (version) => {
    const bad = text(repository.files.get('timestamp.json') ?? new Uint8Array()).replace(
      '"version": 1',
      `"version": ${version}`,
    )
    repository.files.set('timestamp.json', Buffer.from(bad))
    await expect(trust.refresh(NOW)).rejects.toThrow(expect.objectContaining({ name: 'Refusal' }))
  })

  test('targets without sha256 are refused', () => {
    const targets = text(repository.targets ?? new Uint8Array()).replaceAll('"sha256"', '"md5"')
    expect(() => readTargets(Buffer.from(targets))).toThrow(code('MetadataInvalid'))
  })

  test('whatever metadata is turned into, reading it gives metadata or a Refusal', () => {
    const originals = [repository.root, repository.targets ?? new Uint8Array()].map(
      (bytes) => JSON.parse(text(bytes)) as object,
    )
    const paths = (value: unknown, at: string[] = []): string[][] =>
      typeof value === 'object' && value !== null
        ? [at, ...Object.entries(value).flatMap(([member, inner]) => paths(inner, [...at, member]))]
        : [at]
    const changed = (value: unknown, [head, ...rest]: string[], to: unknown): unknown =>
      head === undefined
        ? to
        : { ...(value as object), [head]: changed((value as Record<string, unknown>)[head], rest, to) }
    const any = fc
      .constantFrom(...originals)
      .chain((original) => fc.tuple(fc.constant(original), fc.constantFrom(...paths(original)), fc.jsonValue()))
    fc.assert(
      fc.property(any, ([original, path, to]) => {
        const bytes = Buffer.from(JSON.stringify(changed(original, path, to)))
        for (const read of [readRoot, readTargets]) {
          try {
            read(bytes)
          } catch (error) {
            expect(error).toMatchObject({ name: 'Refusal' })
          }
        }
      }),
      { numRuns: 1_000 },
    )
  })

  test('a root signed by strangers, or skipping a number, is refused', async () => {
    repository.addRoot(2, { signers: [1, 2].map(() => createKey('EdDSA')) })
    await refused('MetadataUntrusted')
    repository.addRoot(3)
    repository.files.set('2.root.json', repository.root)
    await refused('MetadataRollback')
  })
})

describe('power fails at any step of a switch', () => {
  const sets = () => readdirSync(dir).filter((name) => name.startsWith('set-'))
  test.each<[string, () => void]>([
    ['before anything was copied', () => {}],
    [
      'while the next set was copied',
      () => {
        mkdirSync(join(dir, 'set-2'), { recursive: true })
        writeFileSync(join(dir, 'set-2', 'root.json'), '{"half')
      },
    ],
    [
      'when the next set was whole and the link was not made',
      () => cpSync(join(dir, 'current'), join(dir, 'set-2'), { recursive: true, dereference: true }),
    ],
    ['when the link was made beside and not renamed', () => symlinkSync('set-2', join(dir, 'current.new'))],
    ['when old sets were not yet removed', () => mkdirSync(join(dir, 'set-0'))],
    ['while a target was written', () => writeFileSync(join(dir, 'targets', `${'a'.repeat(64)}.new`), 'half')],
    [
      'when a target was torn',
      () => {
        const { bytes } = file('hub.json', hub)
        writeFileSync(join(dir, 'targets', sha256Hex(bytes)), 'half')
      },
    ],
  ])('%s: the site is what it was, and follows on', async (_, leave) => {
    const before = trust.versions()
    leave()
    expect(open().versions()).toEqual(before)
    repository.publish([image('2', 2)])
    await open().refresh(NOW)
    expect(open().versions()).toMatchObject({ targets: 2, snapshot: 2, timestamp: 2 })
    expect(open().hub()).toEqual(hub)
    expect(sets().length).toBe(1)
    expect(existsSync(join(dir, 'current.new'))).toBe(false)
  })

  test('a damaged hub.json is not believed, and comes again with the next refresh', async () => {
    const { bytes } = file('hub.json', hub)
    const evil = JSON.stringify({ ...hub, apiUrls: ['https://evil.example'] })
    writeFileSync(join(dir, 'targets', sha256Hex(bytes)), evil)
    expect(() => open().hub()).toThrow(code('MetadataUnavailable'))
    await open().refresh(NOW)
    expect(open().hub()).toEqual(hub)
  })

  test('before the first root was pinned: the bundle is read again', () => {
    rmSync(join(dir, 'pinned'))
    expect(open().versions().root).toBe(1)
  })
})

describe('what the hub takes in', () => {
  const load = (path: string, sha256: string) => {
    const cut = path.lastIndexOf('/') + 1
    return repository.files.get(`targets/${path.slice(0, cut)}${sha256}.${path.slice(cut)}`)
  }
  const next = (files: { path: string; bytes: Uint8Array }[], previous = repository.targets) => {
    for (const { path, bytes } of files) {
      const cut = path.lastIndexOf('/') + 1
      repository.files.set(`targets/${path.slice(0, cut)}${sha256Hex(bytes)}.${path.slice(cut)}`, bytes)
    }
    return signMetadata(makeTargets({ previous, files, expires: iso(NOW + DAY) }), targetsKeys.slice(1))
  }

  test('roots one after the other', () => {
    expect(judgeRoot(undefined, repository.root)).toBe(1)
    const first = repository.root
    repository.addRoot(3)
    expect(() => judgeRoot(first, repository.root)).toThrow(code('MetadataRollback'))
    expect(() => judgeRoot(undefined, repository.root)).toThrow(code('MetadataRollback'))
  })

  test('targets with their manifests and signers', () => {
    expect(judgeTargets(repository.root, repository.targets, next([image('2', 2)]), load)).toMatchObject({
      version: 2,
      manifests: [{ manifest: { version: '1' } }, { manifest: { version: '2' } }],
    })
  })

  test.each([
    ['a manifest changed in place', () => next([image('1', 7)]), 'MetadataRollback'],
    ['two versions with one counter', () => next([image('2', 1)]), 'ManifestMismatch'],
    [
      'a manifest under a foreign path',
      () => next([file('images/edge-os/3.json', manifest('4', 4))]),
      'ManifestMismatch',
    ],
    [
      'a manifest with an unknown field',
      () => next([file('images/edge-os/3.json', { ...manifest('3', 3), more: 1 })]),
      'InvalidField',
    ],
    [
      'one signature',
      () =>
        signMetadata(
          makeTargets({ previous: repository.targets, files: [], expires: iso(NOW) }),
          targetsKeys.slice(0, 1),
        ),
      'MetadataUntrusted',
    ],
  ])('refuses %s', (_, make, expected) => {
    expect(() => judgeTargets(repository.root, repository.targets, make(), load)).toThrow(code(expected))
  })

  test('refuses targets in which a published one is gone', () => {
    const json = JSON.parse(text(next([image('2', 2)])))
    delete json.signed.targets['images/edge-os/1.json']
    json.signatures = []
    const forged = signMetadata(Buffer.from(JSON.stringify(json)), targetsKeys)
    expect(() => judgeTargets(repository.root, repository.targets, forged, load)).toThrow(code('MetadataRollback'))
  })

  test('a timestamp made anew over the same snapshot is followed', async () => {
    const snapshot = repository.files.get('1.snapshot.json') ?? new Uint8Array()
    repository.files.set(
      'timestamp.json',
      makeTimestamp({ snapshot, version: 9, timestamp: timestampKey, expires: iso(NOW + 2 * DAY) }),
    )
    await trust.refresh(NOW)
    expect(trust.versions()).toMatchObject({ timestamp: 9, snapshot: 1 })
    expect(readFileSync(join(dir, 'current', 'timestamp.json'), 'utf8')).toContain('"version": 9')
  })
})
