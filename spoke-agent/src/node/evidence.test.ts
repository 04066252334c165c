import { join } from 'node:path'
import { parse, Statement } from '@skerry/api'
import { checkQuote } from '@skerry/measured-boot'
import { QUOTED_PCRS } from '@skerry/policy'
import { until } from '@skerry/supervise'
import { lacksTpm, testFolder, testTpm } from '@skerry/supervise/testing'
import { evidenceNonce } from '@skerry/trust'
import pino from 'pino'
import { describe, expect, test } from 'vitest'
import { openSlots } from '../drivers/slots.ts'
import { testImage } from '../drivers/testing.ts'
import { openOutbox } from '../outbox/outbox.ts'
import { openBus } from '../store/bus.ts'
import { openDatabase } from '../store/database.ts'
import { enrollment as known } from '../testing.ts'
import { type Hardware, openHardware } from '../tpm/index.ts'
import { runNode } from './executor.ts'

const log = pino({ level: 'silent' })
const enrollment = { ...known, class: 'tpm', bank: 'sha256' } as const

/** Boots once, with the chain growing while the TPM is asked for its first `moves` quotes; what was said then. */
async function boot(path: string, moves: number) {
  const root = testFolder()
  const over = new AbortController()
  const database = openDatabase(root)
  const real = openHardware({ path, eventLog: join(root, 'none'), now: Date.now, signal: over.signal, onTrouble() {} })
  const outbox = openOutbox(database, enrollment, Date.now, undefined, () => real.time())
  let asked = 0
  const hardware: Hardware = {
    ...real,
    async quote(nonce, bank) {
      const quoted = await real.quote(nonce, bank)
      asked += 1
      const digest = 'd'.repeat(64)
      if (asked <= moves)
        outbox.append({ kind: 'refused', body: { document: 'DesiredState', code: 'TooLarge', message: '', digest } })
      return quoted
    },
  }
  const { file } = testImage(join(root, 'images'), '1')
  const driver = await openSlots({ dir: join(root, 'slots'), factoryImage: file, log })
  const node = runNode({
    ...{ database, bus: openBus(database), outbox, driver, enrollment, hardware, watchMs: 20, now: Date.now, log },
    fetchImage: async () => file,
    onBooted() {},
    signal: over.signal,
  })
  const said = () => outbox.pending().map((text) => parse(Statement, JSON.parse(text), 'statement'))
  await until(() => said().some(({ kind }) => kind === 'evidence'), 'the boot being told of', 20_000)
  over.abort(new Error('the test is over'))
  await node
  await driver.close()
  const statements = said()
  database.close()
  return { asked, evidence: statements.find(({ kind }) => kind === 'evidence') }
}

const bytes = (base64 = '') => new Uint8Array(Buffer.from(base64, 'base64'))
const unhex = (hex: string) => new Uint8Array(Buffer.from(hex, 'hex'))

describe.skipIf(lacksTpm)('a boot that is told of with a quote (needs swtpm)', () => {
  test.each([0, 1, 4])('answers its own place in the chain, also when that moved %i times meanwhile', async (moves) => {
    const { socketPath } = await testTpm()
    const { asked, evidence } = await boot(socketPath, moves)
    if (evidence?.kind !== 'evidence') throw new Error('no evidence')
    const { marker, seq, prev, body, time } = evidence
    expect([asked, seq, body.nonce]).toEqual([moves + 1, moves + 1, evidenceNonce(marker, seq, prev)])
    expect(time).toMatchObject({ tpmClock: expect.any(Number), safe: true })
    const values = Object.entries(body.pcrs?.sha256 ?? {}).map(([pcr, value]) => [Number(pcr), unhex(value)] as const)
    const { checks } = checkQuote({
      ...{ ak: bytes(body.akPublic), quote: bytes(body.quote), signature: bytes(body.signature) },
      ...{ nonce: unhex(body.nonce), bank: 'sha256', selection: QUOTED_PCRS },
      pcrs: new Map([['sha256', new Map(values)]]),
    })
    expect(checks.filter(({ ok }) => !ok)).toEqual([])
  })

  test('is told of without one where the chain never stands still', async () => {
    const { socketPath } = await testTpm()
    const { asked, evidence } = await boot(socketPath, Number.POSITIVE_INFINITY)
    expect(asked).toBe(5)
    expect(evidence?.body).not.toHaveProperty('quote')
  })
})
