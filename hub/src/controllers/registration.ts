import { isDeepStrictEqual } from 'node:util'
import type { ObjectOf } from '@skerry/api'
import { recordEvent, recordEvents } from '../store/events.ts'
import { deleteExchanges, deleteOrphanedExchanges } from '../store/exchanges.ts'
import { type IdentityRow, listIdentities, setIdentityState } from '../store/identities.ts'
import { LeaseLost, writeFenced } from '../store/leases.ts'
import { listRevocations, pruneRevocations, revokeKey } from '../store/nats-keys.ts'
import { deleteObject, getObject, getObjects, listObjects, saveStatuses } from '../store/resources.ts'
import type { Reader, Tx } from '../store/store.ts'
import { wake } from '../store/wake.ts'
import { acceptanceEvent, joiningStatus } from './registration-cluster.ts'
import { isSettled, type RegistrationOptions, type RegistrationRows, settle } from './registration-settle.ts'
import type { Controller, Reconciling } from './run.ts'

// Turns decisions into identities and credentials, and takes them back. Level-triggered: from the rows alone it can tell
// what each registration should be, so a hub killed between any two steps only delays it.

/** Registrations settled in one transaction. */
const AT_ONCE = 256
const PRUNE_MS = 10 * 60_000
const RETRY_MS = 2_000

export function registrationController(options: RegistrationOptions): Controller {
  /** The set of revocations that NATS is known to hold; undefined when a reconnect has made that doubtful. */
  let pushed: string | undefined
  let prunedAtMs = Number.NEGATIVE_INFINITY
  options.onConnected(() => {
    pushed = undefined
  })

  return {
    name: 'registration',
    async reconcile(context) {
      const { store, lease, now, log } = context
      const rechecks: number[] = []
      let rows = await loadRows(store.sql)
      const due = rows.registrations.filter((registration) => !isSettled(registration, rows))
      for (const batch of batchesOf(due)) rechecks.push(...(await settleAll(context, batch, options)))
      if (due.length > 0) rows = await loadRows(store.sql)
      await endDeleted(context, rows)
      await saveClusters(context, rows)
      if (now() - prunedAtMs > PRUNE_MS) {
        await writeFenced(store, lease, async (tx) => {
          await deleteOrphanedExchanges(tx)
          await pruneRevocations(tx, now())
        })
        prunedAtMs = now()
      }

      const { told, leftOut } = await listRevocations(store.sql)
      const set = JSON.stringify([...told])
      if (set !== pushed) {
        try {
          await options.pushRevocations(told)
          pushed = set
          if (leftOut > 0)
            log.warn(
              { told: told.size, leftOut },
              'nats holds no more revocations; the oldest keys of some nodes are left out',
            )
        } catch (error) {
          // What was told before is told again, also when the rows go back to it: only a success ends the doubt.
          pushed = undefined
          // The rows hold: a server that starts reads them, and one that comes back is told then.
          log.warn({ err: error, revocations: told.size }, 'nats was not told who is revoked; trying again')
          rechecks.push(now() + RETRY_MS)
        }
      }
      return rechecks.length > 0 ? { recheckAtMs: Math.min(...rechecks) } : {}
    },
  }
}

async function loadRows(sql: Reader): Promise<RegistrationRows> {
  const [registrations, clusters, tokens, identities] = await Promise.all([
    listObjects(sql, 'Registration'),
    listObjects(sql, 'ManagedCluster'),
    listObjects(sql, 'JoinToken'),
    listIdentities(sql),
  ])
  return {
    registrations,
    clusters: new Map(clusters.map((cluster) => [cluster.metadata.name, cluster])),
    automaticTokens: new Set(
      tokens.filter(({ spec }) => spec.acceptance === 'Automatic').map(({ metadata }) => metadata.name),
    ),
    identities: new Map(identities.map((row) => [`${row.cluster}/${row.node}`, row])),
  }
}

