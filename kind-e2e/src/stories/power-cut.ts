import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { FAMILY, type Release } from '@skerry/demo'
import { until } from '@skerry/supervise'
import { assertChain, transitionsOf } from '../chain.ts'
import { chance } from '../chance.ts'
import type { MachineBoot } from '../machine/console.ts'
import { listEsp, readEsp } from '../machine/disk.ts'
import { bootsFolder, keepingBoots, verifyKept } from '../machine/kept.ts'
import type { CachedDisks } from '../machine/machine.ts'
import { findParts } from '../machine/parts.ts'
import { HOST } from '../machine/site.ts'
import type { LogEntry } from '../site.ts'
import type { World } from '../world.ts'
import { assertSaid, type Depot, imageOf, NAME, openDepot, registers, STEP_MS, said, TERMS, WORTH } from './depot.ts'
import type { Story } from './story.ts'

/** Of what chance decides here: which unflushed writes came through, and the moments that no step names. */
const SEED = 20_261_126
/** More boots than this story cuts short in one trial. */
const TRIES = 8

/** What the ESP shows after a cut, as far as an image may boot from it. */
type Shown = 'before' | 'staged' | 'armed' | 'spent' | 'confirmed'

/** A moment at which the power is cut. */
type Cut = {
  /** The phase of the node's machine, and where in it. */
  readonly step: string
  readonly shows: Shown | 'by chance'
  /** Resolves at that moment. */
  readonly reach: (machine: Watched, length: number) => Promise<unknown>
}
type Watched = Pick<Depot, 'line'> & { readonly esp: CachedDisks['esp']; readonly data: CachedDisks['data'] }

const UPGRADE: readonly Cut[] = [
  { step: 'Preflight', shows: 'before', reach: (machine) => goesOn(machine, 'Preflight') },
  {
    step: 'Staging, a quarter downloaded',
    shows: 'before',
    async reach(machine, length) {
      await begins(machine, 'Stage')
      machine.data.holdAtWrite(length / 4)
      await held(machine.data)
    },
  },
  {
    step: 'Staging, half of it written to the ESP',
    shows: 'before',
    async reach(machine, length) {
      await begins(machine, 'Stage')
      machine.esp.holdAtWrite(length / 2)
      await held(machine.esp)
    },
  },
  {
    step: 'Staging, written whole and not flushed',
    shows: 'before',
    reach: (machine) => held(machine.esp, (esp) => esp.holdAtFlush(1, 'before')),
  },
  {
    step: 'Staging, written whole and not told',
    shows: 'staged',
    // The file, then its folder.
    reach: (machine) => held(machine.esp, (esp) => esp.holdAtFlush(2, 'done')),
  },
  { step: 'Staged', shows: 'staged', reach: (machine) => goesOn(machine, 'Staged') },
  {
    step: 'Activating, before the arm',
    shows: 'staged',
    reach: (machine) => held(machine.esp, (esp) => esp.holdAtWrite(0)),
  },
  {
    step: 'Activating, armed and not rebooted',
    shows: 'armed',
    reach: (machine) => held(machine.esp, (esp) => esp.holdAtFlush(2, 'done')),
  },
  {
    step: 'its first boot, before its agent',
    shows: 'armed',
    reach: async () => undefined,
  },
  { step: 'Verifying', shows: 'armed', reach: (machine) => goesOn(machine, 'Verifying') },
  {
    step: 'Confirming, before the bless',
    shows: 'armed',
    async reach(machine) {
      machine.esp.holdAtWrite(0)
      await begins(machine, 'Confirm')
      await held(machine.esp)
    },
  },
  {
    // The file, then its folder: the old name may lie in another sector than the new one, and be there still.
    step: 'Confirming, its new name flushed',
    shows: 'by chance',
    reach: (machine) => held(machine.esp, (esp) => esp.holdAtFlush(1, 'done')),
  },
  {
    step: 'Confirming, blessed and not told',
    shows: 'confirmed',
    reach: (machine) => held(machine.esp, (esp) => esp.holdAtFlush(2, 'done')),
  },
]

const ROLLBACK: readonly Cut[] = [
  {
    step: 'RollingBack, before anything is undone',
    shows: 'armed',
    reach: (machine) => goesOn(machine, 'RollingBack'),
  },
  {
    step: 'RollingBack, its tries spent and not rebooted',
    shows: 'spent',
    reach: (machine) => held(machine.esp, (esp) => esp.holdAtFlush(2, 'done')),
  },
]
const RANDOM_CUTS = 3
/** About as long as such a machine takes from its userland to the next boot. */
const RANDOM_WITHIN_MS = 30_000

