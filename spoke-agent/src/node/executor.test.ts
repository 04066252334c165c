import { join } from 'node:path'
import type { DesiredState, TransitionBody } from '@skerry/api'
import { until } from '@skerry/supervise'
import { testFolder } from '@skerry/supervise/testing'
import { createKey, readEvidence } from '@skerry/trust'
import pino from 'pino'
import { beforeEach, describe, expect, test } from 'vitest'
import type { Driver } from '../drivers/driver.ts'
import { openSlots } from '../drivers/slots.ts'
import type { Machine } from '../drivers/test-contract.ts'
import { gatesOf, type TestImage, testImage } from '../drivers/testing.ts'
import { type Disk, realDisk } from '../drivers/uki/disk.ts'
import type { UkiOptions } from '../drivers/uki/index.ts'
import { type Dark, type UkiMachine, ukiMachine } from '../drivers/uki/testing.ts'
import { openOutbox } from '../outbox/outbox.ts'
import type { Enrollment } from '../registration/enrollment.ts'
import { nodeStatus } from '../status.ts'
import { type EdgeNode, openBus } from '../store/bus.ts'
import { type Database, openDatabase } from '../store/database.ts'
import { enrollment as known, NO_ROOM } from '../testing.ts'
import { runNode } from './executor.ts'

// A node on a real database and real slots. Its power fails at every boundary of an upgrade; the end is the same, each
// step is told once, and the image is booted for trial once.

const log = pino({ level: 'silent' })
const enrollment: Enrollment = { ...known, cluster: 'shop', node: 'shop' }

type Verb = 'preflight' | 'stage' | 'activate' | 'confirm' | 'rollback'
type Cut = { readonly verb: Verb; readonly when: 'before' | 'after' }

const MACHINES: Record<'slots' | 'uki', (root: string) => Omit<Machine, 'factory'>> = {
  slots(root) {
    const factory = testImage(join(root, 'images'), '1')
    return {
      open: () => openSlots({ dir: join(root, 'slots'), factoryImage: factory.file, log }),
      image: (version, behaviour) => testImage(join(root, 'images'), version, behaviour),
    }
  },
  uki: (root) => ukiSite(ukiMachine(join(root, 'machine')), {}),
}

const ukiSite = (machine: UkiMachine, options: Partial<UkiOptions>) => ({
  open: () => machine.on(options),
  image: machine.image,
})

/** One site's machine: what is on its disk outlives its power. */
function makeSite(boots: keyof typeof MACHINES = 'slots') {
  const root = testFolder()
  return siteOf(root, MACHINES[boots](root))
}

