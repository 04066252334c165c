import type { ObjectOf } from '@skerry/api'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  celCluster,
  celMismatch,
  compileCel,
  EXPRESSION_BUDGET,
  evaluate,
  PREDICATE_BUDGET,
  type PreparedCluster,
  type ScoresOf,
} from './index.ts'

// A sentence for each sentence of the rules. Functions one by one are in recorded.test.ts.

type Cluster = ObjectOf<'ManagedCluster'>
const META = {
  name: 'c1',
  uid: 'u',
  resourceVersion: '1',
  generation: 1,
  creationTimestamp: '2026-01-02T03:04:05.678Z',
}
/** A cluster as it may be stored: also what the schema of today would refuse. */
function cluster(parts: { metadata?: object; spec?: object; status?: object } = {}): Cluster {
  const made: unknown = {
    apiVersion: 'cluster.open-cluster-management.io/v1',
    kind: 'ManagedCluster',
    metadata: { ...META, labels: { env: 'prod' }, ...parts.metadata },
    spec: { ...parts.spec },
    ...(parts.status ? { status: parts.status } : {}),
  }
  return made as Cluster
}
const noScores: ScoresOf = () => undefined
const SCORES = new Map([
  ['c1/usage', [{ name: 'cpu', value: 50 }]],
  ['c2/usage', []],
])
const scored: ScoresOf = (name, score) => SCORES.get(`${name}/${score}`)
const prepared = (parts?: Parameters<typeof cluster>[0], scoresOf = noScores): PreparedCluster =>
  celCluster(cluster(parts), scoresOf)

function compiled(text: string) {
  const made = compileCel(text)
  if ('fault' in made) throw new Error(`${text}: ${made.fault}`)
  return made
}
const run = (text: string, on = prepared({}, scored)) => evaluate(compiled(text), on, PREDICATE_BUDGET)
const holds = (text: string, on?: PreparedCluster) => run(text, on).matches

