import type { FailsBy, StatementRef, Waves } from '@skerry/api'
import { reachability } from '../compliance/reachability.ts'
import { planSite } from '../site-plan/plan-site.ts'
import type { ClusterFacts, NodeFacts, Order } from './facts.ts'
import type { Image } from './roll-back.ts'
import { type Doing, type Started, startedAs, type Terms } from './simulated-start.ts'
import { edgesOf, type Pace, type SimulatedCluster, type World } from './simulated-world.ts'

// A site in virtual time, as the real one behaves (the offline contract): it takes an order and bytes only over its link, and
// all that comes after goes on in the dark, in windows of its own. The hub knows of it what was reported while the link was up.

type Told = (facts: ClusterFacts, atMs: number) => ClusterFacts

export class SimulatedSite {
  readonly name: string
  readonly #world: World
  readonly #pace: Pace
  readonly #edges: { readonly atMs: number; readonly up: boolean }[]
  readonly #fails: SimulatedCluster['fails']
  /** As the hub knows it; what silence makes of it is added when it is looked at. */
  #facts: ClusterFacts
  #nowMs: number
  /** Since when there is no link; undefined while there is one. */
  #darkSinceMs: number | undefined
  /** It will not be heard again, whatever its link does. */
  #silent = false
  #unreported: Told[] = []
  #said = 0
  /** What the hub orders, and what the site holds of it. */
  #ordered: Terms | undefined
  #held: Terms | undefined
  #arrivesAtMs: number | undefined
  #doing: Doing = { at: 'Rest' }
  #failed = 0
  #orders = 0

