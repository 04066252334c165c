import { createHash } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Target } from '@skerry/policy'

// Images for tests of drivers and of what uses them: programs as the slots driver boots them.

export type TestImage = { readonly target: Target; readonly file: string }

/** How an image's program behaves: well, never healthy, gone at once, or as if it were other bytes. */
export type Behaviour = 'healthy' | 'ill' | 'dies' | 'lies'

/** One that is well has the time that a busy machine takes to start it; of one that never is, no test waits longer than it must. */
export const gatesOf = (behaviour: Behaviour) => ({
  healthySeconds: 0,
  timeoutSeconds: behaviour === 'healthy' ? 60 : 1,
})

/** Writes the program of an image and the target that names it. */
export function testImage(dir: string, version: string, behaviour: Behaviour = 'healthy'): TestImage {
  const text = program(version, behaviour)
  const sha256 = createHash('sha256').update(text).digest('hex')
  const file = join(dir, `image-${version}-${behaviour}.mjs`)
  mkdirSync(dir, { recursive: true })
  writeFileSync(file, text)
  return {
    file,
    target: {
      position: { timeline: 0, generation: Number(version) },
      manifestSha256: createHash('sha256').update(`manifest ${version}`).digest('hex'),
      imageSha256: sha256,
      imageLength: Buffer.byteLength(text),
      version,
      releaseCounter: Number(version),
      gates: gatesOf(behaviour),
    },
  }
}

function program(version: string, behaviour: Behaviour): string {
  if (behaviour === 'dies') return `// ${version}\nprocess.exit(3)\n`
  return `// ${version}
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { fileURLToPath } from 'node:url'
const own = createHash('sha256').update(readFileSync(fileURLToPath(import.meta.url))).digest('hex')
const sha256 = ${behaviour === 'lies'} ? '0'.repeat(64) : own
const server = createServer((_, response) => response.end(JSON.stringify({ sha256, healthy: ${behaviour !== 'ill'} })))
server.listen(0, '127.0.0.1', () => console.log(JSON.stringify({ port: server.address().port })))
process.stdin.resume().on('close', () => process.exit(0))
`
}