describe('[conformance: ocm] P-22: the environment', () => {
  test.each([
    'managedCluster.metadata.labels.env == "prod"',
    'managedCluster.metadata.?labels[?"env"].orValue("") == "prod"',
    '"aXb".lowerAscii() == "axb"',
    '[1, 2].sum() == 3 && [1].first().hasValue() && [1].last().value() == 1',
    '"abc".find("b+") == "b" && "abab".findAll("ab", 1).size() == 1',
    // What is empty and right behind another match is none, as in Go.
    '"baac".findAll("a*") == ["", "aa", ""]',
    'url("https://a.b:1/c?d=e").getPort() == "1" && isURL("/p")',
    'quantity("1Gi").isGreaterThan(quantity("1G")) && sign(quantity("-1")) == -1',
    'ip("10.1.2.3").family() == 4 && cidr("10.0.0.0/8").containsIP("10.1.2.3")',
    '!format.dns1123Label().validate("a-b").hasValue()',
    'semver("1.2.3").isLessThan(semver("1.10.0")) && !isSemver("v1.30.2")',
    'managedCluster.scores("usage")[0].value == 50',
    'managedCluster.scores("usage").exists(s, s.name == "cpu" && s.value > 49.5)',
    '!has(managedCluster.scores("usage")[0].quantity)',
    '{"metadata": {"name": "c2"}}.scores("usage").size() == 0',
    '"{\\"a\\": [1, {\\"b\\": null}], \\"a\\": 2}".parseJSON().a == 2',
    'type("1".parseJSON()) == double',
    'dyn(1) == 1.0 && dyn(1) < 1.5 && managedCluster.scores("usage")[0].value == 50.0',
    '9007199254740993 != 9007199254740992',
  ])('%s', (text) => expect(run(text)).toMatchObject({ matches: true }))

  test.each([
    ['1 == 1.0', '== is not for (int, double)'],
    ['1 < 1.5', '< is not for (int, double)'],
    ['undeclared', 'nothing is named "undeclared"'],
    ['sets.contains([1], [1])', 'nothing is named "sets"'],
    ['math.greatest(1, 2) == 2', 'nothing is named "math"'],
    ['base64.encode(b"a") == ""', 'nothing is named "base64"'],
    ['cel.bind(x, 1, x == 1)', 'nothing is named'],
    ['lists.range(3).size() == 3', 'nothing is named "lists"'],
    ['[1].slice(0, 1) == [1]', 'there is no function slice()'],
    ['[[1]].flatten() == [1]', 'there is no function flatten()'],
    ['[1].sort() == [1]', 'there is no function sort()'],
    ['[1].distinct() == [1]', 'there is no function distinct()'],
    ['managedCluster.keys().size() > 0', 'there is no function keys()'],
    ['managedCluster.hasConditions()', 'there is no function hasConditions()'],
    ['[1].existsOne(x, x == 1)', 'nothing is named "x"'],
    ['[1].exists(i, v, v == 1)', 'nothing is named'],
    ['scores(managedCluster, "usage").size() > 0', 'scores() is not for'],
    ['parseJSON("1") == 1', 'parseJSON() is not for'],
    ['quantity("1").sign() == 1', 'sign() is not for'],
    ['semver("1.2.3", true).major() == 1', 'semver() is not for (string, bool)'],
    ['isSemver("1.2.3", false)', 'isSemver() is not for (string, bool)'],
    ['managedCluster.exists(x)', 'nothing is named "x"'],
    ['"a".find("(") == ""', 'no regular expression'],
    ['"%d".format(["x"]) == ""', '%d does not take this'],
    ['true &', 'no part of CEL'],
    ['true ||', 'the end is not expected here'],
    ['"\\q" == ""', 'no escape sequence'],
    ['9223372036854775808 > 0', 'no 64-bit integer'],
    ['a.for.in', 'not expected'],
    ['', 'the end is not expected here'],
  ])('%s does not compile, and the fault says why', (text, why) => {
    const made = compileCel(text)
    expect(made).toHaveProperty('fault')
    expect('fault' in made && made.fault).toContain(why)
    expect('fault' in made && made.fault).toMatch(/\(character \d+\)$/)
  })

  test.each([
    [
      'scores of an object that is not there',
      'managedCluster.scores("none").size() >= 0',
      'no AddOnPlacementScore none',
    ],
    ['bad JSON', '"{".parseJSON() == 1', 'the text is no JSON'],
    ['overflow', '9223372036854775807 + 1 > 0', 'integer overflow'],
    ['division by zero', '1 / 0 == 0', 'division by zero'],
    ['a missing key', 'managedCluster.metadata.labels["nope"] == ""', 'no such key: nope'],
    ['a bad regular expression that is matched', '"a".matches("(")', 'no regular expression'],
    ['a bad quantity', 'quantity("x").isInteger()', 'no quantity'],
  ])('%s is a runtime error', (_, text, why) => {
    const { matches, why: said } = run(text)
    expect(matches).toBe(false)
    expect(said).toContain(why)
  })
})

describe('[conformance: ocm] P-23: only true matches', () => {
  test.each([
    'optional.of(true)',
    'optional.of(optional.of(true))',
    '1 / 0 == 1 || true',
    'true || 1 / 0 == 1',
    '!(managedCluster.nope.x == 1 && false)',
    '[1, 0].exists(x, 1 / x == 1)',
  ])('%s matches', (text) => expect(run(text)).toEqual({ matches: true, cost: expect.any(Number) }))

  test.each([
    ['false', 'is false'],
    ['optional.of(false)', 'is false'],
    ['optional.none()', 'is no bool but optional_type'],
    ['1', 'is no bool but int'],
    ['"true"', 'is no bool but string'],
    ['managedCluster', 'is no bool but map'],
    ['optional.of(1)', 'is no bool but int'],
    ['1 / 0 == 1 || false', 'division by zero'],
    ['managedCluster.metadata.name && true', 'string is no bool'],
  ])('%s does not, and says why', (text, why) => {
    expect(run(text)).toEqual({ matches: false, cost: expect.any(Number), why })
  })

  test('the first expression that does not hold is named, and what comes after it is not asked', () => {
    const list = ['true', '1 / 0 == 1', 'false'].map(compiled)
    expect(celMismatch(list, prepared())).toBe('CEL 1 / 0 == 1 division by zero')
    expect(celMismatch(list.slice(0, 1), prepared())).toBeUndefined()
    expect(celMismatch([], prepared())).toBeUndefined()
  })
})

