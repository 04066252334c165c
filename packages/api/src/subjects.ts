import { LABEL_PATTERN } from './words.ts'

// Every NATS subject, once. What goes down ends in the cluster's routing token, so that no site can name another's.

const label = new RegExp(LABEL_PATTERN)
const token = /^[a-z2-7]{16,32}$/

/** Stands for any token in a subscription or an account's import. */
const ANY = '*'

export const STREAM_DESIRED = 'DESIRED'
export const STREAM_REPORTS = 'REPORTS'
export const REPORT_KINDS = ['status', 'statements'] as const
export type ReportKind = (typeof REPORT_KINDS)[number]

export const subjects = {
  desired: (cluster: string, t: string) => `desired.${one(cluster)}.${routing(t)}`,
  notify: (cluster: string, t: string) => `notify.${one(cluster)}.${routing(t)}`,
  getDesired: (cluster: string, t: string) => `get.desired.${one(cluster)}.${routing(t)}`,
  ack: (cluster: string, node: string, t: string) => `ack.${one(cluster)}.${one(node)}.${routing(t)}`,
  inbox: (cluster: string, node: string, t: string) => `_INBOX.${one(cluster)}.${one(node)}.${routing(t)}`,
  report: (cluster: string, node: string, kind: ReportKind) => `report.${one(cluster)}.${one(node)}.${kind}`,
  heartbeat: (cluster: string, node: string) => `heartbeat.${one(cluster)}.${one(node)}`,
} as const

/** The same subjects with every token open: what streams, exports and the hub's own subscriptions use. */
export const wildcards = {
  desired: `desired.${ANY}.${ANY}`,
  notify: `notify.${ANY}.${ANY}`,
  getDesired: `get.desired.${ANY}.${ANY}`,
  directGet: `$JS.API.DIRECT.GET.${STREAM_DESIRED}.desired.${ANY}.${ANY}`,
  ack: `ack.${ANY}.${ANY}.${ANY}`,
  report: `report.${ANY}.${ANY}.${ANY}`,
  heartbeat: `heartbeat.${ANY}.${ANY}`,
} as const

/** Cluster, node and kind of a report's subject; undefined when it is not one. A claim to compare, never an identity. */
export function parseReportSubject(subject: string): { cluster: string; node: string; kind: ReportKind } | undefined {
  const [head, cluster, node, kind, ...rest] = subject.split('.')
  if (head !== 'report' || rest.length > 0 || !cluster || !node || !isReportKind(kind)) return undefined
  if (!label.test(cluster) || !label.test(node)) return undefined
  return { cluster, node, kind }
}

function isReportKind(kind: string | undefined): kind is ReportKind {
  return REPORT_KINDS.some((known) => known === kind)
}

// A name that is not exactly one token would widen the subject: `*`, `>` and dots stop here.
function one(id: string): string {
  if (!label.test(id)) throw new TypeError(`"${id}" is not an RFC 1123 label and cannot be part of a subject`)
  return id
}

function routing(t: string): string {
  if (!token.test(t)) throw new TypeError('the routing token must be 16 to 32 characters of a-z and 2-7')
  return t
}
