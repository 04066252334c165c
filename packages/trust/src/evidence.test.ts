import type { NodeEvidence, Statement } from '@skerry/api'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { openBatch, sealedBatch } from './batches.ts'
import { sha256Hex } from './digest.ts'
import { signBytes, signDocument } from './documents.ts'
import { readEvidence } from './evidence.ts'
import { createKey, keyRing } from './keys.ts'

const id = { cluster: 'shop', node: 'n1', incarnation: 1 }
const signer = createKey('ES256')
const transcript = sha256Hex('exchange')

/** Statements 1 to `count` as the node makes them. */
function chain(count: number): string[] {
  let prev = transcript
  return Array.from({ length: count }, (_, place) => {
    const statement: Statement = {
      ...{ kind: 'refused', ...id, seq: place + 1, prev, marker: sha256Hex('marker') },
      time: { wall: '2026-01-01T00:00:00Z' },
      body: { document: 'DesiredState', code: 'BadSignature', message: `word ${place}`, digest: sha256Hex(`${place}`) },
    }
    const text = JSON.stringify(statement)
    prev = sha256Hex(text)
    return text
  })
}

/** Evidence with these stretches signed. */
async function evidence(
  texts: readonly string[],
  stretches: readonly (readonly [number, number])[],
): Promise<NodeEvidence> {
  const batches: NodeEvidence['batches'] = []
  for (const [first, last] of stretches) {
    const payload = { kind: 'StatementBatch', ...id, statements: texts.slice(first - 1, last) } as const
    const { seal } = await openBatch(await signDocument('StatementBatch', payload, signer), keyRing([signer.jwk]))
    batches.push({ first, last, ...seal })
  }
  const proof = { kind: 'RegistrationProof', id: sha256Hex('keys'), nonce: sha256Hex('nonce'), transcript } as const
  return {
    ...id,
    nodeKey: signer.jwk,
    registration: {
      transcript,
      proof: await signDocument('RegistrationProof', proof, signer),
      acceptedBy: 'anna',
      acceptedAt: '2026-01-01T00:00:00Z',
    },
    batches,
    statements: texts.map((text, place) => ({ seq: place + 1, text })),
  }
}

const reached = async (given: NodeEvidence) =>
  [...(await readEvidence(given)).statements].toSorted(([a], [b]) => a - b).map(([, one]) => one.reached)

describe('a seal', () => {
  test('and the texts are the signed document again, byte for byte; another spelling of it is kept whole', async () => {
    const statements = [`{"a":"\\u001b\\"\\\\ æ 🛰"}`, '{}']
    const plain = await signDocument('StatementBatch', { kind: 'StatementBatch', ...id, statements }, signer)
    const spelt = await signBytes(
      'StatementBatch',
      Buffer.from(
        `{"statements" : ${JSON.stringify(statements)}, "kind":"StatementBatch","cluster":"shop","node":"n1","incarnation":1}`,
      ),
      signer,
    )
    const ordered = await signBytes(
      'StatementBatch',
      Buffer.from(JSON.stringify({ statements, kind: 'StatementBatch', ...id })),
      signer,
    )
    for (const text of [plain, spelt, ordered]) {
      const { seal } = await openBatch(text, keyRing([signer.jwk]))
      expect(sealedBatch(seal, id, statements)).toBe(text)
      expect('payload' in seal).toBe(text !== plain)
    }
  })
})

describe('evidence', () => {
  test.each<[string, number, [number, number][], string]>([
    [
      'each in its batch',
      4,
      [
        [1, 2],
        [3, 4],
      ],
      'signed signed signed signed',
    ],
    [
      'batches that overlap',
      3,
      [
        [1, 2],
        [2, 3],
      ],
      'signed signed signed',
    ],
    ['the newest alone reaches all before it', 3, [[3, 3]], 'chained chained signed'],
    ['what is above the newest signature is not reached', 3, [[2, 2]], 'chained signed not-kept'],
    ['none', 2, [], 'not-kept not-kept'],
  ])('%s', async (_, count, stretches, expected) => {
    const given = await evidence(chain(count), stretches)
    expect((await readEvidence(given)).faults).toEqual([])
    expect((await reached(given)).join(' ')).toBe(expected)
  })

  test('a hole stops what a signature reaches', async () => {
    const given = await evidence(chain(4), [[4, 4]])
    const statements = given.statements.filter(({ seq }) => seq !== 2)
    expect((await reached({ ...given, statements })).join(' ')).toBe('not-kept chained signed')
  })

  test('another text below a signed one is not reached by it', async () => {
    const given = await evidence(chain(3), [[3, 3]])
    const [one, two, three] = given.statements
    if (!one || !two || !three) throw new Error('three statements')
    const changed = { ...two, text: two.text.replace('word', 'other word') }
    expect((await reached({ ...given, statements: [one, changed, three] })).join(' ')).toBe('not-kept not-kept signed')
  })

  test('whatever character of it is another, it is seen', async () => {
    const given = await evidence(chain(5), [
      [1, 3],
      [2, 4],
      [5, 5],
    ])
    const other = (text: string, at: number) => {
      const place = at % text.length
      return text.slice(0, place) + (text[place] === 'A' ? 'B' : 'A') + text.slice(place + 1)
    }
    const changes: ((at: number, n: number) => NodeEvidence)[] = [
      (at, n) => ({
        ...given,
        statements: given.statements.with(n % 5, {
          seq: (n % 5) + 1,
          text: other(given.statements[n % 5]?.text ?? '', at),
        }),
      }),
      (at, n) => ({
        ...given,
        batches: given.batches.map((batch, place) =>
          place === n % 3 ? { ...batch, signature: other(batch.signature, at) } : batch,
        ),
      }),
      (at, n) => ({
        ...given,
        batches: given.batches.map((batch, place) =>
          place === n % 3 ? { ...batch, header: other(batch.header, at) } : batch,
        ),
      }),
      (at) => ({ ...given, registration: { ...given.registration, proof: other(given.registration.proof ?? '', at) } }),
      (at) => ({ ...given, registration: { ...given.registration, transcript: other(transcript, at) } }),
      (at) => ({ ...given, nodeKey: { ...signer.jwk, x: other(signer.jwk.x, at) } }),
      (_, n) => ({ ...given, cluster: `shop-${n}` }),
      (_, n) => ({ ...given, incarnation: n + 2 }),
      (_, n) => ({
        ...given,
        statements: given.statements.map((one) => ({ ...one, seq: one.seq + (one.seq > n % 5 ? 1 : 0) })),
      }),
      (_, n) => ({
        ...given,
        batches: given.batches.map((batch, place) => (place === n % 3 ? { ...batch, last: batch.last + 200 } : batch)),
      }),
    ]
    await fc.assert(
      fc.asyncProperty(fc.nat(changes.length - 1), fc.nat(2_000), fc.nat(14), async (which, at, n) => {
        const changed = changes[which]?.(at, n)
        if (!changed) throw new Error(`no change ${which}`)
        const { faults } = await readEvidence(changed)
        expect(faults.length, `change ${which} at ${at} of ${n}`).toBeGreaterThan(0)
      }),
      { numRuns: 300 },
    )
  })

  test('an own batch that names other statements is none, whoever signed it', async () => {
    const given = await evidence(chain(2), [[1, 2]])
    const [one, two] = given.statements
    if (!one || !two) throw new Error('two statements')
    expect((await readEvidence({ ...given, statements: [one, two, two] })).faults).toContain(
      'a number stands under two statements',
    )
  })
})
