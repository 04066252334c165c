import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import {
  type HardwareProfile,
  HUB_TARGET,
  type HubIntroduction,
  manifestTarget,
  type OSImageManifest,
  profileTarget,
} from '@skerry/api'
import { promiseOf } from '@skerry/policy'
import { canMakeUki, LOADER, makeUki } from '@skerry/policy/testing'
import { testFolder } from '@skerry/supervise/testing'
import {
  initSigningFolder,
  makeTargets,
  openKeyFile,
  type Signer,
  type SigningFolder,
  sha256Hex,
  signerKeyFile,
  signMetadata,
} from '@skerry/trust'
import { describe, expect, test } from 'vitest'
import { type TestApi, testApi } from './testing.ts'

const EXPIRES = '2100-01-01T00:00:00Z'
const NAMES = ['one', 'two', 'three']
const IMAGE = Buffer.from('the bytes of an image')
const bytes = (body: Uint8Array) => ({ body: Buffer.from(body), type: 'application/octet-stream' })

type File = { path: string; bytes: Buffer }

function profile(more: Partial<HardwareProfile> = {}): File {
  const content: HardwareProfile = {
    kind: 'HardwareProfile',
    name: 'shop-box',
    hardwareIds: ['box'],
    tpm: { roots: [], inventory: [] },
    banks: ['sha256'],
    firmware: [],
    learn: 'off',
    ...more,
  }
  return { path: profileTarget(content.name), bytes: Buffer.from(JSON.stringify(content)) }
}

function manifest(version: string, releaseCounter: number, boot: object = { kind: 'none' }, bytes = IMAGE): File {
  const content: OSImageManifest = {
    kind: 'OSImageManifest',
    family: 'edge-os',
    version,
    releaseCounter,
    hardwareIds: ['box'],
    image: { sha256: sha256Hex(bytes), length: bytes.length, mediaType: 'application/octet-stream' },
    // Some of what tests sign is no boot block.
    boot: boot as OSImageManifest['boot'],
  }
  return { path: manifestTarget('edge-os', version), bytes: Buffer.from(JSON.stringify(content)) }
}

/** An API and the folder of those who sign for it. */
async function signing(): Promise<
  TestApi & { folder: SigningFolder; keyOf(name: string): Signer; sign(names?: string[]): void }
> {
  const api = await testApi()
  const dir = testFolder()
  const key = (jwk: HubIntroduction['tuf']['snapshot']) => [{ jwk, notBefore: '1970-01-01T00:00:00Z' }]
  const { desiredState, ack, acceptance, snapshot, timestamp } = api.keys
  const introduction: HubIntroduction = {
    kind: 'HubIntroduction',
    hub: {
      kind: 'HubDescription',
      keys: { desiredState: key(desiredState.jwk), ack: key(ack.jwk), acceptance: key(acceptance.jwk) },
      caPem: 'pem',
      apiUrls: ['https://127.0.0.1:7443'],
      natsUrls: ['nats://127.0.0.1:4222'],
    },
    tuf: { snapshot: snapshot.jwk, timestamp: timestamp.jwk },
  }
  const folder = initSigningFolder(dir, { introduction, names: NAMES, threshold: 2, expires: EXPIRES })
  const keyOf = (name: string) => openKeyFile(signerKeyFile(dir, name, 'targets'), 'EdDSA')
  return { ...api, folder, keyOf, sign: (names = ['one', 'two']) => void folder.sign(names.map(keyOf)) }
}
type Signing = Awaited<ReturnType<typeof signing>>
const newest = ({ folder }: Signing) => {
  const release = folder.releases().at(-1)
  if (!release) throw new Error('the folder has no release')
  return release
}
const putTargets = async (world: Signing) => {
  for (const file of newest(world).files)
    expect((await world.ask('PUT', `/tuf/targets/${file.path}`, bytes(world.folder.target(file)))).code).toBe(200)
}
const putRoot = (world: Signing) => world.ask('PUT', '/tuf/1.root.json', bytes(world.folder.root))
const putRelease = (world: Signing) =>
  world.ask('PUT', `/tuf/${newest(world).version}.targets.json`, bytes(newest(world).bytes))
const putImage = ({ ask }: TestApi) => ask('PUT', `/blobs/sha256/${sha256Hex(IMAGE)}`, bytes(IMAGE))

