import type { ActivationWindow, NodePhase } from '@skerry/api'
import { describe, expect, test } from 'vitest'
import { planSite } from './plan-site.ts'

const NIGHT: ActivationWindow = { at: '0 2 * * *', timeZone: 'UTC', durationSeconds: 3600 }
const [DAY, IN_NIGHT] = [Date.parse('2026-06-01T12:00:00Z'), Date.parse('2026-06-02T02:30:00Z')]
const desired = { cluster: 'shop', windows: { activation: [NIGHT] }, paused: false, budget: { maxUnavailable: 1 } }
const nodes = (...phases: NodePhase[]) => phases.map((phase, i) => ({ node: `n${i + 1}`, phase }))

describe('planSite', () => {
  test('outside the window nobody gets a turn, and each staged node hears when it opens', () => {
    const opens = Date.parse('2026-06-02T02:00:00Z')
    expect(planSite(desired, nodes('Staged', 'Idle', 'Staged'), DAY)).toEqual({
      turns: [],
      hold: ['n1', 'n3'].map((node) => ({
        node,
        reason: 'WindowClosed',
        message: 'the next activation window opens at 2026-06-02T02:00:00.000Z',
        recheckAtMs: opens,
      })),
      nextWindowMs: opens,
    })
  })

  test('inside it one node after the other, and a turn ends with the window', () => {
    expect(planSite(desired, nodes('Staged', 'Staged').toReversed(), IN_NIGHT)).toEqual({
      turns: ['n1'],
      turnsUntilMs: Date.parse('2026-06-02T03:00:00Z'),
      hold: [{ node: 'n2', reason: 'BudgetSpent', message: '1 node of the site may be down at once' }],
    })
  })

  test.each<NodePhase>(['Draining', 'Activating', 'Verifying', 'Confirming', 'RollingBack'])(
    'a node that is %s is down and holds the budget',
    (phase) => {
      expect(planSite(desired, nodes(phase, 'Staged'), IN_NIGHT).turns).toEqual([])
      expect(planSite({ ...desired, budget: { maxUnavailable: 2 } }, nodes(phase, 'Staged'), IN_NIGHT).turns).toEqual([
        'n2',
      ])
    },
  )

  test('a started activation is never cut off: a closing window takes no turn from who has left Staged', () => {
    expect(planSite(desired, nodes('Activating'), DAY)).toMatchObject({ turns: [], hold: [] })
  })

  test('paused: nothing new starts, whatever the window says', () => {
    expect(planSite({ ...desired, paused: true }, nodes('Staged'), IN_NIGHT)).toMatchObject({
      turns: [],
      hold: [{ node: 'n1', reason: 'Paused' }],
    })
  })

  test('no window at all is always open, and such a turn has no end', () => {
    const plan = planSite({ ...desired, windows: { activation: [] } }, nodes('Staged'), DAY)
    expect(plan).toEqual({ turns: ['n1'], hold: [] })
  })

  describe('in waves', () => {
    const image = { target: 'images/os/2.json', sha256: 'f'.repeat(64), rollout: 'fleet/r' }
    const waves = (startAfterSeconds: number) => ({
      startsAt: new Date(DAY).toISOString(),
      schedule: [{ startAfterSeconds, spreadSeconds: 0, percent: 100 }],
    })
    const always = { ...desired, image, windows: { activation: [] } }
    const due = Date.parse('2026-06-01T14:00:00Z')
    const mine = `the minute of this cluster in the rollout's waves is ${new Date(due).toISOString()}`

    test('before its minute nobody gets a turn and each staged node hears when that is; from then on one does', () => {
      const held = { ...always, waves: waves(7_200) }
      const hold = [{ node: 'n1', reason: 'WaveNotDue', message: mine, recheckAtMs: due }]
      expect(planSite(held, nodes('Staged', 'Idle'), due - 1)).toEqual({ turns: [], hold, nextWindowMs: due })
      expect(planSite(held, nodes('Staged', 'Idle'), due)).toEqual({ turns: ['n1'], hold: [] })
    })

    test('its window counts as well: what is told is when both allow it', () => {
      const both = { ...desired, image, waves: waves(7_200) }
      const opens = Date.parse('2026-06-02T02:00:00Z')
      const told = `${mine}; the next activation window after it opens at ${new Date(opens).toISOString()}`
      const hold = [{ node: 'n1', reason: 'WaveNotDue', message: told, recheckAtMs: opens }]
      expect(planSite(both, nodes('Staged'), DAY)).toEqual({ turns: [], hold, nextWindowMs: opens })
      expect(planSite(both, nodes('Staged'), due).hold[0]?.reason).toBe('WindowClosed')
      // A window that is open before its minute is none for it, and its turn ends with the window.
      const late = { ...both, waves: waves(14.75 * 3_600) }
      expect(planSite(late, nodes('Staged'), IN_NIGHT)).toMatchObject({
        turns: [],
        nextWindowMs: Date.parse('2026-06-02T02:45:00Z'),
      })
      expect(planSite(late, nodes('Staged'), Date.parse('2026-06-02T02:45:00Z'))).toMatchObject({
        turns: ['n1'],
        turnsUntilMs: Date.parse('2026-06-02T03:00:00Z'),
      })
      const never = { ...both, windows: { activation: [{ ...NIGHT, at: '0 0 31 2 *' }] } }
      expect(planSite(never, nodes('Staged'), DAY)).toEqual({
        turns: [],
        hold: [{ node: 'n1', reason: 'WaveNotDue', message: `${mine}; no activation window opens after it` }],
      })
    })

    test('a pause holds past the minute, and what is activating is not cut off before it', () => {
      const paused = { ...always, waves: waves(7_200), paused: true }
      expect(planSite(paused, nodes('Staged'), due).hold[0]?.reason).toBe('Paused')
      expect(planSite({ ...paused, paused: false }, nodes('Activating'), DAY)).toMatchObject({ turns: [], hold: [] })
    })
  })

  test('a window that never comes is said to', () => {
    const never = { ...desired, windows: { activation: [{ ...NIGHT, at: '0 0 31 2 *' }] } }
    expect(planSite(never, nodes('Staged'), DAY).hold).toEqual([
      { node: 'n1', reason: 'WindowClosed', message: 'no activation window ever opens' },
    ])
  })
})
