import type { JoinTokenSpec, RegistrationState } from '@skerry/api'
import { Refusal } from '@skerry/api'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { TpmIdentity } from './hardware.ts'
import { destinationOf, type EntryFacts, judgeEntry } from './judge.ts'
import { fingerprintOf, nodeIdOf } from './names.ts'
import {
  AWAITING_PROOF,
  credentialDue,
  decideByRule,
  lifeOf,
  type RecordedIdentity,
  type RegistrationFacts,
  type Standing,
  standingOf,
} from './standing.ts'

const NOW = Date.parse('2026-06-01T12:00:00Z')
const at = (minutes: number) => new Date(NOW + minutes * 60_000).toISOString()

/** The code of the refusal that `act` throws. */
function refusalOf(act: () => unknown): string | undefined {
  try {
    act()
    return undefined
  } catch (error) {
    if (error instanceof Refusal) return error.code
    throw error
  }
}

describe('the id of a node', () => {
  test.each([
    ['site-1', 'site-1'],
    ['Site-1', 'site-1'],
    ['edge.example.org', 'edge-example-org'],
    ['a_b', 'a-b'],
    ['-a-', 'a'],
    ['A', 'a'],
    ['0', '0'],
  ])('of %j is %j', (name, id) => {
    expect(nodeIdOf(name)).toBe(id)
  })

  test.each([
    ['', 'nothing'],
    ['---', 'no letter or digit'],
    ['sіte-1', 'a Cyrillic i'],
    ['ｓite-1', 'a full-width s'],
    ['site‐1', 'another hyphen'],
    ['site-1\u200b', 'a zero-width space'],
    ['KELVIN-\u212a', 'a Kelvin sign, which lower-cases to k'],
    ['a b', 'a space'],
    ['a/b', 'a slash'],
    ['a*', 'a wildcard of NATS'],
    ['site-1\n', 'a line end'],
  ])('of %j is refused: %s', (name) => {
    expect(refusalOf(() => nodeIdOf(name))).toBe('InvalidField')
  })

  test('is one label of at most 63 characters, whatever the name', () => {
    fc.assert(
      fc.property(fc.stringMatching(/^[A-Za-z0-9._-]{1,253}$/), (name) => {
        if (!/[A-Za-z0-9]/.test(name)) return refusalOf(() => nodeIdOf(name)) === 'InvalidField'
        return /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/.test(nodeIdOf(name))
      }),
    )
  })

  test('two long names that differ at their ends alone stay two', () => {
    const long = 'n'.repeat(80)
    expect(nodeIdOf(`${long}-1`)).not.toBe(nodeIdOf(`${long}-10`))
    expect(nodeIdOf(`${long}-1`)).toHaveLength(63)
  })
})

test('a fingerprint is the first 64 bits of the exchange, in groups that can be read aloud', () => {
  expect(fingerprintOf('0123456789abcdef'.repeat(4))).toBe('0123-4567-89ab-cdef')
})

const ACCEPTED: Standing = { state: 'Accepted', reason: 'Accepted', message: '' }
const request = { class: 'software-key', nodeName: 'site-1' } as const
const tokenSpec: JoinTokenSpec = {
  secretSha256: '0'.repeat(64),
  expiresAt: at(60),
  maxUses: 2,
  classes: ['software-key'],
  acceptance: 'Automatic',
}
const token = (spec: Partial<JoinTokenSpec> = {}, uses = 0, alreadyCounted = false) => ({
  name: 'token',
  spec: { ...tokenSpec, ...spec },
  uses,
  alreadyCounted,
})
const standing = { accepted: true, clusterSet: 'default', otherNodes: 1 }
const stranger: EntryFacts = {
  cluster: 'site-1',
  node: 'site-1',
  known: undefined,
  tpm: undefined,
  tpmHeldBy: undefined,
  heldByOther: false,
  natsKeyFault: undefined,
  standing: undefined,
  token: token(),
}
const known = (state: RegistrationState, reason: string = state): EntryFacts => ({
  ...stranger,
  known: { cluster: 'site-1', node: 'site-1', standing: { state, reason, message: '' }, tpm: undefined },
  token: undefined,
})