function siteOf(root: string, machine: Omit<Machine, 'factory'>) {
  let activations = 0
  /** Looks at the machine, of all its lives. */
  let looks = 0
  let staleTurns = false
  let boundBytes: number | undefined

  /** Powers on until `done`, or until the cut: then everything of the process is gone at once. */
  async function live(
    image: TestImage,
    done: (transitions: TransitionBody[], node: EdgeNode) => boolean,
    cut?: Cut,
  ): Promise<void> {
    const over = new AbortController()
    const real = await machine.open()
    const database = openDatabase(root)
    const bus = openBus(database)
    const outbox = openOutbox(database, enrollment, Date.now, boundBytes)
    const held = bus.site()
    const { imageSha256, retry } = image.target
    if (held?.target?.imageSha256 !== imageSha256 || held.target.retry !== retry) {
      const document = { cluster: 'shop' } as unknown as DesiredState
      const { position } = image.target
      bus.saveSite({ jws: '', document, holds: { ...position, digest: '' }, target: image.target })
    }
    const driver: Driver = { ...real }
    for (const verb of ['preflight', 'stage', 'activate', 'confirm', 'rollback'] as const) {
      driver[verb as 'stage'] = async (target, file) => {
        if (cut?.verb === verb && cut.when === 'before') return powerFails()
        if (verb === 'activate') activations += 1
        await real[verb as 'stage'](target, file)
        if (cut?.verb === verb) return powerFails()
      }
    }
    function powerFails(): never {
      over.abort(new Error('the power failed'))
      throw over.signal.reason
    }
    const node = runNode({
      hardware: undefined,
      database,
      bus,
      outbox,
      driver,
      enrollment,
      async fetchImage({ length }, _, onProgress) {
        onProgress(length)
        return image.file
      },
      onBooted: () => {
        looks += 1
      },
      watchMs: 20,
      now: Date.now,
      log,
      signal: over.signal,
    })
    // The leader's part: a turn for what is staged.
    const turns = setInterval(() => {
      const site = bus.site()
      const { stage } = bus.node().state
      if (!site) return
      if (stage.phase !== 'Staged') return bus.saveSite({ ...site, plan: { turns: [], hold: [] } })
      const position = staleTurns ? { timeline: 0, generation: 0 } : stage.target.position
      bus.saveSite({ ...site, plan: { turns: ['shop'], hold: [], staged: position } })
    }, 20)
    try {
      await until(() => over.signal.aborted || done(transitions(database), bus.node()), 'the end', 120_000)
    } finally {
      clearInterval(turns)
      over.abort(new Error('the end'))
      await node
      await real.close()
      database.close()
    }
  }

  /** What its database tells while the power is off. */
  function tell<Value>(ask: (database: Database) => Value): Value {
    const database = openDatabase(root)
    try {
      return ask(database)
    } finally {
      database.close()
    }
  }

  return {
    image: machine.image,
    live,
    activations: () => activations,
    looks: () => looks,
    giveStaleTurns(stale: boolean) {
      staleTurns = stale
    },
    bound(bytes: number | undefined) {
      boundBytes = bytes
    },
    tell,
    /** Everything it said, as it stands there. */
    texts: () =>
      tell(({ sql }) => {
        const rows = sql.prepare('select text from statement order by seq').all()
        return rows.map((row) => String(row['text']))
      }),
    told: () => tell(transitions),
  }
}

function transitions(database: Database): TransitionBody[] {
  const rows = database.sql.prepare("select text from statement where kind = 'transition' order by seq").all()
  return rows.map((row) => (JSON.parse(String(row['text'])) as { body: TransitionBody }).body)
}

const confirmed = (told: TransitionBody[]) => told.some(({ reason }) => reason === 'Confirmed')
const failed = (told: TransitionBody[]) => told.some(({ to }) => to === 'Failed')
const WAY = ['Preflight', 'Staging', 'Staged', 'Activating', 'Verifying', 'Confirming', 'Idle']
const BACK = ['Preflight', 'Staging', 'Staged', 'Activating', 'Verifying', 'RollingBack', 'Failed']

let site: ReturnType<typeof makeSite>
beforeEach(() => {
  site = makeSite()
})

const drivers = ['slots', 'uki'] as const

test.each(drivers)('an image goes its way by %s, and each step is told once', async (boots) => {
  site = makeSite(boots)
  await site.live(site.image('2'), confirmed)
  expect(site.told().map(({ to }) => to)).toEqual(WAY)
  expect(site.activations()).toBe(1)
})

test('how far its download has come is kept while it is staged', async () => {
  const next = site.image('2')
  await site.live(next, (told, { progress }) => {
    const { imageSha256, imageLength: total } = next.target
    if (confirmed(told)) expect(progress).toEqual({ imageSha256, done: total, total })
    return confirmed(told)
  })
})

test('a turn that was given for another order is not taken', async () => {
  const next = site.image('2')
  site.giveStaleTurns(true)
  let stagedAt = 0
  await site.live(next, (told) => {
    if (stagedAt === 0 && told.some(({ to }) => to === 'Staged')) stagedAt = site.looks()
    return stagedAt > 0 && site.looks() > stagedAt + 5
  })
  expect(site.told().at(-1)).toMatchObject({ to: 'Staged' })
  site.giveStaleTurns(false)
  await site.live(next, confirmed)
  expect(site.activations()).toBe(1)
})

