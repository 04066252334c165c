import { appendFileSync, mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { TpmQuote } from '@skerry/api'
import { command, measuredIn, parseEventLog, parseMeasurementLog } from '@skerry/measured-boot'
import { appraise } from '@skerry/policy'
import { logOf, recordsAfter } from '@skerry/policy/testing'
import { testFolder, testTpm } from '@skerry/supervise/testing'
import { describe, expect, test } from 'vitest'
import { type Hardware, openHardware, type TpmTrouble } from './hardware.ts'
import { LARGEST_LOG, MEASUREMENT_LOG } from './logs.ts'
import { FOREVER, lacksTools, lockOut, tool, withSomebodyBetween } from './test-world.ts'

const NONCE = new Uint8Array(32)

/** A machine's TPM, and what troubles it. */
function machine(path: string): { hardware: Hardware; trouble: () => TpmTrouble | undefined } {
  let kept: TpmTrouble | undefined
  const onTrouble = (trouble: TpmTrouble | undefined) => {
    kept = trouble
  }
  const asked = { path, eventLog: '/nowhere', now: () => 0, signal: FOREVER, lookMs: 0, onTrouble }
  return { hardware: openHardware(asked), trouble: () => kept }
}

describe.skipIf(lacksTools)('what troubles a TPM (needs swtpm and tpm2-tools)', () => {
  test('is a lockout as soon as one looks, though quotes go on, with how many passwords and the way out; and it ends', async () => {
    const emulated = await testTpm()
    const { hardware, trouble } = machine(emulated.socketPath)
    await hardware.look()
    expect(trouble()).toBeUndefined()
    await lockOut(emulated)
    await hardware.look()
    const lockout = {
      code: 'Lockout',
      message: expect.stringMatching(/3 wrong passwords .*1000 s.*tpm2_dictionarylockout/),
    }
    expect(trouble()).toMatchObject(lockout)
    expect(await hardware.quote(NONCE, 'sha256')).toHaveProperty('quote')
    expect(trouble()).toMatchObject(lockout)
    expect(hardware.time()).toMatchObject({ tpmClock: expect.any(Number) })
    await tool(emulated, 'dictionarylockout', '-c')
    await hardware.look()
    expect(trouble()).toBeUndefined()
  })

  test('is a quote that failed until one does not, whatever else the TPM does meanwhile', async () => {
    const emulated = await testTpm()
    const { hardware, trouble } = machine(emulated.socketPath)
    // It has no such bank.
    await expect(hardware.quote(NONCE, 'sha512')).rejects.toMatchObject({ code: 'Unsupported' })
    await hardware.look()
    await hardware.ask((tpm) => tpm.attestationKey())
    expect(trouble()).toMatchObject({ code: 'Unsupported' })
    await hardware.quote(NONCE, 'sha256')
    expect(trouble()).toBeUndefined()
  })

  test('is that there is none, until there is', async () => {
    const path = join(testFolder(), 'tpm')
    const { hardware, trouble } = machine(path)
    await hardware.look()
    // Nothing is to be signed while the hub is away, and nothing could be.
    expect([trouble()?.code, trouble()?.tried, hardware.time()]).toEqual(['NoTpm', 'signature', undefined])
    const emulated = await testTpm()
    symlinkSync(emulated.socketPath, path)
    await hardware.look()
    expect([trouble()?.code, hardware.time()]).toEqual([undefined, expect.objectContaining({ safe: true })])
  })
})

describe.skipIf(lacksTools)('a TPM that signs nothing (needs swtpm and tpm2-tools)', () => {
  const sign = ({ hardware }: ReturnType<typeof machine>) => hardware.ask((tpm) => tpm.nodeKey('a'), 'signature')

  test('is known by that from one that is locked, or gives no quote, and signs all the same', async () => {
    const emulated = await testTpm()
    const one = machine(emulated.socketPath)
    await lockOut(emulated)
    await one.hardware.look()
    await sign(one)
    expect(one.trouble()).toMatchObject({ code: 'Lockout', tried: 'look' })
    await expect(one.hardware.quote(NONCE, 'sha512')).rejects.toMatchObject({ code: 'Unsupported' })
    expect(one.trouble()).toMatchObject({ code: 'Unsupported', tried: 'quote' })
  })

  test('though it answers, is known until it signs', async () => {
    const emulated = await testTpm()
    const one = machine(emulated.socketPath)
    await tool(emulated, 'changeauth', '-c', 'endorsement', 'secret')
    await expect(sign(one)).rejects.toMatchObject({ code: 'PasswordSet' })
    await one.hardware.look()
    expect(one.trouble()).toMatchObject({ code: 'PasswordSet', tried: 'signature' })
    await tool(emulated, 'changeauth', '-c', 'endorsement', '-p', 'secret')
    await sign(one)
    expect(one.trouble()).toBeUndefined()
  })

  test('is not one that told the time, and could not be asked for more', async () => {
    const emulated = await testTpm()
    const path = join(testFolder(), 'tpm')
    const READ_CLOCK = 385
    const between = await withSomebodyBetween(emulated, async (asked) => {
      // The clock's own turn has its connection already; the next finds nothing there.
      if (asked.readUInt32BE(6) === READ_CLOCK) rmSync(path, { force: true })
    })
    symlinkSync(between, path)
    const one = machine(path)
    await one.hardware.look()
    expect(one.trouble()).toMatchObject({ code: 'NoTpm', tried: 'look' })
    expect(one.hardware.time()).toMatchObject({ tpmClock: expect.any(Number) })
    symlinkSync(emulated.socketPath, path)
    await one.hardware.look()
    expect(one.trouble()).toBeUndefined()
  })

  test('and tells no time, yet signed since, is one that tells no time', async () => {
    const path = join(testFolder(), 'tpm')
    const one = machine(path)
    await one.hardware.look()
    expect(one.trouble()).toMatchObject({ tried: 'signature' })
    const emulated = await testTpm()
    symlinkSync(emulated.socketPath, path)
    await sign(one)
    expect(one.trouble()).toMatchObject({ code: 'NoTpm', tried: 'look' })
    await one.hardware.look()
    expect(one.trouble()).toBeUndefined()
  })
})

describe.skipIf(lacksTools)('the release floor (needs swtpm and tpm2-tools)', () => {
  test('is the TPM’s: another disk in the same machine reads what this one raised, and lowers nothing', async () => {
    const { socketPath } = await testTpm()
    const { hardware } = machine(socketPath)
    await hardware.readReleaseFloor()
    expect(hardware.releaseFloor()).toBeUndefined()
    await hardware.raiseReleaseFloor(7)
    const other = machine(socketPath)
    await other.hardware.raiseReleaseFloor(3)
    expect(other.hardware.releaseFloor()).toBe(7)
    await hardware.raiseReleaseFloor(9)
    await other.hardware.readReleaseFloor()
    expect([other.hardware.releaseFloor(), other.trouble()]).toEqual([9, undefined])
  })

  test('that cannot be raised is a trouble until it can, and the one that was known stays', async () => {
    const emulated = await testTpm()
    const { hardware, trouble } = machine(emulated.socketPath)
    await hardware.raiseReleaseFloor(7)
    await hardware.raiseReleaseFloor(100_000)
    expect([hardware.releaseFloor(), trouble()?.code]).toEqual([7, 'Unsupported'])
    await hardware.look()
    expect(trouble()?.code).toBe('Unsupported')
    await hardware.raiseReleaseFloor(8)
    expect([hardware.releaseFloor(), trouble()]).toEqual([8, undefined])
  })
})

/** The logs of a real machine: the firmware's, and systemd's, record by record. */
const FIRMWARE_LOG = logOf('secure-boot-off')
const RECORDS = Buffer.from(recordsAfter())
  .toString()
  .split('\u001e')
  .slice(1)
  .map((record) => `\u001e${record}`)
const LAST = RECORDS.length - 1

/** What the logs say was measured, each extend as it was made. */
const firmwareExtends = measuredIn(parseEventLog(FIRMWARE_LOG), 'sha256').extends.map(({ event, digest }) => ({
  pcr: event.pcr,
  digest,
}))
const userspaceExtends = parseMeasurementLog(Buffer.from(RECORDS.join(''))).map(({ pcr = -1, digests }) => ({
  pcr,
  digest: digests.get('sha256') ?? new Uint8Array(),
}))

/**
 * A machine that boots as the recorded one did, up to systemd's last record. `before` runs before each command is passed to
 * the TPM, and is told its name where that is Quote or FlushContext, with how many quotes were asked for up to then.
 */
async function bootedMachine(before: (what: string, quotes: number, systemd: Systemd) => Promise<void>) {
  const emulated = await testTpm()
  const dir = testFolder()
  const [eventLog, records] = [join(dir, 'binary_bios_measurements'), join(dir, 'tpm2-measure.log')]
  writeFileSync(eventLog, FIRMWARE_LOG)
  writeFileSync(records, RECORDS.slice(0, LAST).join(''))
  let quotes = 0
  const path = await withSomebodyBetween(emulated, async (asked, transmit) => {
    const what = { 344: 'Quote', 357: 'FlushContext' }[asked.readUInt32BE(6)] ?? ''
    if (what === 'Quote') quotes += 1
    await before(what, quotes, {
      log: records,
      async extend(pcr) {
        const one = userspaceExtends[LAST]
        if (!one) throw new Error('nothing is recorded')
        const extend = command.pcrExtend(pcr ?? one.pcr, 'sha256', one.digest)
        const answered = command.readAnswer(extend, await transmit(extend.bytes))
        if (!answered.ok) throw new Error('the TPM was not extended')
      },
      write(from = 0, to) {
        appendFileSync(records, RECORDS[LAST]?.slice(from, to) ?? '')
      },
    })
  })
  const hardware = openHardware({
    ...{ path, eventLog, measurementLog: records, now: () => 0, signal: FOREVER, onTrouble() {} },
  })
  const extended = [...firmwareExtends, ...userspaceExtends.slice(0, LAST)]
  const written = extended.map(({ pcr, digest }) => `${pcr}:sha256=${Buffer.from(digest).toString('hex')}`)
  await tool(emulated, 'pcrextend', ...written)
  return { hardware, path, quotes: () => quotes }
}
/** Measures as systemd does: extends first, and writes its record then. */
type Systemd = {
  /** Where its log lies. */
  readonly log: string
  /** Into the PCR of its last record, unless it is said. */
  extend(pcr?: number): Promise<void>
  write(from?: number, to?: number): void
}

/** What whoever judges this evidence finds in its logs, and whether they lead to what was quoted. */
function judged(quote: TpmQuote) {
  const nonce = Buffer.from(NONCE).toString('hex')
  const evidence = { class: 'tpm', bootId: 'b', slot: 'a', imageSha256: 'f'.repeat(64), nonce, ...quote } as const
  const { checks, findings } = appraise(evidence, { nonce, class: 'tpm' })
  return {
    unlike: checks.filter(({ ok }) => !ok).map(({ name }) => name),
    found: findings.map(({ code }) => code).filter((code) => /Replay|Record|Log/.test(code)),
  }
}

describe.skipIf(lacksTools)('a quote while systemd measures (needs swtpm and tpm2-tools)', () => {
  test('is one, where nothing is measured meanwhile', async () => {
    const { hardware, quotes } = await bootedMachine(async () => {})
    expect(judged(await hardware.quote(NONCE, 'sha256'))).toEqual({ unlike: [], found: [] })
    expect(quotes()).toBe(1)
  })

  test('is taken again where it fell between an extend and its record, until the logs lead to it', async () => {
    const { hardware, quotes } = await bootedMachine(async (what, asked, systemd) => {
      if (what === 'Quote' && asked === 1) await systemd.extend()
      // Two quotes were too early.
      if (what === 'Quote' && asked === 3) systemd.write()
    })
    expect(judged(await hardware.quote(NONCE, 'sha256'))).toEqual({ unlike: [], found: [] })
    expect(quotes()).toBe(3)
  })

  test('is one, where something was measured between it and the reading of the logs', async () => {
    let measured = false
    const { hardware, quotes } = await bootedMachine(async (what, asked, systemd) => {
      if (what !== 'FlushContext' || asked !== 1 || measured) return
      measured = true
      await systemd.extend()
      systemd.write()
    })
    expect(judged(await hardware.quote(NONCE, 'sha256'))).toEqual({ unlike: [], found: ['RecordsAfterQuote'] })
    expect([measured, quotes()]).toEqual([true, 1])
  })

  test('is given as it is where the logs never lead to it: the judge is the hub', async () => {
    const { hardware, quotes } = await bootedMachine(async (what, asked, systemd) => {
      if (what === 'Quote' && asked === 1) await systemd.extend()
    })
    expect(judged(await hardware.quote(NONCE, 'sha256'))).toEqual({ unlike: ['replay'], found: ['ReplayMismatch'] })
    expect(quotes()).toBe(5)
  })

  test.each<[string, (systemd: Systemd) => unknown]>([
    ['a PCR of the firmware’s is not what was logged', ({ extend }) => extend(4)],
    [
      'systemd’s log is larger than a statement has room for',
      ({ log, extend }) => {
        writeFileSync(log, Buffer.alloc(LARGEST_LOG[MEASUREMENT_LOG] + 1))
        return extend()
      },
    ],
    [
      'systemd’s log cannot be read',
      ({ log, extend }) => {
        rmSync(log)
        mkdirSync(log)
        return extend()
      },
    ],
  ])('is one, where %s: another would be no better', async (_, happens) => {
    const { hardware, quotes } = await bootedMachine(async (what, asked, systemd) => {
      if (what === 'Quote' && asked === 1) await happens(systemd)
    })
    expect(judged(await hardware.quote(NONCE, 'sha256')).unlike).toEqual(['replay'])
    expect(quotes()).toBe(1)
  })

  test('is taken again where systemd’s log was not there yet', async () => {
    const { hardware, quotes } = await bootedMachine(async (what, asked, { log }) => {
      if (what === 'Quote' && asked === 1) renameSync(log, `${log}.not-yet`)
      if (what === 'Quote' && asked === 2) renameSync(`${log}.not-yet`, log)
    })
    expect(judged(await hardware.quote(NONCE, 'sha256'))).toEqual({ unlike: [], found: [] })
    expect(quotes()).toBe(2)
  })

  test('is given as it is where the TPM gives no other', async () => {
    const { hardware, path, quotes } = await bootedMachine(async (what, asked, systemd) => {
      if (what !== 'Quote' || asked !== 1) return
      await systemd.extend()
      rmSync(path)
    })
    expect(judged(await hardware.quote(NONCE, 'sha256'))).toEqual({ unlike: ['replay'], found: ['ReplayMismatch'] })
    expect(quotes()).toBe(1)
    await expect(hardware.quote(NONCE, 'sha256')).rejects.toMatchObject({ code: 'NoTpm' })
  })

  test('is taken again where the record was half written', async () => {
    const { hardware, quotes } = await bootedMachine(async (what, asked, systemd) => {
      if (what !== 'Quote' || asked > 2) return
      if (asked === 1) await systemd.extend()
      systemd.write(...(asked === 1 ? [0, 40] : [40]))
    })
    expect(judged(await hardware.quote(NONCE, 'sha256'))).toEqual({ unlike: [], found: [] })
    expect(quotes()).toBe(2)
  })
})
