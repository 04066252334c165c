import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  type HardwareProfile,
  HUB_TARGET,
  type HubIntroduction,
  manifestTarget,
  type OSImageManifest,
  profileTarget,
} from '@skerry/api'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { sha256Hex } from '../digest.ts'
import { createKey, openKeyFile } from '../keys.ts'
import { signMetadata } from '../tuf/metadata.ts'
import { judgeTargets } from '../tuf/repository.ts'
import { initSigningFolder, openSigningFolder, signerKeyFile } from './folder.ts'

const EXPIRES = '2040-01-01T00:00:00Z'
const NAMES = ['one', 'two', 'three']
let dir: string
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'skerry-signers-'))
})
afterEach(() => rmSync(dir, { recursive: true, force: true }))

const introduction: HubIntroduction = (() => {
  const key = () => [{ jwk: createKey('ES256').jwk, notBefore: '1970-01-01T00:00:00Z' }]
  return {
    kind: 'HubIntroduction',
    hub: {
      kind: 'HubDescription',
      keys: { desiredState: key(), ack: key(), acceptance: key() },
      caPem: 'pem',
      apiUrls: ['https://127.0.0.1:7443'],
      natsUrls: ['nats://127.0.0.1:4222'],
    },
    tuf: { snapshot: createKey('EdDSA').jwk, timestamp: createKey('EdDSA').jwk },
  }
})()
const init = () => initSigningFolder(dir, { introduction, names: NAMES, threshold: 2, expires: EXPIRES })
const key = (name: string) => openKeyFile(signerKeyFile(dir, name, 'targets'), 'EdDSA')

function manifest(version: string, releaseCounter: number, bytes = 'x') {
  const content: OSImageManifest = {
    kind: 'OSImageManifest',
    family: 'edge-os',
    version,
    releaseCounter,
    hardwareIds: ['box'],
    image: { sha256: sha256Hex(bytes), length: bytes.length, mediaType: 'application/octet-stream' },
    boot: { kind: 'none' },
  }
  return { path: manifestTarget('edge-os', version), bytes: Buffer.from(JSON.stringify(content)) }
}

function profile(name: string, hardwareIds: string[], more: Partial<HardwareProfile> = {}) {
  const content: HardwareProfile = {
    kind: 'HardwareProfile',
    name,
    hardwareIds,
    tpm: { roots: [], inventory: [] },
    banks: ['sha256'],
    firmware: [],
    learn: 'tofu',
    ...more,
  }
  return { path: profileTarget(name), bytes: Buffer.from(JSON.stringify(content)) }
}

