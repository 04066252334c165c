import { createHash } from 'node:crypto'
import {
  type HardwareProfile,
  type KindName,
  manifestTarget,
  type NodeStatus,
  type ObjectOf,
  type PcrValues,
  profileTarget,
  type RolloutSpec,
  type Statement,
  type UkiBoot,
} from '@skerry/api'
import { confirmedManifest } from '@skerry/policy'
import { evidenceOf, type Tpm } from '@skerry/policy/testing'
import { createKey, evidenceNonce, keyRing, openBatch, sha256Hex, signDocument } from '@skerry/trust'
import pino from 'pino'
import { onTestFinished } from 'vitest'
import { saveClosed } from '../store/closed-gaps.ts'
import { lockHeads, saveHeads, saveNodeStatuses } from '../store/heads.ts'
import { saveIdentities } from '../store/identities.ts'
import { acquireLease, type Lease } from '../store/leases.ts'
import { openMirrors } from '../store/mirrors.ts'
import { phaseOf } from '../store/refused-orders.ts'
import { createObject, getObject, listObjects, updateObject } from '../store/resources.ts'
import { appendBatches, appendStatements, type NewStatement } from '../store/statements.ts'
import { type Store, write } from '../store/store.ts'
import { openTestStore } from '../store/testing.ts'
import { saveTarget } from '../store/trust.ts'
import type { Controller } from './run.ts'

// Controllers on a real database, called by hand: what the other writers (http, ingest, registration) would have
// written is written here by the same functions of the store.

export const LIMITS = { lateMs: 90_000, offlineMs: 300_000, staleMs: 1_209_600_000 }
/** Signs verdicts. */
export const RESULT_KEY = createKey('EdDSA')
export const sha = (text: string) => createHash('sha256').update(text).digest('hex')
const START = '0'.repeat(64)
const NATS_KEY = `U${'A'.repeat(55)}`

export type World = Awaited<ReturnType<typeof openWorld>>

/** A migrated database with a lease, gone with the test, or around a store. Its clock is the real one, moved by `pass()`. */
export async function openWorld(given?: Store) {
  const store = given ?? (await openTestStore())
  const lease = await acquireLease(store, 'controllers', AbortSignal.timeout(120_000))
  onTestFinished(() => lease.release().catch(() => undefined))
  const mirrors = openMirrors(store)
  let offsetMs = 0
  const now = () => Date.now() + offsetMs
  return {
    store,
    lease,
    now,
    pass: (ms: number) => {
      offsetMs += ms
    },
    look: (controller: Controller, by: Lease = lease) =>
      controller.reconcile({
        store,
        lease: by,
        mirrors,
        now,
        log: pino({ level: 'silent' }),
        signal: AbortSignal.timeout(120_000),
      }),
    create: <K extends KindName>(kind: K, name: string, spec: unknown, more: object = {}) =>
      write(store, (tx) => createObject(tx, kind, { metadata: { name, ...more }, spec })),
    edit: <K extends KindName>(kind: K, name: string, namespace: string, spec: unknown) =>
      write(store, (tx) => updateObject(tx, kind, { metadata: { name, namespace }, spec })),
    get: async <K extends KindName>(kind: K, name: string, namespace = ''): Promise<ObjectOf<K>> => {
      const found = await getObject(store.sql, kind, namespace, name)
      if (!found) throw new Error(`there is no ${kind} ${name}`)
      return found
    },
    list: <K extends KindName>(kind: K) => listObjects(store.sql, kind),
  }
}

/** The version of the newest change: that it stays says that nothing was written. */
export async function newest({ store }: World): Promise<number> {
  const [row] = await store.sql<{ v: string | null }[]>`select max(resource_version) as v from resource_change`
  return Number(row?.v ?? 0)
}

/** An OSImage whose digests come from its name. */
export function addImage(world: World, name: string, releaseCounter = 1) {
  return world.create('OSImage', name, {
    target: `images/os/${name}.json`,
    manifestSha256: sha(`manifest ${name}`),
    family: 'os',
    version: name,
    releaseCounter,
    hardwareIds: ['any'],
    image: { sha256: sha(name), length: 1, mediaType: 'application/octet-stream' },
    boot: { kind: 'none' },
    signers: [],
  })
}

