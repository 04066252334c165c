import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { compactChanges, createObject } from '../../store/resources.ts'
import { write } from '../../store/store.ts'
import { type Shown, type TestApi, testApi } from '../testing.ts'
import { readSelection } from './selectors.ts'

const CLUSTERS = '/apis/cluster.open-cluster-management.io/v1/managedclusters'
const BINDINGS = '/apis/cluster.open-cluster-management.io/v1beta2'

async function clusters({ store }: TestApi, names: readonly string[], labels = (_: string) => ({})): Promise<void> {
  await write(store, async (tx) => {
    for (const name of names)
      await createObject(tx, 'ManagedCluster', { metadata: { name, labels: labels(name) }, spec: {} })
  })
}
const named = (items: readonly Shown[]) => items.map(({ metadata }) => metadata.name)
const numbered = (count: number) => Array.from({ length: count }, (_, n) => `c${String(n).padStart(4, '0')}`)

describe('list', () => {
  test('limit and continue walk the whole list once, in order, with what remains and one version for all pages', async () => {
    const api = await testApi()
    await clusters(api, numbered(25))
    const seen: string[] = []
    const versions = new Set<string>()
    const remaining: (number | undefined)[] = []
    for (let token = ''; ; ) {
      const { body } = await api.ask('GET', `${CLUSTERS}?limit=10&continue=${token}`)
      seen.push(...named(body.items))
      versions.add(body.metadata.resourceVersion)
      remaining.push(body.metadata.remainingItemCount)
      token = body.metadata.continue ?? ''
      if (token === '') break
      // What changes between two pages is a watcher's business: the version stays the first page's.
      await api.ask('PATCH', `${CLUSTERS}/c0001`, {
        body: { metadata: { labels: { page: String(seen.length) } } },
        type: 'application/merge-patch+json',
      })
    }
    expect(seen).toEqual(numbered(25))
    expect(remaining).toEqual([15, 5, undefined])
    expect(versions.size).toBe(1)
  })

  test('a limit above 500 gives 500 and a token for the rest', async () => {
    const api = await testApi()
    await clusters(api, numbered(501))
    const { body } = await api.ask('GET', `${CLUSTERS}?limit=100000`)
    expect(body.items).toHaveLength(500)
    expect(body.metadata).toMatchObject({ remainingItemCount: 1, continue: expect.any(String) })
    expect((await api.ask('GET', CLUSTERS)).body.items).toHaveLength(501)
  })

  test('with a selector the page is full, although its rows lie far apart, and nobody counts the rest', async () => {
    const api = await testApi()
    await clusters(api, numbered(1_200), (name) => (/99$/.test(name) ? { rare: 'yes' } : {}))
    const { body } = await api.ask('GET', `${CLUSTERS}?labelSelector=rare%3Dyes&limit=5`)
    expect(named(body.items)).toEqual(['c0099', 'c0199', 'c0299', 'c0399', 'c0499'])
    expect(body.metadata.remainingItemCount).toBeUndefined()
    const rest = await api.ask(
      'GET',
      `${CLUSTERS}?labelSelector=rare%3Dyes&limit=100&continue=${body.metadata.continue}`,
    )
    expect(named(rest.body.items)).toEqual(['c0599', 'c0699', 'c0799', 'c0899', 'c0999', 'c1099', 'c1199'])
    expect(rest.body.metadata.continue).toBeUndefined()
  })

  test.each([
    ['a changed token', (token: string) => `${token.slice(0, 5)}${token[5] === 'A' ? 'B' : 'A'}${token.slice(6)}`, ''],
    ['no token of ours', () => 'bm90IG91cnM.c2ln', ''],
    ['a token of another selection', (token: string) => token, '&labelSelector=a'],
  ])('%s is answered 410 Expired, which tells every client to begin anew', async (_, forge, more) => {
    const api = await testApi()
    await clusters(api, ['a', 'b'])
    const token = (await api.ask('GET', `${CLUSTERS}?limit=1`)).body.metadata.continue ?? ''
    const answer = await api.ask('GET', `${CLUSTERS}?limit=1${more}&continue=${encodeURIComponent(forge(token))}`)
    expect(answer).toMatchObject({ code: 410, body: { reason: 'Expired' } })
    const foreign = await api.ask('GET', `${BINDINGS}/managedclustersets?limit=1&continue=${token}`)
    expect(foreign.code).toBe(410)
  })

  test('a token older than the kept history is answered 410', async () => {
    const api = await testApi()
    await clusters(api, ['a', 'b'])
    const token = (await api.ask('GET', `${CLUSTERS}?limit=1`)).body.metadata.continue
    await clusters(api, ['c', 'd'])
    await write(api.store, (tx) => compactChanges(tx, 1))
    expect(await api.ask('GET', `${CLUSTERS}?limit=1&continue=${token}`)).toMatchObject({ code: 410 })
  })

  test('one namespace, all namespaces, and field selectors', async () => {
    const api = await testApi()
    await write(api.store, async (tx) => {
      for (const [namespace, name] of [
        ['x', 'one'],
        ['x', 'two'],
        ['y', 'one'],
      ] as const)
        await createObject(tx, 'ManagedClusterSetBinding', {
          metadata: { namespace, name },
          spec: { clusterSet: name },
        })
    })
    const names = async (path: string) => named((await api.ask('GET', `${BINDINGS}${path}`)).body.items)
    expect(await names('/managedclustersetbindings')).toEqual(['one', 'two', 'one'])
    expect(await names('/namespaces/x/managedclustersetbindings')).toEqual(['one', 'two'])
    expect(await names('/managedclustersetbindings?fieldSelector=metadata.name%3Done')).toEqual(['one', 'one'])
    expect(await names('/managedclustersetbindings?fieldSelector=metadata.namespace!%3Dx')).toEqual(['one'])
    expect(await names('/managedclustersetbindings?fieldSelector=metadata.name%3Done,metadata.namespace%3Dy')).toEqual([
      'one',
    ])
  })
})