const TPM: TpmIdentity = { ekSha256: 'e'.repeat(64), akName: `000b${'a'.repeat(64)}` }
const knownTpm = (tpm: TpmIdentity): EntryFacts => ({
  ...stranger,
  known: { cluster: 'site-1', node: 'site-1', standing: ACCEPTED, tpm },
  token: undefined,
})

describe('where a request leads', () => {
  const bound = { spec: { ...tokenSpec, cluster: 'plant' } }
  const record = { cluster: 'plant', node: 'a', standing: ACCEPTED, tpm: undefined }
  test.each([
    ['a name alone: a cluster of that name', { ...request }, undefined, undefined, 'site-1/site-1'],
    ['a cluster that is named', { ...request, cluster: 'plant' }, undefined, undefined, 'plant/site-1'],
    ['a token bound to a cluster', { ...request }, undefined, bound, 'plant/site-1'],
    ['a known key: its record, whatever the request says', { ...request, cluster: 'x' }, record, bound, 'plant/a'],
  ])('%s', (_, asked, knownAs, withToken, expected) => {
    const { cluster, node } = destinationOf(asked, knownAs, withToken)
    expect(`${cluster}/${node}`).toBe(expected)
  })

  test.each(['', 'Plant', 'a.b', 'a>', '-a', 'a-', 'ｐlant', 'p'.repeat(64)])('cluster %j is refused', (cluster) => {
    expect(refusalOf(() => destinationOf({ ...request, cluster }, undefined, undefined))).toBe('InvalidField')
  })
})

describe('who may ask to belong', () => {
  const cases: [string, Partial<EntryFacts> & { asked?: object }, string | undefined][] = [
    ['a stranger with a good token', {}, undefined],
    ['a stranger with none', { token: undefined }, 'TokenUnknown'],
    ['a TPM with a token that names software-key alone', { asked: { class: 'tpm' }, tpm: TPM }, 'TokenOutOfScope'],
    ['a TPM with a token for it', { asked: { class: 'tpm' }, tpm: TPM, token: token({ classes: ['tpm'] }) }, undefined],
    ['a TPM that is another node', { tpm: TPM, tpmHeldBy: { cluster: 'site-1', node: 'site' } }, 'IdentityChanged'],
    ['a known TPM, with no token', { ...knownTpm(TPM), tpm: TPM }, undefined],
    ['a known key with another EK', { ...knownTpm(TPM), tpm: { ...TPM, ekSha256: 'f'.repeat(64) } }, 'IdentityChanged'],
    ['a known key with another AK', { ...knownTpm(TPM), tpm: { ...TPM, akName: '000b00' } }, 'IdentityChanged'],
    ['a known key of a TPM, without it', { ...knownTpm(TPM), tpm: undefined }, 'IdentityChanged'],
    ['a known key that was a file, with a TPM', { ...known('Accepted'), tpm: TPM }, 'IdentityChanged'],
    [
      'a known TPM under a longer name',
      { ...knownTpm(TPM), tpm: TPM, asked: { nodeName: 'site-10' } },
      'IdentityChanged',
    ],
    ['a token that does not name software-key', { token: token({ classes: ['tpm'] }) }, 'TokenOutOfScope'],
    ['a token of another cluster', { token: token({ cluster: 'site-10' }) }, 'TokenOutOfScope'],
    ['a token of another set', { standing, token: token({ cluster: 'site-1', clusterSet: 'x' }) }, 'TokenOutOfScope'],
    ['a token of the same set', { standing, token: token({ cluster: 'site-1', clusterSet: 'default' }) }, undefined],
    ['a token at its very end', { token: token({ expiresAt: at(0) }) }, 'TokenExpired'],
    ['a token a moment before it', { token: token({ expiresAt: at(0.001) }) }, undefined],
    ['a token that is used up', { token: token({}, 2) }, 'TokenUsedUp'],
    ['the key that used it up', { token: token({}, 2, true) }, undefined],
    ['the key that used it, after its end', { token: token({ expiresAt: at(-1) }, 2, true) }, undefined],
    ['the key that used it, in another class', { token: token({ classes: ['tpm'] }, 1, true) }, 'TokenOutOfScope'],
    ['a further node with a free token', { standing }, 'TokenOutOfScope'],
    ['a further node with a bound one', { standing, token: token({ cluster: 'site-1' }) }, undefined],
    [
      'a further node of a cluster that is not accepted',
      { standing: { ...standing, accepted: false }, token: token({ cluster: 'site-1' }) },
      'NotAllowed',
    ],
    ['a name that another key holds', { heldByOther: true }, 'NodeTaken'],
    ['a NATS key that was ended', { natsKeyFault: 'Ended' }, 'NotAllowed'],
    ["another node's NATS key", { natsKeyFault: 'HeldByOther' }, 'NotAllowed'],
    ['a known key', known('Accepted'), undefined],
    ['a known key that shall come with a new NATS key', known('Pending', AWAITING_PROOF), undefined],
    ['a known key with an ended NATS key', { ...known('Accepted'), natsKeyFault: 'Ended' }, 'NotAllowed'],
    ['a known key that waits for a decision', known('Pending', 'AwaitingDecision'), 'NotAllowed'],
    ['a denied key', known('Denied'), 'NotAllowed'],
    ['a revoked key', known('Revoked'), 'NotAllowed'],
    ['a suspended key', known('Suspended'), 'NotAllowed'],
    ['a known key under a longer name', { ...known('Accepted'), asked: { nodeName: 'site-10' } }, 'WrongSender'],
    ['a known key under a shorter name', { ...known('Accepted'), asked: { nodeName: 'site' } }, 'WrongSender'],
    ['a known key in a longer cluster', { ...known('Accepted'), asked: { cluster: 'site-10' } }, 'WrongSender'],
    ['a known key, its name in capitals', { ...known('Accepted'), asked: { nodeName: 'SITE-1' } }, undefined],
  ]
  test.each(cases)('%s: %s', (_, { asked, ...facts }, code) => {
    expect(judgeEntry({ ...request, ...asked }, { ...stranger, ...facts }, NOW)?.code).toBe(code)
  })
})

