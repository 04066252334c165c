import {
  type ActVerb,
  type ClusterState,
  GATE_PATTERN,
  LABEL_PATTERN,
  type ObjectOf,
  type RolloutAct,
  type RolloutPhase,
} from '@skerry/api'
import type { ReachabilityLimits } from '../compliance/reachability.ts'
import { byCodeUnit } from '../order.ts'
import { counted } from '../words.ts'
import { type AskedAct, judgeAct, retriesOf } from './acts.ts'
import type { RolloutFacts } from './facts.ts'
import { planRollout, type RolloutPlan } from './plan.ts'
import type { Image } from './roll-back.ts'
import { iso } from './rows.ts'
import { SimulatedSite } from './simulated-site.ts'
import { PACE, type Pace, type SimulatedCluster, type World } from './simulated-world.ts'
import { FINISHED } from './states.ts'
import { rolloutStatus } from './status.ts'
import { type Batch, type HeldFor, MOST_CHANGES, Timeline, type TimelineEntry } from './timeline.ts'
import { wavesOf } from './waves.ts'

// A rollout in virtual time: the hub's own plan, over sites that behave as real ones do. Nothing but events moves the clock.

type Rollout = ObjectOf<'Rollout'>

/** Something that a person does at a time. */
type PlannedAct = {
  readonly atMs: number
  readonly verb: ActVerb
  readonly by: string
  readonly reason: string
  readonly gate?: string
  readonly clusters?: readonly string[]
}
/** Somebody who approves so long after a gate is found closed; of any gate where none is named. */
type Approver = { readonly by: string; readonly afterMs: number; readonly gate?: string }

export type SimulationInput = {
  /** One with a status goes on from it; then each site's `known` is what the hub knew of it at `startMs`. */
  readonly rollout: Rollout
  readonly image: Image
  /** The placement's decisions, by groups; each cluster of `clusters` is in one of them. */
  readonly groups: readonly { readonly name: string; readonly clusters: readonly string[] }[]
  readonly clusters: readonly SimulatedCluster[]
  readonly limits: ReachabilityLimits
  /** Of clusters that have none of their own. */
  readonly pace?: Partial<Pace>
  readonly acts?: readonly PlannedAct[]
  /** What people had done by `startMs`, oldest first. */
  readonly done?: readonly RolloutAct[]
  /** Of the clusters in the status that are not in `clusters` any more: those that left for more than a placement's choice. */
  readonly gone?: RolloutFacts['gone']
  readonly approvers?: readonly Approver[]
  /** Who made the last change of the rollout's spec, and so may not approve it where it asks for a second person. */
  readonly changedBy?: string
  readonly startMs: number
  readonly endMs: number
  /** More looks than these are refused. */
  readonly maxLooks?: number
  /** More changes of single clusters than these are counted, and not told. */
  readonly maxChanges?: number
  /** Looks also so often, which changes nothing of what is told. */
  readonly looksEveryMs?: number
  /** Is told of each look what it is made of. */
  readonly onLook?: (facts: RolloutFacts, nowMs: number) => void
}

/** One thing that is wrong with what was asked, where and what to do. */
type SimulationFault = { readonly field: string; readonly message: string }

type SimulatedEnd = {
  readonly atMs: number
  /** `Settled`: nothing more was to come. `EndReached`: something was, and the time was over. */
  readonly why: 'Settled' | 'EndReached'
  readonly phase: RolloutPhase
  readonly completedAtMs?: number
  readonly counts: RolloutPlan['counts']
  readonly byState: RolloutPlan['byState']
  /** How it stands, in the words of its condition. */
  readonly message: string
  readonly clusters: readonly {
    readonly cluster: string
    readonly state: ClusterState
    readonly reason: string
    readonly sinceMs: number
  }[]
}

export type Simulation =
  | {
      readonly kind: 'Played'
      readonly timeline: readonly TimelineEntry[]
      /** How many changes of single clusters, the last ones, the timeline lacks. */
      readonly leftOut: number
      readonly batches: readonly Batch[]
      readonly held: readonly HeldFor[]
      readonly end: SimulatedEnd
      /** How often the plan was made. */
      readonly looks: number
    }
  | { readonly kind: 'Refused'; readonly faults: readonly SimulationFault[] }

/** What sites run in a simulation before they are sent the image; no digest of anything. */
const BEFORE = '0'.repeat(64)
const MOST_LOOKS = 200_000
/** A plan that is not done with one instant after so many looks never will be. */
const LOOKS_AT_ONCE = 64

