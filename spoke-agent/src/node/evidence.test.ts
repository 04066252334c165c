import { symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { parse, Statement } from '@skerry/api'
import { checkQuote } from '@skerry/measured-boot'
import { QUOTED_PCRS } from '@skerry/policy'
import { until } from '@skerry/supervise'
import { lacksTpm, testFolder, testTpm } from '@skerry/supervise/testing'
import { createKey, evidenceNonce } from '@skerry/trust'
import pino from 'pino'
import { describe, expect, onTestFinished, test } from 'vitest'
import { openSlots } from '../drivers/slots.ts'
import { testImage } from '../drivers/testing.ts'
import { openOutbox } from '../outbox/outbox.ts'
import { openBus } from '../store/bus.ts'
import { openDatabase } from '../store/database.ts'
import { enrollment as known } from '../testing.ts'
import { type Hardware, openHardware, type TpmTrouble } from '../tpm/index.ts'
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
  await until(() => said().some(({ kind }) => kind === 'evidence'), 'the boot being told of', 60_000)
  over.abort(new Error('the test is over'))
  await node
  await driver.close()
  const statements = said()
  database.close()
  return { asked, evidence: statements.find(({ kind }) => kind === 'evidence') }
}

const bytes = (base64 = '') => new Uint8Array(Buffer.from(base64, 'base64'))
const unhex = (hex: string) => new Uint8Array(Buffer.from(hex, 'hex'))

/** A node whose TPM gives no quote, and what it says, until `over`. */
async function bootWithout(path: string) {
  const root = testFolder()
  const over = new AbortController()
  const database = openDatabase(root)
  let trouble: TpmTrouble | undefined
  let looks = 0
  const hardware = openHardware({
    ...{ path, eventLog: join(root, 'none'), now: Date.now, signal: over.signal, lookMs: 0 },
    onTrouble: (one) => {
      trouble = one
    },
  })
  const outbox = openOutbox(database, enrollment, Date.now, undefined, () => hardware.time())
  const { file } = testImage(join(root, 'images'), '1')
  const driver = await openSlots({ dir: join(root, 'slots'), factoryImage: file, log })
  const bus = openBus(database)
  const run = () => {
    const life = new AbortController()
    const node = runNode({
      ...{ database, bus, outbox, driver, enrollment, hardware, watchMs: 20, now: Date.now, log, quoteAgainMs: 20 },
      fetchImage: async () => file,
      onBooted() {
        looks += 1
      },
      signal: AbortSignal.any([over.signal, life.signal]),
    })
    return async () => {
      life.abort(new Error('the agent ends'))
      await node
    }
  }
  onTestFinished(async () => {
    over.abort(new Error('the test is over'))
    await driver.close()
    database.close()
  })
  const evidence = () =>
    outbox
      .pending()
      .map((text) => parse(Statement, JSON.parse(text), 'statement'))
      .flatMap((one) => (one.kind === 'evidence' ? [one] : []))
  return {
    run,
    bus,
    outbox,
    database,
    looks: () => looks,
    hardware,
    evidence,
    trouble: () => trouble,
    owed: () => bus.node().quoteOwed,
  }
}

