import { resolve } from 'node:path'
import type { DesiredState, NodeStatus } from '@skerry/api'
import { initialState, minuteOf } from '@skerry/policy'
import type { Versions } from '@skerry/trust'
import { progressOf } from './node/progress.ts'
import type { KeptSlots } from './node/slots.ts'
import { type SeenBoot, troublesOf } from './node/troubles.ts'
import { roomView } from './outbox/room.ts'
import { type Enrollment, loadEnrollment } from './registration/enrollment.ts'
import { formerLives } from './registration/former.ts'
import { nodeKeyIn } from './registration/node-key.ts'
import { type HubWord, nextStep } from './registration/standing.ts'
import type { Bus, EdgeNode, EdgeSite } from './store/bus.ts'
import { readDatabase } from './store/database.ts'
import type { TpmView } from './tpm/index.ts'

// What this node says of itself: to the hub, and to a person at the site while the hub is away.

export const AGENT_VERSION = '0.1.0'

export type StatusFacts = {
  readonly enrollment: Enrollment
  readonly bus: Pick<Bus, 'node' | 'site'>
  readonly newest: { readonly seq: number; readonly digest?: string }
  /** What the driver saw last; undefined before its first look. */
  readonly boot: SeenBoot | undefined
  readonly driver: string
  readonly tpm: TpmView | undefined
  readonly tuf: Versions
}

/** What the node would report now, but for the number of the report. */
export function nodeStatus(facts: StatusFacts, nowMs: number): Omit<NodeStatus, 'counter'> {
  const { enrollment, bus, newest, boot, driver, tuf, tpm } = facts
  const node = bus.node()
  const { state, unseen } = node
  const progress = progressOf(node)
  const troubles = troublesOf({ node, boot, tpm, class: enrollment.class })
  const site = bus.site()
  return {
    kind: 'NodeStatus',
    cluster: enrollment.cluster,
    node: enrollment.node,
    incarnation: enrollment.incarnation,
    ...newest,
    at: new Date(nowMs).toISOString(),
    phase: state.stage.phase,
    reason: state.reason,
    message: state.message,
    ...(progress ? { progress } : {}),
    booted: { imageSha256: boot?.imageSha256 ?? '0'.repeat(64) },
    slot: boot?.slot ?? 'unknown',
    bootId: boot?.bootId ?? unseen?.bootId ?? 'unknown',
    driver,
    ...(site ? { holds: site.holds } : {}),
    tuf,
    failed: [...state.memory.failures],
    ...(troubles.length > 0 ? { troubles } : {}),
    ...(site?.plan?.nextWindowMs === undefined ? {} : { nextWindow: new Date(site.plan.nextWindowMs).toISOString() }),
    agentVersion: AGENT_VERSION,
  }
}

function desiredView({ cluster, image, windows, waves }: DesiredState): object {
  const mine = waves && image ? { waveAt: new Date(minuteOf(waves, cluster, image.sha256)).toISOString() } : {}
  return { image: image ?? null, windows, ...mine }
}

/** What this node knows of itself, for a person at the site while the hub is away. */
export function siteView(dataDir: string): object {
  const database = readDatabase(resolve(dataDir))
  if (!database) throw new Error(`no agent has run on ${resolve(dataDir)}: name its data folder with --data`)
  try {
    const enrollment = loadEnrollment(database)
    const site = database.load<EdgeSite>('edge_site')
    const node = database.load<EdgeNode>('edge_node') ?? { state: initialState(undefined) }
    const { state } = node
    const tpm = database.load<TpmView>('tpm')
    const waiting = database.sql.prepare('select count(*) as n from statement where acknowledged_at is null').get() as {
      n: number
    }
    const newest = database.sql.prepare('select seq, digest from statement order by seq desc limit 1').get()
    const registration = database.load<HubWord>('registration')
    return {
      ...(registration ? { registration: { ...registration, next: nextStep(registration) } } : {}),
      cluster: enrollment?.cluster ?? null,
      node: enrollment?.node ?? null,
      class: enrollment?.class ?? null,
      // Where it is, and why it could not be asked last, with the next step.
      tpm: tpm ?? null,
      // What an auditor compares with a report: the key its statements stand under, and how far they go.
      nodeKey: enrollment?.nodeKeyThumbprint ?? null,
      newestStatement: newest ?? null,
      phase: state.stage.phase,
      reason: state.reason,
      message: state.message,
      progress: progressOf(node) ?? null,
      confirmed: state.memory.confirmed ?? null,
      failed: state.memory.failures,
      // Of the boot only what is kept: whether it is well, the agent that runs knows.
      troubles: troublesOf({
        ...{ node, boot: undefined, tpm, class: enrollment?.class },
        keyIn: nodeKeyIn(resolve(dataDir)),
      }),
      desired: site ? { ...site.holds, ...desiredView(site.document) } : null,
      plan: site?.plan ?? null,
      // As the agent saw them last.
      slots: database.load<KeptSlots>('slots') ?? null,
      statementsWaiting: waiting.n,
      outbox: roomView(database),
      formerLives: formerLives(database),
      formerStatementsDropped: database.load<number>('former_dropped') ?? 0,
    }
  } finally {
    database.close()
  }
}
