import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  buildImage,
  createJoinToken,
  ensure,
  eventually,
  FAMILY,
  type HubProcess,
  introduction,
  openCeremony,
  releaseOf,
  startHub,
} from '@skerry/demo'
import { forgetPostgres, NATS_VERSION } from '@skerry/supervise'
import { keyRing, sha256Hex } from '@skerry/trust'
import { pooled } from '../fleet/pooled.ts'
import { openCalls, prepare } from '../fleet/register.ts'
import { type Credential, openSite, type Site, type Told } from '../fleet/site.ts'
import { makeTurns } from './turns.ts'

// N sites' protocol from one load process, against a real hub with its own nats-server and a PostgreSQL that syncs to
// disk. All of it shares this machine's cores, the load too: the figures are what is left for the hub.

export type FleetBench = { readonly agents: number; readonly say: (sentence: string) => void }

const NAMESPACE = 'default'
const PLACEMENT = 'fleet'
/** Connections that are being opened at a time, as a jittered return would have it. */
const DIALS = 400
/** Nodes that register at a time: each waits for its decision, and most of that is waiting. */
const REGISTRATIONS = 2_000
const DEADLINE_MS = 900_000
/** Nothing is staged or booted: what every site tells of itself. */
const IDLE: Told = {
  ...{ phase: 'Idle', reason: 'Idle', message: 'nothing to do' },
  ...{ booted: { imageSha256: sha256Hex('factory') }, slot: 'a', bootId: 'bench', failed: [] },
}
/** Files beyond the agents' sockets: the hub's, the database's, ours. */
const SPARE_FILES = 500

