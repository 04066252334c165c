import { symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { testFolder, testTpm } from '@skerry/supervise/testing'
import { describe, expect, test } from 'vitest'
import { type Hardware, openHardware, type TpmTrouble } from './hardware.ts'
import { FOREVER, lacksTools, lockOut, tool } from './test-world.ts'

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
    expect([trouble()?.code, hardware.time()]).toEqual(['NoTpm', undefined])
    const emulated = await testTpm()
    symlinkSync(emulated.socketPath, path)
    await hardware.look()
    expect([trouble()?.code, hardware.time()]).toEqual([undefined, expect.objectContaining({ safe: true })])
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
