import type { DesiredState, OSImageManifest, Statement } from '@skerry/api'
import { HARDWARE_ID } from '@skerry/demo'
import { sha256Hex } from '@skerry/trust'
import { afterEach, expect, test, vi } from 'vitest'
import { type Fate, openMachine } from './machine.ts'
import { type Node, openNode } from './node.ts'
import type { Said } from './site.ts'

const FACTORY = sha256Hex('factory')
const NEXT = sha256Hex('next')
const NEWER = sha256Hex('newer')
const COUNTERS = { [NEXT]: 2, [NEWER]: 3 }
const DEADLINE = { timeout: 60_000, interval: 5 }
const open: Node[] = []
afterEach(() => {
  for (const node of open.splice(0)) node.close()
})

type Words = () => string[]

/** A node that boots and downloads in no time, and what it says. */
function nodeOf(fates: Readonly<Record<string, Fate>> = {}, clockOf: (words: Words) => () => number = () => Date.now) {
  const said: Said[] = []
  const words: Words = () => said.map(wordOf)
  const node = openNode({
    ...{ name: 'shop', factory: FACTORY, now: clockOf(words), onChange: () => undefined, stageMs: () => 1 },
    machine: (onUp) =>
      openMachine({
        ...{ name: 'shop', factory: FACTORY, onUp, rebootMs: () => 1 },
        fateOf: (imageSha256) => fates[imageSha256] ?? 'well',
      }),
    manifestOf: async (_, sha256) => manifestOf(sha256),
    say: (make) => {
      const place = { seq: said.length + 1, prev: sha256Hex('prev'), marker: sha256Hex('marker') }
      return said.push(typeof make === 'function' ? make(place) : make)
    },
  })
  open.push(node)
  return { node, said, words }
}

/** What a statement says, in short. */
function wordOf({ kind, body }: Said): string {
  const {
    from,
    to,
    reason,
    code,
    imageSha256 = '',
  } = body as { [member in 'from' | 'to' | 'reason' | 'code' | 'imageSha256']?: string }
  if (kind === 'transition') return `${from} ${to} ${reason}`
  if (kind === 'refused') return `refused ${code}`
  return kind === 'evidence' ? `booted ${{ [FACTORY]: 'factory', [NEXT]: 'next' }[imageSha256]}` : kind
}

// The manifest's digest is told by that of the image.
function manifestOf(sha256: string): OSImageManifest {
  const image = { sha256, length: 1, mediaType: 'application/octet-stream' }
  const names = { family: 'os', version: sha256.slice(0, 8), releaseCounter: COUNTERS[sha256] ?? 1 }
  return { kind: 'OSImageManifest', ...names, hardwareIds: [HARDWARE_ID], image, boot: { kind: 'none' } }
}

function order(sha256: string, generation: number, more: Partial<DesiredState> = {}): [DesiredState, string] {
  const document: DesiredState = {
    ...{ kind: 'DesiredState', cluster: 'shop', timeline: 0, generation, issuedAt: new Date().toISOString() },
    image: { target: 'manifest', sha256, rollout: 'default/r' },
    ...{ windows: { activation: [] }, gates: { healthySeconds: 0, timeoutSeconds: 60 }, drain: { timeoutSeconds: 1 } },
    ...{ budget: { maxUnavailable: 1 }, onFailure: 'RollBack', attestation: 'warning', paused: false },
    ...{ works: [], tombstones: [] },
    ...more,
  }
  return [document, sha256Hex(JSON.stringify(document))]
}

const UP_TO_STAGED = ['accepted', 'Idle Preflight Preflight', 'Preflight Staging Staging', 'Staging Staged Staged']

test('an image is staged, booted, told and confirmed, in an agent’s order', async () => {
  const { node, words } = nodeOf()
  await node.order(...order(NEXT, 1))
  await vi.waitFor(() => expect(words().at(-1)).toBe('Confirming Idle Confirmed'), DEADLINE)
  expect(words()).toEqual([
    'booted factory',
    ...UP_TO_STAGED,
    'Staged Activating TurnGranted',
    'booted next',
    'Activating Verifying Booted',
    'Verifying Confirming GatesPassed',
    'Confirming Idle Confirmed',
  ])
  expect(node.machine.status()).toMatchObject({ imageSha256: NEXT, slot: 'b' })
})

