import type { ComplianceReport, EvidenceBody, Reachability, Statement, Verdict } from '@skerry/api'
import { describe, expect, test } from 'vitest'
import { evidenceOf, logOf, makeTpm, quoteBy, strayRecords, valuesOf } from '../attestation/fixture.ts'
import { assess, type NodeInventory } from './assess.ts'
import type { Proven } from './chain.ts'
import { checkReport } from './check.ts'
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

const refTo = (seq: number) => ({ cluster: 'shop', node: 'n1', incarnation: 1, seq, digest: DIGEST(seq) })
const warned = (seq: number, bootId: string) => ({
  bootId,
  verdict: 'warning' as const,
  reason: 'SoftwareKey',
  statement: refTo(seq),
})

type Made = {
  watermark?: number
  newestSeq?: number
  statements?: readonly Statement[]
  reachability?: Reachability
  verdict?: NodeInventory['verdict'] | undefined
  class?: NodeInventory['class']
  closed?: NonNullable<NodeInventory['closed']>
}

/** The report that a hub makes of all three statements, or of others. */
function reported(more: Made = {}): ComplianceReport {
  const { watermark = 3, newestSeq = 3, statements = chain, reachability = 'Online' } = more
  const { verdict } = { verdict: warned(1, 'b1'), ...more }
  const { closed = [] } = more
  const known = statements.map((statement) => ({ statement, digest: DIGEST(statement.seq) }))
  const facts = factsOf(known, closed.at(-1)?.toSeq)
  const made = assess(
    [
      {
        cluster: 'shop',
        reachability,
        assigned: { image: 'os-1', imageSha256: IMAGE, rollout: 'fleet/r' },
        nodes: [
          {
            node: 'n1',
            class: more.class ?? 'software-key',
            incarnation: 1,
            watermark,
            newestSeq,
            closed,
            ...facts,
            ...(verdict ? { verdict } : {}),
          },
        ],
      },
    ],
    NOW,
  )
  return { kind: 'ComplianceReport', apiVersion: 'skerry.dev/v1alpha1', ...made }
}

const check = (report: ComplianceReport, found: Proven | undefined, pins: Record<string, string> = {}) =>
  checkReport(report, new Map(found ? [['shop/n1/1', found]] : []), new Map(Object.entries(pins)))

