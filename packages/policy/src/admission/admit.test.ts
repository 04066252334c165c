import type { OSImageManifest } from '@skerry/api'
import { describe, expect, test } from 'vitest'
import { type AdmissionFacts, admit } from './admit.ts'

const manifest: OSImageManifest = {
  kind: 'OSImageManifest',
  family: 'edge-os',
  version: '5',
  releaseCounter: 5,
  hardwareIds: ['shop-box', 'till'],
  image: { sha256: 'b'.repeat(64), length: 10, mediaType: 'a/b' },
  boot: { kind: 'none' },
}
const desired = { attestation: 'warning' as const, works: [] }
const facts: AdmissionFacts = { hardwareId: 'till', memory: { failures: [] }, measuresBoot: false, appliesWorks: false }
const failed = {
  imageSha256: manifest.image.sha256,
  outcome: 'RolledBack' as const,
  reason: 'GatesFailed',
  message: 'x',
  at: '2026-06-01T00:00:00Z',
}
const confirmed = (releaseCounter: number) => ({
  failures: [],
  confirmed: { imageSha256: 'a'.repeat(64), releaseCounter },
})

describe('admit', () => {
  test.each<[string, Partial<AdmissionFacts>]>([
    ['a first image', {}],
    ['a newer one', { memory: confirmed(4) }],
    ['one with the very counter', { memory: confirmed(5) }],
    ['one with the very counter that the TPM holds', { memory: confirmed(4), tpmFloor: 5 }],
  ])('lets in %s', (_, more) => {
    expect(admit(manifest, desired, { ...facts, ...more })).toBeUndefined()
  })

  test.each<[string, string, Partial<OSImageManifest>, object, Partial<AdmissionFacts>]>([
    ['HardwareMismatch', 'hardwareIds', {}, {}, { hardwareId: 'kiosk' }],
    ['ReleaseCounterTooLow', 'releaseCounter', {}, {}, { memory: confirmed(6) }],
    ['ReleaseCounterTooLow', 'releaseCounter', {}, {}, { memory: confirmed(4), tpmFloor: 6 }],
    ['ReleaseCounterTooLow', 'releaseCounter', {}, {}, { tpmFloor: 6 }],
    ['ImageFailedBefore', 'image.sha256', {}, {}, { memory: { failures: [failed] } }],
    [
      'ImageFailedBefore',
      'image.sha256',
      { version: '6', releaseCounter: 6, family: 'renamed' },
      {},
      { memory: { failures: [failed] } },
    ],
    ['AttestationImpossible', 'attestation', {}, { attestation: 'affirming' }, {}],
    ['AttestationImpossible', 'attestation', {}, { attestation: 'affirming' }, { measuresBoot: true }],
    ['WorksUnsupported', '', {}, { works: [{ name: 'w', sha256: 'c'.repeat(64) }] }, {}],
  ])('refuses as %s at "%s"', (code, field, image, order, more) => {
    expect(admit({ ...manifest, ...image }, { ...desired, ...order }, { ...facts, ...more })).toMatchObject({
      code,
      field,
    })
  })

  const retry = { imageSha256: manifest.image.sha256, act: 'act-1' }
  const memory = { failures: [failed] }
  test.each<[string, object, AdmissionFacts['memory'], string | undefined]>([
    ['that asks for them again', { retry }, memory, undefined],
    ['whose act was carried out before', { retry }, { ...memory, retried: ['act-1'] }, 'ImageFailedBefore'],
    ['with another act than before', { retry }, { ...memory, retried: ['act-0'] }, undefined],
    ['that asks for bytes that never failed', { retry }, { failures: [] }, undefined],
    [
      'that asks for other bytes than it names',
      { retry: { ...retry, imageSha256: 'd'.repeat(64) } },
      memory,
      'InvalidField',
    ],
  ])('bytes that failed here, under an order %s', (_, order, remembered, code) => {
    expect(admit(manifest, { ...desired, ...order }, { ...facts, memory: remembered })?.code).toBe(code)
  })

  test('a retry lowers no floor', () => {
    const low = { failures: [failed], confirmed: { imageSha256: 'a'.repeat(64), releaseCounter: 6 } }
    expect(admit(manifest, { ...desired, retry }, { ...facts, memory: low })?.code).toBe('ReleaseCounterTooLow')
  })

  test('one image is refused for its own failure, not for another', () => {
    expect(
      admit(manifest, desired, { ...facts, memory: { failures: [{ ...failed, imageSha256: 'd'.repeat(64) }] } }),
    ).toBeUndefined()
  })
})
