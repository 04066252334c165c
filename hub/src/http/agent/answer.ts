import type { RegistrationAnswer } from '@skerry/api'
import { fingerprintOf } from '@skerry/policy'
import { loadExchange, loadIdentity } from '../../store/registrations.ts'
import { getObject } from '../../store/resources.ts'
import type { Store } from '../../store/store.ts'
import { StatusError } from '../status-error.ts'

/** Where a registration stands, by the id of its exchange. StatusError 404 for one the hub does not know: start again. */
export async function answerOf({ sql }: Store, id: string): Promise<RegistrationAnswer> {
  const exchange = await loadExchange(sql, id)
  if (!exchange) throw new StatusError(404, 'no such registration; start again', { code: 'ChallengeExpired' })
  const base = { kind: 'RegistrationAnswer', id, fingerprint: fingerprintOf(exchange.transcript) } as const
  const [registration, record] = await Promise.all([
    getObject(sql, 'Registration', exchange.cluster, exchange.node),
    loadIdentity(sql, exchange.cluster, exchange.node),
  ])
  if (!exchange.provenAt || registration?.spec.keysDigest !== id)
    return { ...base, state: 'Challenged', reason: 'AwaitingProof', message: 'the challenge is not answered yet' }
  const { state = 'Pending', reason = 'AwaitingDecision', message = '' } = registration.status ?? {}
  if (state !== 'Accepted') return { ...base, state, reason, message }
  // Accepted is said with the acceptance in hand, or not yet.
  if (record?.state !== 'Accepted' || record.requestId !== id)
    return {
      ...base,
      state: 'Pending',
      reason: 'AwaitingCredential',
      message: 'accepted; the credential is being made',
    }
  return { ...base, state, reason, message, acceptance: record.acceptance, natsJwt: record.natsJwt }
}
