import type { FastifyInstance } from 'fastify'
import { openProfiles } from '../store/profiles.ts'
import { answerOf } from './agent/answer.ts'
import { ask } from './agent/ask.ts'
import { makeBudget } from './agent/budget.ts'
import { callerOf, exchangeCaller, exchangePurse, keyPurse } from './agent/known.ts'
import { proofs } from './agent/prove.ts'
import { type RefusedRegistrations, tellRefusals } from './agent/refused.ts'
import { LineFull, makeGate } from './gate.ts'
import { toStatusError } from './status-error.ts'

// The three calls by which a node asks to belong, comes back and renews. Each may be repeated: one row, keyed by the
// digest of the node's public keys. Before the proof nothing is written but that bounded, expiring row.

export type AgentDoor = RefusedRegistrations

/** Whose call it is: its address, what a caller that the hub knows has left, and how people are told of it. */
type Caller = {
  readonly ip: string
  readonly purse: () => Promise<string | undefined>
  readonly name: () => Promise<string>
}

/** More than the largest request document, as base64url. */
const BODY_LIMIT = 98_304
/** A proof brings the firmware's event log: as many bytes as its document may have, as base64url. */
const PROOF_LIMIT = 270_336
/** Calls that ask the database at a time, and those that may wait for it: the others are told when to come back. */
const AT_ONCE = 24
/** Proofs at a time: they wait for one another, and the more come together the fewer transactions they are. What each asks alone stands in the line. */
const PROOFS_AT_ONCE = 512
const MAX_WAITING = 10_000

/** POST /agent/v1/registrations, POST …/{id}/proof and GET …/{id}; a Refusal is counted, shown as an event and answered as a Status. */
export function agentRoutes(app: FastifyInstance, door: AgentDoor): void {
  const { store, now } = door
  const budget = makeBudget(now)
  const tell = tellRefusals(door)
  const calls = makeGate('registrations', AT_ONCE, MAX_WAITING)
  const proofCalls = makeGate('registrations', PROOFS_AT_ONCE, MAX_WAITING)
  const profiles = openProfiles(store.sql)
  const prove = proofs(store, profiles, calls)
  const judged = async <T>(document: string, caller: Caller, act: () => Promise<T>, gate = calls): Promise<T> => {
    const purse = await budget.take(caller.ip, () => calls(caller.purse))
    try {
      return await gate(act)
    } catch (error) {
      // What the hub could not do is not the caller's failure: an outage must not lock out the sites that live through it.
      if (!(error instanceof LineFull) && toStatusError(error).code < 500) budget.charge(purse)
      await tell(document, error, caller.name)
      throw error
    }
  }
  const exchanging = (document: string, id: string, ip: string): Caller => ({
    ip,
    purse: () => exchangePurse(store, document, id),
    name: () => exchangeCaller(store, id, ip),
  })
  const config = { access: 'open' } as const
  app.register(async (agent) => {
    agent.removeAllContentTypeParsers()
    const asText = async (_: unknown, body: string) => body
    agent.addContentTypeParser('*', { parseAs: 'string' }, asText)

    const route = (bodyLimit: number) => ({ config, bodyLimit })
    agent.post<{ Body: string | undefined }>(
      '/agent/v1/registrations',
      route(BODY_LIMIT),
      async ({ ip, body }, reply) => {
        const text = body ?? ''
        const caller = { ip, purse: () => keyPurse(store, text), name: async () => callerOf(text, ip) }
        const challenge = await judged('RegistrationRequest', caller, () => ask(store, profiles, text, now()))
        // The exact bytes are part of the transcript, so they are sent as they are stored.
        return reply.code(201).type('application/json').send(challenge)
      },
    )
    agent.post<{ Params: { id: string }; Body: string | undefined }>(
      '/agent/v1/registrations/:id/proof',
      route(PROOF_LIMIT),
      async ({ params, body, ip, id: requestId }) =>
        judged(
          'RegistrationProof',
          exchanging('RegistrationProof', params.id, ip),
          async () => {
            await prove(params.id, body ?? '', { sourceIp: ip, requestId }, now())
            return calls(() => answerOf(store, params.id))
          },
          proofCalls,
        ),
    )
    agent.get<{ Params: { id: string } }>('/agent/v1/registrations/:id', { config }, async ({ params, ip }) =>
      judged('RegistrationPoll', exchanging('RegistrationPoll', params.id, ip), () => answerOf(store, params.id)),
    )
  })
}
