import { existsSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { type NodeStatus, parse, SiteBundle } from '@skerry/api'
import type { BootFacts } from '@skerry/policy'
import { openTrust, parseStrictJson, type Trust, writeSecret } from '@skerry/trust'
import type { Logger } from 'pino'
import { download } from './blobs/download.ts'
import type { AgentConfig } from './config.ts'
import { openSlots } from './drivers/slots.ts'
import { runNode } from './node/executor.ts'
import { openOutbox } from './outbox/outbox.ts'
import { startPump } from './outbox/pump.ts'
import { type EnrollOptions, enroll, openNodeKey, renewalAtMs } from './registration/enroll.ts'
import { type Enrollment, loadEnrollment } from './registration/enrollment.ts'
import { tufSource } from './registration/http.ts'
import { startLeader } from './site/leader.ts'
import { openBus } from './store/bus.ts'
import { openDatabase } from './store/database.ts'
import { pause } from './store/pause.ts'
import { openCourier } from './transport/courier.ts'

export const AGENT_VERSION = '0.1.0'

/** Runs the agent until the signal. With an enrollment on disk it needs no hub to start. */
export async function runAgent(config: AgentConfig, log: Logger, signal: AbortSignal): Promise<void> {
  const dataDir = resolve(config.dataDir)
  const now = () => Date.now()
  const database = openDatabase(dataDir)
  const bundle = openBundle(dataDir, config.bundleFile)
  let trust: Trust | undefined
  const known = () => (trust ? safely(() => trust?.hub()) : undefined)
  const hubUrls = () =>
    config.hubUrls.length > 0 ? config.hubUrls : [...new Set([...bundle.hubUrls, ...(known()?.apiUrls ?? [])])]
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
    bundle: { ...bundle, hubUrls: [...hubUrls()] },
    trust,
    facts,
    log,
    now,
    signal,
  }
  const driver = await openSlots({ dir: join(dataDir, 'slots'), factoryImage: config.factoryImage, log })
  try {
    const enrollment = loadEnrollment(database) ?? (await enroll(entry))
    log.info(
      {
        cluster: enrollment.cluster,
        node: enrollment.node,
        class: enrollment.class,
        incarnation: enrollment.incarnation,
      },
      'this node belongs',
    )
    await live({ config, enrollment, entry, trust, driver, database, hubUrls, dataDir, log, now, signal })
  } finally {
    await driver.close()
    database.close()
  }
}

type Living = {
  config: AgentConfig
  enrollment: Enrollment
  entry: EnrollOptions
  trust: Trust
  driver: Awaited<ReturnType<typeof openSlots>>
  database: ReturnType<typeof openDatabase>
  hubUrls: () => readonly string[]
  dataDir: string
  log: Logger
  now: () => number
  signal: AbortSignal
}

async function live({
  config,
  enrollment,
  entry,
  trust,
  driver,
  database,
  hubUrls,
  dataDir,
  log,
  now,
  signal,
}: Living): Promise<void> {
  const bus = openBus(database)
  const outbox = openOutbox(database, enrollment, now)
  const signer = openNodeKey(dataDir)
  let boot: BootFacts | undefined
  let _reentering: Promise<unknown> | undefined

  // Another credential by the same three calls: when this one nears its end, and when the server no longer takes it.
  const reenter = () => {
    _reentering ??= pause(Math.random() * 2_000, signal)
      .then(() => enroll(entry))
      .then(() => log.info('a new credential is here'))
      .catch(() => undefined)
      .finally(() => {
        _reentering = undefined
      })
  }
  const courier = openCourier({
    enrollment,
    credsPath: join(dataDir, 'nats.creds'),
    servers: () => (config.natsUrls.length > 0 ? config.natsUrls : (safely(() => trust.hub().natsUrls) ?? [])),
    log,
    onDesiredHint: () => leader.hint(),
    onAck: (jws) => pump.onAck(jws),
    onConnected: () => {
      pump.poke()
      leader.hint()
    },
    onRefused: reenter,
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
    log,
    signal,
    fetchDesired: async () => (courier.connected ? courier.getDesired() : undefined),
  })
  const pump = startPump({
    courier,
    outbox,
    enrollment,
    signer,
    trust,
    heartbeatMs: config.heartbeatMs,
    now,
    log,
    signal,
    status,
  })
  const renewal = (async () => {
    while (!signal.aborted) {
      const current = loadEnrollment(database) ?? enrollment
      await pause(Math.min(Math.max(renewalAtMs(current) - now(), 60_000), 86_400_000), signal).catch(() => undefined)
      if (!signal.aborted && now() >= renewalAtMs(current)) reenter()
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
  await courier.close()

  function status(): NodeStatus {
    const { state } = bus.node()
    const site = bus.site()
    const counter = (database.load<number>('status_counter') ?? 0) + 1
    database.save('status_counter', counter)
    const { seq, digest } = outbox.newest()
    return {
      kind: 'NodeStatus',
      cluster: enrollment.cluster,
      node: enrollment.node,
      incarnation: enrollment.incarnation,
      counter,
      seq,
      ...(digest ? { digest } : {}),
      at: new Date(now()).toISOString(),
      phase: state.stage.phase,
      reason: state.reason,
      message: state.message,
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
  const database = openDatabase(resolve(dataDir))
  try {
    const enrollment = loadEnrollment(database)
    const bus = openBus(database)
    const site = bus.site()
    const { state } = bus.node()
    const waiting = database.sql.prepare('select count(*) as n from statement where acknowledged_at is null').get() as {
      n: number
    }
    const slots = join(resolve(dataDir), 'slots', 'boot.json')
    return {
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

function safely<T>(act: () => T): T | undefined {
  try {
    return act()
  } catch {
    return undefined
  }
}
