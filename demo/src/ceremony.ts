import { createReadStream, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { HUB_TARGET, type HubIntroduction, manifestTarget, type OSImageManifest, type SiteBundle } from '@skerry/api'
import type { Client } from '@skerry/client'
import {
  makeRoot,
  makeTargets,
  openKeyFile,
  readTargets,
  rootThumbprint,
  type Signer,
  sha256Hex,
  signMetadata,
} from '@skerry/trust'
import { FAMILY, HARDWARE_ID, IMAGE_MEDIA_TYPE, type Image } from './images.ts'

// The signers' side of a demo and of a story: what `skerry trust` and `skerry image` do by hand, with all six offline keys
// in one folder. That folder lies beside the hub here, and the demo says so.

const YEAR_MS = 365 * 86_400_000

export type Ceremony = {
  /** Root 1, and what a site pins. */
  readonly root: Uint8Array
  readonly thumbprint: string
  /** Signs these images and publishes them; what is published already is left as it is. */
  publish(client: Client, images: readonly { image: Image; releaseCounter: number }[]): Promise<void>
  bundle(hubUrls: readonly string[], caPem: string, token: string): SiteBundle
}

export function openCeremony(dir: string, introduction: HubIntroduction, nowMs: number): Ceremony {
  const keys = (role: string) => [1, 2, 3].map((n) => openKeyFile(join(dir, 'keys', `${role}-${n}.pem`), 'EdDSA'))
  const [rootKeys, targetsKeys] = [keys('root'), keys('targets')]
  const rootFile = join(dir, '1.root.json')
  const expires = new Date(nowMs + YEAR_MS).toISOString().replace(/\.\d+Z$/, 'Z')
  if (!existsSync(rootFile)) {
    const jwks = (signers: readonly Signer[]) => signers.map(({ jwk }) => jwk)
    const plan = {
      version: 1,
      rootKeys: jwks(rootKeys),
      targetsKeys: jwks(targetsKeys),
      threshold: 2,
      online: introduction.tuf,
      expires,
    }
    mkdirSync(dir, { recursive: true, mode: 0o700 })
    writeFileSync(rootFile, signMetadata(makeRoot(plan), rootKeys.slice(0, 2)))
  }
  const root = new Uint8Array(readFileSync(rootFile))
  const thumbprint = rootThumbprint(root)

  return {
    root,
    thumbprint,
    async publish(client, images) {
      await client.upload('/tuf/1.root.json', root, root.byteLength)
      const previous = await newestTargets(client)
      const listed = previous ? readTargets(previous).signed.targets : {}
      const hub = Buffer.from(JSON.stringify(introduction.hub))
      const files: { path: string; bytes: Uint8Array }[] =
        listed[HUB_TARGET]?.hashes['sha256'] === sha256Hex(hub) ? [] : [{ path: HUB_TARGET, bytes: hub }]
      for (const { image, releaseCounter } of images) {
        const path = manifestTarget(FAMILY, image.version)
        if (listed[path]) continue
        files.push({ path, bytes: Buffer.from(JSON.stringify(manifestOf(image, releaseCounter))) })
        await client.upload(`/blobs/sha256/${image.sha256}`, createReadStream(image.file), image.length)
      }
      if (files.length === 0) return
      for (const { path, bytes } of files) await client.upload(`/tuf/targets/${path}`, bytes, bytes.byteLength)
      const targets = signMetadata(makeTargets({ previous, files, expires }), targetsKeys.slice(0, 2))
      await client.upload(`/tuf/${readTargets(targets).signed.version}.targets.json`, targets, targets.byteLength)
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

function manifestOf({ version, sha256, length }: Image, releaseCounter: number): OSImageManifest {
  return {
    kind: 'OSImageManifest',
    family: FAMILY,
    version,
    releaseCounter,
    hardwareIds: [HARDWARE_ID],
    image: { sha256, length, mediaType: IMAGE_MEDIA_TYPE },
    boot: { kind: 'none' },
  }
}

async function newestTargets(client: Client): Promise<Uint8Array | undefined> {
  let newest: Uint8Array | undefined
  for (let version = 1; ; version += 1) {
    const next = await client.file(`/tuf/${version}.targets.json`)
    if (!next) return newest
    newest = next
  }
}