/**
 * Plays a rollout from `startMs` to `endMs`, or until nothing more is to come; from its beginning, or from where its status
 * says that it stands. The same input in any order gives the same
 * answer; one that makes no sense, or does not end within `maxLooks`, is refused with what is wrong.
 */
export function simulate(input: SimulationInput): Simulation {
  const faults = simulationFaults(input)
  if (faults.length > 0) return { kind: 'Refused', faults }
  const { rollout, image, startMs, endMs, looksEveryMs } = input
  const world: World = {
    before: { ...image, target: '(before)', manifestSha256: BEFORE, imageSha256: BEFORE, version: '(before)' },
    ...{ image, limits: input.limits, pace: { ...PACE, ...input.pace } },
    rollout: { uid: rollout.metadata.uid, name: rollout.metadata.name },
    attestation: rollout.spec.attestation ?? 'affirming',
    windows: rollout.spec.windows?.activation ?? [],
    stored: storedIn(rollout),
  }
  const sites = input.clusters
    .map((cluster) => new SimulatedSite(cluster, world, startMs))
    .toSorted((a, b) => byCodeUnit(a.name, b.name))
  const hub = new SimulatedHub(input, sites)
  let nowMs = startMs
  for (;;) {
    const fault = hub.look(nowMs)
    if (fault) return { kind: 'Refused', faults: [fault] }
    const nextMs = sites.reduce((least, site) => Math.min(least, site.nextMs()), hub.nextMs())
    if (hub.isOver() || !Number.isFinite(nextMs)) return { kind: 'Played', ...hub.told(nowMs, 'Settled') }
    const extraMs = looksEveryMs === undefined ? nextMs : nowMs + looksEveryMs
    if (Math.min(nextMs, extraMs) > endMs) return { kind: 'Played', ...hub.told(endMs, 'EndReached') }
    nowMs = Math.min(nextMs, extraMs)
    hub.arrive(nowMs, extraMs < nextMs)
  }
}

// What sites that were sent something hold of it, as far as the status tells.
function storedIn({ spec, status }: Rollout): World['stored'] {
  const { firstSent, clusters = [] } = status ?? {}
  return {
    rows: new Map(clusters.map((row) => [row.name, row])),
    waves: firstSent && wavesOf(spec, Date.parse(firstSent.at)),
  }
}

/** The hub's side: what it knows, what it stored, what people did. */
class SimulatedHub {
  readonly #input: SimulationInput
  readonly #sites: ReadonlyMap<string, SimulatedSite>
  readonly #decided: RolloutFacts['decided']
  readonly #timeline: Timeline
  readonly #maxLooks: number
  #rollout: Rollout
  #plan: RolloutPlan | undefined
  #finished: ReadonlySet<string> = new Set()
  #acts: readonly RolloutAct[]
  /** What people are still to do, the next one first. */
  #planned: readonly PlannedAct[]
  #isDue = true
  #looks = 0

  constructor(input: SimulationInput, sites: readonly SimulatedSite[]) {
    this.#input = input
    this.#sites = new Map(sites.map((site) => [site.name, site]))
    this.#decided = input.groups.map(({ name, clusters }, index) => ({ index, name, clusters }))
    this.#rollout = input.rollout
    this.#acts = input.done ?? []
    this.#planned = (input.acts ?? []).toSorted(soonerFirst)
    this.#maxLooks = input.maxLooks ?? MOST_LOOKS
    this.#timeline = new Timeline(input.maxChanges ?? MOST_CHANGES)
  }

