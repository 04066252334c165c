import { join } from 'node:path'
import type { HubDescription } from '@skerry/api'
import { repeatPauseMs } from '@skerry/policy'
import type { Trust } from '@skerry/trust'
import { download } from './blobs/download.ts'
import type { AgentConfig } from './config.ts'
import type { Driver } from './drivers/driver.ts'
import { runNode } from './node/executor.ts'
import { type SeenBoot, seenBoot } from './node/troubles.ts'
import { openOutbox } from './outbox/outbox.ts'
import { startPump } from './outbox/pump.ts'
import { type EnrollOptions, type Entry, enroll } from './registration/enroll.ts'
import { type Enrollment, loadEnrollment, renewalAtMs } from './registration/enrollment.ts'
import type { EntryPauses } from './registration/entries.ts'
import { credsFile, isEntering, readCreds } from './registration/keys.ts'
import { openNodeKey } from './registration/node-key.ts'
import { watchStanding } from './registration/standing.ts'
import { startLeader } from './site/leader.ts'
import { nodeStatus } from './status.ts'
import { openBus } from './store/bus.ts'
import type { Clock } from './store/clock.ts'
import type { TpmView } from './tpm/index.ts'
import { openCourier } from './transport/courier.ts'
import { pause, together } from './waits.ts'

/** So long the courier has to take up a new credential by itself. */
const TAKE_UP_MS = 5_000
/** So often, and at least every hour, the renewal is looked at: clocks jump. */
const RENEWAL_LOOK_MS = 60_000

const repeatAfterMs = (times: number) => repeatPauseMs(times, Math.random())

/** What a node keeps from one of its lives to the next. */
export type Place = {
  readonly config: AgentConfig
  readonly entry: EnrollOptions & { readonly trust: Trust }
  readonly pauses: EntryPauses
  readonly driver: Driver
  /** The trusted hub.json, where there is one. */
  readonly hub: () => HubDescription | undefined
  readonly now: () => number
  readonly clock: Clock
}

/**
 * Runs one life: one chain of statements, under one name. A new credential for it is taken up in passing. Returns the
 * entry into another life when the hub began one; undefined when this life goes on in a new connection, and at the signal.
 * Rejects when a part failed; the others have ended then.
 */
export async function live(place: Place, enrollment: Enrollment): Promise<Entry | undefined> {
  const { config, entry, pauses, driver, hub, now, clock } = place
  const { database, dataDir, trust, hubUrls, log, signal: over } = entry
  const life = new AbortController()
  const signal = AbortSignal.any([over, life.signal])
  const bus = openBus(database)
  const outbox = openOutbox(database, enrollment, now, config.outboxBytes, () => entry.hardware?.time())
  const signer = await openNodeKey(dataDir, entry.hardware)
  // Before anything is admitted: a disk that was put back knows of less than the TPM.
  await entry.hardware?.readReleaseFloor()
  let boot: SeenBoot | undefined
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
      await pause(pauses.nextMs(performance.now(), Math.random()), signal)
      const entered = await enroll({ ...entry, signal })
      pauses.entered(performance.now())
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
    repeatAfterMs,
    caPem: () => hub()?.caPem,
    enrollment,
    credsPath: credsFile(dataDir),
    servers: () => (config.natsUrls.length > 0 ? config.natsUrls : (hub()?.natsUrls ?? [])),
    log,
    onDesiredHint: () => leader.hint(),
    onAck: (jws) => void pump.onAck(jws),
    onConnected: () => {
      pump.poke()
      leader.hint()
    },
    // One that has been replaced meanwhile is no loss.
    onRefused: (creds) => {
      if (creds === readCreds(dataDir)) enter()
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
    tpmFloor: () => entry.hardware?.releaseFloor(),
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
    repeatAfterMs,
    clock,
    log,
    signal,
    status: () =>
      nodeStatus(
        {
          ...{ enrollment, bus, newest: outbox.newest(), boot, driver: driver.name, tuf: trust.versions() },
          tpm: database.load<TpmView>('tpm'),
        },
        now(),
      ),
    nextCounter() {
      const counter = (database.load<number>('status_counter') ?? 0) + 1
      database.save('status_counter', counter)
      return counter
    },
  })
  const renewal = (async () => {
    // An entry that was begun is ended first, and a credential that is gone is asked for.
    if (isEntering(dataDir) || readCreds(dataDir) === undefined) enter()
    while (!signal.aborted) {
      const dueAtMs = renewalAtMs(loadEnrollment(database) ?? enrollment)
      if (clock.now() >= dueAtMs) enter()
      await pause(Math.min(Math.max(dueAtMs - clock.now(), RENEWAL_LOOK_MS), 60 * RENEWAL_LOOK_MS), signal).catch(
        () => {},
      )
    }
  })()
  const standing = watchStanding(
    { ...entry, signal },
    { connected: () => courier.connected, oldest: outbox.oldest },
    { unheardMs: config.unheardMs, againMs: 3 * config.unheardMs },
  )
  const node = runNode({
    database,
    bus,
    outbox,
    driver,
    enrollment,
    hardware: entry.hardware,
    watchMs: config.watchMs,
    now,
    log,
    signal,
    fetchImage: (wanted, stop, onProgress) => download(join(dataDir, 'blobs'), wanted, hubUrls(), stop, { onProgress }),
    onBooted: (facts) => {
      boot = seenBoot(facts, boot, now())
    },
  })
  try {
    await together({ leader: leader.done, pump: pump.done, node, renewal, standing }, life)
  } finally {
    await entering
    await courier.close()
  }
  return next
}
