import type { ComplianceReport, Statement } from '@skerry/api'
import { describe, expect, test } from 'vitest'
import { assess } from './assess.ts'
import { checkReport, type Proven } from './check.ts'
import { factsOf } from './facts.ts'

// What a file with right signatures still can get wrong. Signatures, and a database that lies, are tested on the hub.

const NOW = Date.parse('2026-06-01T12:00:00Z')
const IMAGE = 'a'.repeat(64)
const DIGEST = (seq: number) => `${seq}`.padStart(64, '0')
const said = (seq: number, more: object): Statement =>
  ({
    ...{ cluster: 'shop', node: 'n1', incarnation: 1, seq, prev: DIGEST(seq - 1), marker: DIGEST(0) },
    time: { wall: '2026-06-01T11:00:00Z' },
    ...more,
  }) as Statement
const boot = { class: 'software-key', bootId: 'b1', slot: 'a', imageSha256: IMAGE, nonce: DIGEST(77) } as const
const idle = {
  from: 'Confirming',
  to: 'Idle',
  reason: 'Confirmed',
  message: 'm',
  imageSha256: IMAGE,
  bootId: 'b1',
} as const
const chain = [
  said(1, { kind: 'evidence', body: boot }),
  said(2, { kind: 'transition', body: idle }),
  said(3, { kind: 'gap', body: { fromSeq: 1, toSeq: 1, reason: 'r' } }),
]

function proven(statements: readonly Statement[], more: Partial<Proven> = {}): Proven {
  const known = statements.map((statement) => {
    const { seq } = statement
    return [seq, { statement, digest: DIGEST(seq), nonce: DIGEST(77), reached: 'signed' }] as const
  })
  return { key: 'KEY', faults: [], statements: new Map(known), ...more }
}

/** The report that a hub makes of all three statements. */
function reported({ watermark = 3, newestSeq = 3 } = {}): ComplianceReport {
  const facts = factsOf(chain.map((statement) => ({ statement, digest: DIGEST(statement.seq) })))
  const made = assess(
    [
      {
        cluster: 'shop',
        reachability: 'Online',
        assigned: { image: 'os-1', imageSha256: IMAGE, rollout: 'fleet/r' },
        nodes: [{ node: 'n1', class: 'software-key', incarnation: 1, watermark, newestSeq, ...facts }],
      },
    ],
    NOW,
  )
  return { kind: 'ComplianceReport', apiVersion: 'skerry.dev/v1alpha1', ...made }
}

const check = (report: ComplianceReport, found: Proven | undefined, pins: Record<string, string> = {}) =>
  checkReport(report, new Map(found ? [['shop/n1/1', found]] : []), new Map(Object.entries(pins)))

describe('checkReport', () => {
  test('a report that follows from its statements has no fault, and its boot without a verdict is none', () => {
    const { faults, claims } = check(reported(), proven(chain), { 'shop/n1': 'KEY' })
    expect(faults).toEqual([])
    expect(claims.map(({ claim, result, key, outcome }) => [claim, result, key, outcome])).toEqual([
      ['HeardFrom', 'pass', 'pinned', 'verified'],
      ['RunsAssignedImage', 'pass', 'pinned', 'verified'],
      ['BootAttested', 'not-assessed', 'pinned', 'verified'],
      ['ChainComplete', 'pass', 'pinned', 'verified'],
    ])
  })

  const without = (...seqs: number[]) => proven(chain.filter(({ seq }) => !seqs.includes(seq)))
  test.each<[string, Proven | undefined, string]>([
    ['the first is missing', without(1), 'shop/n1: statement 1 is missing: the report counts 1 to 3 without a gap'],
    [
      'one in the middle is missing',
      without(2),
      'shop/n1: statement 2 is missing: the report counts 1 to 3 without a gap',
    ],
    [
      'the newest are missing',
      without(2, 3),
      'shop/n1: statements 2 to 3 are missing: the report counts 1 to 3 without a gap',
    ],
    ['nothing is there', undefined, 'shop/n1: statements 1 to 3 are missing: the report counts 1 to 3 without a gap'],
    [
      'more is there than was counted',
      proven([...chain, said(4, { kind: 'gap', body: { fromSeq: 1, toSeq: 1, reason: 'r' } })]),
      'shop/n1: the newest statement here is 4, the report counts 3',
    ],
    ['a fault of its signatures', proven(chain, { faults: ['it is forged'] }), 'shop/n1: it is forged'],
  ])('%s: a fault, and no claim is verified', (_, found, fault) => {
    const { faults, claims } = check(reported(), found)
    expect(faults).toContain(fault)
    expect(claims.filter(({ outcome }) => outcome !== 'not-verified')).toEqual([])
  })

  test('a cluster or a node that stands twice is a fault: it would be counted twice', () => {
    const [cluster] = reported().clusters
    const [node] = cluster?.nodes ?? []
    if (!cluster || !node) throw new Error('one node')
    expect(check({ ...reported(), clusters: [cluster, cluster] }, proven(chain)).faults).toContain(
      'shop: stands twice in the report',
    )
    expect(check({ ...reported(), clusters: [{ ...cluster, nodes: [node, node] }] }, proven(chain)).faults).toContain(
      'shop/n1: stands twice in the report',
    )
  })

  test('a gap that the report tells of is no fault of the report', () => {
    const report = reported({ watermark: 1 })
    const { faults, claims } = check(report, without())
    expect(faults).toEqual([])
    expect(claims.find(({ claim }) => claim === 'ChainComplete')).toMatchObject({ result: 'fail', outcome: 'verified' })
    // But what is above the gap is counted, too.
    expect(check(report, without(3)).faults).toContain('shop/n1: the newest statement here is 2, the report counts 3')
  })

  test('a verdict is judged again: one on no evidence, and one that is too good', () => {
    const withVerdict = (seq: number, verdict: 'affirming' | 'warning', reason: string): ComplianceReport => {
      const report = reported()
      const [cluster] = report.clusters
      const [node] = cluster?.nodes ?? []
      if (!cluster || !node) throw new Error('one node')
      const hubSays = { ...node.hubSays, verdict: { seq, bootId: 'b1', verdict, reason } }
      return { ...report, clusters: [{ ...cluster, nodes: [{ ...node, hubSays }] }] }
    }
    expect(check(withVerdict(2, 'warning', 'SoftwareKey'), proven(chain)).faults).toContain(
      'shop/n1: the verdict on boot b1 names statement 2, which is no evidence here',
    )
    expect(check(withVerdict(1, 'affirming', 'Matches'), proven(chain)).faults).toContain(
      'shop/n1: the evidence of boot b1 is warning (SoftwareKey), the report says affirming (Matches)',
    )
    // Told beside the claim and not in it, it shows there.
    expect(check(withVerdict(1, 'warning', 'SoftwareKey'), proven(chain)).faults[0]).toContain(
      'shop/n1: BootAttested: from the statements follows "not-assessed: warning (SoftwareKey) for boot b1"',
    )
  })
})
