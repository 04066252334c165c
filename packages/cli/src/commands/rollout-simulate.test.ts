import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { testFolder } from '@skerry/supervise/testing'
import { describe, expect, test } from 'vitest'
import { Faults, UsageError } from '../errors.ts'
import { buildProgram } from '../program.ts'

// The example of packages/cli/README.md, as it is printed there.

const README = readFileSync(new URL('../../README.md', import.meta.url), 'utf8')
const EXAMPLE = new Map(
  [...README.matchAll(/```yaml\n# (\S+)\n([\s\S]*?)```/g)].map(([, name = '', text = '']) => [name, text]),
)
const [ROLLOUT = '', MONTH = ''] = [EXAMPLE.get('rollout.yaml'), EXAMPLE.get('bad-month.yaml')]

async function run(dir: string, args: readonly string[]): Promise<string> {
  const out: string[] = []
  const shell = {
    out: (text: string) => void out.push(text),
    err: () => {},
    now: () => Date.parse('2026-06-01T00:00:00Z'),
    // No hub is known here: whoever asks one fails.
    env: { SKERRY_CONFIG: join(dir, 'none') },
    signal: new AbortController().signal,
    stdin: async () => '',
  }
  await buildProgram(shell)
    .parseAsync(args, { from: 'user' })
    .catch((error: unknown) => {
      if (error instanceof Faults) throw new Faults(error.faults.map((fault) => fault.replace(`${dir}/`, '')))
      throw error
    })
  return out.join('')
}
async function simulated(month = MONTH, rollout = ROLLOUT, ...more: string[]): Promise<string> {
  const dir = testFolder()
  const [rolloutFile, monthFile] = [join(dir, 'rollout.yaml'), join(dir, 'bad-month.yaml')]
  writeFileSync(rolloutFile, rollout)
  writeFileSync(monthFile, month)
  return run(dir, ['rollout', 'simulate', '-f', rolloutFile, '--outages', monthFile, ...more])
}
const faultsOf = (month: string, rollout = ROLLOUT): Promise<readonly string[]> =>
  simulated(month, rollout).then(
    () => [],
    (error: unknown) => {
      if (error instanceof Faults) return error.faults
      throw error
    },
  )

describe("the README's bad month", () => {
  test('is told as a timeline, batches, what held whom, and the end', async () => {
    const text = await simulated()
    expect(text).toMatch(/^Rollout default\/edge-os-43, from its beginning at 2026-06-01T08:00:00Z\n\nTIME /)
    for (const line of [
      /2026-06-01T08:00:00Z +sent to lab-1, lab-2\n/,
      /2026-06-02T01:08:00Z +WaitingForApproval: group 1 \(shops\) waits for an approval/,
      /2026-06-02T04:08:00Z +ann: approve: /,
      /2026-06-03T00:00:00Z +shop-1, shop-10, shop-11, shop-12 and 13 more: Activating /,
      /2026-06-03T00:08:00Z +shop-9: RolledBack \(FellBack\)\n/,
      /2026-06-05T18:00:27.591Z +shop-3: TimeOut \(ProgressDeadlineExceeded\)\n/,
      /2026-06-08T08:00:00Z +bob: pause: stocktaking\n/,
      /\n6 +2026-06-05T12:00:22.591Z +1 +shop-3 \(catching up\)\n/,
      /\nWaitingForApproval +17 +2d3h +shop-1: 3h0m\n/,
      /\n2026-06-13T01:08:00Z: Completed, nothing more is to come: 1 Offline, 20 Succeeded, 1 TimeOut\. /,
    ])
      expect(text).toMatch(line)
  })

  test('is the same as JSON, with every cluster', async () => {
    const told = JSON.parse(await simulated(MONTH, ROLLOUT, '-o', 'json'))
    expect(told).toMatchObject({ rollout: 'default/edge-os-43', end: { phase: 'Completed', why: 'Settled' } })
    expect(told.end.clusters).toHaveLength(22)
    expect(told.batches[0]).toEqual({ at: '2026-06-01T08:00:00Z', clusters: ['lab-1', 'lab-2'], catchingUp: false })
    expect(told.held.find(({ reason }: { reason: string }) => reason === 'NeverSeen')).toEqual({
      ...{ reason: 'NeverSeen', totalSeconds: 781_200 },
      clusters: [{ cluster: 'shop-20', seconds: 781_200 }],
    })
  })
})

