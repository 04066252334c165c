import { parse, RememberedFailure, TransitionBody } from '@skerry/api'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { restated } from './restated.ts'
import { type BootFacts, type Effect, type Event, effectsOf, initialState, type State, type Target } from './state.ts'
import { step } from './step.ts'

const NOW = Date.parse('2026-06-01T12:00:00Z')
const MINUTE = 60_000
const digest = (letter: string) => letter.repeat(64)
const target = (letter: string, releaseCounter: number, generation = releaseCounter): Target => ({
  position: { timeline: 0, generation },
  manifestSha256: digest(letter),
  imageSha256: digest(letter),
  imageLength: 10,
  version: letter,
  releaseCounter,
  gates: { healthySeconds: 30, timeoutSeconds: 300 },
})
const OLD = target('a', 1)
const NEXT = target('b', 2)
const NEWER = target('c', 3)
const facts = (image: Target, bootId: string, more: Partial<BootFacts> = {}): BootFacts => ({
  bootId,
  slot: image === OLD ? 'a' : 'b',
  imageSha256: image.imageSha256,
  healthy: true,
  ...more,
})
const observed = (image: Target, bootId: string, more: Partial<BootFacts> = {}): Event => ({
  type: 'Observed',
  facts: facts(image, bootId, more),
})
const desired = (image: Target, running: Target = OLD): Event => ({
  type: 'Desired',
  target: image,
  running: facts(running, 'b1'),
})
const granted = { type: 'TurnGranted', bootId: 'b1' } as const satisfies Event
const fault = (of: 'surroundings' | 'image', reason: string): Event => ({
  type: 'Faulted',
  fault: { of, reason, message: reason },
  jitter: 0,
})

const unseen = (bootId: string, onTrial?: boolean, reason = 'EspNotVfat'): Event => ({
  type: 'Unseen',
  glimpse: { bootId, ...(onTrial === undefined ? {} : { onTrial }) },
  fault: { of: 'surroundings', reason, message: `${reason} here` },
})

/** A node that runs OLD and has said so. */
const idle = (): State => initialState({ imageSha256: OLD.imageSha256, version: 'a', releaseCounter: 1, bootId: 'b1' })
/** What comes of events, [event, ms later]: the last state and every statement on the way. */
function play(state: State, ...events: (Event | [Event, number])[]) {
  const told: TransitionBody[] = []
  let now = NOW
  let at = state
  for (const entry of events) {
    const [event, later] = Array.isArray(entry) ? entry : [entry, 0]
    now += later
    const next = step(at, event, now)
    at = next.state
    if (next.statement) told.push(next.statement)
  }
  return {
    state: at,
    told,
    steps: told.map(({ from, to, reason }) => `${from} ${to} ${reason}`),
    effects: effectsOf(at).map(({ effect }) => effect),
  }
}
const staged = [desired(NEXT), { type: 'Preflighted' }, { type: 'Staged' }] as const satisfies Event[]
const activating = [...staged, granted]
const verifying = [...activating, observed(NEXT, 'b2')]
const confirming: (Event | [Event, number])[] = [...verifying, observed(NEXT, 'b2'), [observed(NEXT, 'b2'), 30_000]]

describe('the honest path', () => {
  test('from desired to confirmed, one statement a step', () => {
    const { state, steps, told } = play(idle(), ...confirming, { type: 'Blessed' })
    expect(steps).toEqual([
      'Idle Preflight Preflight',
      'Preflight Staging Staging',
      'Staging Staged Staged',
      'Staged Activating TurnGranted',
      'Activating Verifying Booted',
      'Verifying Confirming GatesPassed',
      'Confirming Idle Confirmed',
    ])
    expect(told.at(-1)).toMatchObject({ imageSha256: NEXT.imageSha256, bootId: 'b2', position: NEXT.position })
    expect(state.memory.confirmed).toEqual({
      imageSha256: NEXT.imageSha256,
      manifestSha256: NEXT.manifestSha256,
      version: 'b',
      releaseCounter: 2,
      bootId: 'b2',
    })
  })

  test('each state wants its effect, and a restarted agent runs it again', () => {
    const effects = [[desired(NEXT)], [...staged.slice(0, 2)], staged, activating, verifying, confirming].map(
      (events) => play(idle(), ...events).effects,
    )
    expect(effects).toEqual([['Preflight'], ['Stage'], [], ['Activate'], ['Watch'], ['Confirm']])
  })

  test('an image that runs already is said to, once, with its boot, so that a rollout can count it', () => {
    const factory = initialState({ imageSha256: NEXT.imageSha256, releaseCounter: 0 })
    const { state, told } = play(factory, desired(NEXT, NEXT), desired(NEXT, NEXT))
    expect(told).toEqual([
      expect.objectContaining({
        from: 'Idle',
        to: 'Idle',
        reason: 'AlreadyRunning',
        bootId: 'b1',
        imageSha256: NEXT.imageSha256,
      }),
    ])
    expect(state.memory.confirmed).toMatchObject({ releaseCounter: 2, bootId: 'b1' })
    expect(play(factory, desired(NEXT, OLD)).told).toEqual([])
    expect(play(idle(), desired(OLD)).told).toEqual([])
  })
})