describe('publishing', () => {
  test('root, targets and image in their order make an OSImage, are sealed by the hub, audited, and may be repeated', async () => {
    const world = await signing()
    world.folder.add([manifest('1', 1)], EXPIRES)
    world.sign()
    for (let round = 0; round < 2; round += 1) {
      expect((await putRoot(world)).code).toBe(200)
      await putTargets(world)
      expect((await putImage(world)).code).toBe(200)
      expect((await putRelease(world)).code).toBe(200)
    }
    const { body } = await world.ask('GET', '/apis/skerry.dev/v1alpha1/osimages')
    expect(body.items).toMatchObject([
      { spec: { family: 'edge-os', version: '1', releaseCounter: 1, image: { sha256: sha256Hex(IMAGE) } } },
    ])
    const timestamp = JSON.parse((await world.ask('GET', '/tuf/timestamp.json', { token: '' })).text) as {
      signed: { meta: Record<string, { version: number }> }
    }
    const snapshot = timestamp.signed.meta['snapshot.json']?.version
    expect((await world.ask('GET', `/tuf/${snapshot}.snapshot.json`, { token: '' })).code).toBe(200)
    const hub = newest(world).files.find(({ path }) => path === HUB_TARGET)
    const read = await world.ask('GET', `/tuf/targets/${hub?.sha256}.${HUB_TARGET}`, { token: '' })
    expect(sha256Hex(Buffer.from(read.text))).toBe(hub?.sha256)
    const records = await world.store.sql`select verb, kind, name, actor from audit_record order by id`
    expect(records.map(({ verb, kind, name, actor }) => [actor, verb, kind, name])).toEqual(
      [
        ['TufMetadata', '1.root.json'],
        ...newest(world).files.map(({ path }) => ['TufTarget', path]),
        ['Blob', sha256Hex(IMAGE)],
        ['TufMetadata', '1.targets.json'],
      ].map(([kind, name]) => ['admin', 'publish', kind, name]),
    )
  })

  test('a hardware profile is shown as it was signed, and again when signers changed it; an old one stays readable', async () => {
    const world = await signing()
    const shown = async () =>
      (await world.ask('GET', '/apis/skerry.dev/v1alpha1/hardwareprofiles')).body.items.map(({ metadata, spec }) => [
        metadata.name,
        spec['target'],
        spec['profileSha256'],
        spec['learn'],
        metadata.generation,
      ])
    await putRoot(world)
    const versions = [profile(), profile({ learn: 'tofu' })]
    for (const [index, file] of versions.entries()) {
      const { learn } = JSON.parse(file.bytes.toString('utf8')) as HardwareProfile
      world.folder.add([file], EXPIRES)
      world.sign()
      await putTargets(world)
      expect((await putRelease(world)).code).toBe(200)
      expect(await shown()).toEqual([['shop-box', 'hardware/shop-box.json', sha256Hex(file.bytes), learn, index + 1]])
    }
    world.folder.add([manifest('1', 1)], EXPIRES)
    world.sign()
    await putTargets(world)
    await putImage(world)
    expect((await putRelease(world)).code).toBe(200)
    expect((await shown())[0]?.at(-1)).toBe(2)
    for (const { bytes } of versions) {
      const read = await world.ask('GET', `/tuf/targets/hardware/${sha256Hex(bytes)}.shop-box.json`, { token: '' })
      expect(read.text).toBe(bytes.toString('utf8'))
    }
    const path = '/apis/skerry.dev/v1alpha1/hardwareprofiles/shop-box'
    expect((await world.ask('DELETE', path)).code).toBe(405)
  })

  test.skipIf(!canMakeUki)(
    'a boot block that does not follow from the image is told, and taken all the same',
    async () => {
      const world = await signing()
      const [uki, other] = [Buffer.from(makeUki('panic=1')), makeUki('quiet')]
      const loaders = [{ name: 'systemd-boot', file: new Uint8Array(readFileSync(LOADER)) }]
      const promised = (bytes: Uint8Array) => promiseOf({ uki: bytes, loaders, banks: ['sha256'] })
      world.folder.add([manifest('1', 1, promised(uki), uki), manifest('2', 2, promised(other), uki)], EXPIRES)
      world.sign()
      await putRoot(world)
      await putTargets(world)
      expect((await world.ask('PUT', `/blobs/sha256/${sha256Hex(uki)}`, bytes(uki))).code).toBe(200)
      for (let round = 0; round < 2; round += 1) expect((await putRelease(world)).code).toBe(200)
      expect((await world.ask('GET', '/apis/skerry.dev/v1alpha1/osimages')).body.items).toHaveLength(2)
      const events = (await world.ask('GET', '/apis/skerry.dev/v1alpha1/events')).body.items
      expect(events.map(({ spec }) => [spec['reason'], spec['regarding'], spec['message']])).toEqual([
        [
          'BootBlockDoubted',
          { kind: 'OSImage', name: 'edge-os-2' },
          expect.stringContaining('these bytes do not make its sections, commandLine'),
        ],
      ])
    },
  )

  test.each<{ what: string; act: (world: Signing) => Promise<{ code: number }>; code: number }>([
    {
      what: 'targets before any root',
      code: 422,
      async act(world) {
        world.sign()
        await putTargets(world)
        return putRelease(world)
      },
    },
    {
      what: 'targets that one of two has signed',
      code: 422,
      async act(world) {
        world.sign(['three'])
        await putRoot(world)
        await putTargets(world)
        return putRelease(world)
      },
    },
    {
      what: 'targets whose files were not uploaded',
      code: 422,
      async act(world) {
        world.sign()
        await putRoot(world)
        return putRelease(world)
      },
    },
    {
      what: 'a manifest whose image is not here',
      code: 422,
      async act(world) {
        world.folder.add([manifest('1', 1)], EXPIRES)
        world.sign()
        await putRoot(world)
        await putTargets(world)
        return putRelease(world)
      },
    },
    {
      what: 'a manifest whose boot block is none',
      code: 422,
      async act(world) {
        const [named] = newest(world).files
        if (!named) throw new Error('the release is empty')
        // The folder would not take it: signed here by hand, with the keys of two.
        const bad = manifest('1', 1, { kind: 'uki', stub: { vendor: 'systemd', version: '1' } })
        const files = [{ path: named.path, bytes: world.folder.target(named) }, bad]
        const keys = ['one', 'two'].map((name) => world.keyOf(name))
        const release = signMetadata(makeTargets({ previous: undefined, files, expires: EXPIRES }), keys)
        await putRoot(world)
        for (const file of files) await world.ask('PUT', `/tuf/targets/${file.path}`, bytes(file.bytes))
        await putImage(world)
        return world.ask('PUT', '/tuf/1.targets.json', bytes(release))
      },
    },
    {
      what: 'a profile whose Secure Boot lists are no signature lists',
      code: 422,
      async act(world) {
        const lists = { pk: 'AAAA', kek: '', db: '', dbx: [''] }
        world.folder.add([profile({ secureBoot: lists })], EXPIRES)
        world.sign()
        await putRoot(world)
        await putTargets(world)
        return putRelease(world)
      },
    },
    {
      what: 'two profiles of one hardware id',
      code: 422,
      async act(world) {
        const hub = newest(world).files.map((file) => ({ path: file.path, bytes: world.folder.target(file) }))
        // The folder would not take the second: signed here by hand, with the keys of two.
        const files = [...hub, profile(), profile({ name: 'other-box', hardwareIds: ['box', 'other'] })]
        const keys = ['one', 'two'].map((name) => world.keyOf(name))
        const release = signMetadata(makeTargets({ previous: undefined, files, expires: EXPIRES }), keys)
        await putRoot(world)
        for (const file of files) await world.ask('PUT', `/tuf/targets/${file.path}`, bytes(file.bytes))
        const answer = await world.ask('PUT', '/tuf/1.targets.json', bytes(release))
        expect(answer.body.message).toContain(
          'hardware box stands in two profiles, hardware/shop-box.json and hardware/other-box.json: a machine has one',
        )
        return answer
      },
    },
    {
      what: 'a profile of more than 1 MiB',
      code: 413,
      act: ({ ask }) => ask('PUT', '/tuf/targets/hardware/x.json', bytes(Buffer.alloc(1_048_577))),
    },
    {
      what: 'a root under another number',
      code: 400,
      act: (world) => world.ask('PUT', '/tuf/2.root.json', bytes(world.folder.root)),
    },
    {
      what: 'a timestamp, which the hub alone signs',
      code: 400,
      act: ({ ask }) => ask('PUT', '/tuf/timestamp.json', bytes(IMAGE)),
    },
    {
      what: 'a path that climbs',
      code: 400,
      act: ({ ask }) => ask('PUT', '/tuf/targets/..%2F..%2Fx.json', bytes(IMAGE)),
    },
    {
      what: 'a target of more than 64 KiB',
      code: 413,
      act: ({ ask }) => ask('PUT', '/tuf/targets/x.json', bytes(Buffer.alloc(65_537))),
    },
  ])('$what: $code, and no release is there', async ({ act, code }) => {
    const world = await signing()
    expect(await act(world)).toMatchObject({ code, body: { kind: 'Status', code } })
    expect((await world.ask('GET', '/tuf/timestamp.json', { token: '' })).code).toBe(404)
    expect((await world.ask('GET', '/apis/skerry.dev/v1alpha1/osimages')).body.items).toEqual([])
  })
})