/** An OSImage of hardware `shop-box` and `kiosk` whose manifest, as signers sign it, holds this boot block. */
export async function addMeasuredImage(
  world: World,
  bytesOf: string,
  boot: UkiBoot,
  releaseCounter = 1,
  name = bytesOf,
): Promise<string> {
  const image = { sha256: sha(bytesOf), length: 1, mediaType: 'application/octet-stream' }
  const says = { family: 'os', version: name, releaseCounter, hardwareIds: ['shop-box', 'kiosk'], image }
  const bytes = Buffer.from(JSON.stringify({ kind: 'OSImageManifest', ...says, boot }))
  const target = manifestTarget('os', name)
  const manifestSha256 = sha256Hex(bytes)
  await write(world.store, (tx) => saveTarget(tx, target, bytes))
  await world.create('OSImage', name, { target, manifestSha256, ...says, boot: { kind: boot.kind }, signers: [] })
  return manifestSha256
}

/** What the TUF door makes of a signed profile. */
export async function addProfile(world: World, { kind: _, name, ...says }: HardwareProfile): Promise<string> {
  const profileSha256 = sha(JSON.stringify(says))
  const spec = { target: profileTarget(name), profileSha256, signers: [], ...says }
  const there = await world.list('HardwareProfile')
  if (there.some(({ metadata }) => metadata.name === name)) await world.edit('HardwareProfile', name, '', spec)
  else await world.create('HardwareProfile', name, spec)
  return profileSha256
}

/** A placement `all` in namespace `fleet` that takes every cluster. */
export async function addPlacement(world: World): Promise<void> {
  await world.create('ManagedClusterSet', 'everyone', {
    clusterSelector: { selectorType: 'LabelSelector', labelSelector: {} },
  })
  await world.create('ManagedClusterSetBinding', 'everyone', { clusterSet: 'everyone' }, { namespace: 'fleet' })
  await world.create('Placement', 'all', {}, { namespace: 'fleet' })
}

export function rolloutSpec(image: string, more: Partial<RolloutSpec> = {}): RolloutSpec {
  return { placementRef: { name: 'all' }, image: { name: image }, attestation: 'warning', ...more }
}

export type Body = {
  [K in Statement['kind']]: { kind: K; body: Extract<Statement, { kind: K }>['body'] }
}[Statement['kind']]

/** A node's TPM, and what its record says of it; the record of a node may lack either. */
type WithTpm = { tpm: Tpm; akName?: string | undefined; firmware?: PcrValues; hardwareId?: string }