describe('two identities never meet in one record', () => {
  const name = fc.oneof(
    fc.constantFrom('site-1', 'site-10', 'SITE-1', 'site_1', 'site.1', 'a', 'a-b', 'a-', 'sіte-1', '', 'ａ'),
    fc.string({ maxLength: 4 }),
    fc.stringMatching(/^[a-b.-]{60,70}$/),
  )

  test('a request by a known key leads to its own record, or nowhere', () => {
    fc.assert(
      fc.property(name, name, fc.option(name, { nil: undefined }), (own, claimed, cluster) => {
        fc.pre(refusalOf(() => nodeIdOf(own)) === undefined)
        const record = { cluster: 'home', node: nodeIdOf(own), standing: ACCEPTED, tpm: undefined }
        const asked = { ...request, nodeName: claimed, ...(cluster === undefined ? {} : { cluster }) }
        const where = destinationOf(asked, record, undefined)
        expect(where).toEqual({ cluster: 'home', node: record.node })
        const facts = { ...stranger, ...where, known: record, token: undefined }
        let passes = false
        try {
          passes = judgeEntry(asked, facts, NOW) === undefined
        } catch (error) {
          if (!(error instanceof Refusal)) throw error
        }
        // What passes named its own record exactly.
        if (passes) expect([nodeIdOf(claimed), cluster ?? 'home']).toEqual([record.node, 'home'])
      }),
    )
  })

  test('strangers of any names, one after the other: each name is one key’s', () => {
    fc.assert(
      fc.property(fc.array(fc.record({ key: fc.nat(5), name, cluster: name }), { maxLength: 30 }), (requests) => {
        const holders = new Map<string, number>()
        for (const { key, name: nodeName, cluster } of requests) {
          const home = [...holders].find(([, holder]) => holder === key)?.[0].split('/')
          const record = home && { cluster: home[0] ?? '', node: home[1] ?? '', standing: ACCEPTED, tpm: undefined }
          const asked = { ...request, nodeName, cluster }
          const entered = entering(asked, record, holders, key)
          if (!entered) continue
          expect(holders.get(entered) ?? key).toBe(key)
          holders.set(entered, key)
        }
        // No key holds two records.
        expect(new Set(holders.values()).size).toBe(holders.size)
      }),
    )
  })

  function entering(
    asked: typeof request | { class: 'software-key'; nodeName: string; cluster: string },
    record: EntryFacts['known'],
    holders: ReadonlyMap<string, number>,
    key: number,
  ): string | undefined {
    try {
      const { cluster, node } = destinationOf(asked, record, { spec: tokenSpec })
      const place = `${cluster}/${node}`
      const holder = holders.get(place)
      const facts: EntryFacts = {
        ...stranger,
        cluster,
        node,
        known: record,
        heldByOther: holder !== undefined && holder !== key,
        token: token({ cluster }),
      }
      return judgeEntry(asked, facts, NOW) ? undefined : place
    } catch (error) {
      if (error instanceof Refusal) return undefined
      throw error
    }
  }
})