test.each(drivers)(
  'what lies in its slots cannot be kept, and an image goes its way by %s all the same',
  async (boots) => {
    site = makeSite(boots)
    site.tell((database) => database.sql.exec(NO_ROOM))
    await site.live(site.image('2'), confirmed)
    await site.live(site.image('3', 'ill'), failed)
    expect(site.told().map(({ to }) => to)).toEqual([...WAY, ...BACK])
    expect(site.tell((database) => database.load('slots'))).toBeUndefined()
  },
)

describe.each(drivers)('the power fails of a machine that boots by %s', (boots) => {
  beforeEach(() => {
    site = makeSite(boots)
  })
  const verbs = ['preflight', 'stage', 'activate', 'confirm'] as const
  const cuts = verbs.flatMap((verb) => (['before', 'after'] as const).map((when) => ({ verb, when })))
  test.each(cuts)('$when $verb was done: the same end, each step told once', async (cut) => {
    const next = site.image('2')
    await site.live(next, confirmed, cut)
    expect(confirmed(site.told())).toBe(false)
    await site.live(next, confirmed)
    // A boot in between is told as one, and proves itself anew; nothing else is told twice.
    const steps = site.told().filter(({ reason }) => reason !== 'BootedAgain')
    const once = steps.filter(({ to }, index) => steps.findIndex((step) => step.to === to) === index)
    expect(once.map(({ to }) => to)).toEqual(WAY)
    expect(steps.filter(({ to }) => to === 'Activating')).toHaveLength(1)
    expect(steps.filter(({ reason }) => reason === 'Confirmed')).toHaveLength(1)
    expect(failed(steps)).toBe(false)
  })

  test.each(['before', 'after'] as const)(
    '%s a rollback was done: it is told once, and not tried again',
    async (when) => {
      const bad = site.image('2', 'ill')
      await site.live(bad, failed, { verb: 'rollback', when })
      await site.live(bad, failed)
      const told = site.told().filter(({ reason }) => reason !== 'BootedAgain')
      expect(told.at(-1)).toMatchObject({ to: 'Failed', outcome: 'RolledBack' })
      expect(told.filter(({ to }) => to === 'Failed')).toHaveLength(1)
      expect(told.filter(({ to }) => to === 'Activating')).toHaveLength(1)
    },
  )
})

describe.each(drivers)('a person asks to try again what failed, on a machine that boots by %s', (boots) => {
  const retryOf = (image: TestImage, act: string): TestImage => ({ ...image, target: { ...image.target, retry: act } })
  const failures = (count: number) => (told: TransitionBody[]) =>
    told.filter(({ to }) => to === 'Failed').length === count
  const memory = () => site.tell((database) => openBus(database).node().state.memory)
  beforeEach(() => {
    site = makeSite(boots)
  })

  test.each([
    ['before', 'preflight'],
    ['after', 'stage'],
    ['after', 'activate'],
  ] as const)('the power fails %s %s: it is forgotten once, told once, and tried once more', async (when, verb) => {
    const bad = site.image('2', 'ill')
    await site.live(bad, failed)
    await site.live(retryOf(bad, 'act-1'), failures(2), { verb, when })
    // What the act asked for is on the disk before anything else was done.
    expect(memory()).toMatchObject({ failures: [], retried: ['act-1'] })
    await site.live(retryOf(bad, 'act-1'), failures(2))
    const asked = site.told().filter(({ reason }) => reason === 'RetryAsked')
    expect(asked).toEqual([
      expect.objectContaining({ from: 'Failed', to: 'Preflight', imageSha256: bad.target.imageSha256 }),
    ])
    expect(memory().failures).toMatchObject([{ imageSha256: bad.target.imageSha256, outcome: 'RolledBack' }])
    // The same act, over a restart: not once more.
    const [said, looks] = [site.told().length, site.looks()]
    await site.live(retryOf(bad, 'act-1'), () => site.looks() > looks + 3)
    expect(site.told()).toHaveLength(said)
  })

  test('of an image that failed for its surroundings: the second time it is confirmed', async () => {
    const image = site.image('2')
    await site.live(image, (_, { state }) => state.stage.phase === 'Staged' || state.stage.phase === 'Activating', {
      verb: 'activate',
      when: 'before',
    })
    site.tell((database) => {
      const bus = openBus(database)
      const { state } = bus.node()
      const failure = { imageSha256: image.target.imageSha256, outcome: 'NeverRebooted' as const }
      const said = { reason: 'NeverRebooted', message: 'a loose cable', at: new Date().toISOString() }
      const stage = { phase: 'Failed' as const, target: image.target }
      bus.saveNode({ state: { ...state, stage, memory: { ...state.memory, failures: [{ ...failure, ...said }] } } })
    })
    const looks = site.looks()
    await site.live(image, () => site.looks() > looks + 3)
    expect(confirmed(site.told())).toBe(false)
    await site.live(retryOf(image, 'act-1'), confirmed)
    expect(memory()).toMatchObject({
      failures: [],
      retried: ['act-1'],
      confirmed: { imageSha256: image.target.imageSha256 },
    })
  })
})

