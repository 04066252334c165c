import type { ObjectOf } from '@skerry/api'
import { describe, expect, test } from 'vitest'
import { celCluster, celMismatch, compileCel, EXPRESSION_BUDGET, evaluate, PREDICATE_BUDGET } from './index.ts'
import { parseQuantity } from './quantity.ts'
import { CelError } from './values.ts'

// Who may write a placement may not end the hub with it. Each of these had the price of a few units, and took minutes or all
// memory: they are red where this file does not end.

const cluster: ObjectOf<'ManagedCluster'> = {
  apiVersion: 'cluster.open-cluster-management.io/v1',
  kind: 'ManagedCluster',
  metadata: { name: 'c1', uid: 'u', resourceVersion: '1', generation: 1, creationTimestamp: '2026-01-02T03:04:05Z' },
  spec: {},
}
const prepared = celCluster(cluster, () => undefined)
const MUCH = 'reads and makes more than the'

function run(text: string) {
  const made = compileCel(text)
  if ('fault' in made) throw new Error(`${text.slice(0, 100)}: ${made.fault}`)
  return evaluate(made, prepared, PREDICATE_BUDGET)
}
/** `[seed].all(x0, [grow(x0)].all(x1, … inner(last) …))` */
function grown(levels: number, seed: string, grow: (name: string) => string, inner: (name: string) => string): string {
  let text = inner(`x${levels}`)
  for (let level = levels; level > 0; level--) text = `[${grow(`x${level - 1}`)}].all(x${level}, ${text})`
  return `[${seed}].all(x0, ${text})`
}
const ITEMS = `[${Array.from({ length: 300 }, (_, i) => i).join()}]`
const long = (letter: string, length: number) => `"${letter.repeat(length)}"`
/** A text of a million letters, whose price is next to nothing. */
const MILLION = `[${long('a', 1_000)}.replace("a", ${long('b', 1_000)})][0]`

describe('what costs little and does much is stopped', () => {
  test.each([
    [
      'a list that is added to itself',
      grown(
        60,
        '[1]',
        (x) => `${x} + ${x}`,
        (x) => `${x}.size() > 0`,
      ),
    ],
    [
      'lists that hold one another, compared',
      grown(
        60,
        '[1]',
        (x) => `[${x}, ${x}]`,
        (x) => `${x} == ${x}`,
      ),
    ],
    [
      'the same as optional values',
      grown(
        60,
        '[1]',
        (x) => `[optional.of(${x}), optional.of(${x})]`,
        (x) => `${x} == ${x}`,
      ),
    ],
    [
      'the same as maps',
      grown(
        60,
        '{1: 1}',
        (x) => `{"a": ${x}, "b": ${x}}`,
        (x) => `${x} == ${x}`,
      ),
    ],
    [
      'the same, looked for in a list',
      grown(
        60,
        '[1]',
        (x) => `[${x}, ${x}]`,
        (x) => `${x} in [${x}]`,
      ),
    ],
    [
      'the same, looked for by indexOf()',
      grown(
        60,
        '[1]',
        (x) => `[${x}, ${x}]`,
        (x) => `[${x}].indexOf(${x}) == 0`,
      ),
    ],
    [
      'the same, written out',
      grown(
        60,
        '[1]',
        (x) => `[${x}, ${x}]`,
        (x) => `"%s".format([${x}]) != ""`,
      ),
    ],
    ['long texts that are kept', `${ITEMS}.map(i, ${MILLION}.replace("b", "c", i)).size() == 0`],
    [
      'a literal that is made again and again',
      `${ITEMS}.map(a, ${ITEMS}.map(b, [${'1,'.repeat(9_000)}1])).size() == 0`,
    ],
    ['an expression over a long text', `${ITEMS}.all(i, ${MILLION}.find("x") == "")`],
    [
      'a long expression, written out',
      `${ITEMS}.all(a, ${ITEMS}.all(b, "a".find("(a?){1000}" + string(a + b * 300)) == ""))`,
    ],
    ['a part that is nearly there', `[${MILLION}].all(t, t.indexOf(t.replace("b", "c", 1)) < 0)`],
    ['unsigned keys', `[{${Array.from({ length: 3_000 }, (_, i) => `${i}u: 1`).join()}}].all(m, m == m && m == m)`],
    [
      'an unsigned key of many, asked for again and again',
      `[{${Array.from({ length: 3_000 }, (_, i) => `${i}u: 1`).join()}}].all(m, ${ITEMS}.all(a, ${ITEMS}.all(b, m[0u] == 1)))`,
    ],
    [
      'a literal of many keys, made again and again',
      `${ITEMS}.map(i, {${Array.from({ length: 4_000 }, (_, i) => `${i}: 1`).join()}}).size() == 0`,
    ],
    [
      'time zones that are none',
      `${ITEMS}.all(a, ${ITEMS}.all(b, timestamp(0).getHours("Z" + string(a + b)) == 0 || true))`,
    ],
    [
      'steps without a price',
      `["${'a'.repeat(9_000)}".split("")].all(l, l.map(x, l.map(y, false, y).size() > 0, x).size() == 0)`,
    ],
  ])('%s', (_, text) => {
    const { matches, cost, why } = run(`${text} || true`)
    expect(matches).toBe(false)
    expect(why).toContain(MUCH)
    expect(cost).toBeLessThan(EXPRESSION_BUDGET)
  })

  test('texts that a pattern reads again for each match', () => {
    expect(run(`[${long('a', 90_000)}].all(t, t.findAll("a.*[cd]|a").size() == 0)`).why).toContain(MUCH)
  })
})