describe('[conformance: ocm] P-24: budgets', () => {
  const ten = '[0,1,2,3,4,5,6,7,8,9]'
  const nested = (depth: number, inner: string): string =>
    Array.from({ length: depth }).reduce<string>((text, _, i) => `${ten}.all(v${i}, ${text})`, inner)

  test.each<[string, number]>([
    ['managedCluster', 1],
    ['managedCluster.metadata.labels.env == "prod"', 5],
    ['has(managedCluster.metadata.labels)', 3],
    ['[1, 2]', 10],
    ['{"a": 1}', 30],
    ['[1, 2, 3].exists(x, x > 1)', 26],
    ['"aaaaaaaaaaaaaaaaaaaa".contains("aaaaaaaaaaa")', 4],
    ['"aaaaaaaaaaaaaaaaaaaa".matches("aaaaaaaaa")', 9],
    ['"aaaaaaaaaaaaaaaaaaaa".find("aaaaaaaaa")', 1],
    ['managedCluster.scores("usage")', 42],
    ['"{\\"a\\": [1]}".parseJSON()', 41],
    ['true || managedCluster.metadata.name == "x"', 0],
  ])('%s costs %i', (text, cost) => expect(run(text).cost).toBe(cost))

  test('an expression that goes over its million is stopped, and nothing absorbs that', () => {
    const { matches, cost, why } = run(`${nested(7, 'true')} || true`)
    expect(matches).toBe(false)
    expect(why).toBe(`costs more than the ${EXPRESSION_BUDGET} units that it may`)
    expect(cost).toBeLessThan(EXPRESSION_BUDGET + 100)
  })

  test('the expressions of a predicate share ten million', () => {
    const dear = compiled(nested(5, '1 < 2 && 2 < 3'))
    const { cost } = evaluate(dear, prepared(), PREDICATE_BUDGET)
    expect(cost).toBeGreaterThan(500_000)
    expect(
      celMismatch(
        Array.from({ length: 5 }, () => dear),
        prepared(),
      ),
    ).toBeUndefined()
    const many = Array.from({ length: Math.floor(PREDICATE_BUDGET / cost) + 1 }, () => dear)
    expect(celMismatch(many, prepared())).toContain('costs more than the')
  })

  test.each([
    ['contains("y")', false],
    ['find("y") == ""', true],
  ])('a thousand times %s on 30,000 characters', (call, within) => {
    const on = prepared({ metadata: { annotations: { long: 'x'.repeat(30_000) }, finalizers: Array(1000).fill('f') } })
    const text = `managedCluster.metadata.finalizers.all(f, managedCluster.metadata.annotations.long.${call} || true)`
    expect(holds(text, on)).toBe(within)
  })

  test('lists that a macro makes are not copied for each item', () => {
    const on = prepared({ metadata: { finalizers: Array(20_000).fill('f') } })
    expect(holds('managedCluster.metadata.finalizers.map(f, f).filter(f, f != "").size() == 20000', on)).toBe(true)
  })

  test('a chain of optMap() is compiled once, though it is written out twice with each link', () => {
    const chain = (links: number) => `optional.of(1)${'.optMap(x, x)'.repeat(links)}.hasValue()`
    expect(holds(chain(5))).toBe(true)
    expect(run(chain(60)).why).toContain('costs more than the')
  })

  test('what has no price has a bound: text does not grow without end', () => {
    const grow = '.replace("a", "aaaaaaaaaaaaaaaa")'.repeat(12)
    expect(run(`"a"${grow} != ""`).why).toBe('the text is too long')
  })
})

