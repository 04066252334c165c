import type { Contexts } from '@skerry/client'
import { expect, test } from 'vitest'
import { chooseServer, type ServerFlags } from './server.ts'

const contexts: Contexts = {
  current: 'a',
  contexts: [
    { name: 'a', server: 'https://a', token: 'token-a', namespace: 'fleet' },
    { name: 'b', server: 'https://b', token: 'token-b' },
  ],
}

test.each<[string, ServerFlags, object]>([
  ['the current context', {}, { server: 'https://a', token: 'token-a', namespace: 'fleet' }],
  ['a named context', { context: 'b' }, { server: 'https://b', token: 'token-b' }],
  ['a token for one call', { token: 'other' }, { server: 'https://a', token: 'other' }],
  ['an address', { server: 'https://c/', token: 'other' }, { server: 'https://c', token: 'other' }],
])('%s is the hub that is asked', (_, flags, wanted) => {
  expect(chooseServer(flags, contexts)).toMatchObject(wanted)
})

test.each<[string, ServerFlags, string]>([
  ['no stored token goes to an address that no context names', { server: 'https://c' }, '--server needs --token'],
  [
    'an address and a context contradict each other',
    { server: 'https://c', context: 'a', token: 't' },
    'give one of them',
  ],
  ['what is no address is told', { server: 'hub', token: 't' }, '"hub" is no address'],
  ['an unknown context names those that there are', { context: 'c' }, 'there are: a, b'],
])('%s', (_, flags, why) => expect(() => chooseServer(flags, contexts)).toThrow(why))

test('without any context the error says how to get one', () => {
  expect(() => chooseServer({}, { contexts: [] })).toThrow('skerry login')
  expect(() => chooseServer({}, { contexts: contexts.contexts })).toThrow('skerry context use')
})
