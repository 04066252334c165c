import { expect, test } from 'vitest'
import { akFaults } from './ak.ts'
import type { ObjectAttribute } from './attributes.ts'
import { parsePublic } from './public-area.ts'
import { recorded } from './recorded/fixtures.ts'

const area = (name: string) => parsePublic(recorded(`${name}.pub`))
const codes = (...given: Parameters<typeof akFaults>) => akFaults(...given).map(({ code }) => code)

test.each(['ak-ecc256', 'ak-ecc384', 'ak-ecc521', 'ak-rsa2048', 'ak-pss', 'ak-rsa3072'])('%s is one', (name) => {
  expect(akFaults(area(name))).toEqual([])
})

test.each([
  ['node-key', ['NotRestricted']],
  ['bad-free', ['NotRestricted']],
  ['bad-decrypt', ['CannotSign', 'CanDecrypt', 'NoScheme']],
  ['bad-sha1', ['UntrustedHash']],
  ['ek-rsa2048', ['CannotSign', 'CanDecrypt', 'NoScheme']],
])('%s is none, for every reason there is', (name, expected) => {
  expect(codes(area(name))).toEqual(expected)
})

const ak = area('ak-ecc256')
test.each<[ObjectAttribute, string]>([
  ['restricted', 'NotRestricted'],
  ['fixedTPM', 'NotFixedTpm'],
  ['fixedParent', 'NotFixedParent'],
  ['sensitiveDataOrigin', 'NotMadeByTpm'],
  ['sign', 'CannotSign'],
])('without %s a key is none', (attribute, code) => {
  expect(codes({ ...ak, attributes: ak.attributes.filter((name) => name !== attribute) })).toEqual([code])
})

test('all that is wrong is said at once', () => {
  expect(codes({ ...ak, attributes: ['decrypt'], scheme: null, nameAlg: 'sha1' })).toEqual([
    'NotRestricted',
    'NotFixedTpm',
    'NotFixedParent',
    'NotMadeByTpm',
    'CannotSign',
    'CanDecrypt',
    'NoScheme',
    'UntrustedName',
  ])
})
