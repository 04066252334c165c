import { execFileSync } from 'node:child_process'
import { closeSync, constants, mkdirSync, openSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { join } from 'node:path'
import { until } from '@skerry/supervise'
import { testFolder } from '@skerry/supervise/testing'
import { createKey, makeRoot, sha256Hex, signMetadata } from '@skerry/trust'
import pino from 'pino'
import { expect, onTestFinished, test } from 'vitest'
import { runAgent } from './agent.ts'
import { parseCommand } from './config.ts'
import { testImage } from './drivers/testing.ts'
import { openDatabase } from './store/database.ts'
import { NO_ROOM } from './testing.ts'

/** A hub that answers nobody, and how often it was asked. */
async function openHub() {
  let asked = 0
  const server = createServer((_, response) => {
    asked += 1
    response.writeHead(503).end()
  })
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  onTestFinished(() => new Promise((done) => server.close(() => done())))
  const address = server.address()
  return { asked: () => asked, url: `http://127.0.0.1:${typeof address === 'object' ? address?.port : 0}` }
}

/** The bundle of a site whose hub is there. */
function writeBundle(dir: string, hubUrl: string): string {
  const [root, targets, snapshot, timestamp] = [1, 2, 3, 4].map(() => createKey('EdDSA'))
  if (!root || !targets || !snapshot || !timestamp) throw new Error('no keys')
  const signed = signMetadata(
    makeRoot({
      ...{ version: 1, threshold: 1, rootKeys: [root.jwk], targetsKeys: [targets.jwk] },
      ...{ online: { snapshot: snapshot.jwk, timestamp: timestamp.jwk }, expires: '2126-01-01T00:00:00Z' },
    }),
    [root],
  )
  const text = Buffer.from(signed).toString('utf8')
  const file = join(dir, 'bundle.json')
  writeFileSync(
    file,
    JSON.stringify({ kind: 'SiteBundle', acceptHub: sha256Hex(signed), root: text, hubUrls: [hubUrl] }),
  )
  return file
}

test.each<[string, (dataDir: string) => () => void]>([
  [
    'does not answer',
    (dataDir) => {
      const program = join(dataDir, 'slots', 'b', 'program.mjs')
      mkdirSync(join(program, '..'), { recursive: true })
      // Whoever reads it waits for somebody who writes.
      execFileSync('mkfifo', [program])
      return () => {
        const writer = openSync(program, constants.O_RDWR | constants.O_NONBLOCK)
        rmSync(program)
        closeSync(writer)
      }
    },
  ],
  [
    'has no room for what is known of them',
    (dataDir) => {
      const database = openDatabase(dataDir)
      database.sql.exec(NO_ROOM)
      database.close()
      return () => {}
    },
  ],
])('a node asks to be let in though the disk of its slots %s', async (_, isIll) => {
  const [dir, dataDir] = [testFolder(), testFolder()]
  const recover = isIll(dataDir)
  const hub = await openHub()
  const { config } = parseCommand([
    ...['run', '--data', dataDir, '--bundle', writeBundle(dir, hub.url), '--tpm', 'off'],
    ...['--factory-image', testImage(dir, '1').file],
  ])
  const over = new AbortController()
  const agent = runAgent(config, pino({ level: 'silent' }), over.signal)
  let ended: unknown = 'it runs'
  agent.catch((error: unknown) => {
    ended = error
  })
  try {
    await until(() => ended !== 'it runs' || hub.asked() > 0, 'the node asks its hub', 120_000)
    expect([ended, hub.asked() > 0]).toEqual(['it runs', true])
  } finally {
    over.abort(new Error('the end'))
    recover()
    await agent.catch(() => undefined)
  }
})