describe("a signers' folder", () => {
  test('begins with a root that two of three signed and hub.json waiting for signatures', () => {
    const folder = init()
    expect(folder.threshold).toBe(2)
    expect(folder.thumbprint).toBe(sha256Hex(readFileSync(join(dir, '1.root.json'))))
    expect(folder.releases()).toMatchObject([{ version: 1, added: [{ path: HUB_TARGET }], signedBy: [], missing: 2 }])
    expect(() => init()).toThrow('holds a root already')
  })

  test('collects signatures of people who sign one after the other, in folders opened anew', () => {
    init().add([manifest('1', 1)], EXPIRES)
    expect(openSigningFolder(dir).sign([key('one')])).toMatchObject({ signedBy: ['one'], missing: 1 })
    // The second person names the same manifest: nothing changes, so the first signature stays.
    expect(openSigningFolder(dir).add([manifest('1', 1)], EXPIRES)).toMatchObject({ signedBy: ['one'] })
    const done = openSigningFolder(dir).sign([key('three')])
    expect(done).toMatchObject({ version: 1, signedBy: ['one', 'three'], missing: 0 })
    const folder = openSigningFolder(dir)
    const judged = judgeTargets(folder.root, undefined, done.bytes, (path, sha256) => folder.target({ path, sha256 }))
    expect(judged.manifests.map(({ path }) => path)).toEqual(['images/edge-os/1.json'])
  })

  test('one person signing twice is one signature', () => {
    init().sign([key('one')])
    expect(openSigningFolder(dir).sign([key('one')])).toMatchObject({ signedBy: ['one'], missing: 1 })
  })

  test('a release that has its signatures keeps its bytes: it may be published already', () => {
    const { bytes } = init().sign([key('one'), key('two')])
    expect(Buffer.from(openSigningFolder(dir).sign([key('three')]).bytes)).toEqual(Buffer.from(bytes))
  })

  test('begins the next release once the newest has its signatures, and keeps what was published', () => {
    init().sign([key('one'), key('two')])
    const next = openSigningFolder(dir).add([manifest('1', 1)], EXPIRES)
    expect(next).toMatchObject({ version: 2, added: [{ path: 'images/edge-os/1.json' }], missing: 2 })
    expect(next.files.map(({ path }) => path)).toContain(HUB_TARGET)
  })

  test('a change to a release that is being signed drops the signatures given over less', () => {
    init().sign([key('one')])
    expect(openSigningFolder(dir).add([manifest('1', 1)], EXPIRES)).toMatchObject({
      version: 1,
      signedBy: [],
      missing: 2,
    })
  })

  test.each<[string, ReturnType<typeof manifest>, string]>([
    ['a manifest changed in place', manifest('1', 1, 'other'), 'has other bytes than before'],
    ['a release counter used twice', manifest('2', 1), 'have one release counter'],
    ['a manifest under a foreign path', { ...manifest('2', 2), path: 'images/edge-os/3.json' }, 'stands under'],
    ['a profile under a foreign path', { ...profile('box', ['box']), path: 'hardware/other.json' }, 'stands under'],
    ['a profile that says nothing of learning', profile('box', ['box'], { learn: undefined as never }), 'learn'],
    [
      'hardware that two profiles claim',
      profile('other', ['till', 'b']),
      'the hardware till stands in two profiles, hardware/shop.json and hardware/other.json: a machine has one; add',
    ],
  ])('refuses %s before anybody signs it', (_, file, why) => {
    init().add([manifest('1', 1), profile('shop', ['till'])], EXPIRES)
    openSigningFolder(dir).sign([key('one'), key('two')])
    expect(() => openSigningFolder(dir).add([file], EXPIRES)).toThrow(why)
    expect(openSigningFolder(dir).releases()).toHaveLength(1)
  })

  test('a hardware profile may change: machines get new firmware, and an image stays what it was', () => {
    init().add([profile('shop', ['till'])], EXPIRES)
    openSigningFolder(dir).sign([key('one'), key('two')])
    const changed = profile('shop', ['till'], { learn: 'off' })
    expect(openSigningFolder(dir).add([changed], EXPIRES).added).toEqual([
      { path: 'hardware/shop.json', sha256: sha256Hex(changed.bytes) },
    ])
    const done = openSigningFolder(dir).sign([key('one'), key('two')])
    const folder = openSigningFolder(dir)
    const [first] = folder.releases()
    const load = (path: string, sha256: string) => folder.target({ path, sha256 })
    expect(judgeTargets(folder.root, first?.bytes, done.bytes, load).profiles).toMatchObject([
      { path: 'hardware/shop.json', profile: { name: 'shop', learn: 'off' } },
    ])
  })

  test('a key of another role or of nobody is refused, not counted', () => {
    init()
    const root = openKeyFile(signerKeyFile(dir, 'one', 'root'), 'EdDSA')
    for (const foreign of [root, createKey('EdDSA')])
      expect(() => openSigningFolder(dir).sign([foreign])).toThrow('no targets key of this root')
  })

  test('a folder whose bytes were changed on the way is not signed', () => {
    const folder = init()
    const [{ files: [hub] = [] } = {}] = folder.releases()
    writeFileSync(join(dir, 'targets', `${hub?.sha256}.hub.json`), '{}')
    expect(() => openSigningFolder(dir).sign([key('one')])).toThrow('not those the targets name')
  })

  test('a signature that does not verify makes nobody a signer', () => {
    init()
    const { bytes } = openSigningFolder(dir).sign([key('one'), key('two')])
    const forged = JSON.parse(Buffer.from(bytes).toString('utf8')) as { signatures: { keyid: string; sig: string }[] }
    const third = JSON.parse(Buffer.from(signMetadata(bytes, [key('three')])).toString('utf8')) as typeof forged
    const stranger = third.signatures.find(({ keyid }) => !forged.signatures.some((known) => known.keyid === keyid))
    forged.signatures.push({ keyid: stranger?.keyid ?? '', sig: '00'.repeat(64) })
    const folder = openSigningFolder(dir)
    const judged = judgeTargets(folder.root, undefined, Buffer.from(JSON.stringify(forged)), (path, sha256) =>
      folder.target({ path, sha256 }),
    )
    expect(judged.signers).toHaveLength(2)
    expect(judged.signers).not.toContain(stranger?.keyid)
  })
})
