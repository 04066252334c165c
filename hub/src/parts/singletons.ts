import type { Reachability } from '@skerry/api'
import type { ReachabilityLimits, RemovalGuard } from '@skerry/policy'
import type { Logger } from 'pino'
import { attestationController } from '../controllers/attestation.ts'
import { clusterStatusController } from '../controllers/cluster-status.ts'
import { desiredController } from '../controllers/desired.ts'
import { placementController } from '../controllers/placement.ts'
import { registrationController } from '../controllers/registration.ts'
import { rolloutController } from '../controllers/rollout.ts'
import { type Controller, type Hints, runController } from '../controllers/run.ts'
import type { HubKeys } from '../keys/keys.ts'
import { pause } from '../pause.ts'
import { pruneEvents } from '../store/events.ts'
import { acquireLease, type Lease, writeFenced } from '../store/leases.ts'
import { openMirrors } from '../store/mirrors.ts'
import { compactChanges } from '../store/resources.ts'
import { renewSeal, type Sealer } from '../store/seal.ts'
import type { Store } from '../store/store.ts'
import { type HubConnection, looksWhole, mintUser, newRoutingToken, publishNew, refill } from '../transport/index.ts'
import type { Heard, Wakes } from './hints.ts'

export type Singletons = {
  readonly store: Store
  readonly hub: HubConnection
  readonly keys: HubKeys
  readonly reachability: ReachabilityLimits
  readonly removalGuard: RemovalGuard
  readonly sealer: Sealer
  readonly log: Logger
  readonly now: () => number
  readonly signal: AbortSignal
  readonly wakes: Wakes
  readonly onPublished: (count: number) => void
  readonly onReachability: (counts: ReadonlyMap<Reachability, number>) => void
}

const KEPT_VERSIONS = 100_000
const KEPT_EVENTS = 10_000
/** Deleted under the lock of all writers at a time. */
const EVENTS_AT_ONCE = 500
const HOUSEKEEPING_MS = 10 * 60_000
/** The stream is looked at so often, and compared whole so often. */
const LOOK_MS = 30_000
const COMPARE_MS = 10 * 60_000
const RETRY_MS = 500

/**
 * Everything of which there may be one at a time, under one lease, until the signal. A lease that is lost ends them all,
 * and they wait for it again.
 */
export async function runSingletons(parts: Singletons): Promise<void> {
  const { store, log, signal, now, wakes } = parts
  while (!signal.aborted) {
    let lease: Lease | undefined
    try {
      const mirrors = openMirrors(store)
      const held = await acquireLease(store, 'controllers', signal)
      lease = held
      log.info({ term: held.token }, 'this hub runs the controllers')
      const term = AbortSignal.any([signal, held.lost])
      await Promise.all(
        controllersOf(parts, held).map((run) =>
          runController(run.controller, { store, lease: held, mirrors, now, log, signal: term }, hintsOf(run, wakes)),
        ),
      )
    } catch (error) {
      if (!signal.aborted) log.warn({ err: error }, 'the controllers wait for their lease')
      await pause(RETRY_MS, signal)
    } finally {
      parts.hub.leaveSites()
      await lease?.release().catch(() => undefined)
    }
  }
}

/** A controller with what it reads: a change of anything else is no reason to look. `connected`: a return of NATS is one. */
type Run = Heard & { readonly controller: Controller; readonly connected?: Listen }
type Listen = (listener: () => void) => () => void

function hintsOf({ connected, kinds, topics }: Run, wakes: Wakes): Hints {
  const changes = wakes.hints({ kinds, topics })
  return {
    subscribe(listener) {
      const ends = [changes.subscribe(listener), ...(connected ? [connected(listener)] : [])]
      return () => {
        for (const end of ends) end()
      }
    },
  }
}

function controllersOf(parts: Singletons, lease: Lease): Run[] {
  const { hub, keys, reachability, removalGuard, onReachability } = parts
  // A term's controllers listen as long as the term.
  const onConnected: Listen = (listener) => {
    let listening = true
    const forget = hub.onConnected(listener)
    const end = () => {
      if (listening) forget()
      listening = false
    }
    if (lease.lost.aborted) end()
    else lease.lost.addEventListener('abort', end, { once: true })
    return end
  }
  return [
    {
      controller: registrationController({
        mint: (credential) => mintUser(keys.nats, credential),
        newRoutingToken,
        acceptanceSigner: keys.acceptance,
        pushRevocations: (revocations) => hub.pushSites(revocations),
        onConnected,
      }),
      kinds: ['Registration', 'ManagedCluster', 'JoinToken'],
      topics: ['identity'],
      connected: onConnected,
    },
    {
      controller: placementController(removalGuard),
      kinds: [
        'Placement',
        'ManagedClusterSet',
        'ManagedClusterSetBinding',
        'ManagedCluster',
        'PlacementDecision',
        'AddOnPlacementScore',
      ],
      topics: [],
    },
    { controller: attestationController(keys.result), kinds: ['OSImage', 'HardwareProfile'], topics: ['statement'] },
    {
      controller: rolloutController(reachability),
      kinds: ['Rollout', 'OSImage', 'Placement', 'PlacementDecision', 'ManagedCluster'],
      topics: ['statement', 'attestation', 'desired-state', 'identity', 'rollout-act'],
    },
    { controller: desiredController(), kinds: [], topics: ['assignment'] },
    {
      controller: publisherController(parts, lease, onConnected),
      kinds: [],
      topics: ['desired-state', 'identity'],
      connected: onConnected,
    },
    {
      controller: clusterStatusController(reachability, onReachability),
      kinds: ['ManagedCluster', 'EdgeNode', 'OSImage'],
      topics: ['statement', 'attestation', 'identity'],
    },
    { controller: housekeepingController(parts, lease), kinds: [], topics: [] },
  ]
}

function publisherController(
  { store, hub, keys, log, now, onPublished }: Singletons,
  lease: Lease,
  onConnected: Listen,
): Controller {
  const publisher = { store, lease, hub, signer: keys.desiredState, log, now, onPublished }
  let compared = false
  onConnected(() => {
    compared = false
  })
  let comparedAt = 0
  let lookedAt = 0
  return {
    name: 'publisher',
    async reconcile() {
      if (hub.fault() !== undefined) return { recheckAtMs: now() + 1_000 }
      // The stream is compared with the database after every reconnect, and now and then: a store deleted under a
      // running server is not noticed by anybody else.
      if (compared && now() - lookedAt > LOOK_MS) {
        lookedAt = now()
        compared = now() - comparedAt < COMPARE_MS && (await looksWhole(publisher))
      }
      if (!compared) {
        await refill(publisher)
        compared = true
        comparedAt = now()
        lookedAt = now()
      }
      await publishNew(publisher)
      return {}
    },
  }
}

function housekeepingController({ store, sealer, now }: Singletons, lease: Lease): Controller {
  return {
    name: 'housekeeping',
    async reconcile({ signal }) {
      await writeFenced(store, lease, (tx) => compactChanges(tx, KEPT_VERSIONS))
      // Each batch is a transaction, so that others write between two of them.
      let gone = EVENTS_AT_ONCE
      while (gone === EVENTS_AT_ONCE && !signal.aborted)
        gone = await writeFenced(store, lease, (tx) => pruneEvents(tx, KEPT_EVENTS, EVENTS_AT_ONCE))
      // Last: metadata that cannot be signed keeps no table from being pruned.
      await renewSeal(store, lease, sealer)
      return { recheckAtMs: now() + HOUSEKEEPING_MS }
    },
  }
}
