// Runs a TypeScript entry under the pinned Node 24, whatever Node started this file: npx, a PATH link, systemd, cron.
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** Imports `entry` (a file URL) here when this Node can run it; otherwise runs it with the Node that setup installed. */
export async function launch(entry) {
  const [major] = process.versions.node.split('.').map(Number)
  if (major >= 24) return import(entry)
  const pinned = join(dirname(fileURLToPath(import.meta.url)), '..', 'node_modules', '.bin', 'node')
  if (!existsSync(pinned)) {
    console.error(
      `skerry: this needs Node 24 and found ${process.versions.node}. Run "npm start" or "npm test" once: it installs the pinned one.`,
    )
    process.exit(1)
  }
  const ran = spawnSync(pinned, [fileURLToPath(entry), ...process.argv.slice(2)], { stdio: 'inherit' })
  process.exit(ran.status ?? 1)
}