test.each<[Fate, readonly string[]]>([
  [
    'never well',
    [
      'booted next',
      'Activating Verifying Booted',
      'Verifying RollingBack GatesFailed',
      'booted factory',
      'RollingBack Failed GatesFailed',
    ],
  ],
  ['does not come up', ['booted factory', 'Activating Failed FellBack']],
])('of one that %s the image before runs again, and its bytes are not taken a second time', async (fate, said) => {
  const { node, words, said: all } = nodeOf({ [NEXT]: fate })
  await node.order(...order(NEXT, 1, { gates: { healthySeconds: 0, timeoutSeconds: 1 } }))
  await vi.waitFor(() => expect(node.state().stage.phase).toBe('Failed'), DEADLINE)
  expect(words()).toEqual(['booted factory', ...UP_TO_STAGED, 'Staged Activating TurnGranted', ...said])
  expect(all.at(-1)?.body).toMatchObject({ outcome: 'RolledBack', imageSha256: NEXT })
  expect(node.machine.status()?.imageSha256).toBe(FACTORY)
  await node.order(...order(NEXT, 2))
  expect(words().at(-1)).toBe('refused ImageFailedBefore')
  expect((all.at(-1) as Pick<Statement & { kind: 'refused' }, 'body'>).body.position).toEqual({
    ...{ timeline: 0, generation: 2 },
  })
  await node.order(...order(NEWER, 3))
  await vi.waitFor(
    () => expect(node.status()).toMatchObject({ phase: 'Idle', booted: { imageSha256: NEWER } }),
    DEADLINE,
  )
})

test('bytes that failed are tried again once for each act by which a person asks', async () => {
  const { node, words } = nodeOf({ [NEXT]: 'does not come up' })
  const failures = () => words().filter((word) => word === 'Activating Failed FellBack').length
  await node.order(...order(NEXT, 1))
  await vi.waitFor(() => expect(failures()).toBe(1), DEADLINE)
  const retry = { imageSha256: NEXT, act: '00000000-0000-4000-8000-000000000000' }
  await node.order(...order(NEXT, 2, { retry }))
  await vi.waitFor(() => expect(failures()).toBe(2), DEADLINE)
  expect(words()).toContain('Failed Preflight RetryAsked')
  await node.order(...order(NEXT, 3, { retry }))
  expect(words().at(-1)).toBe('refused ImageFailedBefore')
})

test('what is paused is staged and held until it is not', async () => {
  const { node, words } = nodeOf()
  await node.order(...order(NEXT, 1, { paused: true }))
  await vi.waitFor(() => expect(words().at(-1)).toBe('Staged Staged Paused'), DEADLINE)
  await node.order(...order(NEXT, 2))
  await vi.waitFor(() => expect(words().at(-1)).toBe('Confirming Idle Confirmed'), DEADLINE)
})

/** A clock that stands until a word was said: however long a busy machine takes to say it, it is no later by then. */
const standing = (at: string, word: string) => (words: Words) => {
  let begun: number | undefined
  return () => {
    if (begun === undefined && words().includes(word)) begun = performance.now()
    return Date.parse(at) + (begun === undefined ? 0 : performance.now() - begun)
  }
}

test('a closed window is waited for, and opens with nobody saying so', async () => {
  const activation = [{ at: '0 2 * * *', timeZone: 'UTC', durationSeconds: 600 }]
  const { node, words } = nodeOf({}, standing('2026-06-02T01:59:59.500Z', 'Staged Staged WindowClosed'))
  await node.order(...order(NEXT, 1, { windows: { activation } }))
  await vi.waitFor(() => expect(words().at(-1)).toBe('Confirming Idle Confirmed'), DEADLINE)
  expect(words()).toContain('Staged Staged WindowClosed')
})

test('its minute in the waves is waited for, and comes with nobody saying so', async () => {
  const startsAt = '2026-06-01T12:00:00.000Z'
  const { node, words } = nodeOf({}, standing('2026-06-01T12:59:59.500Z', 'Staged Staged WaveNotDue'))
  const schedule = [{ startAfterSeconds: 3_600, spreadSeconds: 0, percent: 100 }]
  await node.order(...order(NEXT, 1, { waves: { startsAt, schedule } }))
  await vi.waitFor(() => expect(words().at(-1)).toBe('Confirming Idle Confirmed'), DEADLINE)
  expect(words()).toContain('Staged Staged WaveNotDue')
})
