import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { parseStrictJson, parseStrictText, readStrictJson } from './strict-json.ts'

const parse = (text: string) => parseStrictJson(Buffer.from(text), { maxBytes: 10_000 })

describe('parseStrictJson', () => {
  test.each([
    ['{"a":1,"a":2}', 'DuplicateMember', 'a'],
    ['{"a":{"b":1,"c":{},"b":2}}', 'DuplicateMember', 'a.b'],
    ['{"a":[{"x":1},{"x":1,"x":2}]}', 'DuplicateMember', 'a[1].x'],
    ['{"a":1,"\\u0061":2}', 'DuplicateMember', 'a'],
    ['{"n":9007199254740993}', 'MalformedJson', ''],
    ['{"n":9007199254740993.0}', 'MalformedJson', ''],
    ['{"n":-9.1e15}', 'MalformedJson', ''],
    // As JSON.stringify spells them.
    ['{"n":9007199254740992}', 'MalformedJson', ''],
    ['[[1e+21]]', 'MalformedJson', ''],
    ['\ufeff{}', 'MalformedJson', ''],
    ['{"a":1', 'MalformedJson', ''],
    ['{"n":1e999}', 'MalformedJson', ''],
    // What a double turns into 0, and PostgreSQL's jsonb refuses to read.
    ['{"n":1e-999}', 'MalformedJson', ''],
    [`{"n":1.${'0'.repeat(80)}}`, 'MalformedJson', ''],
    ['{"a":"\\u0000"}', 'MalformedJson', ''],
    ['{"a":"\\ud800"}', 'MalformedJson', ''],
    ['{"a":"\\udc00\\ud800"}', 'MalformedJson', ''],
    ['{"a":"\\ud800x\\udc00"}', 'MalformedJson', ''],
    ['{"\\udbff":1}', 'MalformedJson', ''],
    ['['.repeat(40) + ']'.repeat(40), 'MalformedJson', ''],
    [`"${'x'.repeat(10_001)}"`, 'TooLarge', ''],
  ])('refuses %j as %s at "%s"', (text, code, field) => {
    expect(() => parse(text)).toThrow(expect.objectContaining({ code, field }))
    expect(() => parseStrictText(text, { maxBytes: 10_000 })).toThrow(expect.objectContaining({ code, field }))
  })

  test.each([
    ['"\\ud83d\\ude00"', '\u{1f600}'],
    ['"\\\\u0000"', '\\u0000'],
    ['"\\\\\\"\\u00e9"', '\\"\u00e9'],
    ['[0,-0.0e5,1.5]', [0, -0, 1.5]],
  ])('reads %s', (text, value) => {
    expect(parse(text)).toEqual(value)
  })

  test.each(['[{},{},{}]', '[[],[[]]]', '[1,2,3,4]', '{"a":1,"b":2,"c":{}}'])(
    'counts values where there may be so many: %s',
    (text) => {
      expect(parseStrictText(text, { maxBytes: 100, maxValues: 10 })).toEqual(JSON.parse(text))
      const few = { maxBytes: 100, maxValues: 3 }
      expect(() => parseStrictText(text, few)).toThrow(expect.objectContaining({ code: 'TooLarge' }))
    },
  )

  test('what is spelled as JSON.stringify spells it is read as everything else is', () => {
    // Whoever counts values has each text scanned.
    const scanned = (text: string) => () => parseStrictText(text, { maxBytes: 10_000, maxValues: 10_000 })
    const outcome = (read: () => unknown) => {
      try {
        return { value: read() }
      } catch (error) {
        return { code: (error as { code: unknown }).code }
      }
    }
    const piece = fc.constantFrom(
      '{',
      '}',
      '[',
      ']',
      ',',
      ':',
      '"a"',
      '"\\u0000"',
      '"\\ud800"',
      '"\\u001b"',
      '1e+21',
      '2',
      ' ',
    )
    const text = fc.oneof(
      fc.json(),
      fc.json().map((json) => JSON.stringify(JSON.parse(json))),
      fc.jsonValue().map((value) => JSON.stringify({ value, n: 2 ** 53 })),
      fc.array(piece, { maxLength: 12 }).map((pieces) => pieces.join('')),
      fc.nat(40).map((depth) => '['.repeat(depth) + ']'.repeat(depth)),
    )
    fc.assert(
      fc.property(text, (text) => {
        const plainly = outcome(() => parseStrictText(text, { maxBytes: 10_000 }))
        expect(plainly).toEqual(outcome(scanned(text)))
        if ('value' in plainly)
          expect(readStrictJson(Buffer.from(text), { maxBytes: 10_000 }).plain).toBe(
            JSON.stringify(plainly.value) === text && !/\\ud/i.test(text),
          )
      }),
      { numRuns: 2_000 },
    )
  })

  test('reads a text once, however many escapes are in it', () => {
    // Looking for the closing quote anew behind each escape would take minutes.
    const text = `{"a":"${'\\u0041'.repeat(1_500_000)}","b":"${'\\"'.repeat(1_500_000)}"}`
    const read = parseStrictJson(Buffer.from(text), { maxBytes: text.length }) as { a: string; b: string }
    expect([read.a.length, read.b.length]).toEqual([1_500_000, 1_500_000])
  })

  test('refuses bytes that are not UTF-8', () => {
    expect(() => parseStrictJson(Buffer.from([0x22, 0xff, 0x22]), { maxBytes: 10 })).toThrow(
      expect.objectContaining({ code: 'MalformedJson' }),
    )
  })

  test('reads every JSON value as JSON.parse does', () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 6, stringUnit: 'binary' }), (value) => {
        const text = JSON.stringify(value)
        fc.pre(!/\d{16}|e\+|\\u0000/.test(text))
        expect(parse(text)).toEqual(JSON.parse(text))
      }),
    )
  })

  test('any text gives a value or a refusal, never another error', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: fc.constantFrom('{', '}', '[', ']', '"', ':', ',', '\\', 'a', '1', '-', 'e', ' ') }),
        (text) => {
          try {
            parse(text)
          } catch (error) {
            expect(error).toMatchObject({ name: 'Refusal' })
          }
        },
      ),
    )
  })

  test('what it accepts JSON.parse accepts, with an equal value, also in texts that are nearly JSON', () => {
    const nearly = fc.tuple(fc.json({ maxDepth: 4 }), fc.nat(), fc.string({ maxLength: 2 }), fc.nat(3))
    fc.assert(
      fc.property(nearly, ([json, place, noise, cut]) => {
        const at = place % (json.length + 1)
        const text = json.slice(0, at) + noise + json.slice(at + cut)
        let value: unknown
        try {
          value = parse(text)
        } catch (error) {
          expect(error).toMatchObject({ name: 'Refusal' })
          return
        }
        expect(value).toEqual(JSON.parse(text))
      }),
      { numRuns: 2_000 },
    )
  })
})