describe('where it stands is said once more as it is', () => {
  const KNOWN = { imageSha256: NEXT.imageSha256, manifestSha256: NEXT.manifestSha256, bootId: 'b2' }
  const upgraded: (Event | [Event, number])[] = [...confirming, { type: 'Blessed' }]
  const onward: (Event | [Event, number])[] = [
    ...[desired(NEWER, NEXT), { type: 'Preflighted' } as const, { type: 'Staged' } as const],
    ...[{ ...granted, bootId: 'b2' } as const, observed(NEWER, 'b3')],
    ...[observed(NEWER, 'b3'), [observed(NEWER, 'b3'), 30_000] as [Event, number]],
  ]
  const said = (events: readonly (Event | [Event, number])[], held?: Target) =>
    restated(play(initialState({ imageSha256: OLD.imageSha256, releaseCounter: 1 }), ...events).state, held)

  test('Idle, with what was confirmed and the manifest that it was confirmed under, whatever the site holds', () => {
    const idle = { from: 'Idle', to: 'Idle', reason: 'Confirmed', message: 'runs b', ...KNOWN }
    expect(said(upgraded, NEXT)).toEqual([{ ...idle, position: NEXT.position }])
    expect(said(upgraded, NEWER)).toEqual([idle])
    expect(said(upgraded)).toEqual([idle])
    // The same bytes under a manifest that this node never confirmed.
    expect(said(upgraded, { ...NEXT, manifestSha256: digest('9'), releaseCounter: 9 })).toEqual([idle])
  })

  test('Idle, of bytes that run already the manifest that was asked for', () => {
    const { state } = play(initialState({ imageSha256: NEXT.imageSha256, releaseCounter: 0 }), desired(NEXT, NEXT))
    expect(restated(state, NEXT)).toMatchObject([{ ...KNOWN, position: NEXT.position, bootId: 'b1' }])
  })

  test('Idle, of what an older agent confirmed without its manifest, that of an order for no more than that', () => {
    const { state } = play(initialState({ imageSha256: OLD.imageSha256, releaseCounter: 1 }), ...upgraded)
    const { manifestSha256: _, ...confirmed } = state.memory.confirmed ?? { ...KNOWN, releaseCounter: 2 }
    const older = { ...state, memory: { ...state.memory, confirmed } }
    expect(restated(older, NEXT)).toMatchObject([KNOWN])
    for (const held of [undefined, NEWER, { ...NEXT, releaseCounter: 9 }])
      expect(restated(older, held)[0]).not.toHaveProperty('manifestSha256')
  })

  test('of what no statement named a boot nothing', () => {
    expect(said([], NEXT)).toEqual([{ from: 'Idle', to: 'Idle', reason: 'Idle', message: 'nothing to do' }])
    expect(said(staged, NEXT)).toHaveLength(1)
  })

  test.each<[string, (Event | [Event, number])[], object]>([
    ['Preflight', onward.slice(0, 1), {}],
    ['Staged', onward.slice(0, 3), {}],
    ['Activating', onward.slice(0, 4), {}],
    ['Verifying', onward.slice(0, 5), {}],
    ['Confirming', onward, {}],
    ['Failed', [...onward.slice(0, 5), observed(NEXT, 'b4')], { outcome: 'RolledBack', reason: 'FellBack' }],
  ])('%s, what was confirmed before it first', (phase, events, about) => {
    const { position, imageSha256, manifestSha256 } = NEWER
    expect(said([...upgraded, ...events], NEWER)).toEqual([
      {
        ...{ from: 'Idle', to: 'Idle', reason: 'ConfirmedBefore', message: 'what was confirmed last, before c' },
        ...KNOWN,
      },
      expect.objectContaining({ from: phase, to: phase, position, imageSha256, manifestSha256, ...about }),
    ])
  })
})