describe('what is wrong with the files', () => {
  test.each([
    [
      'a member that is not known',
      MONTH.replace('joins:', 'join:'),
      /^bad-month\.yaml:\d+:5: clusters\[3\]\.join is not a known field/,
    ],
    [
      'a time that is none',
      MONTH.replace('2026-07-01T08:00:00Z', 'July'),
      /^bad-month\.yaml:2:6: end must match format "date-time"/,
    ],
    [
      'a span that is none',
      MONTH.replace('staging: 9h', 'staging: 9 hours'),
      /^bad-month\.yaml:\d+:14: clusters\[0\]\.staging must match pattern/,
    ],
    [
      'a cluster that is in no group',
      MONTH.replace('name: shop-7 ', 'name: shopp-7 '),
      /there is no cluster "shopp-7" \(did you mean "shop-7"\?\)$/,
    ],
    [
      'a cluster that is there twice',
      MONTH.replace('name: shop-7 ', 'name: shop-3 '),
      /"shop-3" is there twice: name a cluster once$/,
    ],
    [
      'an outage that ends before it begins',
      MONTH.replace('to: 2026-06-05', 'to: 2026-06-01'),
      /^bad-month\.yaml:\d+:\d+: clusters\[0\]\.outages\[0\]\.to: an outage ends after it begins$/,
    ],
    [
      'an end before the start',
      MONTH.replace('2026-07-01T08', '2026-05-01T08'),
      /^bad-month\.yaml:2:6: end: must be after the start$/,
    ],
    [
      'an alias that leads nowhere',
      MONTH.replace('2026-07-01T08:00:00Z', '*nope'),
      /^bad-month\.yaml:1:1: Unresolved alias/,
    ],
    [
      'a member that stands twice',
      `${MONTH}end: 2026-07-02T00:00:00Z\n`,
      /^bad-month\.yaml:\d+:1: Map keys must be unique/,
    ],
  ])('%s is told with its place', async (_, month, expected) => {
    expect((await faultsOf(month))[0]).toMatch(expected)
  })

  test('a rollout that the hub would refuse is refused here, with its place', async () => {
    expect(await faultsOf(MONTH, ROLLOUT.replace('maxFailures:', 'maxFailure:'))).toEqual([
      'rollout.yaml:13:7: rollout/edge-os-43: spec.strategy.progressive.maxFailure is not a known field',
    ])
    expect((await faultsOf(MONTH, ROLLOUT.replace('Europe/Oslo', 'Europe/Olso')))[0]).toMatch(/no time zone/)
    const asOcm = 'has no meaning with spec.semantics OCM: leave one of them out'
    expect(await faultsOf(MONTH, `${ROLLOUT}  semantics: OCM\n  catchUp: {}\n`)).toEqual([
      `rollout.yaml:21:3: rollout/edge-os-43: spec.catchUp ${asOcm}`,
      `rollout.yaml:19:3: rollout/edge-os-43: spec.approvals ${asOcm}`,
    ])
    const waves = `${ROLLOUT}  waves: [{ startAfter: 4h, percent: 10 }, { startAfter: 2h, percent: 50 }]\n`
    expect(await faultsOf(MONTH, waves)).toEqual([
      expect.stringMatching(
        /^rollout\.yaml:\d+:\d+: rollout\/edge-os-43: spec\.waves\[1\]\.startAfter must be later than 4h/,
      ),
      expect.stringMatching(/^rollout\.yaml:\d+:\d+: rollout\/edge-os-43: spec\.waves\[1\]\.percent must be 100/),
    ])
  })

  test('without groups it says where they come from', async () => {
    const month = MONTH.replace(/^groups:[\s\S]*?(?=^clusters:)/m, '')
    await expect(simulated(month)).rejects.toThrow(
      new UsageError(
        'the outages file names no groups of clusters: name them there, or take those of a rollout of the hub with --from-hub',
      ),
    )
  })

  test('it is said which rollout is wanted, and a hub of which nothing is known', async () => {
    const asked = (...args: string[]) => run(testFolder(), ['rollout', 'simulate', '--outages', 'none.yaml', ...args])
    await expect(asked()).rejects.toThrow('there is no file none.yaml')
    const dir = testFolder()
    writeFileSync(join(dir, 'month.yaml'), MONTH)
    const month = ['rollout', 'simulate', '--outages', join(dir, 'month.yaml')]
    await expect(run(dir, month)).rejects.toThrow(/^which rollout\? -f names a file of it, --from-hub one of the hub$/)
    await expect(run(dir, [...month, '--from-hub', 'r'])).rejects.toThrow(
      /month\.yaml:5:1: groups: with --from-hub they are the placement's of the hub: leave them out$/,
    )
    writeFileSync(join(dir, 'month.yaml'), MONTH.replace(/^groups:[\s\S]*?(?=^clusters:)/m, ''))
    await expect(run(dir, [...month, '--from-hub', 'r'])).rejects.toThrow(/skerry login --server/)
  })
})
