import type { RegistrationAnswer } from '@skerry/api'
import { fingerprintOf } from '@skerry/policy'
import { loadProgress } from '../../store/exchanges.ts'
import type { Store } from '../../store/store.ts'
import { StatusError } from '../status-error.ts'

/** Where a registration stands, by the id of its exchange. StatusError 404 for one the hub does not know: start again. */
export async function answerOf({ sql }: Store, id: string): Promise<RegistrationAnswer> {
  const progress = await loadProgress(sql, id)
  if (!progress) throw new StatusError(404, 'no such registration; start again', { code: 'ChallengeExpired' })
  const base = { kind: 'RegistrationAnswer', id, fingerprint: fingerprintOf(progress.transcript) } as const
  if (!progress.proven || progress.current !== id)
    return { ...base, state: 'Challenged', reason: 'AwaitingProof', message: 'the challenge is not answered yet' }
  const { state = 'Pending', reason = 'AwaitingDecision', message = '' } = progress.status ?? {}
  if (state !== 'Accepted') return { ...base, state, reason, message }
  const { acceptance, natsJwt } = progress
  // Accepted is said with the acceptance in hand, or not yet.
  if (acceptance === null || natsJwt === null)
    return {
      ...base,
      state: 'Pending',
      reason: 'AwaitingCredential',
      message: 'accepted; the credential is being made',
    }
  return { ...base, state, reason, message, acceptance, natsJwt }
}