describe('what is newer', () => {
  test.each<[string, (Event | [Event, number])[], string]>([
    ['Preflight', [desired(NEXT)], 'Preflight'],
    ['Staging', [...staged.slice(0, 2)], 'Preflight'],
    ['Staged', [...staged], 'Preflight'],
    ['Activating', activating, 'Activating'],
    ['Verifying', verifying, 'Verifying'],
    ['Confirming', confirming, 'Confirming'],
  ])('supersedes %s: then it is %s', (_, events, phase) => {
    const { state } = play(idle(), ...events, desired(NEWER))
    expect(state.stage).toMatchObject({ phase, target: { version: phase === 'Preflight' ? 'c' : 'b' } })
  })

  test('is the image that runs: back to Idle, and the boot is named', () => {
    for (const events of [[desired(NEXT)], staged]) {
      const { state, told } = play(idle(), ...events, desired(OLD))
      expect(state.stage).toEqual({ phase: 'Idle' })
      expect(told.at(-1)).toMatchObject({ reason: 'Superseded', imageSha256: OLD.imageSha256, bootId: 'b1' })
    }
  })

  test('is nothing: what was not armed is withdrawn, what was is carried to its end', () => {
    const { state, steps } = play(idle(), ...staged, { type: 'Withdrawn' }, granted)
    expect(state.stage).toEqual({ phase: 'Idle' })
    expect(steps.at(-1)).toBe('Staged Idle Withdrawn')
    // The newest word was about another image, so what runs is told again when it is asked for.
    expect(play(state, desired(OLD)).steps).toEqual(['Idle Idle AlreadyRunning'])
    expect(play(idle(), ...activating, { type: 'Withdrawn' }).state.stage.phase).toBe('Activating')
  })

  test('is the same bytes under a lower counter: the floor stays where it was', () => {
    const floor = initialState({ imageSha256: OLD.imageSha256, releaseCounter: 2, bootId: 'b1' })
    const { state } = play(
      floor,
      ...verifying,
      desired({ ...NEXT, releaseCounter: 1 }),
      observed(NEXT, 'b2'),
      [observed(NEXT, 'b2'), 30_000],
      { type: 'Blessed' },
    )
    expect(state.memory.confirmed).toMatchObject({ imageSha256: NEXT.imageSha256, releaseCounter: 2 })
  })

  test('only in its terms: nothing is begun again and nothing is said', () => {
    for (const events of [[desired(NEXT)], staged, activating, verifying, confirming]) {
      const before = play(idle(), ...events)
      const after = play(before.state, desired({ ...NEXT, position: { timeline: 0, generation: 9 } }))
      expect(after.told).toEqual([])
      expect(after.state.stage).toMatchObject({
        phase: before.state.stage.phase,
        target: { position: { generation: 9 } },
      })
    }
  })

  test('is not tried when its bytes failed here, under whatever name, nor below the confirmed counter', () => {
    const failed = play(idle(), ...activating, observed(OLD, 'b2', { fellBackFrom: NEXT.imageSha256 })).state
    const copy = { ...NEXT, manifestSha256: digest('9'), version: 'renamed', releaseCounter: 9 }
    expect(play(failed, desired(copy)).state).toEqual(failed)
    const busy = play(failed, desired(NEWER)).state
    expect(play(busy, desired(copy)).state).toEqual(busy)
    expect(play(idle(), desired(target('d', 0))).state).toEqual(idle())
  })
})

