import { join } from 'node:path'
import type { DesiredState, OSImageManifest } from '@skerry/api'
import { HARDWARE_ID } from '@skerry/demo'
import { keyRing, openTrust, type Source } from '@skerry/trust'
import { Agent, request } from 'undici'
import type { World } from '../world.ts'
import { type Fate, openMachine } from './machine.ts'
import { type Node, openNode } from './node.ts'
import { pooled } from './pooled.ts'
import { openCalls, prepare } from './register.ts'
import { type Credential, openSite, type Site } from './site.ts'

// Many simulated sites of one node on a story's hub: each registers, connects over TLS, and carries out what it is ordered,
// in reach or not. A third of them is dark at any time, by an order that chance gave. What they really received, and when
// they were done with it, is kept beside what the hub says of it.

export type FleetOptions = {
  readonly world: World
  readonly names: readonly string[]
  /** The bytes that they run when they come. */
  readonly factory: string
  readonly fateOf: (name: string, imageSha256: string) => Fate
  readonly random: () => number
}

/** An order to become other bytes, as a site took it. */
export type Taken = {
  readonly name: string
  readonly imageSha256: string
  readonly atMs: number
  /** It was signed while the site was dark. */
  readonly sentInTheDark: boolean
  /** It came with the word that nothing new starts. */
  readonly paused: boolean
  /** When the site's word on how it ended had left. */
  endedAtMs?: number
}

type Member = { readonly site: Site; readonly node: Node; litAtMs: number; taken?: Taken; endSeq?: number }

/** Sites that connect at a time. */
const AT_ONCE = 20
const BEAT_MS = 1_000
const BEATS = 10
const REDIAL_MS = 500

