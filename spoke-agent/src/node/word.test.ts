import type { BootFacts, State } from '@skerry/policy'
import { testFolder } from '@skerry/supervise/testing'
import { expect, test } from 'vitest'
import { testImage } from '../drivers/testing.ts'
import { wordOf } from './word.ts'

const { target } = testImage(testFolder(), '1')
const boot: BootFacts = { bootId: 'b', slot: 'a', imageSha256: 'f'.repeat(64), healthy: true }
const state = (stage: State['stage']) => ({ stage, reason: 'Said', message: 'by the machine' })

test.each<[string, State['stage'], BootFacts | undefined, string]>([
  ['at rest and well', { phase: 'Idle' }, boot, 'Said'],
  ['at rest, before the first look', { phase: 'Idle' }, undefined, 'Said'],
  ['at rest and ill', { phase: 'Idle' }, { ...boot, healthy: false }, 'BootUnhealthy'],
  ['on its way, which has a word of its own', { phase: 'Staged', target }, { ...boot, healthy: false }, 'Said'],
  ['failed, which says why', { phase: 'Failed', target }, { ...boot, healthy: false }, 'Said'],
])('%s', (_, stage, facts, reason) => {
  expect(wordOf(state(stage), facts).reason).toBe(reason)
})

test('what is not well is named', () => {
  expect(wordOf(state({ phase: 'Idle' }), { ...boot, healthy: false }).message).toContain('slot a (ffffffffffff)')
  expect(wordOf(state({ phase: 'Idle' }), { ...boot, healthy: false, imageSha256: '' }).message).toContain('nothing')
})
