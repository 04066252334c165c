import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { findNatsServer, forgetPostgres, startPostgres } from '@skerry/supervise'
import type { TestProject } from 'vitest/node'

// Starts one PostgreSQL for the whole run and finds (or builds, once) a nats-server. Tests take a database each.

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const say = (sentence: string) => console.log(`skerry: ${sentence}`)
  // Tests start servers of their own with our accounts; a shared one behind NATS_URL cannot be stopped and emptied.
  const nats = await findNatsServer({ ...process.env, NATS_URL: undefined }, say)
  const dir = mkdtempSync(join(tmpdir(), 'skerry-test-pg-'))
  const database = await startPostgres({ dataDir: dir, durable: false, say: () => {} })
  project.provide('postgres', database.connection)
  // Workers are ended without a turn of their own, so what outlives a test lies in one folder of the whole run.
  const folder = mkdtempSync(join(tmpdir(), 'skerry-test-run-'))
  project.provide('runFolder', folder)
  // Tests start our programs some hundred times, and most of a short one's time is taking the types out of its modules:
  // that is done once in the run.
  process.env['NODE_COMPILE_CACHE'] = join(folder, 'compiled')
  project.provide('natsServer', nats.kind === 'binary' ? nats.path : '')
  return async () => {
    await database.stop()
    forgetPostgres(dir)
    for (const made of [dir, folder]) rmSync(made, { recursive: true, force: true })
  }
}
