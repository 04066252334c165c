import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import { type Client, openClient, type Patience } from './client.ts'
import { AnswerTooLong, ApiError, Unreachable } from './errors.ts'
import { watchFrames } from './watch.ts'

// The other end of the wire, as it behaves on a bad day: what a whole hub does is tested with the command line tool.

type Answer = (request: IncomingMessage, response: ServerResponse) => void
const open: { server: Server; client: Client }[] = []
afterEach(async () => {
  for (const { server, client } of open.splice(0)) {
    await client.close()
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  }
})

/** A client of a server that answers its first request with the first answer, and so on; the last one stays. */
async function against(...answers: Answer[]): Promise<{ client: Client; asked: string[]; warnings: string[] }> {
  return impatient({}, ...answers)
}

/** The same with a patience of its own. */
async function impatient(
  patience: Patience,
  ...answers: Answer[]
): Promise<{ client: Client; asked: string[]; warnings: string[] }> {
  const asked: string[] = []
  const server = createServer((request, response) => {
    asked.push(request.url ?? '')
    const answer = answers[Math.min(asked.length, answers.length) - 1]
    answer?.(request, response)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const warnings: string[] = []
  const at = { server: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, token: 'secret' }
  const client = openClient(at, { ...patience, onWarning: (text) => warnings.push(text) })
  open.push({ server, client })
  return { client, asked, warnings }
}

test('what the hub says beside its answer is heard, whole and apart', async () => {
  const { client, warnings } = await against((_, response) => {
    response.setHeader('warning', ['299 - "a \\"b\\", c \\\\ d", 299 - "second"', '299 - "third"'])
    response.end('{}')
  })
  await client.call('/x')
  expect(warnings).toEqual(['a "b", c \\ d', 'second', 'third'])
})

test('an answer longer than one text may be is told as that, and not as a hub that does not answer', async () => {
  const { client } = await impatient({ mostBytes: 10 }, (_, response) => void response.end('{"a":"é"}'))
  expect(await client.call('/x')).toEqual({ a: 'é' })
  const longer = await impatient({ mostBytes: 9 }, (_, response) => {
    response.write('{"a":')
    // It is let go of where it is too long, however much is to come.
    setImmediate(() => response.write('"1234'))
  })
  await expect(longer.client.call('/x')).rejects.toThrow(AnswerTooLong)
})

const status =
  (code: number, reason: string, more: object = {}): Answer =>
  (_, response) =>
    void response
      .writeHead(code, { 'content-type': 'application/json' })
      .end(JSON.stringify({ kind: 'Status', status: 'Failure', code, reason, message: `no: ${reason}`, ...more }))

const frame = (type: string, name: string, version: number, more: object = {}) =>
  `${JSON.stringify({ type, object: { metadata: { name, resourceVersion: String(version), ...more } } })}\n`
const END = { annotations: { 'k8s.io/initial-events-end': 'true' } }

/** Sends these pieces and then breaks the connection, as a dying relay does. */
const broken =
  (...pieces: (string | Buffer)[]): Answer =>
  (_, response) => {
    response.writeHead(200, { 'content-type': 'application/json' })
    const next = () => {
      const piece = pieces.shift()
      if (piece === undefined) response.destroy()
      else response.write(piece, () => setImmediate(next))
    }
    next()
  }
const hung: Answer = () => undefined
const half: Answer = (_, response) => void response.writeHead(200).write('{"items":[')
const silent: Answer = (_, response) => void response.writeHead(200).flushHeaders()

async function take(client: Client, count: number, from?: string): Promise<string[]> {
  const over = new AbortController()
  const seen: string[] = []
  for await (const { type, object } of client.watch('Rollout', { from, signal: over.signal })) {
    seen.push(`${type} ${object.metadata.name}`)
    if (seen.length === count) over.abort()
  }
  return seen
}

describe('a watch', () => {
  test('goes on after the newest version it has seen when the connection is lost', async () => {
    const { client, asked } = await against(
      broken(frame('ADDED', 'b', 7), frame('ADDED', 'a', 3), frame('BOOKMARK', '', 9, END)),
      broken(frame('MODIFIED', 'a', 12)),
      silent,
    )
    expect(await take(client, 3)).toEqual(['ADDED b', 'ADDED a', 'MODIFIED a'])
    expect(asked[0]).toContain('sendInitialEvents=true')
    expect(asked[1]).toContain('resourceVersion=9')
  })

  test('begins anew when it is lost before all objects were sent: none is left out', async () => {
    const all = [frame('ADDED', 'b', 7), frame('ADDED', 'a', 3), frame('BOOKMARK', '', 9, END)]
    const { client, asked } = await against(broken(all[0] ?? ''), broken(...all), silent)
    expect(await take(client, 3)).toEqual(['ADDED b', 'ADDED b', 'ADDED a'])
    expect(asked[1]).not.toContain('resourceVersion=')
  })

  test('a deletion that bears an older version does not take it back in time', async () => {
    const { client, asked } = await against(
      broken(frame('MODIFIED', 'a', 20), frame('DELETED', 'b', 4)),
      broken(frame('MODIFIED', 'a', 21)),
      silent,
    )
    await take(client, 3, '10')
    expect(asked[1]).toContain('resourceVersion=20')
  })

  test('begins anew when its history is compacted', async () => {
    const { client, asked } = await against(status(410, 'Expired'), broken(frame('ADDED', 'a', 3)), silent)
    expect(await take(client, 1, '2')).toEqual(['ADDED a'])
    expect(asked[1]).toContain('sendInitialEvents=true')
  })

  test('a character that lies across two pieces stays whole', async () => {
    const bytes = Buffer.from(frame('ADDED', 'tromsø', 3))
    const cut = bytes.indexOf('ø') + 1
    async function* pieces() {
      yield bytes.subarray(0, cut)
      yield bytes.subarray(cut)
    }
    const { signal } = new AbortController()
    const frames = watchFrames<{ metadata: { name: string } }>(async () => pieces(), { from: undefined, signal })
    expect((await frames.next()).value?.object.metadata.name).toBe('tromsø')
  })

  test('is told when it is lost, once, and goes on when the hub answers again', async () => {
    const { client } = await impatient(
      // Longer than a busy machine takes for an answer of this process to itself.
      { watchSilentMs: 5_000 },
      broken(frame('ADDED', 'a', 3), frame('BOOKMARK', '', 9, END)),
      status(503, 'ServiceUnavailable'),
      silent,
      broken(frame('MODIFIED', 'a', 12)),
      silent,
    )
    const over = new AbortController()
    const [seen, lost]: [string[], string[]] = [[], []]
    const onLost = (error: unknown) => void lost.push(error instanceof Error ? error.name : '')
    for await (const { type } of client.watch('Rollout', { signal: over.signal, onLost })) {
      seen.push(type)
      if (type === 'MODIFIED') over.abort()
    }
    expect(seen).toEqual(['ADDED', 'MODIFIED'])
    expect(lost).toEqual(['Unreachable'])
  })

  test('ends with an error that trying again cannot mend', async () => {
    const { client } = await against(status(403, 'Forbidden'))
    await expect(take(client, 1)).rejects.toMatchObject({ code: 403, reason: 'Forbidden' })
  })
})

describe('an error', () => {
  test('of the hub comes with its code, reason and causes', async () => {
    const causes = [{ field: 'spec.image', message: 'is required', reason: 'FieldValueRequired' }]
    const { client } = await against(status(422, 'Invalid', { details: { causes } }))
    const error = await client.get('Rollout', 'default', 'x').catch((thrown: unknown) => thrown)
    expect(error).toBeInstanceOf(ApiError)
    expect(error).toMatchObject({ code: 422, reason: 'Invalid', message: 'no: Invalid', causes })
  })

  test('of something that is no hub is told as it came', async () => {
    const { client } = await against((_, response) => void response.writeHead(502).end('bad gateway'))
    await expect(client.list('Rollout')).rejects.toMatchObject({ code: 502, message: 'bad gateway' })
  })

  test.each([
    ['that takes the request and is silent', hung],
    ['that begins its answer and is silent', half],
  ])('of a hub %s comes after a while, with what to look at', async (_, answer) => {
    const { client } = await impatient({ silentMs: 300 }, answer)
    const error = await client.list('Rollout').catch((thrown: unknown) => thrown)
    expect(error).toBeInstanceOf(Unreachable)
    expect(String(error)).toContain('takes connections and does not answer')
  })

  test('is Unreachable where a file ends in the middle', async () => {
    const { client } = await impatient({ silentMs: 300 }, half)
    expect(await client.file('/tuf/1.root.json').catch((thrown: unknown) => thrown)).toBeInstanceOf(Unreachable)
  })

  test('is Unreachable, with the address, where nobody answers', async () => {
    const { client } = await against(silent)
    const [{ server } = {}] = open
    await new Promise((resolve) => server?.close(resolve))
    const error = await client.list('Rollout').catch((thrown: unknown) => thrown)
    expect(error).toBeInstanceOf(Unreachable)
    expect(String(error)).toContain(client.server)
  })
})

describe('nobody at the address', () => {
  test.each([
    [
      'a port where nobody listens',
      'http://127.0.0.1:1',
      /cannot be reached: .*ECONNREFUSED.*; does the hub run there/,
    ],
    ['a name that is none', 'http://nobody.invalid', /cannot be reached: .*; is the name in its address right/],
  ])('%s: the error says what to look at', async (_, server, says) => {
    const client = openClient({ server, token: 'secret' })
    const asked = client.get('Rollout', 'x', 'y').catch((error: unknown) => error)
    expect(await asked).toBeInstanceOf(Unreachable)
    expect(String(await asked)).toMatch(says)
    await client.close()
  })

  test.each([
    ['SELF_SIGNED_CERT_IN_CHAIN', /; its certificate is not one of the CA/],
    ['ERR_TLS_CERT_ALTNAME_INVALID', /; its certificate is not one of the CA/],
    ['UNABLE_TO_VERIFY_LEAF_SIGNATURE', /; its certificate is not one of the CA/],
    ['ERR_SSL_WRONG_VERSION_NUMBER', /; does the hub run there/],
  ])('%s: the error says what to look at', (code, says) => {
    expect(new Unreachable('https://hub', Object.assign(new Error('no'), { code })).message).toMatch(says)
  })
})
