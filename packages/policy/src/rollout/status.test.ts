import { expect, test } from 'vitest'
import { cluster, facts, iso, MINUTE, NOW, plan } from './fixture.ts'
import { planRollout } from './plan.ts'
import { rolloutStatus } from './status.ts'

const clusters = [cluster('a', 'proven')]
const done = rolloutStatus(facts(clusters), plan(clusters), NOW)

test('the time of completion is that of the first look that saw it', () => {
  expect(done).toMatchObject({ phase: 'Completed', completedAt: iso(NOW), startedAt: iso(NOW) })
  const again = facts(clusters, {}, done)
  const later = NOW + MINUTE
  expect(rolloutStatus(again, planRollout(again, later), later).completedAt).toBe(iso(NOW))
})

test('of other bytes nothing has completed, and what cannot be planned takes nothing back', () => {
  const later = NOW + MINUTE
  const other = { ...facts([cluster('a', 'nothing')], {}, done) }
  const image = { ...(done.image ?? other.image), manifestSha256: 'b'.repeat(64) } as NonNullable<typeof other.image>
  expect(rolloutStatus({ ...other, image }, planRollout({ ...other, image }, later), later).completedAt).toBeUndefined()
  const missing = { ...other, image: undefined }
  expect(rolloutStatus(missing, planRollout(missing, later), later).completedAt).toBe(iso(NOW))
})
