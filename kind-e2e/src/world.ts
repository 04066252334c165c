import { existsSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import type { HardwareProfile, ObjectOf, SiteBundle, SpecFor } from '@skerry/api'
import type { Client } from '@skerry/client'
import {
  buildImage,
  type Ceremony,
  createJoinToken,
  ensure,
  eventually,
  FAMILY,
  type HubProcess,
  introduction,
  openCeremony,
  type Release,
  releaseOf,
  startHub,
} from '@skerry/demo'
import { forgetPostgres } from '@skerry/supervise'
import { openSite, type Site } from './site.ts'

// What a story plays on: one hub, its sites, and the images that are signed for them. Every process is a real one.

export type WorldOptions = { readonly dir: string; readonly say: (sentence: string) => void }
export type World = ReturnType<typeof openWorld>

/** What a story runs beside the hub and its sites of one process: a machine. It is closed before the hub. */
export type Guest = { readonly name: string; boots(): readonly unknown[]; close(): Promise<void> }

/** Of so many clusters that have not succeeded a failed story shows the rows. */
const MOST_EXPLAINED = 10
/** How soon a hub of a story calls a silent site offline. */
const OFFLINE_AFTER = ['--late-after', '4', '--offline-after', '8']
export const NAMESPACE = 'default'
const PLACEMENT = 'all-sites'

/** Nothing runs yet; `raise()` starts the hub. */
export function openWorld({ dir, say }: WorldOptions) {
  const hubDir = join(dir, 'hub')
  const sites: Site[] = []
  const images: Release[] = []
  let hub: HubProcess | undefined
  let ceremony: Ceremony | undefined
  let token = ''
  const guests: Guest[] = []
  let names: readonly string[] = []

  const standing = (): HubProcess => {
    if (!hub) throw new Error('the hub does not stand')
    return hub
  }

  async function serve(): Promise<HubProcess> {
    hub = await startHub({
      dataDir: hubDir,
      args: ['--port', '0', '--nats-tls', ...OFFLINE_AFTER, ...names.flatMap((name) => ['--name', name])],
      logFile: join(dir, 'hub.log'),
    })
    return hub
  }

  return {
    dir,
    say,
    sites: sites as readonly Site[],
    client: (): Client => standing().client,
    hub: standing,

    /**
     * Starts the hub with images 1…n signed and published; those of `bad` never become healthy. `calledToo` are names and
     * addresses beside loopback by which sites reach it, for its certificate.
     */
    async raise(count: number, bad: readonly number[] = [], calledToo: readonly string[] = []): Promise<void> {
      mkdirSync(dir, { recursive: true, mode: 0o700 })
      if (calledToo.length > 0) names = ['127.0.0.1', '::1', 'localhost', ...calledToo]
      const { client } = await serve()
      ceremony = openCeremony(join(dir, 'offline'), introduction(hubDir, []), Date.now())
      for (let n = 1; n <= count; n += 1) {
        const image = buildImage(join(dir, 'images'), String(n), { healthy: !bad.includes(n), ballastBytes: 1_000_000 })
        images.push(releaseOf(image, n))
      }
      await ceremony.publish(client, images)
      token = await createJoinToken(client, 'story', { maxUses: 1_000, classes: ['software-key', 'tpm'] }, Date.now())
      await ensure(client, 'ManagedClusterSetBinding', {
        metadata: { name: 'default', namespace: NAMESPACE },
        spec: { clusterSet: 'default' },
      })
      await ensure(client, 'Placement', {
        metadata: { name: PLACEMENT, namespace: NAMESPACE },
        spec: { clusterSets: ['default'] },
      })
      say(`a hub stands, ${count} images are signed by two of three keys`)
    },

    /** Has these images signed by two of three keys, and publishes them. */
    async publish(...releases: readonly Release[]): Promise<void> {
      if (!ceremony) throw new Error('raise() comes first')
      await ceremony.publish(standing().client, releases)
    },

    /** Where the hub keeps an image's bytes, from which every site fetches them. */
    blobFile: ({ manifest }: Release): string => join(hubDir, 'blobs', manifest.image.sha256),

    /** The same for what a kind of machine is. */
    async publishProfile(profile: HardwareProfile): Promise<void> {
      if (!ceremony) throw new Error('raise() comes first')
      await ceremony.publish(standing().client, [], [profile])
    },

    /** What a site is given that reaches the hub at this address. */
    bundle(hubUrl: string): SiteBundle {
      if (!ceremony) throw new Error('raise() comes first')
      return ceremony.bundle([hubUrl], standing().caPem, token)
    },

    /** Ends with this world, and its boots are counted. */
    take<G extends Guest>(guest: G): G {
      guests.push(guest)
      return guest
    },

    /** Kills the hub's process with SIGKILL and starts it again on the same data. */
    async restartHub(): Promise<void> {
      await standing().program.kill()
      await standing().client.close()
      await serve()
    },

    /** Starts these sites and waits until each has joined and runs image 1. */
    async join(names: readonly string[]): Promise<void> {
      const { apiUrl, caPem, client } = standing()
      if (!ceremony || !images[0]) throw new Error('raise() comes first')
      for (const name of names) {
        const site = await openSite({
          name,
          dir: join(dir, 'sites', name),
          bundle: ceremony.bundle([apiUrl], caPem, token),
          factoryImage: images[0].file,
          hubPort: () => Number(new URL(standing().apiUrl).port),
          natsPort: () => Number(new URL(standing().natsUrl).port),
        })
        sites.push(site)
        site.start()
      }
      for (const name of names) {
        await eventually(
          async () => {
            const [node] = await client.list('EdgeNode', { namespace: name })
            return node?.status?.image?.name === `${FAMILY}-1` && node.status.attestation !== undefined
          },
          `${name} joining and telling of its factory image`,
          60_000,
        )
      }
      say(`${names.join(', ')} joined and run ${FAMILY}-1`)
    },

    /** Starts the rollout of image n, or of the one of this name; it is named like it. */
    async rollOut(image: number | string, more: Partial<SpecFor<'Rollout'>> = {}): Promise<string> {
      const name = typeof image === 'string' ? image : `${FAMILY}-${image}`
      await standing().client.create('Rollout', {
        metadata: { name, namespace: NAMESPACE },
        spec: {
          placementRef: { name: PLACEMENT },
          image: { name },
          strategy: { type: 'All' },
          gates: { healthySeconds: 1, timeoutSeconds: 8 },
          attestation: 'warning',
          ...more,
        },
      })
      return name
    },

    rollout: (name: string): Promise<ObjectOf<'Rollout'>> => standing().client.get('Rollout', NAMESPACE, name),

    /** Looks at a rollout until `holds`; what it looked like last is in the error. */
    async rolloutUntil(
      name: string,
      what: string,
      holds: (status: NonNullable<ObjectOf<'Rollout'>['status']>) => boolean,
      deadlineMs = 60_000,
    ): Promise<NonNullable<ObjectOf<'Rollout'>['status']>> {
      let seen = ''
      try {
        return await eventually(
          async () => {
            // A hub or a database that a story just killed answers again in a moment.
            const found = await standing()
              .client.get('Rollout', NAMESPACE, name)
              .catch(() => undefined)
            const status = found?.status
            seen = JSON.stringify(status?.clusters?.map(({ name, state, message }) => `${name} ${state}: ${message}`))
            return status && holds(status) && status
          },
          what,
          deadlineMs,
        )
      } catch (cause) {
        throw new Error(`rollout ${name}: ${what} did not come; its clusters: ${seen}`, { cause })
      }
    },

    /** Boots of the sites' machines so far. */
    boots: () => [...sites, ...guests].reduce((sum, { boots }) => sum + boots().length, 0),

    /** What a person needs to find out why a story failed. */
    async explain(): Promise<void> {
      console.error(
        `logs: ${dir}/hub.log, ${dir}/sites/*/agent.log and ${dir}/machines/*/serial.log (kept with --keep)`,
      )
      for (const site of sites) console.error(`${site.name}: ${JSON.stringify(site.view())}`)
      const rollouts = hub ? await hub.client.list('Rollout') : []
      for (const { metadata, spec, status: { clusters = [], ...status } = {} } of rollouts) {
        const open = clusters.filter(({ state }) => state !== 'Succeeded').slice(0, MOST_EXPLAINED)
        console.error(JSON.stringify({ name: metadata.name, spec, status: { ...status, clusters: open } }, null, 1))
      }
    },

    async close(): Promise<void> {
      await Promise.allSettled([...sites, ...guests].map((site) => site.close()))
      await hub?.program.stop(30_000)
      await hub?.client.close().catch(() => undefined)
      if (existsSync(hubDir)) forgetPostgres(join(hubDir, 'pg'))
    },
  }
}