describe('checkReport', () => {
  test('a report that follows from its statements has no fault, and a warning about its boot is no pass', () => {
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

  describe('what a report calls lost', () => {
    const gap = (seq: number, fromSeq: number, toSeq: number) =>
      said(seq, { kind: 'gap', body: { fromSeq, toSeq, reason: 'NotKept' } })
    const boots = said(7, { kind: 'evidence', body: { ...boot, bootId: 'b2' } })
    const chained = [...chain, gap(6, 4, 4), said(5, { kind: 'gap', body: { fromSeq: 1, toSeq: 1, reason: 'r' } })]
    const closed = [{ fromSeq: 4, toSeq: 4, seq: 6, reason: 'NotKept' }]
    /** Seven statements of which the fourth is lost, in a report that says so; or says something else of it. */
    const lossy = (hubSays = closed) => {
      const report = reported({
        ...{ watermark: 7, newestSeq: 7, statements: [...chained, boots], verdict: warned(7, 'b2') },
        closed: closed.map(({ seq, ...one }) => ({ ...one, statement: refTo(seq) })),
      })
      const [cluster] = report.clusters
      const [node] = cluster?.nodes ?? []
      if (!cluster || !node) throw new Error('one node')
      const changed = { ...node, hubSays: { ...node.hubSays, closed: hubSays } }
      return { ...report, clusters: [{ ...cluster, nodes: [changed] }] }
    }

    test('by the node’s own word is no fault, and no pass: what was confirmed below it is not known to hold', () => {
      const { faults, claims } = check(lossy(), proven([...chained, boots]))
      expect(faults).toEqual([])
      expect(claims.map(({ claim, result, outcome }) => [claim, result, outcome])).toEqual([
        ['HeardFrom', 'pass', 'verified'],
        ['RunsAssignedImage', 'not-assessed', 'verified'],
        ['BootAttested', 'not-assessed', 'verified'],
        ['ChainComplete', 'not-assessed', 'verified'],
      ])
      expect(claims.at(-1)?.reason).toContain('says itself that it has these no more')
    })

    test('and leaves out is missing', () => {
      expect(check(lossy([]), proven([...chained, boots])).faults).toContain(
        'shop/n1: statement 4 is missing: the report counts 1 to 7 without a gap',
      )
    })

    const one = { fromSeq: 4, toSeq: 4, seq: 6, reason: 'NotKept' }
    const unsaid = (fromSeq: number, toSeq: number, seq: number, reason = 'NotKept') =>
      `shop/n1: the report says that statements ${fromSeq} to ${toSeq} are lost (${reason}); statement ${seq}, which it names for that, does not say so`
    test.each<[string, typeof closed, string]>([
      ['by a statement that is not there', [{ ...one, seq: 9 }], unsaid(4, 4, 9)],
      ['by another statement', [{ ...one, seq: 5 }], unsaid(4, 4, 5)],
      ['by a statement that is no gap', [{ ...one, seq: 7 }], unsaid(4, 4, 7)],
      ['by a statement below it', [{ ...one, seq: 3 }], unsaid(4, 4, 3)],
      ['for another reason', [{ ...one, reason: 'Other' }], unsaid(4, 4, 6, 'Other')],
      ['and more than the statement does', [{ ...one, fromSeq: 3 }], unsaid(3, 4, 6)],
      ['and more than the statement does, above', [{ ...one, toSeq: 5 }], unsaid(4, 5, 6)],
      ['from its end to its beginning', [{ ...one, toSeq: 3 }], unsaid(4, 3, 6)],
      ['twice', [one, one], 'shop/n1: the report says that statement 4 is lost, and it is here or lost twice'],
    ])('%s is a fault', (_, hubSays, fault) => {
      const { faults, claims } = check(lossy(hubSays), proven([...chained, boots]))
      expect(faults).toContain(fault)
      expect(claims.filter(({ outcome }) => outcome !== 'not-verified')).toEqual([])
    })

    test('above the watermark, or by a statement that is no higher, is a fault', () => {
      const above = lossy()
      const [cluster] = above.clusters
      const [node] = cluster?.nodes ?? []
      if (!cluster || !node) throw new Error('one node')
      const low = { ...node, hubSays: { ...node.hubSays, watermark: 3 } }
      const { faults } = check({ ...above, clusters: [{ ...cluster, nodes: [low] }] }, proven([...chained, boots]))
      expect(faults).toContain(unsaid(4, 4, 6))
      const foretold = [...chain, gap(4, 1, 9), boots]
      const said = [{ ...one, fromSeq: 5, toSeq: 6, seq: 4 }]
      expect(check(lossy(said), proven(foretold)).faults).toContain(unsaid(5, 6, 4))
    })

    test('and is there is a fault: nothing is hidden by a statement that closes it', () => {
      const four = said(4, { kind: 'evidence', body: { ...boot, bootId: 'b9' } })
      expect(check(lossy(), proven([...chained, boots, four])).faults).toContain(
        'shop/n1: the report says that statement 4 is lost, and it is here or lost twice',
      )
    })

    test('in a pass that rests on what was said below it is a fault', () => {
      const report = lossy()
      const [cluster] = report.clusters
      const [node] = cluster?.nodes ?? []
      if (!cluster || !node) throw new Error('one node')
      const passes = reported({ watermark: 7, newestSeq: 7, statements: [...chained, boots], verdict: warned(7, 'b2') })
      const claims = passes.clusters[0]?.nodes[0]?.claims ?? []
      expect(claims.find(({ claim }) => claim === 'RunsAssignedImage')?.result).toBe('pass')
      const { faults } = check(
        { ...report, clusters: [{ ...cluster, nodes: [{ ...node, claims }] }] },
        proven([...chained, boots]),
      )
      expect(faults).toContainEqual(
        expect.stringMatching(/^shop\/n1: RunsAssignedImage: from the statements follows "not-assessed: /),
      )
    })
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
  })

  const forged = said(1, { kind: 'evidence', body: { ...boot, nonce: DIGEST(66) } })
  const later = said(4, { kind: 'evidence', body: { ...boot, bootId: 'b2', nonce: DIGEST(66) } })
  const sameBoot = said(4, { kind: 'evidence', body: { ...boot, nonce: DIGEST(66) } })
  const four = { watermark: 4, newestSeq: 4 }
  test.each<[string, readonly Statement[], Made, string]>([
    [
      'none',
      [forged, ...chain.slice(1)],
      { verdict: undefined },
      'shop/n1: boot b1 has evidence in statement 1, contraindicated (NonceMismatch), and the report no verdict on it; had it only just come, export again',
    ],
    [
      'one on an older boot',
      [...chain, later],
      four,
      'shop/n1: boot b2 has evidence in statement 4, contraindicated (NonceMismatch), and the report only a verdict on statement 1; had it only just come, export again',
    ],
    [
      'one on older evidence of the same boot',
      [...chain, sameBoot],
      four,
      'shop/n1: boot b1 has evidence in statement 4, contraindicated (NonceMismatch), and the report only a verdict on statement 1; had it only just come, export again',
    ],
    [
      'one that names another boot',
      chain,
      { verdict: warned(1, 'b0') },
      'shop/n1: the evidence of boot b1 is warning (SoftwareKey), the report says warning (SoftwareKey) of boot b0',
    ],
  ])('a bad verdict is not hidden behind %s, with every claim made again', (_, statements, more, fault) => {
    const { faults, claims } = check(reported({ ...more, statements }), proven(statements))
    expect(faults).toContain(fault)
    expect(claims.find(({ claim }) => claim === 'BootAttested')).toMatchObject({ outcome: 'not-verified' })
    expect(claims.filter(({ reason }) => reason.includes('judged again'))).toEqual([])
  })

  const boots = said(4, { kind: 'evidence', body: { ...boot, bootId: 'b2' } })
  test.each<[string, readonly Statement[], Made, number]>([
    ['no boot was', chain, { verdict: undefined }, 1],
    ['only an older boot was', [...chain, boots], four, 4],
  ])(
    'evidence that the hub did not judge, where %s, leaves its claim open: that is no fault of the report',
    (_, statements, more, seq) => {
      const { faults, claims } = check(reported({ ...more, statements }), proven(statements))
      expect(faults).toEqual([])
      expect(claims.map(({ claim, outcome }) => [claim, outcome])).toEqual([
        ['HeardFrom', 'verified'],
        ['RunsAssignedImage', 'verified'],
        ['BootAttested', 'not-assessed'],
        ['ChainComplete', 'verified'],
      ])
      expect(claims.find(({ claim }) => claim === 'BootAttested')).toMatchObject({
        result: 'not-assessed',
        reason: `statement ${seq} is evidence that the hub had not judged; judged here it is warning (SoftwareKey)`,
      })
    },
  )

  test('a verdict on an older boot is judged again too, though no claim rests on it', () => {
    const verdict = { ...warned(1, 'b1'), verdict: 'affirming' as const, reason: 'Matches' }
    const { faults } = check(reported({ ...four, verdict, statements: [...chain, boots] }), proven([...chain, boots]))
    expect(faults).toContain(
      'shop/n1: the evidence of boot b1 is warning (SoftwareKey), the report says affirming (Matches)',
    )
  })

  test('a claim on evidence that nobody judged stays a fault', () => {
    const report = reported({ verdict: undefined })
    const [cluster] = report.clusters
    const [node] = cluster?.nodes ?? []
    if (!cluster || !node) throw new Error('one node')
    const claims = node.claims.map((one) => (one.claim === 'BootAttested' ? { ...one, result: 'pass' as const } : one))
    const { faults } = check({ ...report, clusters: [{ ...cluster, nodes: [{ ...node, claims }] }] }, proven(chain))
    expect(faults).toEqual([
      expect.stringMatching(/^shop\/n1: BootAttested: from the statements follows "not-assessed: /),
    ])
  })

  test.each([
    ['a node', 'shop/n2/1'],
    ['a cluster', 'kiosk/n1/1'],
    ['another life', 'shop/n1/2'],
  ])('evidence of %s that the report does not list is named: who leaves a node out does not pass', (_, place) => {
    const { faults } = checkReport(
      reported(),
      new Map([
        ['shop/n1/1', proven(chain)],
        [place, proven(chain)],
      ]),
      new Map(),
    )
    expect(faults).toEqual([`${place}: the file holds evidence of it, and the report does not list it`])
  })

  test('where no verdict counts any more, none is said to be judged again', () => {
    const { faults, claims } = check(reported({ reachability: 'Stale' }), proven(chain))
    expect(faults).toEqual([])
    expect(claims.find(({ claim }) => claim === 'BootAttested')).toMatchObject({
      result: 'not-assessed',
      reason: 'signed by the node; that it is too long ago to count is the hub’s word',
    })
  })

  test('what a node’s class cannot prove is said as it is: without it, or in other words, nothing is verified', () => {
    const [cluster] = reported().clusters
    const [node] = cluster?.nodes ?? []
    if (!cluster || !node) throw new Error('one node')
    const { limitation, ...bare } = node
    expect(limitation).toBeDefined()
    for (const changed of [bare, { ...bare, limitation: 'none' }]) {
      const report = { ...reported(), clusters: [{ ...cluster, nodes: [changed] }] }
      const { faults, claims } = check(report, proven(chain))
      expect(faults[0]).toMatch(/^shop\/n1: its class software-key has the limitation "the node's key is a file: /)
      expect(claims.filter(({ outcome }) => outcome !== 'not-verified')).toEqual([])
    }
  })

  test('a claim that stands twice is a fault: only one of them is looked at', () => {
    const [cluster] = reported().clusters
    const [node] = cluster?.nodes ?? []
    const [heard] = node?.claims ?? []
    if (!cluster || !node || !heard) throw new Error('one node')
    const claims = [...node.claims, { ...heard, result: 'fail' as const }]
    expect(
      check({ ...reported(), clusters: [{ ...cluster, nodes: [{ ...node, claims }] }] }, proven(chain)).faults,
    ).toEqual(['shop/n1/HeardFrom: stands twice in the report'])
  })
})

describe('evidence of a TPM', () => {
  const tpm = makeTpm()
  const nonce = DIGEST(77)
  const good: EvidenceBody = { ...evidenceOf(tpm, 'secure-boot-off', { nonce }), bootId: 'b1', imageSha256: IMAGE }
  const { eventLog: _, ...logless } = good
  const forged = { ...good, ...quoteBy(makeTpm(), nonce, valuesOf('secure-boot-off')) }
  const plain: EvidenceBody = { class: 'software-key', bootId: 'b1', slot: 'a', imageSha256: IMAGE, nonce }
  // The header of a firmware's log, as long as its own event says, and nothing behind it.
  const log = logOf('secure-boot-off')
  const header = log.subarray(0, 32 + new DataView(log.buffer, log.byteOffset).getUint32(28, true))
  const unmeasured: EvidenceBody = {
    ...evidenceOf(tpm, 'secure-boot-off', {
      nonce,
      log: header,
      values: new Map([...valuesOf('secure-boot-off').keys()].map((pcr) => [pcr, '0'.repeat(64)])),
      records: strayRecords(102),
    }),
    ...{ bootId: 'b1', imageSha256: IMAGE },
  }
  const attested = (body: EvidenceBody, verdict: Verdict | undefined, reason: string) => {
    const statements = [said(1, { kind: 'evidence', body }), ...chain.slice(1)]
    const made = verdict && { ...warned(1, 'b1'), verdict, reason }
    const { faults, claims } = check(reported({ statements, verdict: made, class: 'tpm' }), proven(statements))
    const { outcome, reason: why } = claims.find(({ claim }) => claim === 'BootAttested') ?? {}
    return { faults, outcome, why }
  }
  const hubs = expect.stringContaining('judged by the hub, not by this report')

  test.each<[string, EvidenceBody, Verdict | undefined, string, string, unknown]>([
    ['good, and called so', good, 'affirming', 'Matches', 'not-assessed', hubs],
    ['good, and called bad by what only the hub has', good, 'contraindicated', 'PcrMismatch', 'not-assessed', hubs],
    ['good, and not judged yet', good, undefined, '', 'not-assessed', expect.stringContaining('warning (NoReference)')],
    [
      'forged, and called so',
      forged,
      'contraindicated',
      'WrongSignature',
      'verified',
      expect.stringContaining('judged again'),
    ],
    ['without a log, and called nothing', logless, 'none', 'EventLogMissing', 'verified', expect.anything()],
  ])('%s: no fault, and %s says how far it is known', (_name, body, verdict, reason, outcome, why) => {
    expect(attested(body, verdict, reason)).toEqual({ faults: [], outcome, why })
  })

  test.each<[string, EvidenceBody, Verdict | undefined, string, string]>([
    [
      'forged, and called good',
      forged,
      'affirming',
      'Matches',
      'is contraindicated (WrongSignature), the report says affirming',
    ],
    [
      'forged, and passed over',
      forged,
      undefined,
      '',
      'contraindicated (WrongSignature), and the report no verdict on it',
    ],
    [
      'without a log, and called good',
      logless,
      'warning',
      'NoProfile',
      'is none (EventLogMissing), the report says warning',
    ],
    [
      'made for another statement, and called good',
      { ...good, nonce: DIGEST(78) },
      'affirming',
      'Matches',
      'is contraindicated (NonceMismatch), the report says affirming',
    ],
    [
      'of a bank that nothing was measured into, behind a hundred lesser findings, and called good',
      unmeasured,
      'affirming',
      'Matches',
      'is contraindicated (RecordInFirmwarePcr), the report says affirming',
    ],
    [
      'a word instead, and called good',
      plain,
      'warning',
      'SoftwareKey',
      'is contraindicated (ClassMismatch), the report says warning',
    ],
  ])('%s: a fault', (_name, body, verdict, reason, fault) => {
    const { faults, outcome } = attested(body, verdict, reason)
    expect([faults.some((one) => one.includes(fault)), outcome, faults]).toEqual([true, 'not-verified', faults])
  })
})
