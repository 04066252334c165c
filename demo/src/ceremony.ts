import { createReadStream, existsSync } from 'node:fs'
import { join } from 'node:path'
import { type HardwareProfile, type HubIntroduction, manifestTarget, profileTarget, type SiteBundle } from '@skerry/api'
import { type Client, publishReleases } from '@skerry/client'
import { hubTarget, initSigningFolder, openKeyFile, openSigningFolder, signerKeyFile } from '@skerry/trust'
import type { Release } from './images.ts'

// The signers' side of a demo and of a story: the same signers' folder that `skerry trust` and `skerry image` work on, with
// all six offline keys in it. That folder lies beside the hub here, and the demo says so.

const YEAR_MS = 365 * 86_400_000
const SIGNERS = ['first', 'second', 'third'] as const

export type Ceremony = {
  /** Root 1, and what a site pins. */
  readonly root: Uint8Array
  readonly thumbprint: string
  /** Signs these images and hardware profiles and publishes them; what is published already is left as it is. */
  publish(client: Client, images: readonly Release[], profiles?: readonly HardwareProfile[]): Promise<void>
  bundle(hubUrls: readonly string[], caPem: string, token: string): SiteBundle
}

export function openCeremony(dir: string, introduction: HubIntroduction, nowMs: number): Ceremony {
  const expires = new Date(nowMs + YEAR_MS).toISOString().replace(/\.\d+Z$/, 'Z')
  const folder = existsSync(join(dir, '1.root.json'))
    ? openSigningFolder(dir)
    : initSigningFolder(dir, { introduction, names: SIGNERS, threshold: 2, expires })
  const { root, thumbprint } = folder

  return {
    root,
    thumbprint,
    async publish(client, images, profiles = []) {
      const manifests = images.map(({ manifest }) => ({
        path: manifestTarget(manifest.family, manifest.version),
        bytes: Buffer.from(JSON.stringify(manifest)),
      }))
      const hardware = profiles.map((profile) => ({
        path: profileTarget(profile.name),
        bytes: Buffer.from(JSON.stringify(profile)),
      }))
      const { missing } = folder.add([hubTarget(introduction), ...manifests, ...hardware], expires)
      if (missing > 0)
        folder.sign(SIGNERS.slice(0, 2).map((name) => openKeyFile(signerKeyFile(dir, name, 'targets'), 'EdDSA')))
      await publishReleases(client, {
        root,
        releases: folder.releases().map(({ version, bytes, added }) => ({
          version,
          bytes,
          added: added.map((file) => ({ path: file.path, bytes: folder.target(file) })),
        })),
        blobs: images.map(({ manifest: { image }, file }) => ({ ...image, open: () => createReadStream(file) })),
      })
    },
    bundle: (hubUrls, caPem, token) => ({
      kind: 'SiteBundle',
      acceptHub: thumbprint,
      root: Buffer.from(root).toString('utf8'),
      hubUrls: [...hubUrls],
      caPem,
      token,
    }),
  }
}