export async function openFleet({ world, names, factory, fateOf, random }: FleetOptions) {
  const { apiUrl, caPem, natsUrl } = world.hub()
  const bundle = world.bundle(apiUrl)
  // One for all of them: what a site believes of metadata is the business of other stories.
  const trust = openTrust({
    dir: join(world.dir, 'fleet'),
    root: Buffer.from(bundle.root),
    pinned: bundle.acceptHub,
    sources: () => [tufSource(apiUrl, caPem)],
  })
  await trust.refresh(Date.now())
  const manifests = new Map<string, Promise<OSImageManifest>>()
  const manifestOf = (target: string, sha256: string) => {
    const known = manifests.get(sha256) ?? trust.manifest(target, sha256, Date.now())
    manifests.set(sha256, known)
    return known
  }
  const desiredKeys = keyRing(trust.hub().keys.desiredState.map(({ jwk }) => jwk))
  const port = Number(new URL(natsUrl).port)
  const members = new Map<string, Member>()
  const taken: Taken[] = []
  const faults: string[] = []
  const shuffled = names
    .map((name) => ({ name, at: random() }))
    .toSorted((a, b) => a.at - b.at)
    .map(({ name }) => name)
  const third = Math.ceil(names.length / 3)
  const thirds = [0, 1, 2].map((part) => shuffled.slice(part * third, (part + 1) * third))
  let turns = 0
  let dark: ReadonlySet<string> = new Set(thirds[0])
  let closed = false

  const credentials = await registered()
  for (const credential of credentials) add(credential)
  let beat = 0
  const beating = setInterval(() => {
    beat = (beat + 1) % BEATS
    for (const [index, { site }] of [...members.values()].entries())
      if (index % BEATS === beat) void site.beat().catch((error: unknown) => faults.push(String(error)))
  }, BEAT_MS / BEATS)
  // Each is heard once: a cluster that was never heard from is another matter than one that is away.
  await pooled([...members.values()], AT_ONCE, light)
  for (const name of dark) members.get(name)?.site.leave()

  async function registered(): Promise<readonly Credential[]> {
    const calls = openCalls({ apiUrl, caPem })
    const { token = '', acceptHub } = bundle
    const nodes = await Promise.all(names.map((name) => prepare(name, token, acceptHub, HARDWARE_ID)))
    try {
      return await pooled(nodes, names.length, (node) => node.register(calls))
    } finally {
      await calls.close()
    }
  }

  function add(credential: Credential): void {
    const name = credential.cluster
    const site = openSite({
      credential,
      desiredKeys,
      status: () => node.status(),
      onOrder: async (order, digest) => {
        await take(member, order)
        await node.order(order, digest)
      },
      onSent: (upTo) => {
        if (member.endSeq === undefined || upTo < member.endSeq) return
        if (member.taken) member.taken.endedAtMs ??= Date.now()
        delete member.endSeq
      },
      onLost: () => void light(member),
      onFault: (reason) => faults.push(`${name}: ${reason}`),
    })
    const node = openNode({
      ...{ name, factory, manifestOf, now: () => Date.now() },
      machine: (onUp) =>
        openMachine({
          ...{ name, factory, onUp, fateOf: (imageSha256: string) => fateOf(name, imageSha256) },
          rebootMs: () => 200 + 300 * random(),
        }),
      stageMs: () => 100 + 300 * random(),
      say: (make) => {
        const seq = site.say(make)
        if (isEnd(make)) member.endSeq = seq
        return seq
      },
      onChange: () => void site.introduce().catch((error: unknown) => faults.push(`${name}: ${String(error)}`)),
    })
    const member: Member = { site, node, litAtMs: 0 }
    members.set(name, member)
  }

  async function take(member: Member, { image, issuedAt, paused }: DesiredState): Promise<void> {
    if (!image) return
    const imageSha256 = (await manifestOf(image.target, image.sha256)).image.sha256
    if (member.taken?.imageSha256 === imageSha256) return
    const atMs = Date.now()
    // What was under way for another order is not any more.
    if (member.taken) member.taken.endedAtMs ??= atMs
    const sentInTheDark = Date.parse(issuedAt) < member.litAtMs
    member.taken = { name: member.site.name, imageSha256, atMs, sentInTheDark, paused }
    taken.push(member.taken)
  }

  /** Connects, again and again, while it is not dark. */
  async function light(member: Member): Promise<void> {
    const { site } = member
    member.litAtMs = Date.now()
    const mayTry = () => !closed && !site.isConnected() && (turns === 0 || !dark.has(site.name))
    while (mayTry()) {
      try {
        await site.join(port, caPem)
        await site.introduce()
        await site.beat()
      } catch {
        // The hub's door is what other stories are about: one that is not let in in time dials again, as an agent does.
        await new Promise((resolve) => setTimeout(resolve, REDIAL_MS * (0.5 + Math.random())))
      }
    }
  }

  return {
    /** Who is dark now. */
    dark: () => dark,
    thirds: thirds as readonly (readonly string[])[],
    node(name: string): Node {
      const member = members.get(name)
      if (!member) throw new Error(`there is no site ${name}`)
      return member.node
    },
    sites: () => [...members.values()].map(({ site }) => site),
    /** Orders for these bytes, in the order in which sites took them. */
    taken: (imageSha256: string) => taken.filter((one) => one.imageSha256 === imageSha256),
    faults: faults as readonly string[],
    /** The next third goes dark; then the one that was dark returns. */
    async turn(): Promise<void> {
      const returning = [...dark].flatMap((name) => members.get(name) ?? [])
      turns += 1
      dark = new Set(thirds[turns % 3])
      for (const name of dark) members.get(name)?.site.leave()
      await pooled(returning, AT_ONCE, light)
    },
    name: 'fleet',
    boots: () => [...members.values()].flatMap(({ node }) => node.machine.boots()),
    async close(): Promise<void> {
      closed = true
      clearInterval(beating)
      for (const { site, node } of members.values()) {
        node.close()
        site.leave()
      }
    },
  }
}

/** Most orders that were under way at one moment. */
export function mostAtOnce(taken: readonly Taken[]): number {
  const ends = ({ endedAtMs = Number.POSITIVE_INFINITY }: Taken) => endedAtMs
  return Math.max(
    0,
    ...taken.map(({ atMs }) => taken.filter((other) => other.atMs <= atMs && atMs < ends(other)).length),
  )
}

function isEnd(make: Parameters<Site['say']>[0]): boolean {
  if (typeof make === 'function') return false
  const { kind, body } = make
  return kind === 'refused' || (kind === 'transition' && 'to' in body && (body.to === 'Idle' || body.to === 'Failed'))
}

function tufSource(apiUrl: string, ca: string): Source {
  const dispatcher = new Agent({ connect: { ca } })
  return async (path) => {
    const answer = await request(`${apiUrl}/tuf/${path}`, { dispatcher })
    if (answer.statusCode === 200) return new Uint8Array(await answer.body.arrayBuffer())
    await answer.body.dump()
    if (answer.statusCode === 404) return undefined
    throw new Error(`${path}: the hub answered ${answer.statusCode}`)
  }
}
