import { Agent, request as send } from 'node:https'
import {
  parse,
  RegistrationAnswer,
  RegistrationChallenge,
  type RegistrationProof,
  type RegistrationRequest,
} from '@skerry/api'
import { createKey, parseStrictJson, signDocument, transcriptDigest } from '@skerry/trust'
import { createNkey } from '../../transport/index.ts'

// A node as the door sees it: keys, and the three calls by hand.

export type Reply = { readonly status: number; readonly body: string; readonly retryAfter: string | undefined }
/** Sends to the agents' door: the path begins after /agent/v1/registrations. */
export type Send = (method: 'GET' | 'POST', path: string, body?: string) => Promise<Reply>
export type TestNode = ReturnType<typeof makeNode>

/** A node with keys of its own; the members of a request that differ from the usual. */
export function makeNode(usual: Partial<RegistrationRequest> & { readonly nodeName: string }) {
  const key = createKey('ES256')
  let nats = createNkey('user')
  const request = (more: object = {}): RegistrationRequest => ({
    kind: 'RegistrationRequest',
    class: 'software-key',
    nodeKey: key.jwk,
    natsKey: nats.pub,
    hardwareId: 'generic',
    claims: { region: 'north' },
    acceptHub: '0'.repeat(64),
    agentVersion: '0.0.1',
    ...usual,
    ...more,
  })
  return {
    name: usual.nodeName,
    key,
    nats: () => nats,
    /** A node makes a new NATS key at every return. */
    renew() {
      nats = createNkey('user')
    },
    /** What it would sign. */
    unsigned: request,
    request: (more: object = {}, signer = key) => signDocument('RegistrationRequest', request(more), signer),
    async proof(asked: string, challenge: string, more: Partial<RegistrationProof> = {}, signer = key) {
      const { id, nonce } = readChallenge(challenge)
      const transcript = transcriptDigest(asked, challenge)
      return signDocument('RegistrationProof', { kind: 'RegistrationProof', id, nonce, transcript, ...more }, signer)
    },
  }
}

export function readChallenge(text: string): RegistrationChallenge {
  return parse(RegistrationChallenge, parseStrictJson(Buffer.from(text), { maxBytes: 4_096 }), 'challenge')
}

export function readAnswer({ status, body }: Reply): RegistrationAnswer {
  if (status !== 200) throw new Error(`the hub answered ${status}: ${body}`)
  return parse(RegistrationAnswer, parseStrictJson(Buffer.from(body), { maxBytes: 65_536 }), 'answer')
}

/** The code of a refusal, such as `403 TokenUnknown`; of a success its status alone. */
export function codeOf({ status, body }: Reply): string {
  if (status < 400) return String(status)
  const { details } = JSON.parse(body) as { details: { code?: string } }
  return [status, details.code].filter(Boolean).join(' ')
}

/** The first call; throws unless a challenge came. */
export async function ask(
  send: Send,
  node: TestNode,
  more: object = {},
): Promise<{ asked: string; challenge: string }> {
  const asked = await node.request(more)
  const reply = await send('POST', '', asked)
  if (reply.status !== 201) throw new Error(`no challenge: ${reply.status} ${reply.body}`)
  return { asked, challenge: reply.body }
}

/** The first and the second call: the hub's answer to the proof. */
export async function register(send: Send, node: TestNode, more: object = {}): Promise<RegistrationAnswer> {
  const { asked, challenge } = await ask(send, node, more)
  const { id } = readChallenge(challenge)
  return readAnswer(await send('POST', `/${id}/proof`, await node.proof(asked, challenge)))
}

/** The agents' door of a hub over HTTPS, under its own CA and no other. */
export function overHttps(apiUrl: string, caPem: string): Send {
  const agent = new Agent({ ca: caPem, keepAlive: true, maxSockets: 64 })
  return (method, path, body) =>
    new Promise((resolve, reject) => {
      const headers = { 'content-type': 'application/jose' }
      const out = send(`${apiUrl}/agent/v1/registrations${path}`, { method, agent, headers }, async (reply) => {
        const chunks: Buffer[] = []
        for await (const chunk of reply) chunks.push(Buffer.from(chunk))
        const { statusCode: status = 0, headers } = reply
        resolve({ status, body: Buffer.concat(chunks).toString('utf8'), retryAfter: headers['retry-after'] })
      })
      out.once('error', reject)
      out.end(body)
    })
}
