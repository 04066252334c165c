import { isIP } from 'node:net'
import { Refusal } from '@skerry/api'
import type { Source } from '@skerry/trust'
import { Agent, request } from 'undici'

// The two ways over HTTP: one that carries secrets and therefore wants the hub's own CA, and one that carries nothing
// but what is verified afterwards and therefore may come from anybody.

const TIMEOUT_MS = 20_000
const MAX_ANSWER_BYTES = 1_048_576

/** Addresses to which a token or a proof may go: HTTPS anywhere, plain HTTP on this machine alone. */
function checkHubUrl(url: string): void {
  const { protocol, hostname } = new URL(url)
  if (protocol === 'https:') return
  const loopback =
    hostname === 'localhost' || hostname === '[::1]' || (isIP(hostname) === 4 && hostname.startsWith('127.'))
  if (protocol !== 'http:' || !loopback)
    throw new Error(`${url}: a join token goes over HTTPS, or over plain HTTP to this machine itself`)
}

export type Answer = { readonly status: number; readonly body: string; readonly retryAfterMs: number | undefined }

/** Sends to the first hub address that answers. The server must show a certificate of `caPem`. */
export async function ask(
  urls: readonly string[],
  caPem: string | undefined,
  method: 'GET' | 'POST',
  path: string,
  body: string | undefined,
  signal: AbortSignal,
): Promise<Answer> {
  const dispatcher = new Agent({ connect: caPem ? { ca: caPem } : {}, connectTimeout: 5_000 })
  let last: unknown
  try {
    for (const url of urls) {
      try {
        checkHubUrl(url)
        const options = {
          method,
          dispatcher,
          signal: AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]),
          headers: { 'content-type': 'application/jose' },
        }
        const answer = await request(`${url}${path}`, body === undefined ? options : { ...options, body })
        const retryAfter = Number(answer.headers['retry-after'])
        return {
          status: answer.statusCode,
          body: (await readAtMost(answer.body, MAX_ANSWER_BYTES, 'an answer')).toString('utf8'),
          retryAfterMs: Number.isFinite(retryAfter) ? retryAfter * 1000 : undefined,
        }
      } catch (error) {
        signal.throwIfAborted()
        last = error
      }
    }
  } finally {
    await dispatcher.close()
  }
  throw new Refusal('MetadataUnavailable', `no hub answers at ${urls.join(', ')}`, { cause: last })
}

/** TUF files from each address of the hub, without asking who answers: every byte is verified by whoever reads it. */
export function tufSources(urls: () => readonly string[]): () => readonly Source[] {
  const dispatcher = new Agent({ connect: { rejectUnauthorized: false }, connectTimeout: 5_000 })
  const from =
    (url: string): Source =>
    async (path, maxBytes, signal) => {
      const limits = [AbortSignal.timeout(TIMEOUT_MS), ...(signal ? [signal] : [])]
      const answer = await request(`${url}/tuf/${path}`, { dispatcher, signal: AbortSignal.any(limits) })
      if (answer.statusCode === 200) return readAtMost(answer.body, maxBytes, path)
      await answer.body.dump()
      if (answer.statusCode === 404) return undefined
      throw new Error(`${url} answered ${answer.statusCode}`)
    }
  return () => urls().map(from)
}

async function readAtMost(body: AsyncIterable<Buffer>, maxBytes: number, what: string): Promise<Buffer> {
  const chunks: Buffer[] = []
  let length = 0
  for await (const chunk of body) {
    length += chunk.length
    if (length > maxBytes) throw new Refusal('TooLarge', `${what} has more than ${maxBytes} bytes`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}