test.each([
  ['that does not come up is left by the platform', 'dies', 'FellBack'],
  ['that is never healthy is taken back', 'ill', 'GatesFailed'],
] as const)('a UKI %s, for good', async (_, behaviour, reason) => {
  site = makeSite('uki')
  const bad = site.image('2', behaviour)
  await site.live(bad, failed)
  expect(site.told().at(-1)).toMatchObject({ to: 'Failed', outcome: 'RolledBack', reason })
  await site.live(site.image('3'), confirmed)
  expect(site.told().at(-1)).toMatchObject({ reason: 'Confirmed' })
})

// As the hub reads it: the machine's own reason, or what is not well on the node.
test.each<[string, Dark, Partial<Disk>, string, string]>([
  ['full', 'nothing', { freeBytes: async () => 10 }, 'Preflight', 'NoSpace'],
  ['mounted read-only', 'a writable ESP', {}, 'Preflight', 'EspReadOnly'],
  ['of another file system', 'an ESP that is VFAT', {}, 'Idle', 'EspNotVfat'],
  ['not mounted', 'the ESP', {}, 'Idle', 'EspMissing'],
  ['there, and UEFI variables are not', 'UEFI variables', {}, 'Idle', 'EfiVarsMissing'],
])('an ESP that is %s ends in a status with a reason of its own', async (_, hides, disk, phase, reason) => {
  const machine = ukiMachine(testFolder())
  machine.hide('1', hides)
  const ill = siteOf(testFolder(), ukiSite(machine, { disk: { ...realDisk, ...disk } }))
  const status = (node: EdgeNode) =>
    nodeStatus(
      {
        ...{ enrollment, bus: { node: () => node, site: () => undefined }, newest: { seq: 0 }, boot: undefined },
        ...{ driver: 'uki', tpm: undefined, tuf: { root: 1, timestamp: 1, snapshot: 1, targets: 1 } },
      },
      0,
    )
  await ill.live(ill.image('2'), (__, node) => {
    const said = status(node)
    return said.phase === phase && [said, ...(said.troubles ?? [])].some((one) => one.reason === reason)
  })
})

describe('an image whose boots cannot be looked at', () => {
  const machine = () => ukiMachine(testFolder())

  test.each<[Dark, number, string]>([
    ['the ESP', 2, 'EspMissing'],
    ['an ESP that is VFAT', 1, 'EspNotVfat'],
    ['its own name', 1, 'BootedImageUnknown'],
    ['UEFI variables', 1, 'EfiVarsMissing'],
  ])('because they hide %s, is left after %i tries, for good, with its reason: %s', async (what, tries, reason) => {
    const dark = machine()
    dark.hide('2', what)
    const left = siteOf(testFolder(), ukiSite(dark, { tries }))
    const { file, target } = left.image('2')
    const bad = { file, target: { ...target, gates: gatesOf('ill') } }
    await left.live(bad, failed)
    expect(left.told().map(({ to }) => to)).toEqual([
      ...WAY.slice(0, 4),
      'Activating',
      'RollingBack',
      ...dup(tries),
      'Failed',
    ])
    expect(left.told().at(-1)).toMatchObject({ outcome: 'RolledBack', reason })
    // The factory's, each try, and the fallback.
    expect(dark.boots()).toBe(2 + tries)
    await left.live(left.image('3'), confirmed)
    expect(left.told().at(-1)).toMatchObject({ reason: 'Confirmed' })
  })
  // Told once in each boot.
  const dup = (tries: number) => Array.from({ length: tries - 1 }, () => 'RollingBack')

  test('is not left when nobody put it on trial: its reason is kept, and goes when it can be looked at', async () => {
    const dark = machine()
    dark.hide('1', 'an ESP that is VFAT')
    const stays = siteOf(testFolder(), ukiSite(dark, {}))
    const next = stays.image('2')
    await stays.live(next, (_, { unseen }) => unseen !== undefined)
    const before = { boots: dark.boots(), told: stays.told() }
    let looks = 0
    await stays.live(next, (_, { unseen }) => {
      expect(unseen).toMatchObject({ reason: 'EspNotVfat', message: expect.stringContaining('/efi is a ext4') })
      looks += 1
      return looks > 20
    })
    expect({ boots: dark.boots(), told: stays.told() }).toEqual({ ...before, boots: before.boots + 1 })
    dark.hide('1', 'nothing')
    await stays.live(next, (told, { unseen }) => unseen === undefined && confirmed(told))
  })
})

