import type { ObjectOf } from '@skerry/api'
import { expect, test } from 'vitest'
import { whyNotIn, whyRefused } from './judged.ts'

type Registration = Parameters<typeof whyNotIn>[0]

const registration = (
  state: NonNullable<NonNullable<Registration>['status']>['state'],
  reason: string,
  verdict: 'warning' | 'contraindicated' = 'warning',
): Registration => ({
  spec: {
    ...{ nodeName: 'depot', class: 'tpm', keysDigest: '', nodeKeyThumbprint: '', natsKey: '', fingerprint: '' },
    ...{ hardwareId: 'till', claims: {} },
    tpm: { ekSha256: '', akName: '', endorsedBy: '', profile: '', firstBoot: { verdict, reason: '', message: '' } },
  } satisfies ObjectOf<'Registration'>['spec'],
  status: { ...(state ? { state } : {}), reason, message: 'so it is' },
})

test.each<[string, Registration, string | undefined]>([
  ['one that is not there yet', undefined, undefined],
  ['one whose rule decides in a moment', registration('Pending', 'AwaitingDecision'), undefined],
  [
    'one whose first boot only a person may accept',
    registration('Pending', 'AwaitingDecision', 'contraindicated'),
    'Pending, AwaitingDecision: so it is',
  ],
  [
    'one whose cluster a person has to accept',
    registration('Pending', 'AwaitingClusterAcceptance'),
    'Pending, AwaitingClusterAcceptance: so it is',
  ],
  ['one that has to prove another key, which it does by itself', registration('Pending', 'AwaitingProof'), undefined],
  ['one that is in', registration('Accepted', 'Accepted'), undefined],
  ['a denied one', registration('Denied', 'Denied'), 'Denied, Denied: so it is'],
  ['a suspended one', registration('Suspended', 'ForkedChain'), 'Suspended, ForkedChain: so it is'],
])('why a registration stays as it is: %s', (_, given, why) => {
  expect(whyNotIn(given)).toBe(why)
})

test('a refusal that only a person changes is read from the console, and one that passes is not', () => {
  const line = (reason: string, decided: boolean) =>
    JSON.stringify({ level: 40, reason, decided, msg: 'registration waits and tries again' })
  expect(whyRefused(['Kernel begins', line('connect ECONNREFUSED', false)])).toBeUndefined()
  expect(whyRefused([line('connect ECONNREFUSED', false), line('no root vouches for it', true)])).toBe(
    'no root vouches for it',
  )
})