export const powerCut: Story = {
  name: 'power-cut',
  tells:
    'the power is cut at every step of an upgrade and of a rollback, and what the disks had not flushed is lost by chance: the machine always comes back on an image that is confirmed or counted, and goes on to the end',
  async play(world) {
    const parts = findParts(world.say)
    await world.raise(0, [], [HOST])
    // Two, so that the moments are the same however many writes the disks were asked about.
    const [random, moments] = [chance(SEED), chance(SEED + 1)]
    world.say(`what is left to chance is by seed ${SEED}`)
    const images = {
      one: imageOf(world, parts, 1),
      two: imageOf(world, parts, 2),
      three: imageOf(world, parts, 3, { healthy: false, watchdogS: 600 }),
      four: imageOf(world, parts, 4),
    }
    const releases = Object.values(images)
    const machine = await openDepot(world, parts, images.one, { args: ['--boot-tries', String(TRIES)], random })
    const { cached } = machine
    assert.ok(cached)
    const manifests = releases.map(({ manifest }) => manifest)
    const story: Play = { world, machine, watched: { line: machine.line, ...cached }, releases, moments }
    await keepingBoots(world, machine, { manifests, profile: machine.profile }, async () => {
      await registers(world, machine, images.one)
      await upgrade(story, images.two)
      await rollback(story, images.two, images.three)
      await atAnyMoment(story, images.four)
      await machine.turnOff(STEP_MS)
      const outbox = machine.outbox()
      await assertChain(world.client(), { name: NAME, outbox: () => outbox })
      world.say('every statement is at the hub once, in order, each following from the one before')
    })
    const kept = verifyKept(bootsFolder(world))
    for (const [folder, { verdict, findings, secondOpinion }] of kept) {
      assert.equal(verdict, WORTH.verdict, `kept of boot ${folder}: ${JSON.stringify(findings)}`)
      assert.deepEqual(secondOpinion, [], `tpm2-tools find nothing in what is kept of boot ${folder}`)
    }
    world.say(`of ${machine.boots().length} boots ${kept.size} lived to be told, and are ${WORTH.verdict} with no hub`)
  },
}

type Play = {
  readonly world: World
  readonly machine: Depot
  readonly watched: Watched
  readonly releases: readonly Release[]
  /** Numbers in [0, 1): when the cuts come that no step names. */
  readonly moments: () => number
}

async function upgrade(story: Play, image: Release): Promise<void> {
  const { world } = story
  await world.publish(image)
  const name = await world.rollOut(2, TERMS)
  for (const cut of UPGRADE) await cutAt(story, image, cut)
  await completes(story, image, name)
}

async function rollback(story: Play, before: Release, image: Release): Promise<void> {
  const { world, machine } = story
  await world.publish(image)
  // Sooner than its watchdog: it is the agent that goes back here.
  const name = await world.rollOut(3, { ...TERMS, gates: { healthySeconds: 5, timeoutSeconds: 10 } })
  await machine.boot(machine.boots().length + 1, STEP_MS)
  for (const cut of ROLLBACK) await cutAt(story, image, cut)
  const end = await world.rolloutUntil(name, 'Paused by a breach', ({ phase }) => phase === 'Paused', STEP_MS)
  const [cluster] = end.clusters ?? []
  assert.deepEqual([cluster?.state, cluster?.reason], ['RolledBack', 'GatesFailed'])
  await assertSaid(world, cluster?.statement)
  const steps = transitionsOf(await said(world), image.manifest.image.sha256)
  assert.equal(steps.filter(({ to }) => to === 'Activating').length, 1, 'it was activated once')
  assert.equal(machine.boots().at(-1)?.version, before.manifest.version)
  world.say(`${name} is RolledBack: ${cluster?.message}`)
}

async function atAnyMoment(story: Play, image: Release): Promise<void> {
  const { world, machine, moments } = story
  await world.publish(image)
  const name = await world.rollOut(4, TERMS)
  for (let n = 1; n <= RANDOM_CUTS; n += 1) {
    const afterMs = Math.round(moments() * RANDOM_WITHIN_MS)
    await cutAt(story, image, {
      step: `any moment, ${(afterMs / 1000).toFixed(1)} s after its boot`,
      shows: 'by chance',
      reach: () => new Promise((resolve) => setTimeout(resolve, afterMs)),
    })
  }
  await completes(story, image, name)
  assert.equal(machine.boots().at(-1)?.version, image.manifest.version)
}

async function completes({ world, machine }: Play, image: Release, name: string): Promise<void> {
  const done = await world.rolloutUntil(name, 'Completed', ({ phase }) => phase === 'Completed', STEP_MS)
  const [cluster] = done.clusters ?? []
  assert.deepEqual([cluster?.name, cluster?.state], [NAME, 'Succeeded'])
  await assertSaid(world, cluster?.statement)
  const steps = transitionsOf(await said(world), image.manifest.image.sha256)
  const count = (holds: (step: (typeof steps)[number]) => boolean) => steps.filter(holds).length
  assert.equal(
    count(({ to }) => to === 'Activating'),
    1,
    'it was activated once',
  )
  assert.equal(
    count(({ reason }) => reason === 'Confirmed'),
    1,
    'it was confirmed once',
  )
  assert.equal(
    count(({ to }) => to === 'Failed' || to === 'RollingBack'),
    0,
    'it was never taken back',
  )
  world.say(`${name} is Completed after ${machine.boots().length} boots`)
}

