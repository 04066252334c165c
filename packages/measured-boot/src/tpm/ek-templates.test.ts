import { expect, test } from 'vitest'
import { digest } from '../banks.ts'
import { concat, toHex } from '../bytes.ts'
import { EK_TEMPLATES } from './ek-templates.ts'
import { parsePublic, writePublic } from './public-area.ts'
import { bytesOf, recorded } from './recorded/fixtures.ts'

test.each([
  ['L-1', 'ek-rsa2048'],
  ['L-2', 'ek-ecc256'],
  ['H-3', 'ek-ecc384'],
  ['H-4', 'ek-ecc521'],
  ['H-6', 'ek-rsa3072'],
] as const)('%s is what %s was made from: only the key itself differs', (name, key) => {
  const { area } = EK_TEMPLATES[name]
  const unique = area.type === 'rsa' ? { modulus: area.modulus } : { x: area.x, y: area.y }
  expect({ ...parsePublic(recorded(`${key}.pub`)), ...unique }).toEqual(area)
})

test.each(Object.keys(EK_TEMPLATES) as (keyof typeof EK_TEMPLATES)[])('%s is written and read back', (name) => {
  const { area } = EK_TEMPLATES[name]
  expect(parsePublic(writePublic(area))).toEqual(area)
})

test('both policies follow from what they allow', () => {
  // TPM 2.0 Part 3, TPM2_PolicySecret(TPM_RH_ENDORSEMENT), no policyRef.
  const zero = new Uint8Array(32)
  const secret = digest('sha256', zero, bytesOf('00000151 4000000b'))
  const policyA = digest('sha256', secret)
  expect(toHex(EK_TEMPLATES['L-1'].area.authPolicy)).toBe(toHex(policyA))
  // PolicyC, PolicyAuthorizeNV of the index that the profile sets aside for SHA-256; then PolicyOR.
  const policyC = bytesOf('3767e2edd43ff45a3a7e1eaefcef78643dca964632e7aad82c673a30d8633fde')
  const either = digest('sha256', zero, bytesOf('00000171'), concat(policyA, policyC))
  expect(toHex(EK_TEMPLATES['H-1'].area.authPolicy)).toBe(toHex(either))
})
