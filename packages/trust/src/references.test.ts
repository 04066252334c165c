import type { HubIntroduction, OSImageManifest, SignedReferences } from '@skerry/api'
import { manifestTarget, profileTarget } from '@skerry/api'
import { testFolder } from '@skerry/supervise/testing'
import { describe, expect, test } from 'vitest'
import { createKey, openKeyFile } from './keys.ts'
import { readReferences } from './references.ts'
import { initSigningFolder, openSigningFolder, signerKeyFile } from './signing/folder.ts'

const EXPIRES = '2100-01-01T00:00:00Z'
const text = (value: object) => Buffer.from(JSON.stringify(value))
const base64 = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64')

const manifest: OSImageManifest = {
  ...{ kind: 'OSImageManifest', family: 'os', version: '1', releaseCounter: 1, hardwareIds: ['box'] },
  image: { sha256: 'a'.repeat(64), length: 1, mediaType: 'a/b' },
  boot: { kind: 'none' },
}
const profile = {
  ...{ kind: 'HardwareProfile', name: 'box', hardwareIds: ['box'], tpm: { roots: [], inventory: [] } },
  ...{ banks: ['sha256'], firmware: [], learn: 'tofu' },
}

/** What a report would carry of a signers' folder of its own, signed by these. */
function signedBy(names: readonly string[]): { references: SignedReferences; root: Uint8Array } {
  const dir = testFolder()
  const key = () => [{ jwk: createKey('ES256').jwk, notBefore: '1970-01-01T00:00:00Z' }]
  const introduction: HubIntroduction = {
    kind: 'HubIntroduction',
    hub: {
      ...{ kind: 'HubDescription', keys: { desiredState: key(), ack: key(), acceptance: key() }, caPem: 'pem' },
      ...{ apiUrls: ['https://127.0.0.1:7443'], natsUrls: ['nats://127.0.0.1:4222'] },
    },
    tuf: { snapshot: createKey('EdDSA').jwk, timestamp: createKey('EdDSA').jwk },
  }
  const folder = initSigningFolder(dir, {
    introduction,
    names: ['one', 'two', 'three'],
    threshold: 2,
    expires: EXPIRES,
  })
  const files = [
    { path: manifestTarget('os', '1'), bytes: text(manifest) },
    { path: profileTarget('box'), bytes: text(profile) },
  ]
  folder.add(files, EXPIRES)
  const { bytes } = openSigningFolder(dir).sign(
    names.map((name) => openKeyFile(signerKeyFile(dir, name, 'targets'), 'EdDSA')),
  )
  const carried = files.map((file) => ({ path: file.path, bytes: base64(file.bytes) }))
  return { root: folder.root, references: { roots: [base64(folder.root)], targets: base64(bytes), files: carried } }
}

describe('what a report carries of signed files', () => {
  const { references, root } = signedBy(['one', 'two'])
  const other = signedBy(['one', 'two'])
  const [first, second] = references.files
  if (!first || !second) throw new Error('two files')

  test('is read by the root of whoever checks it', () => {
    expect(readReferences(references, root)).toMatchObject({
      manifests: [{ manifest }],
      profiles: [{ profile }],
    })
    // Fewer files are no fault: what is not there is missed where it is needed.
    expect(readReferences({ ...references, files: [] }, root)).toEqual({ manifests: [], profiles: [] })
  })

  test.each<[string, SignedReferences, string, string]>([
    ['another root', other.references, 'MetadataUntrusted', 'the report begins with root'],
    [
      'targets of another root',
      { ...references, targets: other.references.targets },
      'MetadataUntrusted',
      'not signed by a threshold',
    ],
    [
      'targets that one of two signed',
      { ...signedBy(['one']).references, roots: references.roots },
      'MetadataUntrusted',
      'not signed by a threshold',
    ],
    [
      'a root that does not follow',
      { ...references, roots: [...references.roots, ...references.roots] },
      'MetadataRollback',
      'root version 1, expected 2',
    ],
    [
      'a root of others behind it',
      { ...references, roots: [...references.roots, ...other.references.roots] },
      'MetadataRollback',
      'expected 2',
    ],
    ['no JSON for targets', { ...references, targets: 'AAAA' }, 'MalformedJson', ''],
    [
      'a manifest with another byte',
      { ...references, files: [{ ...first, bytes: base64(text({ ...manifest, releaseCounter: 2 })) }] },
      'ManifestMismatch',
      'images/os/1.json',
    ],
    [
      'a profile that nobody signed',
      { ...references, files: [{ ...second, path: 'hardware/other.json' }] },
      'ManifestMismatch',
      'hardware/other.json',
    ],
    [
      'a file under another’s path',
      { ...references, files: [{ ...first, path: second.path }] },
      'ManifestMismatch',
      second.path,
    ],
  ])('%s is refused', (_, given, code, why) => {
    expect(() => readReferences(given, root)).toThrow(
      expect.objectContaining({ code, message: expect.stringContaining(why) }),
    )
  })
})