/** A cluster with one accepted node that says what a test has it say. */
export async function addCluster(world: World, name: string, as?: WithTpm) {
  const { store } = world
  await world.create('ManagedCluster', name, { hubAcceptsClient: true })
  await world.create('EdgeNode', name, undefined, { namespace: name })
  const signer = createKey('ES256')
  const { jwk, thumbprint } = signer
  const exchange = { id: sha(name), nonce: sha(`challenge of ${name}`), transcript: START }
  const proof = await signDocument('RegistrationProof', { kind: 'RegistrationProof', ...exchange }, signer)
  await write(store, (tx) =>
    saveIdentities(tx, [
      {
        cluster: name,
        node: name,
        state: 'Accepted',
        class: as ? 'tpm' : 'software-key',
        ...(as ? { akName: 'akName' in as ? as.akName : as.tpm.name, firmware: as.firmware } : {}),
        nodeKey: jwk,
        nodeKeyThumbprint: thumbprint,
        natsKey: name,
        incarnation: 1,
        requestId: name,
        transcript: START,
        proof,
        acceptance: '',
        natsJwt: '',
        credentialIssuedAt: new Date(),
        credentialExpiresAt: new Date(Date.now() + 86_400_000),
        decidedBy: 'test',
        decidedAt: new Date(),
      },
    ]),
  )
  if (as)
    await world.create(
      'Registration',
      name,
      {
        ...{ nodeName: name, class: 'tpm', keysDigest: sha(name), nodeKeyThumbprint: thumbprint, natsKey: NATS_KEY },
        ...{ fingerprint: 'f', hardwareId: as.hardwareId ?? 'shop-box', claims: {} },
      },
      { namespace: name },
    )
  let [seq, prev] = [0, START]
  let counter = 0
  const id = { cluster: name, node: name, incarnation: 1 }
  // What stands above a gap, and where the chain stands without it.
  const above = new Set<number>()
  type Manner = { text?: string; wall?: string; unsigned?: boolean; marker?: string; at?: number }
  /**
   * Stored as ingest does: the statements of one batch, its signature, their place, the head. With `at` they stand there,
   * and the next ones follow what was below them.
   */
  async function saysAll(given: readonly Body[], as: Manner = {}): Promise<number> {
    const rows: NewStatement[] = []
    const [below, tail] = [seq, prev]
    if (as.at !== undefined) seq = as.at - 1
    const first = seq + 1
    for (const one of given) {
      seq += 1
      const time = { wall: as.wall ?? new Date().toISOString() }
      const text = as.text ?? JSON.stringify({ ...id, seq, prev, marker: as.marker ?? START, time, ...one })
      const phase = phaseOf(one)
      const confirms = confirmedManifest(JSON.parse(text) as Statement)
      const digest = sha(text)
      rows.push({ ...id, seq, prev, kind: one.kind, phase, confirms, digest, text })
      prev = digest
    }
    const last = seq
    if (as.at !== undefined) {
      for (const row of rows) above.add(row.seq)
      ;[seq, prev] = [below, tail]
    }
    let watermark = seq
    while (above.has(watermark + 1)) watermark += 1
    const newestSeq = Math.max(watermark, last, ...above)
    const statements = rows.map(({ text }) => text)
    const batch = await signDocument('StatementBatch', { kind: 'StatementBatch', ...id, statements }, signer)
    const { seal } = await openBatch(batch, keyRing([jwk]))
    await write(store, async (tx) => {
      await lockHeads(tx, [id])
      await appendStatements(tx, rows)
      if (!as.unsigned) await appendBatches(tx, [{ ...id, first, last, ...seal }])
      await saveHeads(tx, [{ ...id, watermark, newestSeq }])
    })
    return last
  }
  return {
    name,
    signer,
    saysAll,
    says: (given: Body, as?: Manner) => saysAll([given], as),
    /** Says that it has no more what it said next, up to `toSeq`, which nobody else has: kept as ingest keeps it. */
    async closes(toSeq: number): Promise<void> {
      const fromSeq = seq + 1
      seq = toSeq
      prev = sha('what is lost')
      const by = await saysAll([{ kind: 'gap', body: { fromSeq, toSeq, reason: 'NotKept' } }])
      await write(store, (tx) => saveClosed(tx, id, [{ first: fromSeq, last: toSeq, by }]))
    },
    /** What a boot's evidence says. */
    boot(bootId: string, image: string, marker = START): Body {
      const nonce = evidenceNonce(marker, seq + 1, prev)
      return { kind: 'evidence', body: { class: 'software-key', bootId, slot: 'a', imageSha256: sha(image), nonce } }
    },
    /** What the node's TPM quotes of a boot that was recorded, said of an image. */
    quotes(bootId: string, image: string, more: Parameters<typeof evidenceOf>[2] = {}, by = as?.tpm): Body {
      if (!by) throw new Error('this node has no TPM')
      const nonce = evidenceNonce(START, seq + 1, prev)
      return {
        kind: 'evidence',
        body: { ...evidenceOf(by, 'secure-boot-off', { nonce, ...more }), bootId, imageSha256: sha(image) },
      }
    },
    /** Its newest status, as ingest keeps it. */
    async reports(more: Partial<NodeStatus>): Promise<void> {
      counter += 1
      const boot = { booted: { imageSha256: sha('os-1') }, slot: 'a', bootId: 'b1', driver: 'slots' }
      const tuf = { root: 1, timestamp: 1, snapshot: 1, targets: 1 }
      const word = { phase: 'Idle', reason: 'Idle', message: 'nothing to do', at: '2026-06-01T00:00:00.000Z' } as const
      const status: NodeStatus = {
        ...{ kind: 'NodeStatus', ...id, counter, seq, ...word, ...boot, tuf, failed: [], agentVersion: '0' },
        ...more,
      }
      await write(store, async (tx) => {
        await lockHeads(tx, [id])
        await saveNodeStatuses(tx, [{ status, heardAt: new Date() }])
      })
    },
    /** The hub heard it now; it said nothing new. */
    heartbeat: () => write(store, (tx) => lockHeads(tx, [{ cluster: name, node: name, incarnation: 1 }])),
  }
}