describe('label selectors', () => {
  const pool: Record<string, string>[] = [{}, { a: '' }, { a: '1' }, { a: '2', b: '1' }, { constructor: 'x' }]
  const chosen = (labelSelector: string) =>
    pool.flatMap((labels, index) =>
      readSelection({ labelSelector }).matches({ metadata: { name: 'n', labels } }) ? [index] : [],
    )

  test.each([
    ['', [0, 1, 2, 3, 4]],
    ['a', [1, 2, 3]],
    ['!a', [0, 4]],
    ['a=1', [2]],
    ['a==1', [2]],
    ['a!=1', [0, 1, 3, 4]],
    ['a=', [1]],
    ['a in (1,2)', [2, 3]],
    ['a notin (1,2)', [0, 1, 4]],
    ['a in (1, 2),b', [3]],
    ['a , b=1', [3]],
    ['constructor', [4]],
    ['toString', []],
    ['!hasOwnProperty', [0, 1, 2, 3, 4]],
  ])('%s', (selector, expected) => {
    expect(chosen(selector)).toEqual(expected)
  })

  test('any text is either a selector or refused with 400, never anything else', () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom(...'abin() ,=!/.-1'), maxLength: 24 }), (labelSelector) => {
        try {
          readSelection({ labelSelector }).matches({ metadata: { name: 'n', labels: { a: '1' } } })
        } catch (error) {
          expect(error).toMatchObject({ code: 400 })
        }
      }),
      { numRuns: 2_000 },
    )
  })

  test('blanks mean nothing, however many there are', () => {
    const blanks = ' '.repeat(800)
    expect(chosen(`${blanks}a${blanks}=${blanks}1${blanks}`)).toEqual([2])
    expect(chosen(`${blanks}a${blanks}in${blanks}(${blanks}1${blanks})`)).toEqual([2])
    expect(chosen(`${blanks}!${blanks}a${blanks}`)).toEqual([0, 4])
    expect(chosen(`a${blanks}=${blanks}`)).toEqual([1])
    expect(() => chosen(`a${blanks}=${blanks}x${blanks}y`)).toThrow(/unable to parse requirement/)
  })

  test.each([
    [{ labelSelector: ' '.repeat(200_000) }, /labelSelector has 200000 characters; at most 4096/],
    [{ fieldSelector: `metadata.name=${' '.repeat(200_000)}x\ny` }, /at most 4096/],
    [{ fieldSelector: 'metadata.name=x\ny' }, /fieldSelector holds a line break/],
    [{ labelSelector: 'a in (1,\r2)' }, /labelSelector holds a line break/],
  ])('what is too long or has a line break is told so, case %#', (query, message) => {
    expect(() => readSelection(query)).toThrow(message)
  })
})

test.each([
  ['metadata.name=n', 'n', true],
  ['  metadata.name  ==  n  ', 'n', true],
  ['metadata.name=n x', undefined, false],
  ['metadata.name!=n', undefined, false],
  ['metadata.name!= m ', undefined, true],
  ['metadata.name=', undefined, false],
  ['metadata.namespace= , metadata.name = n', 'n', true],
])('the field selector "%s" means the name %s and takes "n": %s', (fieldSelector, name, taken) => {
  const selection = readSelection({ fieldSelector })
  expect([selection.name, selection.matches({ metadata: { name: 'n' } })]).toEqual([name, taken])
})
