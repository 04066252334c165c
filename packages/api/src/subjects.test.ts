import { describe, expect, test } from 'vitest'
import { parseReportSubject, subjects, wildcards } from './subjects.ts'

const [CLUSTER, NODE, TOKEN] = ['shop-1', 'n1', 'abcdefgh234567ab']

describe('subjects', () => {
  test('each is what it is, and what goes down ends in the routing token', () => {
    expect({
      desired: subjects.desired(CLUSTER, TOKEN),
      notify: subjects.notify(CLUSTER, TOKEN),
      getDesired: subjects.getDesired(CLUSTER, TOKEN),
      ack: subjects.ack(CLUSTER, NODE, TOKEN),
      inbox: subjects.inbox(CLUSTER, NODE, TOKEN),
      status: subjects.report(CLUSTER, NODE, 'status'),
      statements: subjects.report(CLUSTER, NODE, 'statements'),
      heartbeat: subjects.heartbeat(CLUSTER, NODE),
    }).toEqual({
      desired: `desired.shop-1.${TOKEN}`,
      notify: `notify.shop-1.${TOKEN}`,
      getDesired: `get.desired.shop-1.${TOKEN}`,
      ack: `ack.shop-1.n1.${TOKEN}`,
      inbox: `_INBOX.shop-1.n1.${TOKEN}`,
      status: 'report.shop-1.n1.status',
      statements: 'report.shop-1.n1.statements',
      heartbeat: 'heartbeat.shop-1.n1',
    })
  })

  const widening = [
    '*',
    '>',
    'a.b',
    'a.*',
    '',
    ' ',
    'a b',
    'a\tb',
    'a\n',
    'A',
    'Shop',
    '-a',
    'a-',
    'a_b',
    'ä',
    'a'.repeat(64),
    '$JS',
  ]
  test.each(widening)('no subject takes %j for a cluster, a node or a token', (bad) => {
    const builders: (() => string)[] = [
      () => subjects.desired(bad, TOKEN),
      () => subjects.desired(CLUSTER, bad),
      () => subjects.notify(bad, TOKEN),
      () => subjects.notify(CLUSTER, bad),
      () => subjects.getDesired(bad, TOKEN),
      () => subjects.getDesired(CLUSTER, bad),
      () => subjects.ack(bad, NODE, TOKEN),
      () => subjects.ack(CLUSTER, bad, TOKEN),
      () => subjects.ack(CLUSTER, NODE, bad),
      () => subjects.inbox(bad, NODE, TOKEN),
      () => subjects.inbox(CLUSTER, bad, TOKEN),
      () => subjects.inbox(CLUSTER, NODE, bad),
      () => subjects.report(bad, NODE, 'status'),
      () => subjects.report(CLUSTER, bad, 'status'),
      () => subjects.heartbeat(bad, NODE),
      () => subjects.heartbeat(CLUSTER, bad),
    ]
    for (const build of builders) expect(build, build.toString()).toThrow(TypeError)
  })

  test.each(['abc', 'a'.repeat(33), 'ABCDEFGHIJKLMNOP', 'abcdefgh234567a1', 'abcdefgh234567a0'])(
    '%j is no routing token',
    (bad) => {
      expect(() => subjects.desired(CLUSTER, bad)).toThrow(TypeError)
    },
  )

  test('a wildcard has one open token for each that a subject has', () => {
    expect(wildcards.ack.split('.').length).toBe(subjects.ack(CLUSTER, NODE, TOKEN).split('.').length)
    expect(wildcards.report.split('.').length).toBe(subjects.report(CLUSTER, NODE, 'status').split('.').length)
    expect(wildcards.directGet.endsWith(wildcards.desired)).toBe(true)
  })

  test.each([
    ['report.shop-1.n1.status', { cluster: CLUSTER, node: NODE, kind: 'status' }],
    ['report.shop-1.n1.statements', { cluster: CLUSTER, node: NODE, kind: 'statements' }],
    ['report.shop-1.n1.other', undefined],
    ['report.shop-1.n1', undefined],
    ['report.shop-1.n1.status.more', undefined],
    ['report.*.n1.status', undefined],
    ['report.Shop.n1.status', undefined],
    ['report..n1.status', undefined],
    ['ack.shop-1.n1.status', undefined],
    ['', undefined],
  ])('%j is read as %j', (subject, wanted) => {
    expect(parseReportSubject(subject)).toEqual(wanted)
  })
})