test('an image that is never healthy is taken back, told with its outcome, and its bytes are not tried again', async () => {
  const bad = site.image('2', 'ill')
  await site.live(bad, failed)
  expect(site.told().map(({ to }) => to)).toEqual(BACK)
  expect(site.told().at(-1)).toMatchObject({ outcome: 'RolledBack', reason: 'GatesFailed' })
  // Under another version and manifest.
  const again = { ...bad, target: { ...bad.target, version: '9', releaseCounter: 9, manifestSha256: 'f'.repeat(64) } }
  await site.live({ ...again, target: { ...again.target, position: { timeline: 0, generation: 9 } } }, () => true)
  expect(site.told().map(({ to }) => to)).toEqual(BACK)
  const good = site.image('3')
  await site.live(good, confirmed)
  expect(
    site
      .told()
      .slice(BACK.length)
      .map(({ to }) => to),
  ).toEqual(WAY)
})

describe('while the room is short', () => {
  type Told = { kind: string; body: { bootId?: string; reason?: string; code?: string; message?: string } }
  const read = () => site.texts().map((text) => JSON.parse(text) as Told)
  const evidence = () => read().filter(({ kind }) => kind === 'evidence')

  test('an upgrade is told and proven from its first word to its last, and its chain holds', async () => {
    site.bound(1)
    await site.live(site.image('2'), confirmed)
    expect(site.told().map(({ to }) => to)).toEqual(WAY)
    const { bootId } = site.told().at(-1) ?? {}
    expect(evidence().map(({ body }) => body.bootId)).toContain(bootId)
    const { cluster, node, incarnation, transcript } = enrollment
    const { faults, statements } = await readEvidence({
      ...{ cluster, node, incarnation, nodeKey: createKey('ES256').jwk, batches: [] },
      registration: { transcript, acceptedBy: 'a', acceptedAt: enrollment.acceptedAt },
      statements: site.texts().map((text, place) => ({ seq: place + 1, text })),
    })
    expect(faults).toEqual([])
    expect(statements.size).toBe(site.texts().length)
  })

  test('a boot that proves no upgrade waits for room; those that others have followed are counted', async () => {
    const next = site.image('2')
    await site.live(next, confirmed)
    const before = evidence().length
    const someLooks = () => {
      const from = site.looks()
      return () => site.looks() > from + 2
    }
    site.bound(1)
    for (let boot = 0; boot < 3; boot += 1) await site.live(next, someLooks())
    expect(evidence()).toHaveLength(before)
    site.bound(undefined)
    await site.live(next, someLooks())
    expect(evidence()).toHaveLength(before + 1)
    // Two were followed by others in the dark, and the third when there was room again.
    const leftOut = read().flatMap(({ body }) => (body.code === 'OutboxFull' ? [body.message] : []))
    expect(leftOut).toEqual([
      expect.stringMatching(/^2 evidence left out/),
      expect.stringMatching(/^1 evidence left out/),
    ])
  })
})