// Returns when to look again at those that have to wait. One that cannot be settled holds up no other.
async function settleAll(
  context: Reconciling,
  due: readonly ObjectOf<'Registration'>[],
  options: RegistrationOptions,
): Promise<number[]> {
  const { store, lease, now, log } = context
  try {
    await writeFenced(store, lease, (tx) => settle(tx, due, options, now()))
    return []
  } catch (error) {
    if (error instanceof LeaseLost) throw error
    const [only] = due
    if (due.length === 1 && only) {
      log.error({ err: error, cluster: only.metadata.namespace, node: only.metadata.name }, 'registration not settled')
      return [now() + RETRY_MS]
    }
    const rechecks: number[] = []
    for (const one of due) rechecks.push(...(await settleAll(context, [one], options)))
    return rechecks
  }
}

// In each batch a cluster, a key and a NATS key are there once: what is decided of one of its nodes is a fact to the next.
function batchesOf(due: readonly ObjectOf<'Registration'>[]): ObjectOf<'Registration'>[][] {
  const batches: { all: ObjectOf<'Registration'>[]; names: Set<string> }[] = []
  let firstOpen = 0
  for (const registration of due) {
    const { nodeKeyThumbprint, natsKey } = registration.spec
    const names = [`cluster ${registration.metadata.namespace}`, `key ${nodeKeyThumbprint}`, `nats ${natsKey}`]
    // Never ahead of one that it shares a name with.
    const last = batches.findLastIndex((batch) => names.some((name) => batch.names.has(name)))
    while ((batches[firstOpen]?.all.length ?? 0) >= AT_ONCE) firstOpen += 1
    let at = Math.max(last + 1, firstOpen)
    while ((batches[at]?.all.length ?? 0) >= AT_ONCE) at += 1
    const batch = batches[at] ?? { all: [], names: new Set() }
    batches[at] = batch
    batch.all.push(registration)
    for (const name of names) batch.names.add(name)
  }
  return batches.map(({ all }) => all)
}

// A record whose Registration was deleted has left: its credential ends, its evidence stays.
async function endDeleted(
  { store, lease, now }: Reconciling,
  { registrations, identities }: RegistrationRows,
): Promise<void> {
  const kept = new Set(registrations.map(({ metadata }) => `${metadata.namespace}/${metadata.name}`))
  const left = [...identities].filter(([place, { state }]) => !kept.has(place) && state !== 'Left')
  for (const [, row] of left) await writeFenced(store, lease, (tx) => leave(tx, row, now()))
}

async function leave(tx: Tx, row: IdentityRow, nowMs: number): Promise<void> {
  const { cluster, node } = row
  if (await getObject(tx, 'Registration', cluster, node)) return
  await revokeKey(tx, row, nowMs)
  await setIdentityState(tx, row, 'Left')
  await deleteExchanges(tx, [row.requestId])
  await deleteObject(tx, 'EdgeNode', cluster, node)
  await recordEvent(tx, {
    type: 'Normal',
    reason: 'RegistrationLeft',
    message: `the registration of ${node} was deleted; its credential is revoked`,
    component: 'registration',
    regarding: { kind: 'EdgeNode', namespace: cluster, name: node },
  })
  await wake(tx, 'identity')
}

async function saveClusters({ store, lease, now }: Reconciling, rows: RegistrationRows): Promise<void> {
  const nodes = Map.groupBy(rows.registrations, ({ metadata }) => metadata.namespace ?? '')
  const wanted = (current: ObjectOf<'ManagedCluster'>) =>
    joiningStatus(current, nodes.get(current.metadata.name) ?? [], now())
  const due = [...rows.clusters.values()].filter((cluster) => !isDeepStrictEqual(cluster.status, wanted(cluster)))
  for (let from = 0; from < due.length; from += AT_ONCE)
    await writeFenced(store, lease, async (tx) => {
      const places = due.slice(from, from + AT_ONCE).map(({ metadata: { name } }) => ({ namespace: '', name }))
      const current = await getObjects(tx, 'ManagedCluster', places)
      await recordEvents(tx, [...current.values()].flatMap(acceptanceEvent))
      await saveStatuses(
        tx,
        'ManagedCluster',
        [...current.values()].map((cluster) => ({
          namespace: '',
          name: cluster.metadata.name,
          status: wanted(cluster),
        })),
      )
    })
}
