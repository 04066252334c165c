import type { RequestListener } from 'node:http'
import { expect, test } from 'vitest'
import { printedOf } from './test-hub.ts'

// The other end of the wire, between two of its moments: what a whole hub does is tested with the command itself.

const NODE = {
  apiVersion: 'skerry.dev/v1alpha1',
  kind: 'EdgeNode',
  metadata: { name: 'n1', namespace: 'shop' },
  status: { class: 'software-key', phase: 'Idle' },
}

/** A public test vector: its key was thrown away. */
const CERTIFICATE = `-----BEGIN CERTIFICATE-----
MIIBdDCCARmgAwIBAgIUOoiK7Sc+xkFU/B4+nKt8okvmslUwCgYIKoZIzj0EAwIw
DzENMAsGA1UEAwwEc2hvcDAeFw0yNjExMjYwNTMzMDlaFw0zNjExMjMwNTMzMDla
MA8xDTALBgNVBAMMBHNob3AwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAATmgElt
efjl34a7mFlDM+tr0NylvH09vRm0hCaWvFkzuWaB7bRx0JkQgrPtJO1ygdP4LW42
kiS1m+i3VuwTjkX6o1MwUTAdBgNVHQ4EFgQULcc5LO0RVijJwWQj8Ftg1xTYJmcw
HwYDVR0jBBgwFoAULcc5LO0RVijJwWQj8Ftg1xTYJmcwDwYDVR0TAQH/BAUwAwEB
/zAKBggqhkjOPQQDAgNJADBGAiEA6kA7fLG8zVP2z87Wm/+SqOYYg/7dxfJ2HIhi
XL2TReUCIQCHx39X8RpGdppGM/x1CorUiWYqigOQ+Zhf0Ie5Rahtwg==
-----END CERTIFICATE-----`

const NOW = '2026-06-01T12:00:00.000Z'
const JUST_AFTER = '2026-06-01T12:00:00.400Z'

/**
 * What "skerry describe node n1" prints of a hub that has the node and answers this when asked who was heard. The clock
 * goes on by then: it is JUST_AFTER when the answer is sent.
 */
async function described(code: number, heard: object, node: object = NODE): Promise<string> {
  return printed(code, heard, [node], ['describe', 'node', 'n1'])
}

/** What a command prints of a hub that has these nodes and profiles. */
async function printed(
  code: number,
  heard: object,
  nodes: object[],
  command: string[],
  profiles: object[] = [],
): Promise<string> {
  let now = NOW
  const answer: RequestListener = ({ url = '' }, response) => {
    const asked = url.endsWith('/heard')
    if (asked) now = JUST_AFTER
    response.writeHead(asked ? code : 200, { 'content-type': 'application/json' })
    const items = url.includes('/edgenodes') ? nodes : url.includes('/hardwareprofiles') ? profiles : []
    response.end(JSON.stringify(asked ? heard : { kind: 'List', metadata: { resourceVersion: '1' }, items }))
  }
  return printedOf(answer, command, { now: () => now })
}

const status = (code: number, reason: string) => ({ kind: 'Status', code, reason, message: `no: ${reason}` })

test('a node is told of when its cluster is gone: it was never heard', async () => {
  const told = await described(404, status(404, 'NotFound'))
  expect(told).toMatch(/Last heard: +never\n/)
  expect(told).toMatch(/Phase: +Idle\n/)
})

test('a node of which others were heard was not', async () => {
  const nodes = [{ node: 'n2', lastHeardAt: '2026-06-01T11:59:00.000Z' }]
  expect(await described(200, { nodes })).toMatch(/Last heard: +never\n/)
  expect(await described(200, { nodes: [{ ...nodes[0], node: 'n1' }] })).toMatch(
    /Last heard: +2026-06-01T11:59:00.000Z \(60s ago\)\n/,
  )
})

test('a node that is heard while the hub is asked was heard by then: what is told is never of the future', async () => {
  expect(await described(200, { nodes: [{ node: 'n1', lastHeardAt: JUST_AFTER }] })).toMatch(
    /Last heard: +2026-06-01T12:00:00.400Z \(0s ago\)\n/,
  )
})