export async function benchFleet({ agents, say }: FleetBench) {
  const allowed = openFiles()
  if (agents + SPARE_FILES > allowed)
    throw new Error(
      `this shell allows ${allowed} open files, which is enough for ${allowed - SPARE_FILES} agents (ulimit -n)`,
    )
  const dir = mkdtempSync(join(tmpdir(), 'skerry-bench-'))
  const hubDir = join(dir, 'hub')
  const hub = await startHub({
    dataDir: hubDir,
    args: ['--port', '0', '--log-level', 'warn'],
    logFile: join(dir, 'hub.log'),
  })
  let sites: readonly Site[] = []
  try {
    const idle = await residentKB(hub)
    const known = introduction(hubDir, [])
    const images = ['1', '2'].map((version) => buildImage(join(dir, 'images'), version, { healthy: true }))
    const ceremony = openCeremony(join(dir, 'offline'), known, Date.now())
    await ceremony.publish(
      hub.client,
      images.map((image, index) => releaseOf(image, index + 1)),
    )
    await place(hub)

    const token = await createJoinToken(hub.client, 'bench', { maxUses: agents }, Date.now())
    const nodes = await Promise.all(
      Array.from({ length: agents }, (_, index) => prepare(`site-${index + 1}`, token, ceremony.thumbprint, 'bench')),
    )
    say(`${agents} nodes have made their keys; they register`)
    const calls = openCalls({ apiUrl: hub.apiUrl, caPem: hub.caPem })
    const credentials: Credential[] = []
    const registerAllS = await timed(async () => {
      credentials.push(...(await pooled(nodes, REGISTRATIONS, (node) => node.register(calls))))
    })
    await calls.close()
    say(`registered in ${registerAllS} s; they connect`)

    const before = await residentKB(hub)
    const watch: Watch = { faults: [], notifiedAt: 0, verified: 0, verifiedAt: 0, cpu: cpuOf(hub) }
    const again = { asked: 0, sent: 0 }
    const desiredKeys = keyRing(known.hub.keys.desiredState.map(({ jwk }) => jwk))
    const turns = makeTurns()
    sites = credentials.map((credential) =>
      openSite({
        credential,
        desiredKeys,
        status: () => IDLE,
        onNotified: () => {
          if (watch.notifiedAt > 0) return
          watch.notifiedAt = performance.now()
          watch.cpu = cpuOf(hub)
        },
        onRepeated: (what) => {
          again[what] += 1
        },
        onOrder: async ({ timeline, generation }, digest, site) => {
          turns.verifies()
          watch.verified += 1
          watch.verifiedAt = performance.now()
          if (watch.verified === agents) watch.cpu = less(cpuOf(hub), watch.cpu)
          await turns.toAnswer()
          site.say({ kind: 'accepted', body: { timeline, generation, digest } })
        },
        onLost: (reason) => watch.faults.push(reason),
        onFault: (reason) => watch.faults.push(reason),
      }),
    )
    const port = Number(new URL(hub.natsUrl).port)
    const connectAllS = await timed(() => pooled(sites, DIALS, (site) => site.join(port)))
    await pooled(sites, DIALS, async (site) => {
      await site.introduce()
      await site.beat()
    })
    await eventually(async () => (await online(hub)) === agents, 'every cluster being Online at the hub', DEADLINE_MS)
    say(`connected in ${connectAllS} s and heard of; a rollout begins`)

    const first = await change(hub, watch, sites, 1)
    const second = await change(hub, watch, sites, 2)
    say(`a change is verified by all ${second.publishToVerifiedAllS} s after the first was notified`)

    for (const site of sites) site.leave()
    watch.verified = 0
    const joinAllS = await timed(() => pooled(sites, DIALS, (site) => site.join(port)))
    const behind = sites.filter((site) => site.holds()?.image?.rollout !== `${NAMESPACE}/${FAMILY}-2`).length
    say(`all come back at once and hold their state in ${joinAllS} s`)
    const after = await residentKB(hub)
    return {
      bench: 'fleet',
      agents,
      joinAllS,
      publishToVerifiedAllS: second.publishToVerifiedAllS,
      publishToVerifiedCpuS: second.publishToVerifiedCpuS,
      changeToVerifiedAllS: second.changeToVerifiedAllS,
      firstChangeToVerifiedAllS: first.changeToVerifiedAllS,
      changeToAcceptedAllS: second.changeToAcceptedAllS,
      changeHubCpuS: second.hubCpuS,
      registerAllS,
      registrationsToldToWait: calls.toldToWait(),
      connectAllS,
      askedAgain: again.asked,
      sentAgain: again.sent,
      errors: watch.faults.length + behind,
      ...(watch.faults.length > 0 ? { firstError: watch.faults[0] } : {}),
      natsRssKBPerAgent: perAgent(after.nats, before.nats, agents),
      hubRssKBPerAgent: perAgent(after.hub, before.hub, agents),
      natsRssMB: Math.round(after.nats / 1024),
      hubRssMB: Math.round(after.hub / 1024),
      natsIdleMB: Math.round(idle.nats / 1024),
      hubIdleMB: Math.round(idle.hub / 1024),
      openFiles: allowed,
      cores: availableParallelism(),
      node: process.version,
      natsServer: NATS_VERSION,
    }
  } finally {
    for (const site of sites) site.leave()
    await hub.client.close()
    await hub.program.stop(30_000)
    forgetPostgres(join(hubDir, 'pg'))
    rmSync(dir, { recursive: true, force: true })
  }
}

async function place({ client }: HubProcess): Promise<void> {
  await ensure(client, 'ManagedClusterSetBinding', {
    metadata: { name: 'default', namespace: NAMESPACE },
    spec: { clusterSet: 'default' },
  })
  await ensure(client, 'Placement', {
    metadata: { name: PLACEMENT, namespace: NAMESPACE },
    spec: { clusterSets: ['default'] },
  })
}

async function online({ client }: HubProcess): Promise<number> {
  const clusters = await client.list('ManagedCluster')
  return clusters.filter(({ status }) =>
    status?.conditions?.some(({ type, reason }) => type === 'Reachable' && reason === 'Online'),
  ).length
}

type Watch = {
  readonly faults: string[]
  notifiedAt: number
  verified: number
  verifiedAt: number
  /** Seconds since its start at the first notification; at the last verification, seconds between the two. */
  cpu: Cpu
}

