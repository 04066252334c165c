import type { Taint } from '@skerry/api'
import { describe, expect, test } from 'vitest'
import { isSo, parseWanted } from '../commands/wait.ts'
import { parseDuration } from '../output/times.ts'
import { kindOf, namespaceFor, parseTargets } from './kinds.ts'
import { applyTaints, parseTaint } from './taints.ts'

describe('a kind', () => {
  test.each([
    ['clusters', 'ManagedCluster'],
    ['node', 'EdgeNode'],
    ['images', 'OSImage'],
    ['ro', 'Rollout'],
    ['Rollout', 'Rollout'],
    ['rollouts.skerry.dev', 'Rollout'],
    ['decisions', 'PlacementDecision'],
    ['join-tokens', 'JoinToken'],
    ['registrations', 'Registration'],
    ['events', 'Event'],
  ])('"%s" is %s', (word, kind) => expect(kindOf(word).kind).toBe(kind))

  test('that there is not names those that are near', () => {
    expect(() => kindOf('rolouts')).toThrow('did you mean "rollouts"?')
    expect(() => kindOf('pods')).toThrow('there are: clusters')
  })
})

test.each<[string[], string[]]>([
  [['clusters'], ['ManagedCluster']],
  [['clusters,nodes'], ['ManagedCluster', 'EdgeNode']],
  [
    ['rollout', 'a', 'b'],
    ['Rollout a', 'Rollout b'],
  ],
  [
    ['rollout/a', 'node/b'],
    ['Rollout a', 'EdgeNode b'],
  ],
])('%j are %j', (words, wanted) => {
  expect(parseTargets(words).map(({ row, name }) => [row.kind, name].filter(Boolean).join(' '))).toEqual(wanted)
})

test.each([[['rollout/a', 'b']], [['a/b/c']], [['rollout/']]])('%j make no sense together', (words) => {
  expect(() => parseTargets(words)).toThrow(/no KIND\/NAME/)
})

test.each<[kind: string, asked: object, context: string | undefined, namespace: string | undefined]>([
  ['rollouts', {}, undefined, undefined],
  ['rollouts', {}, 'fleet', 'fleet'],
  ['rollouts', { namespace: 'x' }, 'fleet', 'x'],
  ['rollouts', { allNamespaces: true }, 'fleet', undefined],
  ['nodes', {}, 'fleet', undefined],
  ['registrations', { namespace: 'shop' }, 'fleet', 'shop'],
  ['clusters', { namespace: 'x' }, 'fleet', undefined],
])('%s with %j and context namespace %s are looked for in %s', (kind, asked, context, namespace) => {
  expect(namespaceFor(kindOf(kind), asked, context)).toBe(namespace)
})

test.each([
  ['90s', 90_000],
  ['1h30m', 5_400_000],
  ['7d', 604_800_000],
  ['', undefined],
  ['90', undefined],
  ['1m1h', undefined],
])('the duration "%s" is %s ms', (text, ms) => expect(parseDuration(text)).toBe(ms))

describe('a taint', () => {
  const there: Taint[] = [
    { key: 'a', value: 'x', effect: 'NoSelect', timeAdded: '2026-01-01T00:00:00Z' },
    { key: 'b', effect: 'NoSelect' },
  ]
  test.each<[words: string[], keys: string[]]>([
    [['c=1:PreferNoSelect'], ['a=x:NoSelect', 'b:NoSelect', 'c=1:PreferNoSelect']],
    [['a=y:NoSelect'], ['b:NoSelect', 'a=y:NoSelect']],
    [['a-'], ['b:NoSelect']],
    [['b:NoSelect-'], ['a=x:NoSelect']],
    [
      ['a-', 'c:NoSelect'],
      ['b:NoSelect', 'c:NoSelect'],
    ],
  ])('%j makes of two taints %j', (words, keys) => {
    const after = applyTaints(there, words.map(parseTaint))
    expect(after.map(({ key, value, effect }) => `${key}${value ? `=${value}` : ''}:${effect}`)).toEqual(keys)
  })
  test.each([
    ['a', 'the effect is one of'],
    ['a:NoExecute', 'the effect is one of NoSelect'],
    ['a:Noselect', 'did you mean "NoSelect"'],
    ['=x:NoSelect', 'is no taint'],
  ])('"%s" is refused: %s', (word, why) => expect(() => parseTaint(word)).toThrow(why))
  test('that is not there cannot be taken off', () => {
    expect(() => applyTaints(there, [parseTaint('c-')])).toThrow('there is no taint c')
    expect(() => applyTaints(there, [parseTaint('b:PreferNoSelect-')])).toThrow('there is no taint b:PreferNoSelect')
  })
})

describe('what is waited for', () => {
  const rollout = {
    apiVersion: 'skerry.dev/v1alpha1',
    kind: 'Rollout' as const,
    metadata: { name: 'a', uid: 'u1', resourceVersion: '1', generation: 1, creationTimestamp: '2026-01-01T00:00:00Z' },
    spec: { placementRef: { name: 'p' }, image: { name: 'i' } },
    status: {
      phase: 'Paused' as const,
      conditions: [
        {
          type: 'Breached',
          status: 'True' as const,
          reason: 'R',
          message: 'm',
          lastTransitionTime: '2026-01-01T00:00:00Z',
        },
      ],
    },
  }
  test.each<[text: string, so: boolean, whenGone: boolean]>([
    ['phase=Paused', true, false],
    ['phase=paused', true, false],
    ['phase=Completed', false, false],
    ['condition=Breached', true, false],
    ['condition=breached=true', true, false],
    ['condition=Breached=False', false, false],
    ['condition=Other', false, false],
    ['delete', false, true],
  ])('%s: %s, and of one that is gone: %s', (text, so, whenGone) => {
    expect(isSo(rollout, parseWanted(text), 'u1')).toBe(so)
    expect(isSo(undefined, parseWanted(text), 'u1')).toBe(whenGone)
  })
  test('an object made anew under the name counts as deleted', () => {
    expect(isSo(rollout, parseWanted('delete'), 'another')).toBe(true)
  })
  test.each(['condition', 'phase=', 'deleted', 'condition=A=B=C', 'x=y'])('"%s" is refused', (text) => {
    expect(() => parseWanted(text)).toThrow('Write condition=TYPE')
  })
})