describe('no text takes longer than it is long', () => {
  const spaces = ' '.repeat(90_000)
  test.each([
    ['spaces inside', `"x${spaces}x".trim().size() == 90002`],
    ['a number that is no duration', `duration("${'1'.repeat(90_000)}") == duration("1s")`],
    ['a number that is no double', `double("${'1'.repeat(90_000)}x") == 1.0`],
    ['a number that is no hexadecimal double', `double("0x${'1'.repeat(90_000)}x") == 1.0`],
    ['zeros that are no quantity', `isQuantity("${'0'.repeat(90_000)}x")`],
    ['unsigned keys in a literal', `{${Array.from({ length: 8_000 }, (_, i) => `${i}u:1`).join()}}.size() == 8000`],
  ])('%s', (_, text) => {
    expect(run(text).why ?? '').not.toContain(MUCH)
  })

  test('a quantity of a site, however it is written', () => {
    expect(parseQuantity(`${'0'.repeat(100_000)}x`)).toBeInstanceOf(CelError)
    expect(parseQuantity(`1${'0'.repeat(100_000)}`)).toBeInstanceOf(CelError)
    expect(String(parseQuantity('000.50'))).toBe('500m')
  })

  test('an escape in front of a long text is read, in a URL and in bytes', () => {
    expect(run(`isURL("http://a/%41" + ${MILLION})`).matches).toBe(true)
    expect(run(`size(b"\\x41${'😀'.repeat(90_000)}") == 360001`).matches).toBe(true)
  })

  test('an error that holds a long text is told in short', () => {
    const made = compileCel(`int(${MILLION}) == 1`)
    if ('fault' in made) throw new Error(made.fault)
    expect(celMismatch([made], prepared)?.length).toBeLessThan(300)
  })
})

describe('what would be too large is a fault', () => {
  test.each([
    [
      'a type that doubles with each level',
      grown(
        60,
        '1',
        (x) => `{${x}: ${x}}`,
        () => 'true',
      ),
    ],
    [
      'types that are found to double',
      `${Array.from({ length: 60 }, (_, i) => `[[]].all(x${i}, ${i ? `x${i} == [{x${i - 1}: x${i - 1}}] || ` : ''}`).join('')}true${')'.repeat(60)}`,
    ],
    ['a pattern that is written out to millions', `"a".find("${'a{1000}'.repeat(500)}") == ""`],
  ])('%s', (_, text) => {
    const made = compileCel(text)
    expect('fault' in made && made.fault).toContain('too large')
  })

  test('a fault that names a large type is told in short', () => {
    const made = compileCel(
      grown(
        12,
        '1',
        (x) => `{${x}: ${x}}`,
        (x) => `${x} == true`,
      ),
    )
    expect('fault' in made && made.fault.length).toBeLessThan(400)
  })

  test('no type is found to stand inside itself', () => {
    expect(run('[[]].all(x, x == [[dyn(1)]] || x == [x] || true)').matches).toBe(true)
  })

  test('ten thousand calls are not', () => {
    expect(run(`[${'1 + 1,'.repeat(10_000)}2].size() == 10001`).matches).toBe(true)
  })
})
