import { DOCUMENTS, parse, RegistrationAnswer, RegistrationChallenge, type RegistrationRequest } from '@skerry/api'
import { createNkey } from '@skerry/hub'
import { createKey, sha256Hex, signDocument, transcriptDigest } from '@skerry/trust'
import { Agent, request } from 'undici'
import { AGENT_VERSION, type Credential } from './site.ts'

// The three calls of a registration for many nodes at once, over HTTPS as agents make them. Keys and requests are made
// beforehand: what is measured is the hub.

export type Door = { readonly apiUrl: string; readonly caPem: string }
export type Prepared = { readonly name: string; readonly register: (calls: Calls) => Promise<Credential> }
type Calls = ReturnType<typeof openCalls>

/** Connections to the hub for registrations: an agent has one of its own, which is held while its proof is taken. */
const CONNECTIONS = 384
/** An agent's first pause too; its later ones grow longer than those here. */
const FIRST_POLL_MS = 200

export function openCalls({ apiUrl, caPem }: Door) {
  let toldToWait = 0
  const dispatcher = new Agent({ connections: CONNECTIONS, connect: { ca: caPem } })
  return {
    async call(method: 'GET' | 'POST', path: string, body?: string): Promise<string> {
      for (;;) {
        const answer = await request(`${apiUrl}/agent/v1/registrations${path}`, {
          method,
          dispatcher,
          headers: { 'content-type': 'application/jose' },
          ...(body === undefined ? {} : { body }),
        })
        const text = await answer.body.text()
        if (answer.statusCode < 300) return text
        const wait = Number(answer.headers['retry-after'])
        if (answer.statusCode !== 429 || !Number.isFinite(wait)) throw new Error(`${answer.statusCode}: ${text}`)
        toldToWait += 1
        await new Promise((resolve) => setTimeout(resolve, wait * 1000))
      }
    },
    /** How often the hub has answered 429. */
    toldToWait: () => toldToWait,
    close: () => dispatcher.close(),
  }
}

/** A node with its keys and its signed request. `acceptHub` is the thumbprint of the hub's root. */
export async function prepare(name: string, token: string, acceptHub: string, hardwareId: string): Promise<Prepared> {
  const signer = createKey('ES256')
  const user = createNkey('user')
  const asked: RegistrationRequest = {
    kind: 'RegistrationRequest',
    token,
    cluster: name,
    nodeName: name,
    class: 'software-key',
    nodeKey: signer.jwk,
    natsKey: user.pub,
    hardwareId,
    claims: {},
    acceptHub,
    agentVersion: AGENT_VERSION,
  }
  const text = await signDocument('RegistrationRequest', asked, signer)
  return {
    name,
    async register({ call }) {
      const answer = await call('POST', '', text)
      const { id, nonce } = parse(RegistrationChallenge, JSON.parse(answer), 'challenge')
      const transcript = transcriptDigest(text, answer)
      const proof = { kind: 'RegistrationProof' as const, id, nonce, transcript }
      let state = parse(
        RegistrationAnswer,
        JSON.parse(await call('POST', `/${id}/proof`, await signDocument('RegistrationProof', proof, signer))),
        'answer',
      )
      for (let polls = 0; !state.natsJwt || !state.acceptance; polls += 1) {
        await new Promise((resolve) =>
          setTimeout(resolve, FIRST_POLL_MS * 2 ** Math.min(polls, 3) * (0.5 + Math.random())),
        )
        state = parse(RegistrationAnswer, JSON.parse(await call('GET', `/${id}`)), 'answer')
      }
      // The hub's signature on it is the agent's to judge; here only its routing token is needed.
      const payload = Buffer.from(state.acceptance.split('.')[1] ?? '', 'base64url').toString('utf8')
      const { routingToken } = parse(DOCUMENTS.Acceptance.schema, JSON.parse(payload), 'acceptance')
      const acceptance = sha256Hex(state.acceptance)
      return { cluster: name, signer, jwt: state.natsJwt, signNonce: user.sign, routingToken, transcript, acceptance }
    },
  }
}
