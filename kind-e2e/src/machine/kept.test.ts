import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { EvidenceBody, HardwareProfile, OSImageManifest, Statement } from '@skerry/api'
import { evidenceOf, makeTpm, referenceOf } from '@skerry/policy/testing'
import { testFolder } from '@skerry/supervise/testing'
import { expect, test } from 'vitest'
import { keepBoots, serialByBoot, verifyKept } from './kept.ts'

const boot = (version: string) => ({
  bootId: `boot-${version}`,
  image: 'edge-os',
  version,
  entry: `edge-os_${version}.efi`,
  upS: 6.5,
})
const said = (version: string) => `{"machine":"boot",${JSON.stringify(boot(version)).slice(1)}`
const LOG = [
  ...['BdsDxe: loading Boot0001', 'BdsDxe: loading Boot0002', said('1'), 'agent of 1'],
  ...['\u001b[2JBdsDxe: loading Boot0001', 'Kernel panic'],
  ...['BdsDxe: loading Boot0001', said('2'), 'agent of 2'],
]
const manifestOf = (version: string): OSImageManifest => ({
  kind: 'OSImageManifest',
  family: 'edge-os',
  version,
  releaseCounter: Number(version),
  hardwareIds: ['till'],
  image: { sha256: version.repeat(64), length: 1, mediaType: 'a/b' },
  boot: { kind: 'none' },
})

const told = (body: EvidenceBody): Statement => ({
  kind: 'evidence',
  ...{ cluster: 'a', node: 'a', incarnation: 1, seq: 1, prev: '0', marker: '0', time: { wall: '' } },
  body,
})

const RESULT = {
  ...{ bootId: 'boot-2', verdict: 'warning', reason: 'First', judgedAt: '', said: { before: '' } },
  ear: `head.${Buffer.from('{"iat":7}').toString('base64url')}.signature`,
}

test('a console falls apart into boots where the firmware begins anew, with what came to nothing before', () => {
  expect(serialByBoot(LOG.join('\n'))).toEqual([LOG.slice(0, 4).join('\n'), LOG.slice(4).join('\n')])
})

test('each boot leaves a folder with what it said, the manifest of what booted and the newest verdict; a word without a quote is no evidence', () => {
  const dir = testFolder()
  const consoleLog = join(dir, 'serial.log')
  writeFileSync(consoleLog, LOG.join('\n'))
  const body = { class: 'software-key', bootId: 'boot-1', slot: 'a', imageSha256: '1'.repeat(64), nonce: '0' } as const
  keepBoots(join(dir, 'boots'), {
    machine: { consoleLog, boots: () => [boot('1'), boot('2')] },
    statements: [told(body)],
    manifests: [manifestOf('1'), manifestOf('2')],
    results: [
      { ...RESULT, revision: 2, reason: 'Again' },
      { ...RESULT, revision: 1 },
    ],
  })
  expect(readdirSync(join(dir, 'boots'))).toEqual(['1-1', '2-2'])
  for (const [folder, version] of [
    ['1-1', '1'],
    ['2-2', '2'],
  ] as const) {
    const at = (file: string) => join(dir, 'boots', folder, file)
    expect(readFileSync(at('serial.log'), 'utf8')).toContain(`agent of ${version}`)
    expect(JSON.parse(readFileSync(at('manifest.json'), 'utf8'))).toEqual(manifestOf(version))
    expect(existsSync(at('verdict.json'))).toBe(version === '2')
    if (version === '2')
      expect(JSON.parse(readFileSync(at('verdict.json'), 'utf8'))).toMatchObject({ reason: 'Again', says: { iat: 7 } })
    expect(existsSync(at('evidence.json'))).toBe(false)
  }
})

test('what is kept of a boot with a TPM is judged affirming by the command line, with no hub; without the profile it is not', () => {
  const tpm = makeTpm()
  const { image, profile } = referenceOf(tpm)
  if (typeof image === 'string') throw new Error('the recorded boot has a boot block')
  const keep = (given: HardwareProfile | undefined) => {
    const dir = testFolder()
    const consoleLog = join(dir, 'serial.log')
    writeFileSync(consoleLog, LOG.slice(0, 4).join('\n'))
    keepBoots(dir, {
      machine: { consoleLog, boots: () => [boot('1')] },
      statements: [told({ ...evidenceOf(tpm, 'secure-boot-off'), bootId: 'boot-1' })],
      manifests: [{ ...manifestOf('1'), boot: image }],
      ...(given ? { profile: given } : {}),
    })
    expect(existsSync(join(dir, '1-1', 'profile.json'))).toBe(given !== undefined)
    return [...verifyKept(dir)].map(([folder, { verdict }]) => [folder, verdict])
  }
  expect(keep(profile)).toEqual([['1-1', 'affirming']])
  expect(keep(undefined)).toEqual([['1-1', 'warning']])
})
