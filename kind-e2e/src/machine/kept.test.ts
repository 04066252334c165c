import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { OSImageManifest } from '@skerry/api'
import { testFolder } from '@skerry/supervise/testing'
import { expect, test } from 'vitest'
import { keepBoots, serialByBoot } from './kept.ts'

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

test('a console falls apart into boots where the firmware begins anew, with what came to nothing before', () => {
  expect(serialByBoot(LOG.join('\n'))).toEqual([LOG.slice(0, 4).join('\n'), LOG.slice(4).join('\n')])
})

test('each boot leaves a folder with what it said and the manifest of what booted; a word without a quote is no evidence', () => {
  const dir = testFolder()
  const consoleLog = join(dir, 'serial.log')
  writeFileSync(consoleLog, LOG.join('\n'))
  const members = { cluster: 'a', node: 'a', incarnation: 1, seq: 1, prev: '0', marker: '0', time: { wall: '' } }
  const body = { class: 'software-key', bootId: 'boot-1', slot: 'a', imageSha256: '1'.repeat(64), nonce: '0' } as const
  keepBoots(join(dir, 'boots'), {
    machine: { consoleLog, boots: () => [boot('1'), boot('2')] },
    statements: [{ kind: 'evidence', ...members, body }],
    manifests: [manifestOf('1'), manifestOf('2')],
  })
  expect(readdirSync(join(dir, 'boots'))).toEqual(['1-1', '2-2'])
  for (const [folder, version] of [
    ['1-1', '1'],
    ['2-2', '2'],
  ] as const) {
    const at = (file: string) => join(dir, 'boots', folder, file)
    expect(readFileSync(at('serial.log'), 'utf8')).toContain(`agent of ${version}`)
    expect(JSON.parse(readFileSync(at('manifest.json'), 'utf8'))).toEqual(manifestOf(version))
    expect(existsSync(at('evidence.json'))).toBe(false)
  }
})
