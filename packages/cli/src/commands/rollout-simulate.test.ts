import { readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { testFolder } from '@skerry/supervise/testing'
import fc from 'fast-check'
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

  test('is cut where a limit says so, and what that leaves out is said', async () => {
    const [whole, cut] = [await simulated(), await simulated(MONTH, ROLLOUT, '--limit', '5')]
    const lines = whole.split('\n\n').map((part) => part.split('\n').length)
    expect(cut.split('\n\n')[1]?.split('\n')).toHaveLength(1 + 5 + 1)
    expect(cut).toContain(
      `\n… and ${(lines[1] ?? 0) - 6} more lines, from 2026-06-01T08:00:00Z on: --limit 0 shows all\n`,
    )
    expect(cut).toContain('\n… and 3 more batches, from 2026-06-05T12:00:22.591Z on: --limit 0 shows all\n')
    expect(cut.split('\n\n').at(-1)).toBe(whole.split('\n\n').at(-1))
    expect(await simulated(MONTH, ROLLOUT, '--limit', '0')).toBe(whole)
    await expect(simulated(MONTH, ROLLOUT, '--limit', '5', '-o', 'json')).rejects.toThrow(
      '--limit chooses what the table shows: -o json tells of everything',
    )
  })

  test('of a large fleet on which people change their mind, what is more than is kept is counted', async () => {
    const [start, size, changes] = [Date.parse('2026-06-01T08:00:00Z'), 1_000, 102]
    const timeOf = (minutes: number) => new Date(start + minutes * 60_000).toISOString()
    const month = {
      ...{ start: timeOf(0), end: timeOf(changes + 2), groups: [{ numbered: { prefix: 'shop-', count: size } }] },
      people: {
        acts: Array.from({ length: changes }, (_, index) => ({
          ...{ at: timeOf(index + 1), do: index % 2 === 0 ? 'pause' : 'resume', by: 'bob' },
        })),
      },
    }
    const strategy = { type: 'Progressive', progressive: { maxConcurrency: 1 } }
    const rollout = {
      ...{ apiVersion: 'skerry.dev/v1alpha1', kind: 'Rollout', metadata: { name: 'r' } },
      spec: { placementRef: { name: 'p' }, image: { name: 'i' }, strategy },
    }
    const text = await simulated(JSON.stringify(month), JSON.stringify(rollout))
    expect(text).toMatch(
      /\n… and \d{4} later changes of single clusters, more than are kept; fewer clusters in the file's groups show more of them\n/,
    )
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
      /month\.yaml:5:1: groups: with --from-hub they are the placement's of the hub: leave them out\n.*skerry login --server/,
    )
    writeFileSync(join(dir, 'month.yaml'), MONTH.replace(/^groups:[\s\S]*?(?=^clusters:)/m, ''))
    await expect(run(dir, [...month, '--from-hub', 'r'])).rejects.toThrow(/skerry login --server/)
  })
})