  constructor(given: SimulatedCluster, world: World, startMs: number) {
    this.name = given.name
    this.#world = world
    this.#pace = {
      deliveryMs: given.deliveryMs ?? world.pace.deliveryMs,
      stagingMs: given.stagingMs ?? world.pace.stagingMs,
      activationMs: given.activationMs ?? world.pace.activationMs,
    }
    this.#fails = given.fails
    this.#facts = given.known ? inReach(given.known) : { ...well, name: given.name, lastGood: world.before }
    this.#nowMs = startMs
    const edges = edgesOf(given)
    for (const { atMs, up } of edges.filter((edge) => edge.atMs <= startMs)) this.#darkSinceMs = up ? undefined : atMs
    this.#edges = edges.filter(({ atMs }) => atMs > startMs)
    this.#goOn(startedAs(this.#facts, world, this.#pace, this.#isLinked(), startMs))
  }

  #goOn(from: Started | undefined): void {
    if (!from) return
    this.#orders = 1
    if (from.kind === 'Due') {
      this.#send(from.terms)
      return
    }
    this.#ordered = from.ordered
    this.#held = from.held
    this.#arrivesAtMs = from.arrivesAtMs
    this.#doing = from.doing
    if (from.isConfirmed) this.#judgeBoots()
  }

  // Boots of which the hub has the evidence, and has not judged it.
  #judgeBoots(): void {
    const nodes = this.#facts.nodes.map((node) => {
      const boot = node.boot ?? node.confirmed
      return boot ? { ...node, boot: { ...boot, verdict: node.boot?.verdict ?? this.#verdict() } } : node
    })
    this.#facts = { ...this.#facts, nodes }
  }

  /** When something happens here next, or is concluded here from silence. */
  nextMs(): number {
    return Math.min(this.#happensMs(), this.#silence().changesAtMs ?? Number.POSITIVE_INFINITY)
  }

  /** Lets time go on to an instant that is not after `nextMs()`. Whether the hub heard of it, or of its link alone. */
  advance(nowMs: number): 'Heard' | 'Link' | undefined {
    const [before, was] = [this.#facts, this.#silence().state]
    while (this.#happensMs() <= nowMs) this.#step(this.#happensMs())
    if (nowMs > this.#nowMs) this.#pass(nowMs)
    if (this.#facts !== before) return 'Heard'
    return this.#silence().state === was ? undefined : 'Link'
  }

  /** Nothing is under way here, and nothing is left to be told. */
  isAtRest(): boolean {
    const isTold = this.#unreported.length === 0 || this.#silent
    return this.#doing.at === 'Rest' && this.#arrivesAtMs === undefined && isTold
  }

  /** What the hub knows of it. */
  facts(): ClusterFacts {
    if (this.#darkSinceMs === undefined) return this.#facts
    const { state, changesAtMs } = this.#silence()
    return {
      ...this.#facts,
      reachability: state,
      ...(changesAtMs === undefined ? {} : { changesAtMs }),
      ...(Number.isFinite(this.#darkSinceMs) ? { heardAtMs: this.#darkSinceMs } : {}),
    }
  }

  /** What the hub has ordered here, as far as it knows what came of it. */
  ordered(): Order | undefined {
    const { assignment, refused, nodes } = this.#facts
    if (assignment?.rolloutUid !== this.#world.rollout.uid) return undefined
    const isSettled =
      refused !== undefined ||
      nodes.every(({ confirmed, failure }) => confirmed ?? (failure && failure.atMs >= assignment.atMs))
    return { cluster: this.name, manifestSha256: assignment.manifestSha256, isSettled }
  }

  /** The hub orders the image here, in waves where it has some; once more by an act, where it had failed. */
  order(atMs: number, waves: Waves | undefined, retry: string | undefined): void {
    this.#assign(this.#world.image, atMs, retry)
    this.#send({ order: this.#orders, isBack: false, paused: false, ...(waves ? { waves } : {}) })
  }

  /** The hub orders it back to what it runs. */
  orderBack(to: Image, atMs: number): void {
    this.#assign(to, atMs, undefined)
    this.#send({ order: this.#orders, isBack: true, paused: false })
  }

  #assign({ manifestSha256, releaseCounter }: Image, atMs: number, retry: string | undefined): void {
    const { rollout, attestation } = this.#world
    this.#orders += 1
    this.#facts = {
      ...this.#facts,
      assignment: {
        ...{ rolloutUid: rollout.uid, rolloutName: rollout.name, manifestSha256, atMs, holder: 'This', attestation },
        ...{ confirmed: manifestSha256 === this.#facts.lastGood?.manifestSha256, releaseCounter },
        ...(retry === undefined ? {} : { retry }),
        paused: false,
      },
    }
  }

  /** The hub orders to hold what is not activated, or to go on. Whether that is news. */
  pause(paused: boolean): boolean {
    if (!this.#ordered || this.#ordered.paused === paused) return false
    this.#send({ ...this.#ordered, paused })
    return true
  }

  #send(terms: Omit<Terms, 'generation'>): void {
    const { timeline = 0, generation = 0 } = this.#facts.position ?? {}
    const position = { timeline, generation: generation + 1 }
    this.#ordered = { ...terms, generation: position.generation }
    // What was refused was the order before this one.
    const { refused: _, assignment, ...facts } = this.#facts
    this.#facts = { ...facts, position, ...(assignment ? { assignment: { ...assignment, paused: terms.paused } } : {}) }
    if (this.#isLinked()) this.#arrivesAtMs = this.#nowMs + this.#pace.deliveryMs
  }

  #isLinked(): boolean {
    return this.#darkSinceMs === undefined
  }

  #silence() {
    if (this.#darkSinceMs === undefined) return { state: this.#facts.reachability }
    const heardAtMs = Number.isFinite(this.#darkSinceMs) ? this.#darkSinceMs : undefined
    return reachability(heardAtMs, this.#world.limits, this.#nowMs)
  }

  #happensMs(): number {
    const doing = this.#doing
    return Math.min(
      this.#silent ? Number.POSITIVE_INFINITY : (this.#edges[0]?.atMs ?? Number.POSITIVE_INFINITY),
      this.#arrivesAtMs ?? Number.POSITIVE_INFINITY,
      doing.at === 'Staging' && this.#isLinked() ? this.#nowMs + doing.leftMs : Number.POSITIVE_INFINITY,
      doing.at === 'Staged' ? (doing.looksAtMs ?? Number.POSITIVE_INFINITY) : Number.POSITIVE_INFINITY,
      doing.at === 'Activating' ? doing.endsAtMs : Number.POSITIVE_INFINITY,
    )
  }

  // Bytes come over the link alone, and what has come stays.
  #pass(nowMs: number): void {
    if (this.#doing.at === 'Staging' && this.#isLinked())
      this.#doing = { at: 'Staging', leftMs: this.#doing.leftMs - (nowMs - this.#nowMs) }
    this.#nowMs = nowMs
  }

  /** One thing that happens, by a fixed order where several do at once. */
  #step(nowMs: number): void {
    this.#pass(nowMs)
    const [edge] = this.#edges
    if (!this.#silent && edge && edge.atMs <= nowMs) {
      this.#edges.shift()
      if (edge.up) this.#connect()
      else this.#disconnect()
    } else if (this.#arrivesAtMs !== undefined && this.#arrivesAtMs <= nowMs) this.#arrive()
    else if (this.#doing.at === 'Staging') this.#staged()
    else if (this.#doing.at === 'Staged') this.#takeTurn()
    else if (this.#doing.at === 'Activating') this.#activated()
  }

  #disconnect(): void {
    this.#darkSinceMs = this.#nowMs
    this.#arrivesAtMs = undefined
  }

  // All that was kept is received now, in the order in which it was said.
  #connect(): void {
    this.#darkSinceMs = undefined
    for (const tell of this.#unreported) this.#facts = tell(this.#facts, this.#nowMs)
    this.#unreported = []
    if (this.#ordered && this.#ordered.generation > (this.#held?.generation ?? -1))
      this.#arrivesAtMs = this.#nowMs + this.#pace.deliveryMs
  }

  #tell(told: Told): void {
    if (this.#isLinked()) this.#facts = told(this.#facts, this.#nowMs)
    else this.#unreported.push(told)
  }

  #tellNode(more: Omit<NodeFacts, 'node' | 'message'> & { readonly message?: string }): void {
    const statement = this.#statement()
    this.#tell((facts, atMs) => ({
      ...facts,
      nodes: facts.nodes.map(({ node }) => ({
        node,
        message: `is ${more.phase}`,
        statement,
        ...more,
        ...(more.confirmed ? { confirmed: { ...more.confirmed, atMs } } : {}),
        ...(more.boot ? { boot: { ...more.boot, atMs } } : {}),
        ...(more.failure ? { failure: { ...more.failure, atMs } } : {}),
      })),
    }))
  }

  #statement(): StatementRef {
    this.#said += 1
    const node = this.#facts.nodes[0]?.node ?? 'n1'
    return { cluster: this.name, node, incarnation: 1, seq: this.#said, digest: '0'.repeat(64) }
  }

  #arrive(): void {
    this.#arrivesAtMs = undefined
    const [terms, held] = [this.#ordered, this.#held]
    const position = this.#facts.position
    if (!terms || !position) return
    this.#held = terms
    const statement = this.#statement()
    const isNew = terms.order !== held?.order
    if (isNew && !terms.isBack && this.#failsBy('Refuses')) {
      const { attestation } = this.#world
      const message = 'this image is not for this site'
      this.#tell((facts, atMs) => ({
        ...facts,
        refused: { attestation, code: 'ImageRefused', message, atMs, statement },
      }))
      return
    }
    this.#tell((facts, atMs) => ({ ...facts, accepted: { position, atMs, statement } }))
    if (isNew && terms.isBack) this.#dropTarget()
    else if (isNew) {
      this.#doing = { at: 'Staging', leftMs: this.#pace.stagingMs }
      this.#tellNode({ phase: 'Staging', reason: 'Downloading' })
    } else if (this.#doing.at === 'Staged') this.#takeTurn()
  }

  // What is activating finishes: a machine that reboots cannot be called back.
  #dropTarget(): void {
    if (this.#doing.at !== 'Staging' && this.#doing.at !== 'Staged') return
    this.#doing = { at: 'Rest' }
    this.#tellNode({ phase: 'Idle', reason: 'TargetChanged' })
  }

  #failsBy(...ways: FailsBy[]): boolean {
    const { by, times = Number.POSITIVE_INFINITY } = this.#fails ?? {}
    if (by === undefined || !ways.includes(by) || this.#failed >= times) return false
    this.#failed += 1
    return true
  }

  #staged(): void {
    this.#doing = { at: 'Staged' }
    if (this.#failsBy('StagingFails'))
      this.#failedBy('Refused', 'StagingFailed', 'the bytes are not those of the manifest')
    else this.#takeTurn()
  }

  // The site's own plan says whether it is its turn: the same one that gives it at a real site.
  #takeTurn(): void {
    const { image, rollout, windows } = this.#world
    const { waves, paused = false } = this.#held ?? {}
    const plan = planSite(
      {
        cluster: this.name,
        image: { target: image.target, sha256: image.manifestSha256, rollout: rollout.name },
        windows: { activation: windows },
        ...(waves ? { waves } : {}),
        paused,
        budget: { maxUnavailable: 1 },
      },
      [{ node: 'n1', phase: 'Staged' }],
      this.#nowMs,
    )
    const [hold] = plan.hold
    if (hold) {
      this.#doing = { at: 'Staged', ...(hold.recheckAtMs === undefined ? {} : { looksAtMs: hold.recheckAtMs }) }
      this.#tellNode({ phase: 'Staged', reason: hold.reason, message: hold.message })
      return
    }
    this.#doing = { at: 'Activating', endsAtMs: this.#nowMs + this.#pace.activationMs }
    this.#tellNode({ phase: 'Activating', reason: 'Rebooting' })
    if (!this.#failsBy('GoesSilent')) return
    this.#silent = true
    this.#doing = { at: 'Rest' }
    if (this.#isLinked()) this.#disconnect()
  }

  #activated(): void {
    if (this.#failsBy('RollsBack')) {
      this.#failedBy('RolledBack', 'FellBack', 'did not come up with the image, and runs the one before')
      return
    }
    this.#doing = { at: 'Rest' }
    const { imageSha256 } = this.#world.image
    const boot = { imageSha256, bootId: `${this.name}-${this.#said + 1}`, atMs: 0, statement: this.#statement() }
    this.#tellNode({
      phase: 'Idle',
      reason: 'Confirmed',
      confirmed: boot,
      boot: { ...boot, verdict: this.#verdict() },
    })
    this.#tell((facts) => ({ ...facts, lastGood: this.#world.image }))
  }

  #verdict() {
    if (this.#failsBy('Contraindicated'))
      return { verdict: 'contraindicated' as const, reason: 'Simulated', message: 'the boot is proven to be bad' }
    if (this.#failsBy('Unproven'))
      return { verdict: 'none' as const, reason: 'Simulated', message: 'there is nothing to judge the boot by' }
    return { verdict: this.#world.attestation, reason: 'Simulated', message: 'the boot is as good as asked' }
  }

  #failedBy(outcome: 'RolledBack' | 'Refused', reason: string, message: string): void {
    this.#doing = { at: 'Rest' }
    const statement = this.#statement()
    this.#tellNode({ phase: 'Failed', reason, message, failure: { outcome, reason, message, atMs: 0, statement } })
  }
}

const idle: NodeFacts = { node: 'n1', phase: 'Idle', reason: 'NotStarted', message: 'has said nothing yet' }
const well: Omit<ClusterFacts, 'name'> = { reachability: 'Online', nodes: [idle] }

// Who is dark, and since when, is told by outages alone.
function inReach({ changesAtMs: _, heardAtMs: __, ...known }: ClusterFacts): ClusterFacts {
  return { ...known, reachability: 'Online' }
}