describe('blobs', () => {
  const PATH = `/blobs/sha256/${sha256Hex(IMAGE)}`

  test('that were damaged on the disk are seen by their digest and healed by the next upload, which is audited; nothing lies beside', async () => {
    const api = await testApi()
    const digest = async () => JSON.parse((await api.ask('GET', `${PATH}/digest`)).text) as unknown
    expect((await api.ask('GET', `${PATH}/digest`)).code).toBe(404)
    expect(JSON.parse((await putImage(api)).text)).toMatchObject({ taken: 'new', length: IMAGE.length })
    expect(JSON.parse((await putImage(api)).text)).toMatchObject({ taken: 'kept' })
    expect(await digest()).toEqual({ sha256: sha256Hex(IMAGE) })

    const damaged = Buffer.from(IMAGE).fill('?', 3, 4)
    writeFileSync(join(api.blobDir, sha256Hex(IMAGE)), damaged)
    expect(await digest()).toEqual({ sha256: sha256Hex(damaged) })
    expect((await api.ask('PUT', PATH, bytes(damaged))).code).toBeGreaterThanOrEqual(400)
    expect(JSON.parse((await putImage(api)).text)).toMatchObject({ taken: 'healed' })
    expect(await digest()).toEqual({ sha256: sha256Hex(IMAGE) })
    expect((await api.ask('GET', PATH, { token: '' })).text).toBe(IMAGE.toString())
    expect(readdirSync(api.blobDir)).toEqual([sha256Hex(IMAGE)])
    const records = await api.store.sql`select verb, name from audit_record order by id`
    expect(records.map(({ verb, name }) => [verb, name])).toEqual([
      ['publish', sha256Hex(IMAGE)],
      ['heal', sha256Hex(IMAGE)],
    ])
  })

  test('whose audit record cannot be written are not kept', async () => {
    const api = await testApi()
    await api.store.sql`alter table audit_record add constraint full_disk check (kind <> 'Blob')`
    expect((await putImage(api)).code).toBe(500)
    expect((await api.ask('GET', PATH, { token: '' })).code).toBe(404)
    expect(readdirSync(api.blobDir)).toEqual([])
  })

  test('other bytes than the name says are refused and not kept; a name that is no digest too', async () => {
    const { ask } = await testApi()
    const path = `/blobs/sha256/${sha256Hex('something else')}`
    expect((await ask('PUT', path, bytes(IMAGE))).code).toBeGreaterThanOrEqual(400)
    expect((await ask('GET', path, { token: '' })).code).toBe(404)
    expect((await ask('PUT', '/blobs/sha256/ABC', bytes(IMAGE))).code).toBe(400)
  })

  test.each([
    ['', 200, IMAGE.toString(), undefined],
    ['bytes=10-', 206, IMAGE.subarray(10).toString(), `bytes 10-${IMAGE.length - 1}/${IMAGE.length}`],
    [`bytes=${IMAGE.length}-`, 416, undefined, `bytes */${IMAGE.length}`],
    ['bytes=0-3,5-6', 200, IMAGE.toString(), undefined],
  ])('a range of "%s" is answered %i', async (range, code, text, contentRange) => {
    const api = await testApi()
    await putImage(api)
    const answer = await api.ask('GET', `/blobs/sha256/${sha256Hex(IMAGE)}`, { token: '', headers: { range } })
    expect(answer.code).toBe(code)
    expect(answer.headers['content-range']).toBe(contentRange)
    if (text !== undefined) expect(answer.text).toBe(text)
  })
})