describe('[conformance: ocm] P-27: the canonical form', () => {
  const bare = prepared({ metadata: { labels: undefined } })
  test.each([
    'managedCluster.spec.hubAcceptsClient == false',
    'managedCluster.status.conditions == null',
    'managedCluster.status.version == {}',
    'managedCluster.metadata.creationTimestamp == "2026-01-02T03:04:05Z"',
    'managedCluster.metadata.generation == 1 && type(managedCluster.metadata.generation) == int',
    '!has(managedCluster.apiVersion) && !has(managedCluster.kind)',
    '!has(managedCluster.metadata.labels) && !has(managedCluster.metadata.annotations)',
    '!has(managedCluster.metadata.deletionTimestamp)',
    '!has(managedCluster.status.clusterClaims) && !has(managedCluster.status.capacity)',
    '!has(managedCluster.status.allocatable) && !has(managedCluster.status.version.kubernetes)',
    '!has(managedCluster.spec.taints) && !has(managedCluster.spec.managedClusterClientConfigs)',
    '!has(managedCluster.spec.leaseDurationSeconds)',
  ])('of a bare cluster: %s', (text) => expect(run(text, bare)).toMatchObject({ matches: true }))

  test('exists() on what is absent is a runtime error', () => {
    expect(run('managedCluster.spec.taints.exists(t, true)', bare).why).toBe('no such key: taints')
  })

  const full = prepared({
    metadata: { annotations: { a: '' }, labels: { n: '5' }, deletionTimestamp: '2026-03-01T01:30:00.999+02:00' },
    spec: {
      hubAcceptsClient: true,
      leaseDurationSeconds: 60,
      taints: [
        { key: 'gpu', effect: 'NoSelect' },
        { key: 'b', value: 'v', effect: 'NoSelect', timeAdded: '2026-01-01T12:00:00.5+01:00' },
      ],
      managedClusterClientConfigs: [{ url: 'https://a', caBundle: 'AA==' }, { url: 'https://b' }],
    },
    status: {
      conditions: [],
      version: { kubernetes: 'v1.30.2' },
      clusterClaims: [
        { name: 'id', value: 'x' },
        { name: 'empty', value: '' },
      ],
      capacity: { cpu: '0.5', a: '1.25', b: '1000', c: '1024Mi', d: '7.5Gi', e: '0.3Gi', f: '1e3', g: '5e9', h: 2 },
      allocatable: {},
    },
  })
  test.each([
    'managedCluster.spec.hubAcceptsClient && managedCluster.spec.leaseDurationSeconds == 60',
    'managedCluster.metadata.annotations.a == ""',
    'managedCluster.metadata.deletionTimestamp == "2026-02-28T23:30:00Z"',
    'managedCluster.spec.taints[0].timeAdded == null && !has(managedCluster.spec.taints[0].value)',
    'managedCluster.spec.taints[1].timeAdded == "2026-01-01T11:00:00Z"',
    'managedCluster.spec.managedClusterClientConfigs.map(c, has(c.caBundle)) == [true, false]',
    'managedCluster.status.conditions == []',
    'managedCluster.status.version.kubernetes.startsWith("v1.30")',
    'managedCluster.status.clusterClaims.map(c, has(c.value)) == [true, false]',
    'managedCluster.status.capacity.cpu == "500m" && managedCluster.status.capacity.a == "1250m"',
    'managedCluster.status.capacity.b == "1k" && managedCluster.status.capacity.c == "1Gi"',
    'managedCluster.status.capacity.d == "7680Mi" && managedCluster.status.capacity.e == "322122547200m"',
    'managedCluster.status.capacity.f == "1e3" && managedCluster.status.capacity.g == "5e9"',
    'managedCluster.status.capacity.h == "2" && !has(managedCluster.status.allocatable)',
    'int(managedCluster.metadata.labels["n"]) == 5',
  ])('of a full one: %s', (text) => expect(run(text, full)).toMatchObject({ matches: true }))
})

describe('properties', () => {
  test('no text makes the compiler throw, and no expression that compiles the evaluator', () => {
    const words = fc.constantFrom(
      ...'managedCluster . metadata labels [ ] ( ) { } ? : , "env" "é🙂" 1 2u 1.5 true null == != < && || ! - + % in'.split(
        ' ',
      ),
      ...[
        '.exists(x, ',
        '.map(x, ',
        '.?',
        '[?',
        'x',
        'has(',
        'optional.of(',
        'dyn(',
        'quantity(',
        '.size()',
        'ip(',
        '// ',
      ],
    )
    fc.assert(
      fc.property(fc.array(words, { maxLength: 14 }), (parts) => {
        const made = compileCel(parts.join(''))
        if ('fault' in made) expect(made.fault).not.toBe('')
        else expect(evaluate(made, prepared(), PREDICATE_BUDGET).cost).toBeGreaterThanOrEqual(0)
      }),
      { numRuns: 3000 },
    )
  })

  test('the same expression says the same of the same cluster, however often it is asked', () => {
    const one = compiled('[3, 1, 2].filter(x, x > 1).map(x, x * 2) == [6, 4] && managedCluster.metadata.name == "c1"')
    const on = prepared()
    const answers = Array.from({ length: 3 }, () => evaluate(one, on, PREDICATE_BUDGET))
    expect(answers).toEqual([answers[0], answers[0], answers[0]])
    expect(answers[0]?.matches).toBe(true)
  })
})
