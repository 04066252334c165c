import { createHash } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { OSImageManifest } from '@skerry/api'

// The images of the `slots` driver: one program each. What a slot's program owes the driver stands in
// spoke-agent/DESIGN.md; a program that never says "healthy" is an image whose userspace never comes up.

export type Image = {
  readonly version: string
  readonly file: string
  readonly sha256: string
  readonly length: number
}

/** What signers publish: a manifest, and the file with the bytes that it names. */
export type Release = { readonly manifest: OSImageManifest; readonly file: string }

const IMAGE_MEDIA_TYPE = 'application/vnd.skerry.slots-program'
export const FAMILY = 'edge-os'
export const HARDWARE_ID = 'generic-slots'

/** Writes the program of a version; the same inputs give the same bytes. `ballast` makes it as large as a real download. */
export function buildImage(dir: string, version: string, options: { healthy: boolean; ballastBytes?: number }): Image {
  const text = `${program(version, options.healthy)}// ${'.'.repeat(options.ballastBytes ?? 0)}\n`
  const bytes = Buffer.from(text)
  const file = join(dir, `${FAMILY}-${version}.mjs`)
  mkdirSync(dir, { recursive: true })
  writeFileSync(file, bytes)
  return { version, file, sha256: createHash('sha256').update(bytes).digest('hex'), length: bytes.length }
}

/** A program of a slot as it is published: nothing measures its boot. */
export function releaseOf({ version, sha256, length, file }: Image, releaseCounter: number): Release {
  const image = { sha256, length, mediaType: IMAGE_MEDIA_TYPE }
  const names = { family: FAMILY, version, releaseCounter, hardwareIds: [HARDWARE_ID] }
  return { manifest: { kind: 'OSImageManifest', ...names, image, boot: { kind: 'none' } }, file }
}

function program(version: string, healthy: boolean): string {
  return `// edge-os ${version}: the program of a slot.
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { fileURLToPath } from 'node:url'

const sha256 = createHash('sha256').update(readFileSync(fileURLToPath(import.meta.url))).digest('hex')
const server = createServer((request, response) => {
  response.setHeader('content-type', 'application/json')
  response.end(JSON.stringify({ sha256, version: ${JSON.stringify(version)}, healthy: ${healthy} }))
})
server.listen(0, '127.0.0.1', () => console.log(JSON.stringify({ port: server.address().port })))
// The pipe from the driver is this machine's power: when it closes, the machine is off.
process.stdin.resume().on('close', () => process.exit(0))
`
}
