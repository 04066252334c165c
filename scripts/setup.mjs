// Installs what the lockfile names, once for each lockfile. Plain JavaScript on purpose: it runs on the Node a machine
// already has (20 or newer), before the pinned Node 24 is there.
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const PNPM = '12.21.0'
const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const stamp = join(root, 'node_modules', '.setup-stamp')
const [major] = process.versions.node.split('.').map(Number)

if (major < 20) {
  fail(
    `Skerry needs Node 20 or newer to install itself; this is ${process.versions.node}. Install a newer Node and run the same command again.`,
  )
}

const wanted = createHash('sha256')
  .update(readFileSync(join(root, 'pnpm-lock.yaml')))
  .digest('hex')
if (!existsSync(stamp) || readFileSync(stamp, 'utf8') !== wanted) {
  console.error('skerry: installing the packages that pnpm-lock.yaml names (once; 15 to 60 seconds) …')
  const args = ['-y', `pnpm@${PNPM}`, 'install', '--frozen-lockfile', '--reporter=append-only']
  const done = spawnSync('npx', args, {
    cwd: root,
    stdio: ['ignore', 'pipe', 'pipe'],
    encoding: 'utf8',
    shell: process.platform === 'win32',
  })
  if (done.status !== 0) {
    process.stderr.write(`${done.stdout ?? ''}${done.stderr ?? ''}`)
    fail(
      'The packages could not be installed. If there is no network, connect this machine to an npm registry (npm config get registry) and run the same command again.',
    )
  }
  writeFileSync(stamp, wanted)
}

function fail(sentence) {
  console.error(`skerry: ${sentence}`)
  process.exit(1)
}