describe('one answer tells all that is wrong', () => {
  /** A good object, and what may be wrong in it: no place decides what another one may be. */
  type Wrong = readonly [field: string, ...values: unknown[]]
  const rollout = {
    ...{ apiVersion: 'skerry.dev/v1alpha1', kind: 'Rollout', metadata: { name: 'r' } },
    spec: {
      ...{ placementRef: { name: 'p' }, image: { name: 'i' }, attestation: 'warning', offlineAfter: '1h' },
      windows: { activation: [{ at: '0 2 * * *', timeZone: 'UTC', durationSeconds: 3_600 }] },
    },
  }
  const ROLLOUT_WRONG: readonly Wrong[] = [
    ['spec.image.name', undefined, 1],
    ['spec.offlineAfter', 1, '9999999h'],
    ['spec.windows.activation[0].at', undefined, '61 2 * * *'],
    ['spec.windows.activation[0].timeZone', undefined, 'Europe/Oz'],
    ['spec.windows.activation[0].durationSeconds', undefined, 0],
  ]
  const month = {
    ...{ start: '2026-06-01T08:00:00Z', end: '2026-06-02T08:00:00Z' },
    reachability: { lateAfter: '10m', offlineAfter: '20m', staleAfter: '1d' },
    pace: { staging: '10m' },
    groups: [
      { name: 'lab', clusters: ['lab-1'] },
      { name: 'shops', numbered: { prefix: 'shop-', count: 2 } },
    ],
    clusters: [
      { name: 'lab-1', outages: [{ from: '2026-06-01T10:00:00Z', to: '2026-06-01T11:00:00Z' }] },
      { name: 'shop-1', fails: { by: 'RollsBack', times: 1 }, staging: '1h' },
    ],
    outages: [
      { from: '2026-06-01T12:00:00Z', to: '2026-06-01T13:00:00Z', groups: ['shops'], clusters: ['lab-1', 'shop-2'] },
    ],
    people: {
      approvals: [{ by: 'ann', after: '1h' }],
      acts: [
        { at: '2026-06-01T14:00:00Z', do: 'retry', by: 'bob', clusters: ['shop-1'] },
        { at: '2026-06-01T15:00:00Z', do: 'approve', by: 'bob', gate: 'Start' },
      ],
    },
  }
  const MONTH_WRONG: readonly Wrong[] = [
    ['end', undefined, 'soon', '2026-05-01T08:00:00Z'],
    ['reachability.offlineAfter', 'x', 1],
    ['pace.staging', 'x'],
    ['clusters[0].outages[0].from', undefined, 'x'],
    ['clusters[1].name', undefined, 'shop-9', 'Shop_1', 7],
    ['clusters[1].fails.by', undefined, 'Nothing'],
    ['clusters[1].staging', '1 hour'],
    ['outages[0].to', 'x', '2026-06-01T12:00:00Z'],
    ['outages[0].groups[0]', 'shop'],
    ['outages[0].clusters[0]', 'lab-2', 'Lab'],
    ['outages[0].clusters[1]', 'lab-3', 'Shop'],
    ['people.approvals[0].after', undefined, 'x'],
    ['people.acts[0].by', undefined, ''],
    ['people.acts[0].clusters[0]', 'nobody'],
    ['people.acts[1].gate', undefined, 'Begin'],
  ]

  const stepsOf = (field: string) => field.split(/[.[\]]+/).filter((step) => step !== '')
  function put(object: object, field: string, value: unknown): void {
    const steps = stepsOf(field)
    const last = steps.pop() ?? ''
    const at = steps.reduce<object>((found, step) => Reflect.get(found, step) as object, object)
    if (value === undefined) Reflect.deleteProperty(at, last)
    else Reflect.set(at, last, value)
  }
  const valueAt = (object: object, field: string): unknown =>
    stepsOf(field).reduce<unknown>((found, step) => Reflect.get(found as object, step), object)
  const chosen = (wrong: readonly Wrong[]) =>
    fc.tuple(...wrong.map(([, ...values]) => fc.option(fc.constantFrom(...values.map((value) => ({ value }))))))

  test('and whoever mends it may play: schema, references and contradictions, of both files', async () => {
    await fc.assert(
      fc.asyncProperty(chosen(ROLLOUT_WRONG), chosen(MONTH_WRONG), async (ofRollout, ofMonth) => {
        const files = { 'rollout.yaml': structuredClone(rollout), 'bad-month.yaml': structuredClone(month) }
        const broken: string[] = []
        const spoil = (
          name: keyof typeof files,
          wrong: readonly Wrong[],
          values: readonly ({ value: unknown } | null)[],
        ) => {
          for (const [index, [field]] of wrong.entries()) {
            const is = values[index]
            if (!is) continue
            put(files[name], field, is.value)
            broken.push(`${name} ${field}`)
          }
        }
        spoil('rollout.yaml', ROLLOUT_WRONG, ofRollout)
        spoil('bad-month.yaml', MONTH_WRONG, ofMonth)
        const faults = () => faultsOf(JSON.stringify(files['bad-month.yaml']), JSON.stringify(files['rollout.yaml']))
        const told = (await faults()).flatMap((line) => {
          const [, name = '', field = ''] = /^(\S+?):\d+:\d+: (?:rollout\/r: )?(\S+?):? /.exec(line) ?? []
          return name === '' ? [] : [`${name} ${field}`]
        })
        expect(told.toSorted()).toEqual(broken.toSorted())
        for (const one of told) {
          const [name = '', field = ''] = one.split(' ')
          const good = name === 'rollout.yaml' ? rollout : month
          put(files[name as keyof typeof files], field, valueAt(good, field))
        }
        expect(await faults()).toEqual([])
      }),
      { numRuns: 60 },
    )
  })

  test('but for what rests on names that cannot be read', async () => {
    const faults = await faultsOf(
      MONTH.replace('prefix: shop-', 'prefix: Shop-').replace('name: shop-7 ', 'name: shopp-7 '),
      ROLLOUT.replace('Europe/Oslo', 'Europe/Olso'),
    )
    expect(faults).toEqual([
      expect.stringMatching(/groups\[1\]\.numbered\.prefix must match pattern/),
      expect.stringMatching(/no time zone/),
      'packages/cli/README.md has an example of such a file',
    ])
  })

  test('also where the fleet is a hub’s, or no hub answers', async () => {
    const facts = {
      ...{ rollout, nowMs: Date.parse('2026-06-01T08:00:00Z'), gone: {} },
      limits: { lateMs: 90_000, offlineMs: 300_000, staleMs: 86_400_000 },
      decided: [{ index: 0, name: 'shops', clusters: ['shop-1'] }],
      clusters: [{ name: 'shop-1', reachability: 'Online', nodes: [] }],
    }
    const asked: string[] = []
    const server = createServer(({ url = '' }, response) => {
      if (url.includes('/facts')) asked.push(url.replace(/^.*\?/, ''))
      response.writeHead(200, { 'content-type': 'application/json' })
      response.end(JSON.stringify(url.includes('/facts') ? facts : rollout))
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const dir = testFolder()
    const write = (spec: object) =>
      writeFileSync(
        join(dir, 'r.json'),
        JSON.stringify({ ...rollout, spec: { ...rollout.spec, offlineAfter: '9999999h', ...spec } }),
      )
    write({})
    writeFileSync(
      join(dir, 'm.json'),
      '{"end":"2026-06-02T08:00:00Z","pace":{"staging":"x"},"clusters":[{"name":"shop-11"}]}',
    )
    const at = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    const files = ['--from-hub', '-n', 'fleet', '-f', join(dir, 'r.json'), '--outages', join(dir, 'm.json')]
    const told = () =>
      run(dir, ['rollout', 'simulate', ...files, '--server', at, '--token', 'secret']).then(
        () => [],
        (error: unknown) =>
          error instanceof Faults ? error.faults.map((line) => line.replace(/:\d+:\d+/, '')) : [error],
      )
    const ofFiles = [
      expect.stringMatching(/^m\.json: pace\.staging must match/),
      expect.stringMatching(/^r\.json: rollout\/r: spec\.offlineAfter is longer/),
    ]
    const hint = 'packages/cli/README.md has an example of such a file'
    expect(await told()).toEqual([
      ...ofFiles,
      'm.json: clusters[0].name: there is no cluster "shop-11" (did you mean "shop-1"?)',
      hint,
    ])
    // Whom a placement that cannot be read selects nobody knows, and what the file names besides is read all the same.
    write({ placementRef: { name: 7 } })
    expect(await told()).toEqual([
      ofFiles[0],
      expect.stringMatching(/placementRef\.name must be string/),
      ofFiles[1],
      hint,
    ])
    write({ image: { name: 7 } })
    expect(await told()).toEqual([
      ...[ofFiles[0], expect.stringMatching(/image\.name must be string/), ofFiles[1]],
      ...[expect.stringMatching(/there is no cluster "shop-11"/), hint],
    ])
    expect(asked).toEqual(['image=i&placement=p', 'image=i', 'placement=p'])
    write({})
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
    expect(await told()).toEqual([...ofFiles, expect.stringContaining(at), hint])
  })
})