describe('what goes wrong', () => {
  test.each<[string, (Event | [Event, number])[], string, string]>([
    ['the image cannot be staged here', [desired(NEXT), fault('image', 'TooOld')], 'Refused', 'TooOld'],
    ['the slot lost its bytes', [...activating, fault('image', 'ImageMismatch')], 'ActivationFailed', 'ImageMismatch'],
    [
      'the platform fell back before it was seen',
      [...activating, observed(OLD, 'b2', { fellBackFrom: NEXT.imageSha256 })],
      'RolledBack',
      'FellBack',
    ],
    ['the platform fell back while it was verified', [...verifying, observed(OLD, 'b3')], 'RolledBack', 'FellBack'],
    ['the platform fell back before it was blessed', [...confirming, observed(OLD, 'b3')], 'RolledBack', 'FellBack'],
    [
      'it never becomes healthy',
      [...verifying, [observed(NEXT, 'b2', { healthy: false }), 5 * MINUTE], observed(OLD, 'b3')],
      'RolledBack',
      'GatesFailed',
    ],
    [
      'the node does not reboot',
      [...activating, [observed(OLD, 'b1'), 10 * MINUTE], { type: 'Undone' }],
      'NeverRebooted',
      'NeverRebooted',
    ],
    [
      'the reboot command keeps failing',
      [...activating, [fault('surroundings', 'RebootRefused'), 10 * MINUTE], { type: 'Undone' }],
      'NeverRebooted',
      'RebootRefused',
    ],
    [
      'it is never armed',
      [...activating, ...[2, 3, 4, 5, 6].map((i) => observed(OLD, `b${i}`)), { type: 'Undone' }],
      'NeverRebooted',
      'NeverRebooted',
    ],
    [
      'it boots for ever',
      [...verifying, ...[3, 4, 5, 6, 7].map((i) => observed(NEXT, `b${i}`)), observed(OLD, 'b9')],
      'RolledBack',
      'BootLoop',
    ],
  ])('%s: Failed as %s (%s), and remembered', (_, events, outcome, reason) => {
    const { state, told } = play(idle(), ...events)
    expect(state.stage.phase).toBe('Failed')
    expect(told.at(-1)).toMatchObject({ to: 'Failed', outcome, reason })
    expect(state.memory.failures).toEqual([expect.objectContaining({ imageSha256: NEXT.imageSha256, outcome, reason })])
    expect(state.memory.confirmed?.imageSha256).toBe(OLD.imageSha256)
    for (const failure of state.memory.failures) parse(RememberedFailure, failure, 'memory')
  })

  test('a slot that never booted is disarmed before it is left, so that no power cut boots it later', () => {
    const given = play(idle(), ...activating, [observed(OLD, 'b1'), 10 * MINUTE])
    expect(given).toMatchObject({ state: { stage: { phase: 'RollingBack' } }, effects: ['Rollback'] })
    expect(play(given.state, observed(OLD, 'b1')).state.stage.phase).toBe('RollingBack')
    expect(play(given.state, observed(OLD, 'b1', { fellBackFrom: NEXT.imageSha256 })).state.stage.phase).toBe('Failed')
  })

  test('a rollback is done when another image runs, not when its command returned', () => {
    const given = play(idle(), ...verifying, [observed(NEXT, 'b2', { healthy: false }), 5 * MINUTE])
    expect(play(given.state, { type: 'Undone' }, observed(NEXT, 'b2')).state.stage.phase).toBe('RollingBack')
  })

  test('healthy must last: a break begins it anew, and the timeout counts from the boot', () => {
    const { state } = play(
      idle(),
      ...verifying,
      observed(NEXT, 'b2'),
      [observed(NEXT, 'b2', { healthy: false }), 29_000],
      [observed(NEXT, 'b2'), 1_000],
      [observed(NEXT, 'b2'), 29_999],
    )
    expect(state.stage.phase).toBe('Verifying')
    expect(
      play(idle(), ...verifying, [observed(NEXT, 'b2'), 4 * MINUTE], [observed(NEXT, 'b2'), 30_000]).state.stage.phase,
    ).toBe('Confirming')
  })

  test('a boot between the gates and the blessing proves itself anew', () => {
    const { state } = play(idle(), ...confirming, observed(NEXT, 'b3'))
    expect(state.stage).toMatchObject({ phase: 'Verifying', bootId: 'b3', boots: 2 })
  })

  test.each<[string, (Event | [Event, number])[], string]>([
    ['preflight', [desired(NEXT)], 'Preflight'],
    ['staging', [...staged.slice(0, 2)], 'Stage'],
    ['confirming', confirming, 'Confirm'],
    ['rolling back', [...verifying, [observed(NEXT, 'b2', { healthy: false }), 5 * MINUTE]], 'Rollback'],
  ])(
    'a week of two alternating faults while %s is two statements, later and later, and never the end',
    (_, events, effect) => {
      const begin = play(idle(), ...events)
      const faults = Array.from({ length: 4_000 }, (_, i): [Event, number] => [
        fault('surroundings', i % 2 ? 'NoSpace' : 'Unreachable'),
        150_000,
      ])
      const { state, steps } = play(begin.state, ...faults)
      expect(steps.length).toBe(2)
      const [last] = effectsOf(state)
      expect(last).toMatchObject({ effect, notBeforeMs: NOW + 4_000 * 150_000 + 150_000 })
    },
  )

  test('a turn ends with its window: one that was given before a power cut is none after it', () => {
    expect(play(idle(), ...staged, { ...granted, untilMs: NOW }).state.stage.phase).toBe('Staged')
    expect(play(idle(), ...staged, { ...granted, untilMs: NOW + 1 }).state.stage.phase).toBe('Activating')
  })

  test('why it waits for a turn is said once', () => {
    const held: Event = { type: 'TurnHeld', reason: 'WindowClosed', message: 'later' }
    expect(play(idle(), ...staged, held, held, held).steps.slice(3)).toEqual(['Staged Staged WindowClosed'])
  })

  test('until when is shown as the newest terms have it, and not said again', () => {
    const held = (message: string): Event => ({ type: 'TurnHeld', reason: 'WaveNotDue', message })
    const { state, steps } = play(idle(), ...staged, held('in a week'), held('tomorrow'))
    expect(steps.slice(3)).toEqual(['Staged Staged WaveNotDue'])
    expect(state.message).toBe('tomorrow')
  })
})