/** Cuts the power at that moment, looks at the ESP from outside, and waits until the machine is up again. */
async function cutAt({ world, machine, watched, releases }: Play, image: Release, cut: Cut): Promise<void> {
  const { step, shows, reach } = cut
  await reach(watched, image.manifest.image.length)
  const unflushed = await machine.cut()
  assert.ok(unflushed)
  const seen = look(machine.espDisk, releases)
  if (shows !== 'by chance') assert.equal(shownOf(seen, image), shows, `${step}: ${namesOf(seen)}`)
  const boots = machine.boots().length
  await machine.start()
  const boot = await machine.boot(boots + 1, STEP_MS)
  assertExpected(boot, seen)
  const { lost, kept } = {
    lost: unflushed.esp.lost + unflushed.data.lost,
    kept: unflushed.esp.kept + unflushed.data.kept,
  }
  world.say(
    `cut: ${step} (unflushed: ${lost} writes lost, ${kept} kept); on the ESP ${namesOf(seen)}; back on ${boot.entry}`,
  )
}

type Entry = {
  readonly file: string
  readonly version: string
  /** Tries left; undefined where none are counted. */
  readonly left: number | undefined
}
/** `part`: what no firmware sees, and whether it is whole. */
type Look = { readonly entries: readonly Entry[]; readonly part: { file: string; whole: boolean } | undefined }

/** What could boot from this ESP: a confirmed image and at most one that is counted, each of them byte by byte a release. */
function look(espDisk: string, releases: readonly Release[]): Look {
  const files = listEsp(espDisk)
  const entries = files.flatMap((file) => {
    // systemd-boot passes an empty file over.
    if (!file.endsWith('.efi') || digestOnEsp(espDisk, file) === EMPTY) return []
    const [, left] = /\+(\d+)(?:-\d+)?\.efi$/.exec(file) ?? []
    return [{ file, version: versionOf(file), left: left === undefined ? undefined : Number(left) }]
  })
  const isWhole = (file: string) => {
    const release = releases.find(({ manifest }) => manifest.version === versionOf(file))
    return digestOnEsp(espDisk, file) === release?.manifest.image.sha256
  }
  for (const { file } of entries) assert.ok(isWhole(file), `${file} is whole`)
  assert.ok(
    entries.some(({ left }) => left === undefined),
    `a confirmed image is there: ${files.join(', ')}`,
  )
  assert.ok(entries.filter(({ left }) => (left ?? 0) > 0).length <= 1, `one at most is armed: ${files.join(', ')}`)
  const [file, ...more] = files.filter((one) => one.endsWith('.part'))
  assert.deepEqual(more, [], 'one at most is staged')
  return { entries, part: file === undefined ? undefined : { file, whole: isWhole(file) } }
}

const EMPTY = createHash('sha256').digest('hex')

/** undefined for what cannot be read to its end: a name may last whose bytes, or whose places, did not. */
function digestOnEsp(espDisk: string, file: string): string | undefined {
  try {
    return createHash('sha256')
      .update(readEsp(espDisk, `/EFI/Linux/${file}`))
      .digest('hex')
  } catch {
    return undefined
  }
}

const versionOf = (file: string) => /_(\d+)/.exec(file)?.[1] ?? ''

function shownOf({ entries, part }: Look, { manifest: { version } }: Release): Shown {
  const mine = entries.find((one) => one.version === version)
  if (!mine) return part?.whole === true && part.file === `${FAMILY}_${version}.part` ? 'staged' : 'before'
  if (mine.left === undefined) return 'confirmed'
  return mine.left > 0 ? 'armed' : 'spent'
}

const namesOf = ({ entries, part }: Look) =>
  [...entries.map(({ file }) => file), ...(part ? [`${part.file}${part.whole ? '' : ' (not whole)'}`] : [])].join(', ')

/** The newest boots that has tries left or needs none, as a file that was there: one may have two names for a moment. */
function assertExpected({ version, entry }: MachineBoot, { entries }: Look): void {
  const bootable = entries.filter(({ left }) => left !== 0).toSorted((a, b) => Number(b.version) - Number(a.version))
  assert.equal(version, bootable[0]?.version, 'it came back on a confirmed or a counted image')
  assert.ok(
    bootable.some((one) => one.file === entry && one.version === version),
    `it came back as ${entry}`,
  )
}

function entryOf(line: string): LogEntry | undefined {
  try {
    return JSON.parse(line) as LogEntry
  } catch {
    return undefined
  }
}
const logs = ({ line }: Watched, what: string, matches: (entry: LogEntry) => boolean) =>
  line((text) => (matches(entryOf(text) ?? {}) ? true : undefined), `the agent of ${NAME} ${what}`, STEP_MS)
/** Its state is saved when it says so. */
const goesOn = (machine: Watched, phase: string) =>
  logs(machine, `going on to ${phase}`, ({ msg, to }) => msg === 'node went on' && to === phase)
const begins = (machine: Watched, effect: string) =>
  logs(machine, `beginning to ${effect}`, (entry) => entry.msg === 'effect begins' && entry.effect === effect)

type CachedDisk = CachedDisks['esp']
async function held(disk: CachedDisk, where: (disk: CachedDisk) => void = () => undefined): Promise<void> {
  where(disk)
  await until(disk.isHeld, 'a disk being held at its place', STEP_MS)
}
