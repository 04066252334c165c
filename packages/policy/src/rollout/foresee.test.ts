import type { RolloutStatus } from '@skerry/api'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { cluster, type Doing, facts, iso, MINUTE, NOW, progressive } from './fixture.ts'
import { foreseenStatus } from './foresee.ts'
import { planRollout } from './plan.ts'
import { FINISHED } from './states.ts'
import { rolloutStatus } from './status.ts'

const rowOf = (status: RolloutStatus, name: string) => status.clusters?.find((row) => row.name === name)

test('what only news ends is looked at again a minute later at the latest, what time ends at its own time', () => {
  const spec = { strategy: progressive({ maxConcurrency: 1, minSuccessTime: '5m' }) }
  const status = foreseenStatus(facts([cluster('a', 'proven'), cluster('b', 'nothing')], spec), NOW)
  expect(rowOf(status, 'a')).toMatchObject({ state: 'Soaking', recheckAt: iso(NOW + 4 * MINUTE) })
  expect(rowOf(status, 'b')).toMatchObject({ reason: 'ConcurrencyLimit', recheckAt: iso(NOW + MINUTE) })
  expect(status.recheckAt).toBe(iso(NOW + 4 * MINUTE))
})

test('who is sent the image now says so, and the whole is looked at again where only one of many waits', () => {
  const status = foreseenStatus(facts([cluster('a', 'nothing'), cluster('b', 'offline')]), NOW)
  expect(rowOf(status, 'a')).toMatchObject({ state: 'NotStarted', reason: 'Sending' })
  expect(rowOf(status, 'a')).not.toHaveProperty('recheckAt')
  expect(status.recheckAt).toBe(iso(NOW + MINUTE))
})

test('while nothing can be planned, a time that is over is told as the next look', () => {
  const known = facts([cluster('a', 'proven')], { strategy: progressive({ minSuccessTime: '5m' }) })
  const before = rolloutStatus(known, planRollout(known, NOW), NOW)
  const { rollout } = known
  const later = NOW + 10 * MINUTE
  const status = foreseenStatus({ ...known, rollout: { ...rollout, status: before }, decided: 'Missing' }, later)
  expect(rowOf(before, 'a')?.recheckAt).toBe(iso(NOW + 4 * MINUTE))
  expect(rowOf(status, 'a')?.recheckAt).toBe(iso(later + MINUTE))
})

test('it is what is stored, and every hold has its time', () => {
  const doings: readonly Doing[] = [
    ...(['nothing', 'offline', 'unheard', 'late', 'sent', 'sent-dark', 'staging', 'window'] as const),
    ...(['confirmed', 'proven', 'rolled-back', 'refused', 'newer'] as const),
  ]
  fc.assert(
    fc.property(fc.array(fc.constantFrom(...doings), { maxLength: 6 }), fc.nat(3), (some, maxConcurrency) => {
      const spec = { strategy: progressive({ maxConcurrency, maxFailures: 1, minSuccessTime: '5m' }) }
      const given = facts(
        some.map((doing, index) => cluster(`c${index}`, doing)),
        spec,
      )
      const plan = planRollout(given, NOW)
      const stored = rolloutStatus(given, plan, NOW)
      const foreseen = foreseenStatus(given, NOW)
      const untimed = ({ recheckAt: _, ...rest }: RolloutStatus): RolloutStatus => ({
        ...rest,
        clusters: (rest.clusters ?? []).map(({ recheckAt: __, ...row }) => row),
      })
      expect(untimed(foreseen)).toEqual(untimed(stored))
      for (const { name, recheckAt } of stored.clusters ?? [])
        if (recheckAt !== undefined) expect(rowOf(foreseen, name)?.recheckAt).toBe(recheckAt)
      for (const { name, state, reason, message, recheckAt } of foreseen.clusters ?? []) {
        if (FINISHED.has(state) || plan.advance.includes(name)) continue
        expect(reason && message).toBeTruthy()
        expect(Date.parse(recheckAt ?? '')).toBeGreaterThan(NOW)
      }
    }),
  )
})