describe('a boot that cannot be looked at', () => {
  const LEFT = [unseen('b2', true), [unseen('b2', true), 5 * MINUTE]] as const satisfies (Event | [Event, number])[]

  test.each<[string, (Event | [Event, number])[], boolean | undefined]>([
    ['that never showed itself', activating, true],
    ['of which nobody knows whether it is counted', activating, undefined],
    ['that was seen before', [...verifying, observed(NEXT, 'b2', { healthy: false })], false],
    ['that had passed its gates', [...confirming], true],
    ['that came after another of the target', [...verifying, observed(NEXT, 'b1')], true],
  ])('%s is given back by a reboot when its gates would have timed out, with its reason', (_, events, onTrial) => {
    const begin = play(idle(), ...events, unseen('b2', onTrial))
    expect(begin.effects).not.toContain('Leave')
    expect(begin.state).toMatchObject({ reason: 'EspNotVfat', message: 'EspNotVfat here' })
    const early = play(begin.state, [unseen('b2', onTrial), 1_000])
    expect([early.told, early.effects.includes('Leave')]).toEqual([[], false])
    const { state, effects, told } = play(early.state, [unseen('b2', onTrial), 6 * MINUTE])
    expect(effects).toEqual(['Leave'])
    expect(told).toEqual([expect.objectContaining({ to: 'RollingBack', reason: 'EspNotVfat', bootId: 'b2' })])
    const back = play(state, observed(OLD, 'b9'))
    expect(back.told.at(-1)).toMatchObject({ to: 'Failed', outcome: 'RolledBack', reason: 'EspNotVfat' })
    expect(back.state.memory.failures).toMatchObject([{ imageSha256: NEXT.imageSha256, reason: 'EspNotVfat' }])
  })

  test('is left again in its next boots, each after a minute, and at most nine times in a row', () => {
    let { state } = play(idle(), ...activating, ...LEFT)
    const left: string[] = ['b2']
    for (let boot = 3; boot < 20; boot += 1) {
      const first = play(state, unseen(`b${boot}`, true))
      expect(first.effects).toEqual([])
      const later = play(first.state, [unseen(`b${boot}`, true), MINUTE])
      if (later.effects.includes('Leave')) left.push(`b${boot}`)
      state = later.state
    }
    expect(left).toHaveLength(9)
    expect(state).toMatchObject({ stage: { phase: 'RollingBack' }, reason: 'EspNotVfat' })
  })

  test('that can be looked at after all is rolled back in the orderly way', () => {
    const { state } = play(idle(), ...activating, ...LEFT, unseen('b3', true))
    expect(play(state, observed(NEXT, 'b3')).effects).toEqual(['Rollback'])
  })

  test('of a confirmed image is never rebooted, whatever is under way, and is told once a reason', () => {
    for (const events of [activating, [...activating, ...LEFT], verifying, confirming]) {
      const begin = play(idle(), ...events)
      const looks = Array.from({ length: 500 }, (_, i): [Event, number] => [
        unseen('b7', false, i % 2 ? 'EspMissing' : 'EspNotVfat'),
        (i + 1) * MINUTE,
      ])
      let [state, told] = [begin.state, 0]
      for (const look of looks) {
        const next = play(state, look)
        expect(next.effects).not.toContain('Leave')
        told += next.told.length
        state = next.state
      }
      expect(told).toBe(2)
    }
    for (const events of [[], [desired(NEXT)], staged.slice(0, 2), staged])
      for (const onTrial of [true, false, undefined]) {
        const begin = play(idle(), ...events)
        expect(play(begin.state, [unseen('b7', onTrial), 60 * MINUTE])).toMatchObject({ state: begin.state, told: [] })
      }
  })

  test('that was not rebooted since its turn is given up as one that never rebooted, and is not rebooted in the dark', () => {
    const begin = play(idle(), ...activating)
    expect(play(begin.state, [unseen('b1'), 9 * MINUTE]).state).toEqual(begin.state)
    const given = play(begin.state, [unseen('b1'), 10 * MINUTE], [unseen('b1'), 60 * MINUTE])
    expect(given).toMatchObject({ state: { stage: { phase: 'RollingBack' } }, effects: [] })
    expect(play(given.state, { type: 'Undone' }).told.at(-1)).toMatchObject({ outcome: 'NeverRebooted' })
    // Unless a power cut has booted what was armed.
    const cut = play(given.state, unseen('b2', true), [unseen('b2', true), MINUTE])
    expect(cut.effects).toEqual(['Leave'])
    expect(play(given.state, unseen('b2'), [unseen('b2'), MINUTE]).effects).toEqual([])
  })

  test('is not healthy meanwhile: health that must last begins anew', () => {
    const { state } = play(
      idle(),
      ...verifying,
      observed(NEXT, 'b2'),
      [unseen('b2', true), 20_000],
      [observed(NEXT, 'b2'), 10_000],
    )
    expect(state.stage.phase).toBe('Verifying')
  })
})

// A firmware with two slots, as far as the machine can see it, for cutting the power anywhere.
class Device {
  readonly armedEver: string[] = []
  #boots = 1
  #active = OLD.imageSha256
  #other: string | undefined
  #armed: { imageSha256: string; tries: number } | undefined
  #fellBackFrom: string | undefined
  #booted = OLD.imageSha256
  readonly #bad: ReadonlySet<string>
  readonly #dark: ReadonlySet<string>
  /** `dark` are images whose boots cannot be looked at. */
  constructor(bad: ReadonlySet<string>, dark: ReadonlySet<string>) {
    this.#bad = bad
    this.#dark = dark
  }