  /** When time alone, or a person, changes something here; infinite where neither does. */
  nextMs(): number {
    const never = Number.POSITIVE_INFINITY
    return Math.min(this.#plan?.recheckAtMs ?? never, this.#planned[0]?.atMs ?? never)
  }

  /** Every cluster has come to its end, and nobody is to do anything more. */
  isOver(): boolean {
    if (!this.#plan || this.#planned.length > 0 || this.#plan.phase === 'WaitingForApproval') return false
    return (
      this.#plan.clusters.every(({ state }) => FINISHED.has(state)) &&
      [...this.#sites.values()].every((site) => site.isAtRest())
    )
  }

  /** Lets the sites come to an instant. The hub looks there if it hears something, or said that it would. */
  arrive(nowMs: number, isExtra: boolean): void {
    this.#isDue ||= isExtra || nowMs >= this.nextMs()
    for (const site of this.#sites.values()) {
      const heard = site.advance(nowMs)
      // The silence of who is finished changes nothing.
      if (heard === 'Heard' || (heard === 'Link' && !this.#finished.has(site.name))) this.#isDue = true
    }
  }

  /** Looks, and again at the same instant as long as what was done may change what is to do. A fault ends it all. */
  look(nowMs: number): SimulationFault | undefined {
    if (!this.#isDue) return undefined
    this.#isDue = false
    for (let again = 0; again < LOOKS_AT_ONCE; again += 1) {
      if (this.#looks >= this.#maxLooks) return this.#tooManyLooks(nowMs)
      this.#looks += 1
      this.#carryOutActs(nowMs)
      if (!this.#lookOnce(nowMs)) return undefined
    }
    return {
      field: '',
      message: `the plan of ${iso(nowMs)} is never done: that is a fault of Skerry, which its developers want to know of, with this input`,
    }
  }

  #tooManyLooks(nowMs: number): SimulationFault {
    return {
      field: 'end',
      message: `after ${counted(this.#maxLooks, 'look')} it has only come to ${iso(nowMs)}: choose an earlier end, fewer clusters or fewer outages`,
    }
  }

  #lookOnce(nowMs: number): boolean {
    const { image, gone, changedBy = AUTHOR } = this.#input
    const rollout = this.#rollout
    const facts: RolloutFacts = {
      ...{ rollout, image, decided: this.#decided, acts: this.#acts, changedBy },
      ...(gone ? { gone } : {}),
      clusters: [...this.#sites.values()].map((site) => site.facts()),
      orders: [...this.#sites.values()].flatMap((site) => site.ordered() ?? []),
    }
    this.#input.onLook?.(facts, nowMs)
    const plan = planRollout(facts, nowMs)
    const status = rolloutStatus(facts, plan, nowMs)
    const isNews = this.#timeline.tell(nowMs, rollout.status, status, plan)
    this.#awaitApprovals(nowMs, plan)
    this.#rollout = { ...rollout, status }
    this.#plan = plan
    this.#finished = new Set(plan.clusters.filter(({ state }) => FINISHED.has(state)).map(({ name }) => name))
    const retries = retriesOf(image.manifestSha256, this.#acts)
    for (const name of plan.advance) this.#sites.get(name)?.order(nowMs, plan.waves, retries.get(name)?.id)
    for (const { cluster, to } of plan.back) this.#sites.get(cluster)?.orderBack(to, nowMs)
    const changed = [...plan.underWay, ...plan.others].filter(({ cluster, paused }) =>
      this.#sites.get(cluster)?.pause(paused),
    )
    const hasOrdered = plan.advance.length + plan.back.length + changed.length > 0
    return isNews || hasOrdered || (this.#planned[0]?.atMs ?? Infinity) <= nowMs
  }

  // Whoever approves does so after a gate was found closed.
  #awaitApprovals(nowMs: number, { gate }: RolloutPlan): void {
    if (gate === undefined || gate === this.#plan?.gate) return
    const coming = (this.#input.approvers ?? [])
      .filter((approver) => approver.gate === undefined || approver.gate === gate)
      .map(({ by, afterMs }): PlannedAct => {
        return { atMs: nowMs + afterMs, verb: 'approve', by, reason: `${gate} was looked at`, gate }
      })
    this.#planned = [...this.#planned, ...coming].toSorted(soonerFirst)
  }

  #carryOutActs(nowMs: number): void {
    while (this.#planned[0] && this.#planned[0].atMs <= nowMs) {
      const [planned, ...later] = this.#planned
      this.#planned = later
      const judged = judgeAct(
        planned as AskedAct,
        {
          ...{ rollout: this.#rollout, acts: this.#acts },
          manifestSha256: this.#input.image.manifestSha256,
          changedBy: this.#input.changedBy ?? AUTHOR,
        },
        nowMs,
      )
      if (judged.kind === 'New') this.#acts = [...this.#acts, { id: `act-${this.#acts.length + 1}`, ...judged.act }]
      this.#timeline.tellAct(nowMs, planned, judged)
    }
  }

  told(nowMs: number, why: SimulatedEnd['why']): Omit<Simulation & { kind: 'Played' }, 'kind'> {
    const status = this.#rollout.status
    const completed = status?.conditions?.find(({ type }) => type === 'Completed')
    const end: SimulatedEnd = {
      ...{ atMs: nowMs, why, phase: this.#plan?.phase ?? 'Pending' },
      ...(status?.completedAt ? { completedAtMs: Date.parse(status.completedAt) } : {}),
      counts: status?.counts ?? NOBODY,
      byState: status?.byState ?? {},
      message: completed?.message ?? '',
      clusters: (status?.clusters ?? []).map(({ name, state, reason, since }) => ({
        ...{ cluster: name, state, reason },
        sinceMs: Date.parse(since),
      })),
    }
    return { ...this.#timeline.toldUntil(nowMs), end, looks: this.#looks }
  }
}

/** Whoever wrote the rollout, where nobody is named: a second person to all others. */
const AUTHOR = '(author)'
const NOBODY = { total: 0, succeeded: 0, failed: 0, rolledBack: 0, inProgress: 0, deferred: 0, notStarted: 0 }

function soonerFirst(a: PlannedAct, b: PlannedAct): number {
  const key = ({ verb, by, gate = '', clusters = [], reason }: PlannedAct) =>
    JSON.stringify([verb, by, gate, clusters, reason])
  return a.atMs - b.atMs || byCodeUnit(key(a), key(b))
}

const GATE = new RegExp(GATE_PATTERN)
const LABEL = new RegExp(LABEL_PATTERN)
const A_LABEL = `a cluster's must be one RFC 1123 label (${LABEL_PATTERN})`

/** What a simulation cannot be played of; empty where it can. Each fault has its place in the input. */
export function simulationFaults(
  input: Pick<SimulationInput, 'groups' | 'clusters' | 'limits' | 'startMs' | 'endMs' | 'acts' | 'approvers' | 'pace'>,
): SimulationFault[] {
  const { groups, clusters, limits, startMs, endMs, acts = [], approvers = [], pace = {} } = input
  const faults: SimulationFault[] = []
  const say = (field: string, message: string) => faults.push({ field, message })
  const isTime = (ms: number) => Number.isSafeInteger(ms) && Math.abs(ms) <= LAST_MS
  if (!isTime(startMs) || !isTime(endMs) || startMs >= endMs) say('end', 'must be after the start')
  const { lateMs, offlineMs, staleMs } = limits
  if (!(lateMs > 0 && lateMs < offlineMs && offlineMs < staleMs))
    say('reachability', 'lateAfter, offlineAfter and staleAfter must each be longer than the one before, and none is 0')
  const isSpan = (ms: number | undefined) => ms === undefined || (isTime(ms) && ms >= 0)
  const spans = (of: Partial<Pace>, field: string) => {
    for (const key of ['deliveryMs', 'stagingMs', 'activationMs'] as const)
      if (!isSpan(of[key])) say(`${field}${key}`, 'must be a whole number of milliseconds, 0 or more')
  }
  spans(pace, 'pace.')
  const grouped = new Set<string>()
  for (const [index, group] of groups.entries())
    for (const name of group.clusters) {
      if (!LABEL.test(name)) say(`groups[${index}]`, `"${name}" is no name: ${A_LABEL}`)
      if (grouped.has(name)) say(`groups[${index}]`, `${name} is in a group already; a cluster is in one`)
      grouped.add(name)
    }
  const named = new Set<string>()
  for (const [index, cluster] of clusters.entries()) {
    const { name, outages = [], joinsAtMs, fails } = cluster
    const field = `clusters[${index}]`
    if (named.has(name)) say(field, `${name} is there twice; name a cluster once`)
    if (!grouped.has(name)) say(field, `${name} is in no group; put it into one`)
    named.add(name)
    spans(cluster, `${field}.`)
    if (joinsAtMs !== undefined && !isTime(joinsAtMs)) say(`${field}.joinsAt`, 'must be a time')
    if (fails?.times !== undefined && !(Number.isSafeInteger(fails.times) && fails.times > 0))
      say(`${field}.fails.times`, 'must be a whole number from 1 on')
    for (const [place, { fromMs, toMs }] of outages.entries())
      if (!isTime(fromMs) || (toMs !== undefined && !(isTime(toMs) && toMs > fromMs)))
        say(`${field}.outages[${place}]`, 'must end after it begins')
  }
  for (const name of grouped) if (!named.has(name)) say('groups', `${name} is not among the clusters; name it there`)
  for (const [index, { atMs, verb, gate }] of acts.entries()) {
    if (!isTime(atMs)) say(`acts[${index}].at`, 'must be a time')
    if (verb === 'approve' && !GATE.test(gate ?? '')) say(`acts[${index}].gate`, GATES)
  }
  for (const [index, { afterMs, gate }] of approvers.entries()) {
    if (!isSpan(afterMs)) say(`approvers[${index}].after`, 'must be 0 or more')
    if (gate !== undefined && !GATE.test(gate)) say(`approvers[${index}].gate`, GATES)
  }
  return faults
}

const GATES = 'must be Start, Group/<index> or Completion'
/** The last instant that a date can tell. */
const LAST_MS = 8_640_000_000_000_000