test('that nobody may say when it was heard is an error, not silence', async () => {
  await expect(described(403, status(403, 'Forbidden'))).rejects.toThrow('no: Forbidden')
})

test('a node that is degraded is told with its reason, and one that is not has no word of it', async () => {
  const since = '2026-06-01T11:59:00.000Z'
  const degraded = {
    type: 'Degraded',
    status: 'True',
    reason: 'EspNotVfat',
    message: '/efi is a ext4',
    lastTransitionTime: since,
  }
  const told = await described(200, { nodes: [] }, { ...NODE, status: { phase: 'Idle', conditions: [degraded] } })
  expect(told.replaceAll(/ {2,}/g, ' | ')).toContain('Degraded | True | 60s | EspNotVfat | /efi is a ext4')
  expect(await described(200, { nodes: [] })).not.toContain('Conditions')
})

test('a node that downloads is told with how far it has come', async () => {
  const status = { phase: 'Staging', progress: { done: 15_000, total: 20_000 } }
  expect(await described(200, { nodes: [] }, { ...NODE, status })).toMatch(/Progress: +75 % of 20000 bytes are there\n/)
  expect(await described(200, { nodes: [] })).not.toContain('Progress')
})

test('a boot that is not what was signed is told with each finding, and each PCR beside what it should hold', async () => {
  const [a, b, c] = ['a'.repeat(64), 'b'.repeat(64), 'c'.repeat(64)]
  const attestation = {
    verdict: 'contraindicated',
    reason: 'PcrMismatch',
    message: 'm',
    bootId: 'b1',
    judgedAt: '2026-06-01T11:59:00.000Z',
    bank: 'sha256',
    findings: [
      { code: 'PcrMismatch', tier: 'contraindicated', message: 'PCR 11 differs', pcr: 11, expected: [a, b], actual: c },
      {
        code: 'UnknownApplication',
        tier: 'contraindicated',
        message: 'a stranger',
        pcr: 4,
        event: 17,
        expected: [a],
        actual: b,
      },
    ],
    pcrs: [
      { pcr: 0, actual: a, expected: [], by: 'nothing', ok: false },
      { pcr: 4, actual: b, expected: [a], by: 'log', ok: false },
      { pcr: 9, actual: a, expected: [b, a], by: 'manifest', ok: true },
      { pcr: 11, actual: c, expected: [a, b], by: 'manifest', ok: false },
    ],
  }
  const told = await described(200, { nodes: [] }, { ...NODE, status: { class: 'tpm', attestation } })
  const lines = told.split('\n').map((line) => line.trim().replaceAll(/ {2,}/g, ' | '))
  const from = lines.indexOf('Findings:')
  expect(lines.slice(from, from + 10)).toEqual([
    'Findings:',
    'CODE | LEAVES | PCR | EVENT | MESSAGE',
    'PcrMismatch | contraindicated | 11 | - | PCR 11 differs',
    `UnknownApplication | contraindicated | 4 | 17 | a stranger: expected ${a}, was ${b}`,
    'PCRs (sha256):',
    'PCR | IS | BY | EXPECTED | ACTUAL',
    `0 | - | nothing | unknown | ${a}`,
    `4 | DIFFERS | log | its events | ${b}`,
    `9 | ok | manifest | ${a} | ${a}`,
    `11 | DIFFERS | manifest | ${a} | ${c}`,
  ])
  expect(lines[from + 10]).toBe(b)
})

test('what a log leads to stands beside what was quoted where nobody signed a value for it, and what to do is said', async () => {
  const [a, b] = ['a'.repeat(64), 'b'.repeat(64)]
  const of = (reason: string, verdict = 'contraindicated') => ({
    ...{ verdict, reason, message: 'm', bootId: 'b1', judgedAt: '2026-06-01T11:59:00.000Z', bank: 'sha256' },
    findings: [{ code: reason, tier: verdict, message: 'PCR 11: another value', pcr: 11, expected: [a], actual: b }],
    pcrs: [{ pcr: 11, actual: b, expected: [], by: 'nothing', ok: false }],
  })
  const told = (attestation: object) =>
    described(200, { nodes: [] }, { ...NODE, status: { class: 'tpm', attestation } })
  const strange = await told(of('ReplayMismatch'))
  expect(strange).toContain(`PCR 11: another value: expected ${a}, was ${b}\n`)
  expect(strange).toMatch(/Next: +nobody signed .*skerry cluster deny/)
  expect(await told(of('FirmwareChanged'))).toMatch(/Next: +if its firmware was updated/)
  expect(await told(of('NoQuote', 'none'))).toMatch(/Next: .*skerry-agent status/)
  expect(await told(of('Matches', 'affirming'))).not.toContain('Next:')
})