test('a boot, and where its upgrade stands, are told once more where what told of them may be lost, once, also over a restart', async () => {
  const { run, outbox, bus, database, looks } = await bootWithout('/nowhere')
  const key = createKey('EdDSA')
  const keys = [{ jwk: key.jwk, notBefore: '1970-01-01T00:00:00Z' }]
  let minute = 0
  const hears = (watermark: number) => {
    minute += 1
    const atMs = Date.now() + minute * 60_000
    outbox.acknowledged(watermark, { digest: 'd'.repeat(64), by: key.thumbprint, atMs, keys })
  }
  const said = () => outbox.pending().map((text) => parse(Statement, JSON.parse(text), 'statement'))
  const digest = 'd'.repeat(64)
  const fill = () => outbox.append({ kind: 'accepted', body: { timeline: 0, generation: 1, digest } })
  let end = run()
  await until(() => said().length === 1, 'the boot being told of', 20_000)
  const { state } = bus.node()
  const confirmed = { imageSha256: 'f'.repeat(64), releaseCounter: 7, bootId: 'b7' }
  bus.saveNode({ ...bus.node(), state: { ...state, memory: { ...state.memory, confirmed } } })
  fill()
  fill()
  hears(3)
  // That it waited for room, and died before the boot was told of.
  bus.saveNode({ ...bus.node(), owedBootId: bus.node().evidenceBootId ?? '' })
  const power = "before insert on statement when new.kind = 'evidence' begin select raise(abort, 'the power'); end"
  database.sql.exec(`create trigger power ${power}`)
  // As it is after a week: the newest alone is kept.
  database.sql.exec('delete from statement where seq < 3')
  hears(1)
  await until(() => said().length >= 3, 'where it stands being told', 20_000)
  await end()
  database.sql.exec('drop trigger power')
  end = run()
  await until(() => said().length >= 4, 'both being told', 20_000)
  const before = looks()
  // What is due at a look is told before the next one.
  const lookAgain = () => {
    bus.saveNode(bus.node())
    return looks() > before + 1
  }
  await until(lookAgain, 'two looks', 20_000)
  await end()
  expect(said()).toMatchObject([
    { kind: 'accepted', seq: 3 },
    { kind: 'gap', body: { fromSeq: 2, toSeq: 2 } },
    { kind: 'transition', body: { from: 'Idle', to: 'Idle', imageSha256: confirmed.imageSha256, bootId: 'b7' } },
    { kind: 'evidence', seq: 6 },
  ])
  expect(database.load('left_out')).toBeUndefined()
})

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

  test('leaves what was confirmed here in the TPM, as the floor of releases, also when that was before a power cut', async () => {
    const { socketPath } = await testTpm()
    const node = await bootWithout(socketPath)
    const { state } = node.bus.node()
    const confirmed = { imageSha256: 'f'.repeat(64), releaseCounter: 7 }
    node.bus.saveNode({ ...node.bus.node(), state: { ...state, memory: { ...state.memory, confirmed } } })
    const end = node.run()
    await until(() => node.hardware.releaseFloor() === 7, 'the floor being raised', 60_000)
    await end()
    const other = await bootWithout(socketPath)
    await other.hardware.readReleaseFloor()
    expect(other.hardware.releaseFloor()).toBe(7)
  })

  test('is told of without one at once, and once more with one when the TPM answers in this boot, also over a restart', async () => {
    const path = join(testFolder(), 'tpm')
    const node = await bootWithout(path)
    const end = node.run()
    await until(() => node.evidence().length === 1 && node.trouble() !== undefined, 'the first telling', 60_000)
    expect(node.evidence()[0]?.body).not.toHaveProperty('quote')
    expect([node.trouble()?.code, node.owed()]).toEqual(['NoTpm', expect.any(String)])
    await end()
    const endAgain = node.run()
    const { socketPath } = await testTpm()
    symlinkSync(socketPath, path)
    await until(() => node.evidence().length === 2, 'the quote', 60_000)
    const [first, second] = node.evidence()
    if (!first || !second) throw new Error('no evidence')
    expect(second.body).toMatchObject({ bootId: first.body.bootId, imageSha256: first.body.imageSha256 })
    expect(second.body.nonce).toBe(evidenceNonce(second.marker, second.seq, second.prev))
    expect(second.body).toHaveProperty('quote')
    await until(() => node.trouble() === undefined, 'the end of the trouble', 60_000)
    expect(node.owed()).toBeUndefined()
    await endAgain()
    expect(node.evidence()).toHaveLength(2)
  })

  test('is told of without one where the chain never stands still', async () => {
    const { socketPath } = await testTpm()
    const { asked, evidence } = await boot(socketPath, Number.POSITIVE_INFINITY)
    expect(asked).toBe(5)
    expect(evidence?.body).not.toHaveProperty('quote')
  })
})