const decision = (state: 'Accepted' | 'Denied' | 'Revoked', minutes = 0) => ({ state, by: 'anna', at: at(minutes) })
const record = (state: RegistrationState, more: Partial<RecordedIdentity> = {}): RecordedIdentity => ({
  state,
  requestId: 'keys-1',
  decidedAtMs: NOW,
  issuedAtMs: NOW,
  ...more,
})
const facts = (more: Partial<RegistrationFacts> = {}): RegistrationFacts => ({
  spec: { keysDigest: 'keys-1', decision: decision('Accepted') },
  clusterAccepted: true,
  identity: undefined,
  keyHeldBy: undefined,
  ...more,
})
const spec = (keysDigest: string, more: Partial<RegistrationFacts['spec']> = {}) => ({ keysDigest, ...more })

describe('what a registration is, and what is due', () => {
  const accepted = decision('Accepted')
  const cases: [string, Partial<RegistrationFacts>, string, 'mint' | 'end' | 'keep'][] = [
    ['nobody has decided', { spec: spec('keys-1') }, 'Pending AwaitingDecision', 'keep'],
    ['accepted, and its cluster is', {}, 'Accepted Accepted', 'mint'],
    ['accepted, its cluster not yet', { clusterAccepted: false }, 'Pending AwaitingClusterAcceptance', 'keep'],
    ['accepted and minted', { identity: record('Accepted') }, 'Accepted Accepted', 'keep'],
    [
      'back with new keys',
      { identity: record('Accepted'), spec: spec('keys-2', { decision: accepted }) },
      'Accepted Accepted',
      'mint',
    ],
    [
      'its cluster taken back',
      { identity: record('Accepted'), clusterAccepted: false },
      'Denied HubClusterAdminDenied',
      'end',
    ],
    [
      'denied while connected',
      { identity: record('Accepted'), spec: spec('keys-1', { decision: decision('Denied') }) },
      'Denied Denied',
      'end',
    ],
    ['denied before it ever was', { spec: spec('keys-1', { decision: decision('Denied') }) }, 'Denied Denied', 'keep'],
    [
      'revoked',
      { identity: record('Accepted'), spec: spec('keys-1', { decision: decision('Revoked') }) },
      'Revoked Revoked',
      'end',
    ],
    ['accepted again, with the keys that were ended', { identity: record('Denied') }, 'Pending AwaitingProof', 'keep'],
    [
      'accepted again, with new keys',
      { identity: record('Denied'), spec: spec('keys-2', { decision: accepted }) },
      'Accepted Accepted',
      'mint',
    ],
    ['suspended after the decision', { identity: record('Suspended') }, 'Suspended ForkedChain', 'keep'],
    [
      'suspended, and denied later',
      { identity: record('Suspended'), spec: spec('keys-1', { decision: decision('Denied', 1) }) },
      'Denied Denied',
      'end',
    ],
    [
      'suspended, and decided about later',
      { identity: record('Suspended'), spec: spec('keys-1', { decision: decision('Accepted', 1) }) },
      'Pending AwaitingProof',
      'end',
    ],
    [
      'rotated after its credential was made',
      { identity: record('Accepted'), spec: spec('keys-1', { decision: accepted, rotatedAt: at(1) }) },
      'Pending AwaitingProof',
      'end',
    ],
    [
      'rotated, and back with new keys',
      { identity: record('Pending'), spec: spec('keys-2', { decision: accepted, rotatedAt: at(1) }) },
      'Accepted Accepted',
      'mint',
    ],
    [
      'rotated before its credential was made',
      { identity: record('Accepted'), spec: spec('keys-1', { decision: accepted, rotatedAt: at(-1) }) },
      'Accepted Accepted',
      'keep',
    ],
    ['back after it left', { identity: record('Left') }, 'Accepted Accepted', 'mint'],
    ['with a key at home elsewhere', { keyHeldBy: 'plant/a' }, 'Denied NodeKeyTaken', 'keep'],
  ]
  test.each(cases)('%s: %s, %s', (_, more, expected, due) => {
    const all = facts(more)
    const { state, reason } = standingOf(all)
    expect(`${state} ${reason}`).toBe(expected)
    expect(credentialDue({ state, reason, message: '' }, all.spec, all.identity)).toBe(due)
  })

  test('what was done is not due again', () => {
    for (const [, more] of cases) {
      const all = facts(more)
      const now = standingOf(all)
      const due = credentialDue(now, all.spec, all.identity)
      const after: RecordedIdentity | undefined =
        due === 'mint'
          ? record('Accepted', { requestId: all.spec.keysDigest, issuedAtMs: NOW + 2 * 60_000 })
          : all.identity && { ...all.identity, state: now.state }
      const then = standingOf({ ...all, identity: after })
      expect(credentialDue(then, all.spec, after)).toBe('keep')
    }
  })
})

