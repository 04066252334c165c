import { NodeTrouble, parse } from '@skerry/api'
import { initialState, type State } from '@skerry/policy'
import { testFolder } from '@skerry/supervise/testing'
import { expect, test } from 'vitest'
import { testImage } from '../drivers/testing.ts'
import type { TpmView } from '../tpm/index.ts'
import { type SeenBoot, seenBoot, troublesOf } from './troubles.ts'

const { target } = testImage(testFolder(), '1')
const facts = { bootId: 'b', slot: 'a', imageSha256: 'f'.repeat(64), healthy: true }
const well = seenBoot(facts, undefined, 0)
const ill = seenBoot({ ...facts, healthy: false }, well, 0)
const since = '2026-06-01T00:00:00.000Z'
const unseen = { bootId: 'b', reason: 'EspNotVfat', message: '/efi is an ext4', since }
const lockout: TpmView = {
  path: '/dev/tpmrm0',
  since,
  trouble: { at: since, tried: 'look', code: 'Lockout', message: 'wait' },
}
const silent: TpmView = {
  path: '/dev/tpmrm0',
  since,
  trouble: { at: since, tried: 'signature', code: 'Failed', message: 'It broke. Restart it' },
}

function troubles(
  stage: State['stage'],
  boot: SeenBoot | undefined,
  more: { unseen?: typeof unseen; tpm?: TpmView; class?: 'tpm' } = {},
) {
  const { unseen: dark, tpm, ...rest } = more
  const state = { ...initialState(undefined), stage }
  const found = troublesOf({
    ...{ node: { state, ...(dark ? { unseen: dark } : {}) }, boot, tpm, class: 'software-key' as const },
    ...rest,
  })
  for (const one of found) parse(NodeTrouble, one, 'trouble')
  return found.map(({ of, reason }) => `${of} ${reason}`)
}

test.each<[string, string[], string[]]>([
  ['at rest and well', troubles({ phase: 'Idle' }, well), []],
  ['before the first look', troubles({ phase: 'Idle' }, undefined), []],
  ['at rest and ill', troubles({ phase: 'Idle' }, ill), ['boot BootUnhealthy']],
  ['ill on its way, which has a word of its own', troubles({ phase: 'Staged', target }, ill), []],
  [
    'in the dark, whatever was seen before',
    troubles({ phase: 'Staged', target }, ill, { unseen }),
    ['boot EspNotVfat'],
  ],
  ['its TPM is locked', troubles({ phase: 'Idle' }, well, { class: 'tpm', tpm: lockout }), ['tpm Lockout']],
  ['its TPM is gone', troubles({ phase: 'Idle' }, well, { class: 'tpm', tpm: { path: null, since } }), ['tpm NoTpm']],
  ['it never had one to lose', troubles({ phase: 'Idle' }, well, { tpm: lockout }), []],
  [
    'more than one thing',
    troubles({ phase: 'Idle' }, well, { unseen, class: 'tpm', tpm: lockout }),
    ['boot EspNotVfat', 'tpm Lockout'],
  ],
])('%s', (_, found, expected) => {
  expect(found).toEqual(expected)
})

test('an ill boot is ill since it was first seen so, until it is well', () => {
  const later = seenBoot({ ...facts, healthy: false }, ill, 60_000)
  expect(later.illSince).toBe('1970-01-01T00:00:00.000Z')
  expect(seenBoot(facts, later, 60_000).illSince).toBeUndefined()
})

test('an ill boot is named by its slot and bytes', () => {
  const node = { state: initialState(undefined) }
  const of = (boot: SeenBoot) => troublesOf({ node, boot, tpm: undefined, class: 'software-key' })[0]?.message
  expect(of(ill)).toContain('slot a (ffffffffffff)')
  expect(of({ ...ill, imageSha256: '' })).toContain('nothing')
})

test('a node whose key lies in a TPM that does not sign says that it cannot, since when, and what to do', () => {
  const of = (tpm: TpmView, keyIn: 'tpm' | 'file') =>
    troublesOf({ node: { state: initialState(undefined) }, boot: well, tpm, class: 'tpm', keyIn })
  const cannot = /^this node cannot sign, .*Offline, because its key lies in its TPM: /
  const found = of(silent, 'tpm')
  expect(found).toMatchObject([{ of: 'tpm', reason: 'Failed', since, message: expect.stringMatching(cannot) }])
  expect(found[0]?.message).toMatch(/It broke. Restart it\. .*told when it signs again\. .*lost .*enters anew/)
  const [gone] = of({ path: null, since }, 'tpm')
  expect(gone).toMatchObject({ reason: 'NoTpm', since, message: expect.stringMatching(cannot) })
  expect(gone?.message).toMatch(/--tpm.*start the agent again/)
  // It signs, whatever its TPM does.
  for (const [tpm, keyIn] of [
    [silent, 'file'],
    [lockout, 'tpm'],
  ] as const)
    expect(of(tpm, keyIn)[0]?.message).not.toMatch(cannot)
})
