import type { RequestListener } from 'node:http'
import type { RolloutCluster, RolloutStatus } from '@skerry/api'
import { describe, expect, test } from 'vitest'
import { printedOf } from './test-hub.ts'

// The other end of the wire, with a fleet that no test makes: what a whole hub foresees is tested with the command itself.

const NOW = '2026-06-01T12:00:00.000Z'
const ready = { type: 'Ready', status: 'True', reason: 'Ready', message: '', lastTransitionTime: NOW } as const
const rollout = (spec: object, status?: RolloutStatus) => ({
  ...{ apiVersion: 'skerry.dev/v1alpha1', kind: 'Rollout', metadata: { name: 'r', namespace: 'fleet' } },
  spec: { placementRef: { name: 'all' }, image: { name: 'os-1' }, ...spec },
  ...(status ? { status } : {}),
})
/** One group of clusters, in its order; `of` says what each does. */
function statusOf(count: number, of: (index: number) => Partial<RolloutCluster>): RolloutStatus {
  const clusters = Array.from({ length: count }, (_, index): RolloutCluster => {
    const name = `c-${String(index).padStart(5, '0')}`
    return { name, state: 'NotStarted', reason: 'ConcurrencyLimit', message: 'waits', since: NOW, ...of(index) }
  })
  const groups = [{ index: 0, name: '', total: count, succeeded: 0, failed: 0, openedAt: NOW }]
  return { phase: 'Running', clusters, groups, conditions: [ready] }
}

/** What a preview prints of a hub that has `stored`, if it has it, and foresees these, with the file and without it. */
async function previewed(
  args: readonly string[],
  foreseen: RolloutStatus,
  stored?: { readonly without: RolloutStatus },
): Promise<string> {
  const edited = { attestation: 'warning' }
  const answer: RequestListener = (request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      const body = Buffer.concat(chunks).toString()
      const there = request.method !== 'GET' || stored !== undefined
      response.writeHead(there ? 200 : 404, { 'content-type': 'application/json' })
      const asIs = request.method === 'GET' || body === '{}'
      const told = asIs ? rollout({}, stored?.without) : rollout(edited, foreseen)
      const missing = { kind: 'Status', code: 404, reason: 'NotFound', message: 'not found' }
      response.end(JSON.stringify(there ? told : missing))
    })
  }
  const command = ['rollout', 'preview', '-f', '-', ...args]
  return printedOf(answer, command, { now: () => NOW, stdin: JSON.stringify(rollout(edited)) })
}

const linesOf = (text: string, like: RegExp) => text.split('\n').filter((line) => like.test(line))
const LEFT_OUT = '--limit 0 shows all, --state STATE,… those in some states'

describe('of ten thousand clusters a preview shows', () => {
  const fleet = statusOf(10_000, (index) =>
    index < 50
      ? { reason: 'Sending' }
      : index < 7_000
        ? {}
        : { state: 'Offline', reason: index < 9_999 ? 'Offline' : 'NeverSeen' },
  )
  const row = /^1 +c-\d+/

  test('a hundred where nobody says how many, those first who have their turn, and what the others are', async () => {
    const text = await previewed([], fleet)
    expect(linesOf(text, row)).toHaveLength(100)
    expect(linesOf(text, row)[0]).toMatch(/^1 +c-00000 +NotStarted +Sending/)
    expect(linesOf(text, /^… and/)).toEqual([
      `… and 9900 more, 6900 NotStarted (ConcurrencyLimit), 2999 Offline (Offline), 1 Offline (NeverSeen): ${LEFT_OUT}`,
    ])
    expect(text.length).toBeLessThan(20_000)
  })

  test.each<[string[], number, string[]]>([
    [['--limit', '0'], 10_000, []],
    [['--limit', '9999'], 9_999, [`… and 1 more, 1 Offline (NeverSeen): ${LEFT_OUT}`]],
    [['--limit', '10000'], 10_000, []],
    [['--state', 'offline', '--limit', '0'], 3_000, []],
    [['--state', 'Offline,NotStarted', '--limit', '0'], 10_000, []],
    [['--state', ' Offline, NotStarted ', '--limit', '0'], 10_000, []],
    [['--state', 'Offline', '--limit', '2999'], 2_999, [`… and 1 more, 1 Offline (NeverSeen): ${LEFT_OUT}`]],
  ])('by %j', async (args, shown, more) => {
    const text = await previewed(args, fleet)
    expect(linesOf(text, row)).toHaveLength(shown)
    expect(linesOf(text, /^… and/)).toEqual(more)
  })

  test('of what is left out the kinds of which there are most, and how many clusters are of none of these', async () => {
    const many = statusOf(1_000, (index) => ({ reason: `Reason${Math.min(11, Math.floor(index / 90))}` }))
    const [line = ''] = linesOf(await previewed([], many), /^… and/)
    expect(line).toMatch(/^… and 900 more, 90 NotStarted \(Reason2\), /)
    expect(line).toMatch(/, 90 NotStarted \(Reason9\), 180 others: /)
  })

  test('that nobody is in a state which is asked for', async () => {
    const text = await previewed(['--state', 'Sent,Staging'], fleet)
    expect(text).toContain('\nNobody in Sent or Staging is sent the image now, and nobody waits for it.\n')
    expect(linesOf(text, row)).toEqual([])
  })

  test('all of them as JSON, which no flag makes less', async () => {
    const told = JSON.parse(await previewed(['-o', 'json'], fleet)) as { held: unknown[] }
    expect(told.held).toHaveLength(9_950)
    for (const flag of [
      ['--limit', '0'],
      ['--state', 'Offline'],
    ])
      await expect(previewed(['-o', 'json', ...flag], fleet)).rejects.toThrow(
        '--state and --limit choose what the table shows: -o json tells of all clusters',
      )
  })
})

test('whom an edit concerns, and who is ordered back, are lists that are cut alike', async () => {
  const back = { target: 'images/os/0.json', manifestSha256: 'a'.repeat(64), version: '0', message: 'is ordered back' }
  const is = statusOf(300, (index) => ({
    ...{ state: index === 0 ? 'Failed' : 'RolledBack', reason: 'FellBack' },
    backTo: { ...back, state: index < 120 ? 'Ordered' : 'Accepted' },
  }))
  const stored = { without: statusOf(300, () => ({})) }
  const text = await previewed([], is, stored)
  const orders = /^c-\d+ +images/
  const changes = /^c-\d+ +NotStarted/
  expect([linesOf(text, orders).length, linesOf(text, changes).length]).toEqual([100, 100])
  expect(linesOf(text, /^… and/)).toEqual([
    `… and 200 more, 180 Accepted, 20 Ordered: ${LEFT_OUT}`,
    `… and 200 more, 200 RolledBack (FellBack): ${LEFT_OUT}`,
  ])
  const failed = await previewed(['--state', 'Failed'], is, stored)
  expect([linesOf(failed, orders).length, linesOf(failed, changes).length]).toEqual([1, 1])
  expect(await previewed(['--state', 'Sent'], is, stored)).toMatch(
    /\nFor no cluster in Sent does the edit change what happens next\.\n$/,
  )
})