// From the rollout's creation at the API, over decision, assignment, document, signature and stream, to the last site that
// verified it; and on to the hub having every site's signed word.
async function change({ client, program }: HubProcess, watch: Watch, sites: readonly Site[], version: number) {
  const name = `${FAMILY}-${version}`
  const agents = sites.length
  Object.assign(watch, { notifiedAt: 0, verified: 0, verifiedAt: 0 })
  const startedAt = performance.now()
  const cpuBefore = cpuS(program.pid)
  await client.create('Rollout', {
    metadata: { name, namespace: NAMESPACE },
    spec: { placementRef: { name: PLACEMENT }, image: { name }, strategy: { type: 'All' }, attestation: 'warning' },
  })
  await eventually(async () => watch.verified >= agents, `${agents} sites verifying ${name}`, DEADLINE_MS)
  const delivered = await eventually(
    async () => {
      const { status } = await client.get('Rollout', NAMESPACE, name)
      return status?.clusters?.filter(({ state }) => state === 'Delivered').length === agents && performance.now()
    },
    `every cluster being Delivered in ${name}`,
    DEADLINE_MS,
  )
  return {
    changeToVerifiedAllS: seconds(watch.verifiedAt - startedAt),
    publishToVerifiedAllS: seconds(watch.verifiedAt - watch.notifiedAt),
    publishToVerifiedCpuS: watch.cpu,
    changeToAcceptedAllS: seconds(delivered - startedAt),
    hubCpuS: hundredths(cpuS(program.pid) - cpuBefore),
  }
}

async function timed(act: () => Promise<unknown>): Promise<number> {
  const startedAt = performance.now()
  await act()
  return seconds(performance.now() - startedAt)
}

function seconds(ms: number): number {
  return hundredths(ms / 1_000)
}

function perAgent(after: number, before: number, agents: number): number {
  return Math.round(((after - before) / agents) * 10) / 10
}

async function residentKB(hub: HubProcess): Promise<{ readonly hub: number; readonly nats: number }> {
  return { hub: await settledKB(hub.program.pid), nats: await settledKB(hub.pidOf('nats')) }
}

function rssKB(pid: number): number {
  return Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1])
}

/** Seconds of processor time, of both kinds: it says what a change costs the hub also where others work beside it. */
function cpuS(pid: number): number {
  const [user, system] = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ').slice(11, 13) ?? []
  return (Number(user) + Number(system)) / 100
}

/** Of the hub, of its nats-server, and of this process, which is all the sites. PostgreSQL's workers are not in it. */
type Cpu = { readonly hub: number; readonly nats: number; readonly sites: number }

function cpuOf(hub: HubProcess): Cpu {
  return { hub: cpuS(hub.program.pid), nats: cpuS(hub.pidOf('nats')), sites: cpuS(process.pid) }
}

function less(after: Cpu, before: Cpu): Cpu {
  const of = (part: keyof Cpu) => hundredths(after[part] - before[part])
  return { hub: of('hub'), nats: of('nats'), sites: of('sites') }
}

function hundredths(value: number): number {
  return Math.round(value * 100) / 100
}

/** Resident memory once it has stopped falling and rising: three looks, a second apart, within 2 %; half a minute at most. */
async function settledKB(pid: number): Promise<number> {
  const looks: number[] = []
  for (let look = 0; look < 30; look += 1) {
    looks.push(rssKB(pid))
    const [a = 0, b = 0, c = 0] = looks.slice(-3)
    if (looks.length >= 3 && Math.max(a, b, c) - Math.min(a, b, c) < 0.02 * c) break
    await new Promise((resolve) => setTimeout(resolve, 1_000))
  }
  return looks.at(-1) ?? 0
}

function openFiles(): number {
  return Number(execFileSync('sh', ['-c', 'ulimit -Hn'], { encoding: 'utf8' }).trim()) || Number.POSITIVE_INFINITY
}