test('a firmware that was learned is told with its values and from whom it is, of a node and of many', async () => {
  const [a, b] = ['a'.repeat(64), 'b'.repeat(64)]
  const node = (name: string, learnedFrom: string[], actual = a) => ({
    ...NODE,
    metadata: { name, namespace: 'shop' },
    status: {
      class: 'tpm',
      attestation: {
        ...{ verdict: 'affirming', reason: 'Matches', message: 'm', bootId: 'b1', bank: 'sha256' },
        judgedAt: '2026-06-01T11:59:00.000Z',
        pcrs: [
          { pcr: 0, actual, expected: [actual], by: 'quorum', ok: true, learnedFrom },
          { pcr: 2, actual: a, expected: [a], by: 'profile', ok: true },
        ],
      },
    },
  })
  const plain = (text: string) => text.split('\n').map((line) => line.trim().replaceAll(/ {2,}/g, ' | '))
  const told = plain(await described(200, { nodes: [] }, node('n1', ['one/n', 'two/n'])))
  expect(told).toContain(`0 | ok | quorum: one/n, two/n | ${a} | ${a}`)
  const nodes = [node('n1', ['one/n', 'two/n']), node('n2', ['two/n', 'three/n']), node('n3', ['four/n'], b)]
  const listed = plain(await printed(200, { nodes: [] }, nodes, ['attest', 'status']))
  expect(listed.slice(listed.indexOf('') + 1, -1)).toEqual([
    'LEARNED BY QUORUM | EXPECTED | NODES | FROM',
    `PCR 0 | ${a} | 2 | one/n, three/n, two/n`,
    `PCR 0 | ${b} | 1 | four/n`,
  ])
})

test('a hardware profile is told with the names of its certificates, and lists by their beginning', async () => {
  const root = `-----BEGIN CERTIFICATE-----\n${'A'.repeat(64)}\n-----END CERTIFICATE-----\n`
  const spec = { hardwareIds: ['a', 'b'], tpm: { roots: [root, CERTIFICATE] }, secureBoot: { db: 'Q'.repeat(4_000) } }
  const profile = { apiVersion: 'skerry.dev/v1alpha1', kind: 'HardwareProfile', metadata: { name: 'shop-box' }, spec }
  const told = await printed(200, {}, [], ['describe', 'hardwareprofile'], [profile])
  expect(told).toMatch(/HardwareIds: +a, b\n/)
  expect(told).toMatch(/Roots: +a certificate that cannot be read\n +certificate of CN=shop, sha256 [0-9a-f]{64}\n/)
  expect(told).toMatch(/Db: +Q{48}… \(4000 characters\)\n/)
})

test.each([
  [
    ['rollout', '--state', 'Faild'],
    'There is no state "Faild" (did you mean "Failed"?); there are NotStarted, Offline,',
  ],
  [['rollout', '--state', 'Failed,'], 'There is no state ""; there are NotStarted, Offline,'],
  ...['-1', '', ' 5', '1e3', '0x10', '+5', '9007199254740993'].map((limit): [string[], string] => [
    ['rollout', '--limit', limit],
    'A whole number is wanted, 0 for all of them',
  ]),
  [['node', '--state', 'Failed'], '--state and --limit choose among the clusters of a rollout: edgenodes have none'],
  [['rollout/a', 'node/b', '--limit', '0'], 'edgenodes have none'],
])('describe %j makes no sense: %s', async (words, sentence) => {
  await expect(printed(200, {}, [NODE], ['describe', ...words])).rejects.toThrow(sentence)
})