describe('a rule decides', () => {
  test.each([
    ['a new node of a new cluster', 'Automatic', false, false, true, true],
    ['a new node of a cluster somebody decided about', 'Automatic', false, true, true, false],
    ['nothing once anybody has decided', 'Automatic', true, false, false, false],
    ['nothing when the token is Manual', 'Manual', false, false, false, false],
    ['nothing when the token is gone', undefined, false, false, false, false],
  ] as const)('%s', (_, acceptance, decided, clusterDecided, acceptNode, acceptCluster) => {
    expect(decideByRule({ acceptance, tpm: undefined, decided, clusterDecided })).toEqual({ acceptNode, acceptCluster })
  })
})

describe('which life a node begins or continues', () => {
  const before = { incarnation: 3, nodeKeyThumbprint: 'key', left: false }
  test.each([
    ['the first', undefined, 0, { incarnation: undefined, nodeKeyThumbprint: 'key' }, 1, false],
    ['the first, whatever it says', undefined, 0, { incarnation: 9, nodeKeyThumbprint: 'key' }, 1, false],
    ['the same, where it goes on', before, 3, { incarnation: 3, nodeKeyThumbprint: 'key' }, 3, true],
    ['the next, with a wiped database', before, 3, { incarnation: undefined, nodeKeyThumbprint: 'key' }, 4, false],
    ['the next, from an older copy', before, 3, { incarnation: 2, nodeKeyThumbprint: 'key' }, 4, false],
    ['the next, with another key', before, 3, { incarnation: 3, nodeKeyThumbprint: 'other' }, 4, false],
    ['the next, after it left', { ...before, left: true }, 3, { incarnation: 3, nodeKeyThumbprint: 'key' }, 4, false],
    ['the next of a name whose record is gone', undefined, 3, { incarnation: 3, nodeKeyThumbprint: 'key' }, 4, false],
    [
      'the next after the greatest, of a record that is behind',
      before,
      5,
      { incarnation: undefined, nodeKeyThumbprint: 'key' },
      6,
      false,
    ],
  ])('%s', (_, was, lastLife, asked, incarnation, continues) => {
    expect(lifeOf(was, lastLife, asked)).toEqual({ incarnation, continues })
  })
})
