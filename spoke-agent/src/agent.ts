import { existsSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { type NodeStatus, parse, SiteBundle } from '@skerry/api'
import { type BootFacts, initialState } from '@skerry/policy'
import { openTrust, parseStrictJson, type Trust, writeSecret } from '@skerry/trust'
import type { Logger } from 'pino'
import { download } from './blobs/download.ts'
import type { AgentConfig } from './config.ts'
import { openSlots } from './drivers/slots.ts'
import { runNode } from './node/executor.ts'
import { wordOf } from './node/word.ts'
import { openOutbox } from './outbox/outbox.ts'
import { startPump } from './outbox/pump.ts'
import { type EnrollOptions, type Entry, enroll } from './registration/enroll.ts'
import { type Enrollment, loadEnrollment, renewalAtMs } from './registration/enrollment.ts'
import { tufSource } from './registration/http.ts'
import { credsFile, isEntering, openNodeKey } from './registration/keys.ts'
import { startLeader } from './site/leader.ts'
import { type EdgeNode, type EdgeSite, openBus } from './store/bus.ts'
import { type Clock, openClock } from './store/clock.ts'
import { openDatabase, readDatabase } from './store/database.ts'
import { pause } from './store/pause.ts'
import { openCourier } from './transport/courier.ts'

const AGENT_VERSION = '0.1.0'

/** Over so long nodes that were cut off together come back; twice as long for each entry of the last hour. */
const SPREAD_MS = 2_000
const HOUR_MS = 3_600_000
/** So long the courier has to take up a new credential by itself. */
const TAKE_UP_MS = 5_000
/** So often, and at least every hour, the renewal is looked at: clocks jump. */
const RENEWAL_LOOK_MS = 60_000

/** Runs the agent until the signal. With an enrollment on disk it needs no hub to start. */
export async function runAgent(config: AgentConfig, log: Logger, signal: AbortSignal): Promise<void> {
  const dataDir = resolve(config.dataDir)
  const now = () => Date.now()
  const database = openDatabase(dataDir)
  const clock = openClock(database, now)
  const bundle = openBundle(dataDir, config.bundleFile)
  let trust: Trust | undefined
  const known = () => (trust ? safely(() => trust?.hub()) : undefined)
  const hubUrls = () =>
    config.hubUrls.length > 0 ? config.hubUrls : [...new Set([...(known()?.apiUrls ?? []), ...bundle.hubUrls])]
  trust = openTrust({
    dir: join(dataDir, 'tuf'),
    root: new TextEncoder().encode(bundle.root),
    pinned: bundle.acceptHub,
    source: tufSource(hubUrls),
  })

  const facts = {
    nodeName: config.nodeName,
    hardwareId: config.hardwareId,
    claims: config.claims,
    agentVersion: AGENT_VERSION,
    ...(config.cluster ? { cluster: config.cluster } : {}),
  }
  const entry: EnrollOptions = {
    dataDir,
    database,
    bundle,
    trust,
    hubUrls,
    facts,
    log,
    now: clock.now,
    signal,
  }
  const driver = await openSlots({ dir: join(dataDir, 'slots'), factoryImage: config.factoryImage, log })
  try {
    const entries: number[] = []
    let next = belongs(entry) ? undefined : await enroll(entry)
    while (!signal.aborted) {
      next?.keep()
      const enrollment = loadEnrollment(database)
      if (!enrollment) throw new Error('the enrollment was not kept')
      const { cluster, node, class: class_, incarnation } = enrollment
      log.info({ cluster, node, class: class_, incarnation }, 'this node belongs')
      next = await live({
        config,
        enrollment,
        entry,
        entries,
        trust,
        driver,
        database,
        hubUrls,
        dataDir,
        log,
        now,
        clock,
        signal,
      })
    }
  } finally {
    await driver.close()
    database.close()
  }
}

/** Whether what is kept is this node's: an enrollment of a key that is gone can sign nothing. */
function belongs({ database, dataDir }: EnrollOptions): boolean {
  return loadEnrollment(database)?.nodeKeyThumbprint === openNodeKey(dataDir).thumbprint
}

type Living = {
  config: AgentConfig
  enrollment: Enrollment
  entry: EnrollOptions
  /** When this process entered again, within the last hour. */
  entries: number[]
  trust: Trust
  driver: Awaited<ReturnType<typeof openSlots>>
  database: ReturnType<typeof openDatabase>
  hubUrls: () => readonly string[]
  dataDir: string
  log: Logger
  now: () => number
  clock: Clock
  signal: AbortSignal
}

/**
 * Runs one life: one chain of statements, under one name. A new credential for it is taken up in passing. Returns the
 * entry into another life when the hub began one; undefined when this life goes on in a new connection, and at the signal.
 */
async function live({
  config,
  enrollment,
  entry,
  entries,
  trust,
  driver,
  database,
  hubUrls,
  dataDir,
  log,
  now,
  clock,
  signal: over,
}: Living): Promise<Entry | undefined> {
  const life = new AbortController()
  const signal = AbortSignal.any([over, life.signal])
  const bus = openBus(database)
  const outbox = openOutbox(database, enrollment, now)
  const signer = openNodeKey(dataDir)
  let boot: BootFacts | undefined
  let next: Entry | undefined
  let entering: Promise<void> | undefined

  // Another credential by the same three calls: when this one nears its end, and when the server no longer takes it.
  const enter = () => {
    entering ??= enterAgain().finally(() => {
      entering = undefined
    })
  }
  async function enterAgain(): Promise<void> {
    try {
      // Many may be cut off at once, and whoever holds the network can cut one off again and again.
      while (entries[0] !== undefined && performance.now() - entries[0] > HOUR_MS) entries.shift()
      await pause(Math.min(Math.random() * SPREAD_MS * 2 ** entries.length, HOUR_MS), signal)
      const entered = await enroll({ ...entry, signal })
      entries.push(performance.now())
      log.info({ incarnation: entered.enrollment.incarnation, sameLife: entered.sameLife }, 'a new credential is here')
      if (!entered.sameLife) {
        next = entered
        return life.abort(new Error('another life begins'))
      }
      entered.keep()
      await pause(TAKE_UP_MS, signal)
      // It may be minutes from its next try with what was refused.
      if (!courier.connected) life.abort(new Error('the courier begins again with the new credential'))
    } catch (error) {
      if (!signal.aborted) log.error({ err: error }, 'this node could not enter again')
    }
  }
  const courier = openCourier({
    longestPauseMs: config.reconnectMs,
    caPem: () => safely(() => trust.hub().caPem),
    enrollment,
    credsPath: credsFile(dataDir),
    servers: () => (config.natsUrls.length > 0 ? config.natsUrls : (safely(() => trust.hub().natsUrls) ?? [])),
    log,
    onDesiredHint: () => leader.hint(),
    onAck: (jws) => void pump.onAck(jws),
    onConnected: () => {
      pump.poke()
      leader.hint()
    },
    // One that has been replaced meanwhile is no loss.
    onRefused: (creds) => {
      if (creds === credsOf(dataDir)) enter()
    },
    signal,
  })
  const leader = startLeader({
    enrollment,
    database,
    bus,
    outbox,
    trust,
    hardwareId: config.hardwareId,
    measuresBoot: driver.measuresBoot,
    pollMs: config.pollMs,
    now,
    clock,
    log,
    signal,
    fetchDesired: async () => {
      const looked = await courier.getDesired()
      return looked.found === 'desired' ? looked.jws : undefined
    },
  })
  const pump = startPump({
    courier,
    outbox,
    enrollment,
    signer,
    trust,
    heartbeatMs: config.heartbeatMs,
    now: clock.now,
    log,
    signal,
    status,
    nextCounter,
  })
  const renewal = (async () => {
    // An entry that was begun is ended first, and a credential that is gone is asked for.
    if (isEntering(dataDir) || credsOf(dataDir) === undefined) enter()
    while (!signal.aborted) {
      const dueAtMs = renewalAtMs(loadEnrollment(database) ?? enrollment)
      if (clock.now() >= dueAtMs) enter()
      await pause(Math.min(Math.max(dueAtMs - clock.now(), RENEWAL_LOOK_MS), 60 * RENEWAL_LOOK_MS), signal).catch(
        () => {},
      )
    }
  })()
  const node = runNode({
    database,
    bus,
    outbox,
    driver,
    enrollment,
    watchMs: config.watchMs,
    now,
    log,
    signal,
    fetchImage: (wanted, stop) => download(join(dataDir, 'blobs'), wanted, hubUrls(), () => {}, stop),
    onBooted: (facts) => {
      boot = facts
    },
  })
  await Promise.all([leader.done, pump.done, node, renewal])
  await entering
  await courier.close()
  return next

  function nextCounter(): number {
    const counter = (database.load<number>('status_counter') ?? 0) + 1
    database.save('status_counter', counter)
    return counter
  }

  function status(): Omit<NodeStatus, 'counter'> {
    const { state } = bus.node()
    const site = bus.site()
    const { seq, digest } = outbox.newest()
    return {
      kind: 'NodeStatus',
      cluster: enrollment.cluster,
      node: enrollment.node,
      incarnation: enrollment.incarnation,
      seq,
      ...(digest ? { digest } : {}),
      at: new Date(now()).toISOString(),
      phase: state.stage.phase,
      ...wordOf(state, boot),
      booted: { imageSha256: boot?.imageSha256 ?? '0'.repeat(64) },
      slot: boot?.slot ?? 'unknown',
      bootId: boot?.bootId ?? 'unknown',
      driver: driver.name,
      ...(site ? { holds: site.holds } : {}),
      tuf: trust.versions(),
      failed: [...state.memory.failures],
      ...(site?.plan?.nextWindowMs === undefined ? {} : { nextWindow: new Date(site.plan.nextWindowMs).toISOString() }),
      agentVersion: AGENT_VERSION,
    }
  }
}

/** What this node knows of itself, for a person at the site while the hub is away. */
export function siteView(dataDir: string): object {
  const database = readDatabase(resolve(dataDir))
  if (!database) throw new Error(`no agent has run on ${resolve(dataDir)}: name its data folder with --data`)
  try {
    const enrollment = loadEnrollment(database)
    const site = database.load<EdgeSite>('edge_site')
    const { state } = database.load<EdgeNode>('edge_node') ?? { state: initialState(undefined) }
    const waiting = database.sql.prepare('select count(*) as n from statement where acknowledged_at is null').get() as {
      n: number
    }
    const slots = join(resolve(dataDir), 'slots', 'boot.json')
    const registration = database.load<object>('registration')
    return {
      ...(registration ? { registration } : {}),
      cluster: enrollment?.cluster ?? null,
      node: enrollment?.node ?? null,
      class: enrollment?.class ?? null,
      phase: state.stage.phase,
      reason: state.reason,
      message: state.message,
      confirmed: state.memory.confirmed ?? null,
      failed: state.memory.failures,
      desired: site ? { ...site.holds, image: site.document.image ?? null, windows: site.document.windows } : null,
      plan: site?.plan ?? null,
      slots: existsSync(slots) ? (JSON.parse(readFileSync(slots, 'utf8')) as object) : null,
      statementsWaiting: waiting.n,
    }
  } finally {
    database.close()
  }
}

// The bundle is kept: whoever was given one hub follows no other, and a start needs no file from outside.
function openBundle(dataDir: string, file: string | undefined): SiteBundle {
  const kept = join(dataDir, 'bundle.json')
  const source = file ?? (existsSync(kept) ? kept : undefined)
  if (!source) throw new Error('this node belongs to no site yet: name its bundle with --bundle FILE')
  const text = readFileSync(source)
  const bundle = parse(SiteBundle, parseStrictJson(text, { maxBytes: 1_048_576 }), source)
  if (file) writeSecret(kept, text.toString('utf8'))
  return bundle
}

function credsOf(dataDir: string): string | undefined {
  return safely(() => readFileSync(credsFile(dataDir), 'utf8'))
}

function safely<T>(act: () => T): T | undefined {
  try {
    return act()
  } catch {
    return undefined
  }
}