  /** What is seen of it: facts, or only which boot it is. */
  look(): Event {
    if (!this.#dark.has(this.#booted)) return { type: 'Observed', facts: this.facts() }
    return unseen(`b${this.#boots}`, this.#booted === this.#armed?.imageSha256)
  }

  reboot(): void {
    this.#boots += 1
    if (this.#armed && this.#armed.tries > 0) {
      this.#armed.tries -= 1
      this.#booted = this.#armed.imageSha256
      return
    }
    if (this.#armed) this.#fellBackFrom = this.#armed.imageSha256
    this.#armed = undefined
    this.#booted = this.#active
  }

  facts(): BootFacts {
    const fellBack = this.#fellBackFrom ? { fellBackFrom: this.#fellBackFrom } : {}
    return {
      bootId: `b${this.#boots}`,
      slot: 'x',
      imageSha256: this.#booted,
      healthy: !this.#bad.has(this.#booted),
      ...fellBack,
    }
  }

  /** Runs an effect as a driver would; `power` false: it fails right after the work, before anybody is told. */
  run({ effect, target: { imageSha256 } }: Effect, power: boolean): Event[] {
    const told = (): Event[] => {
      switch (effect) {
        case 'Preflight':
          return [{ type: 'Preflighted' }]
        case 'Stage':
          if (this.#armed) return [fault('surroundings', 'SlotArmed')]
          this.#other = imageSha256
          return [{ type: 'Staged' }]
        case 'Activate':
          if (this.#armed?.imageSha256 === imageSha256 || this.#fellBackFrom === imageSha256) return []
          if (this.#other !== imageSha256) return [fault('image', 'ImageMismatch')]
          this.armedEver.push(imageSha256)
          this.#armed = { imageSha256, tries: 3 }
          if (power) this.reboot()
          return []
        case 'Confirm':
          if (this.#armed?.imageSha256 === imageSha256) [this.#active, this.#armed] = [imageSha256, undefined]
          return [{ type: 'Blessed' }]
        case 'Rollback':
          if (this.#armed) this.#fellBackFrom = this.#armed.imageSha256
          this.#armed = undefined
          if (this.#booted !== this.#active) this.reboot()
          return [{ type: 'Undone' }]
        case 'Leave':
          if (power) this.reboot()
          return []
        case 'Watch':
          return []
        default: {
          const never: never = effect
          return never
        }
      }
    }
    const events = told()
    return power ? events : []
  }
}

describe('power fails right here', () => {
  /** Drives a device to its end; `cuts` are the rounds in which the power fails, and where. */
  function drive(
    bad: ReadonlySet<string>,
    cuts: ReadonlyMap<number, 'beforeEffect' | 'afterEffect' | 'rebooting'>,
    wanted: readonly Target[] = [NEXT],
    dark: ReadonlySet<string> = new Set(),
  ) {
    const device = new Device(bad, dark)
    let state = idle()
    let turns = 0
    const told: TransitionBody[] = []
    let now = NOW
    const feed = (event: Event) => {
      const before = state
      const next = step(state, event, now)
      if (next.state.stage.phase === 'Activating' && before.stage.phase !== 'Activating')
        expect(event.type).toBe('TurnGranted')
      expect(next.state.memory.confirmed?.releaseCounter ?? 0).toBeGreaterThanOrEqual(
        before.memory.confirmed?.releaseCounter ?? 0,
      )
      state = next.state
      if (next.statement) told.push(parse(TransitionBody, next.statement, 'statement'))
    }
    for (let round = 0; round < 400; round += 1) {
      now += 10_000
      const cut = cuts.get(round)
      if (cut === 'rebooting') device.reboot()
      const look = device.look()
      feed(look)
      if (look.type === 'Observed') {
        const { facts } = look
        feed({
          type: 'Desired',
          target: wanted[Math.min(Math.floor(round / 80), wanted.length - 1)] ?? NEXT,
          running: facts,
        })
        if (state.stage.phase === 'Staged') {
          turns += 1
          feed({ type: 'TurnGranted', bootId: facts.bootId, untilMs: now + 1 })
        }
      }
      if (cut === 'beforeEffect') {
        device.reboot()
        continue
      }
      const [effect] = effectsOf(state)
      // In the dark a driver can only reboot.
      if (look.type === 'Unseen' && effect?.effect !== 'Leave') continue
      if (!effect || (effect.effect !== 'Watch' && effect.notBeforeMs > now)) continue
      const events = device.run(effect, cut !== 'afterEffect')
      if (cut === 'afterEffect') device.reboot()
      for (const event of events) feed(event)
    }
    return { device, state, told, turns }
  }

  test.each(['beforeEffect', 'afterEffect', 'rebooting'] as const)(
    '%s, in any round of an upgrade: it is confirmed, armed once, told once',
    (where) => {
      for (let round = 0; round < 14; round += 1) {
        const { device, state, told } = drive(new Set(), new Map([[round, where]]))
        expect(state.stage.phase, `round ${round}`).toBe('Idle')
        expect(state.memory.confirmed?.imageSha256).toBe(NEXT.imageSha256)
        expect(device.armedEver).toEqual([NEXT.imageSha256])
        expect(told.filter(({ reason }) => reason === 'Confirmed').length).toBe(1)
        expect(device.facts().imageSha256).toBe(NEXT.imageSha256)
      }
    },
  )

  test.each(['beforeEffect', 'afterEffect', 'rebooting'] as const)(
    '%s, in any round of a failing upgrade: it is rolled back once and never armed again',
    (where) => {
      for (let round = 0; round < 45; round += 1) {
        const { device, state, told } = drive(new Set([NEXT.imageSha256]), new Map([[round, where]]))
        expect(state.stage.phase, `round ${round}`).toBe('Failed')
        expect(device.armedEver).toEqual([NEXT.imageSha256])
        expect(told.filter(({ to }) => to === 'Failed').length).toBe(1)
        expect(device.facts().imageSha256).toBe(OLD.imageSha256)
      }
    },
  )

  test('any cuts, any bad or dark images, any order of desired images: it ends, without a turn nothing is activated, nothing that failed is armed again', () => {
    const cut = fc.constantFrom('beforeEffect' as const, 'afterEffect' as const, 'rebooting' as const)
    const cuts = fc.array(fc.tuple(fc.nat(200), cut), { maxLength: 12 }).map((list) => new Map(list))
    const wanted = fc.array(fc.constantFrom(OLD, NEXT, NEWER, target('d', 4)), { minLength: 1, maxLength: 4 })
    const some = fc.subarray([NEXT.imageSha256, NEWER.imageSha256]).map((list) => new Set(list))
    fc.assert(
      fc.property(some, some, cuts, wanted, (unhealthy, dark, powerCuts, images) => {
        const { device, state, told, turns } = drive(unhealthy, powerCuts, images, dark)
        expect(['Idle', 'Failed']).toContain(state.stage.phase)
        expect(device.facts().imageSha256).toBe(state.memory.confirmed?.imageSha256)
        expect(device.armedEver.length).toBeLessThanOrEqual(turns)
        for (const { imageSha256 } of state.memory.failures)
          expect(device.armedEver.filter((armed) => armed === imageSha256).length).toBeLessThanOrEqual(1)
        expect(told.length).toBeLessThan(120)
      }),
      { numRuns: 300 },
    )
  })
})

describe('a retry that a person asked for', () => {
  const again = (act: string, image = NEXT): Target => ({ ...image, retry: act })
  const failing: (Event | [Event, number])[] = [...activating, observed(OLD, 'b3', { fellBackFrom: NEXT.imageSha256 })]
  const failed = () => play(idle(), ...failing).state

  test('forgets the failure of these bytes, says so, and begins them again: one step', () => {
    const { state, told, effects } = play(failed(), desired(again('act-1')))
    expect(told).toEqual([
      expect.objectContaining({
        from: 'Failed',
        to: 'Preflight',
        reason: 'RetryAsked',
        imageSha256: NEXT.imageSha256,
        message: expect.stringMatching(
          /^a person asks to try b again, which ended in RolledBack here at .* \(act act-1\)$/,
        ),
      }),
    ])
    expect(state.memory).toMatchObject({ failures: [], retried: ['act-1'] })
    expect(effects).toEqual(['Preflight'])
  })

  test('is carried out once, however often it is asked: bytes that fail again are not tried a third time', () => {
    const retried = play(failed(), desired(again('act-1')), ...failing)
    expect(retried.state.memory.failures).toMatchObject([{ imageSha256: NEXT.imageSha256 }])
    expect(play(retried.state, desired(again('act-1')), desired(again('act-1')))).toMatchObject({
      told: [],
      state: { stage: { phase: 'Failed' } },
    })
    expect(play(retried.state, desired(again('act-2'))).steps).toEqual(['Failed Preflight RetryAsked'])
  })

  test('concerns its own bytes: another failure stays remembered', () => {
    const both = play(failed(), desired(NEWER), fault('image', 'NotUki')).state
    expect(both.memory.failures).toHaveLength(2)
    const { state } = play(both, desired(again('act-1')))
    expect(state.memory.failures).toMatchObject([{ imageSha256: NEWER.imageSha256 }])
  })

  test('heard while the bytes are on their way, it is what is under way', () => {
    const { state, steps } = play(idle(), desired(NEXT), desired(again('act-1')))
    expect(steps).toEqual(['Idle Preflight Preflight'])
    expect(state.memory.retried).toEqual(['act-1'])
    const end = play(state, ...failing.slice(1), desired(again('act-1')))
    expect(end.state.stage.phase).toBe('Failed')
  })

  test('heard from the armed slot on, it waits for the end, and is carried out after it', () => {
    const { state } = play(idle(), ...verifying, desired(again('act-1')))
    expect(state.memory.retried).toBeUndefined()
    const { steps } = play(state, observed(OLD, 'b3', { fellBackFrom: NEXT.imageSha256 }), desired(again('act-1')))
    expect(steps).toEqual(['Verifying Failed FellBack', 'Failed Preflight RetryAsked'])
  })

  test('waits for another image that is being activated, and lowers no floor', () => {
    const busy = play(failed(), desired(NEWER), { type: 'Preflighted' }, { type: 'Staged' }, granted).state
    expect(play(busy, desired(again('act-1')))).toMatchObject({ state: { memory: { failures: [{}] } }, told: [] })
    const above = {
      ...failed(),
      memory: { ...failed().memory, confirmed: { imageSha256: OLD.imageSha256, releaseCounter: 3 } },
    }
    expect(play(above, desired(again('act-1')))).toMatchObject({ state: above, told: [] })
  })

  test('of 100 acts the newest 32 are remembered', () => {
    let state = failed()
    for (let n = 0; n < 100; n += 1) state = play(state, desired(again(`act-${n}`)), ...failing).state
    expect(state.memory.retried).toHaveLength(32)
    expect(state.memory.retried?.[0]).toBe('act-99')
  })
})

describe('any state, any event', () => {
  const image = fc.constantFrom(
    OLD,
    NEXT,
    NEWER,
    { ...NEXT, manifestSha256: digest('9'), releaseCounter: 0 },
    { ...NEXT, retry: 'act-1' },
    { ...NEWER, retry: 'act-2' },
  )
  const boot = fc.constantFrom('b1', 'b2', 'b3')
  const event: fc.Arbitrary<Event> = fc.oneof(
    fc.tuple(image, image).map(([wanted, running]) => desired(wanted, running)),
    fc.constantFrom<Event>(
      { type: 'Withdrawn' },
      { type: 'Preflighted' },
      { type: 'Staged' },
      { type: 'Blessed' },
      { type: 'Undone' },
      granted,
      { ...granted, untilMs: NOW },
      { type: 'TurnHeld', reason: 'WindowClosed', message: 'x' },
    ),
    fc.constantFrom(fault('surroundings', 'NoSpace'), fault('image', 'ImageMismatch')),
    fc
      .tuple(image, boot, fc.boolean(), fc.boolean())
      .map(([running, bootId, healthy, fell]) =>
        observed(running, bootId, { healthy, ...(fell ? { fellBackFrom: NEXT.imageSha256 } : {}) }),
      ),
    fc
      .tuple(boot, fc.constantFrom(true, false, undefined), fc.constantFrom('EspMissing', 'EspNotVfat'))
      .map(([bootId, onTrial, reason]) => unseen(bootId, onTrial, reason)),
  )

  test('step is total, keeps its input, lowers no floor, activates on a turn alone, and a statement always has its schema', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(event, fc.nat(12 * MINUTE)), { maxLength: 40 }), (events) => {
        let [state, now] = [idle(), NOW]
        for (const [one, later] of events) {
          now += later
          const frozen = JSON.stringify(state)
          const next = step(state, one, now)
          expect(JSON.stringify(state)).toBe(frozen)
          expect(next.effects).toEqual(effectsOf(next.state))
          expect(next.state.memory.confirmed?.releaseCounter).toBeGreaterThanOrEqual(
            state.memory.confirmed?.releaseCounter ?? 0,
          )
          if (next.state.stage.phase === 'Activating' && state.stage.phase !== 'Activating')
            expect(one.type).toBe('TurnGranted')
          // A phase never changes in silence, and what is said is said of this very change.
          if (next.state.stage.phase !== state.stage.phase)
            expect(next.statement).toMatchObject({ from: state.stage.phase, to: next.state.stage.phase })
          if (next.statement) parse(TransitionBody, next.statement, 'statement')
          expect(next.state.memory.failures.length).toBeLessThanOrEqual(32)
          // A failure is forgotten for a person alone, once for each act, and never in silence.
          const gone = state.memory.failures.filter(
            ({ imageSha256 }) => !next.state.memory.failures.some((left) => left.imageSha256 === imageSha256),
          )
          if (gone.length > 0) {
            expect(next.statement).toMatchObject({ reason: 'RetryAsked', imageSha256: gone[0]?.imageSha256 })
            expect(next.state.memory.retried?.length).toBe((state.memory.retried?.length ?? 0) + 1)
          }
          state = next.state
        }
      }),
    )
  })
})
