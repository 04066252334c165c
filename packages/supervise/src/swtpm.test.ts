import { spawn, spawnSync } from 'node:child_process'
import { createHash, X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, readdirSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { dirname, join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { isAlive, until } from './child.ts'
import { findTpmPrograms, manufactureTpm, startTpm } from './swtpm.ts'
import { lacksTpm, testFolder, testTpm } from './testing.ts'

test('where there is no emulator, a sentence says what is missing and how it is installed', () => {
  expect(findTpmPrograms({ PATH: '/nowhere' })).toEqual({
    missing:
      'there is no TPM emulator on this machine (swtpm, swtpm_setup, swtpm_localca not on the PATH): apt-get install swtpm swtpm-tools',
  })
})

describe.skipIf(lacksTpm)('an emulated TPM', () => {
  test('is made with endorsement certificates under a CA of its own, and ends without a trace', async () => {
    const tpm = await testTpm({ ca: 'own' })
    const [root, issuer] = [new X509Certificate(tpm.ca.root), new X509Certificate(tpm.ca.issuer)]
    expect(root.verify(root.publicKey)).toBe(true)
    expect(issuer.checkIssued(root) && issuer.verify(root.publicKey)).toBe(true)
    const pid = tpm.pid()
    await tpm.stop()
    expect(isAlive(pid)).toBe(false)
    expect(existsSync(dirname(tpm.socketPath))).toBe(false)
  })

  test('has the banks that were asked for and no other', async () => {
    const tpm = await testTpm({ banks: ['sha256', 'sha384'] })
    const banks = await allocatedBanks(tpm.socketPath)
    expect(banks).toEqual({ sha256: 24, sha384: 24 })
  })

  test('two TPMs of one file have one CA and different identities', async () => {
    const [one, other] = [await testTpm(), await testTpm()]
    expect(one.ca).toEqual(other.ca)
    expect(await endorsementKey(one.socketPath)).not.toBe(await endorsementKey(other.socketPath))
  })

  test('a copy of its folder is the same TPM a second time', async () => {
    const original = await testTpm()
    const copy = await testTpm({ copyOf: original })
    expect(await endorsementKey(copy.socketPath)).toBe(await endorsementKey(original.socketPath))
  })

  test('comes back after its power was away, the same one, on the same socket', async () => {
    const tpm = await testTpm()
    const before = { pid: tpm.pid(), key: await endorsementKey(tpm.socketPath) }
    await tpm.powerCycle()
    expect(tpm.pid()).not.toBe(before.pid)
    expect(isAlive(before.pid)).toBe(false)
    expect(await endorsementKey(tpm.socketPath)).toBe(before.key)
  })

  test('a start on a folder that holds no TPM says what swtpm said, and leaves nothing running', async () => {
    const file = join(testFolder(), 'nothing', 'there')
    await expect(startTpm({ stateDir: file })).rejects.toThrow(/swtpm ended at once, with exit code 1/)
  })

  test('what cannot be made is an error with the words of swtpm_setup', async () => {
    const dir = testFolder()
    writeFileSync(join(dir, 'issuercert.pem'), 'no certificate')
    writeFileSync(join(dir, 'signkey.pem'), 'no key')
    await expect(manufactureTpm({ dir: testFolder(), caDir: dir })).rejects.toThrow(
      /swtpm_setup made no TPM in .*: .+/s,
    )
  })

  test.skipIf(process.platform !== 'linux')('does not outlive a process that was killed', async () => {
    const { stateDir } = await manufactureTpm({ dir: testFolder() })
    const door = JSON.stringify(join(import.meta.dirname, 'swtpm.ts'))
    const script = `const { startTpm } = await import(${door}); const tpm = await startTpm({ stateDir: process.argv[1] }); console.log(tpm.pid()); setInterval(() => {}, 1000)`
    const other = spawn(process.execPath, ['--input-type=module', '-e', script, stateDir], {
      stdio: ['ignore', 'pipe', 'inherit'],
      // Killed, it leaves the folder of its socket.
      env: { ...process.env, TMPDIR: testFolder() },
    })
    const [said] = await once(other.stdout, 'data')
    const pid = Number(String(said))
    expect(isAlive(pid)).toBe(true)
    other.kill('SIGKILL')
    await until(() => !isAlive(pid), 'its end', 30_000)
    expect(readdirSync(stateDir)).toContain('tpm2-00.permall')
  })

  test.skipIf(spawnSync('tpm2_getrandom', ['--version']).error !== undefined)(
    'answers tpm2-tools under the address it gives for them',
    async () => {
      const tpm = await testTpm()
      const asked = spawnSync('tpm2_getrandom', ['--hex', '8'], {
        env: { ...process.env, TPM2TOOLS_TCTI: tpm.tcti },
        encoding: 'utf8',
      })
      expect(asked.stdout).toMatch(/^[0-9a-f]{16}$/)
    },
  )
})

/** One command written, one response read. */
async function ask(path: string, hex: string): Promise<Buffer> {
  const socket = connect(path)
  socket.write(Buffer.from(hex, 'hex'))
  let said = Buffer.alloc(0)
  for await (const data of socket) {
    said = Buffer.concat([said, data])
    if (said.length >= 10 && said.length >= said.readUInt32BE(2)) break
  }
  socket.destroy()
  expect(said.readUInt32BE(6)).toBe(0)
  return said.subarray(10)
}

/** TPM2_ReadPublic(0x81010001), as a digest. */
async function endorsementKey(path: string): Promise<string> {
  const said = await ask(path, '80010000000e0000017381010001')
  return createHash('sha256').update(said).digest('hex')
}

/** TPM2_GetCapability(TPM_CAP_PCRS): how many PCRs each bank has, banks with none left out. */
async function allocatedBanks(path: string): Promise<Record<string, number>> {
  const said = await ask(path, '8001000000160000017a000000050000000000000040')
  const banks: Record<string, number> = {}
  const count = said.readUInt32BE(5)
  let at = 9
  for (let bank = 0; bank < count; bank++) {
    const name = { 4: 'sha1', 11: 'sha256', 12: 'sha384', 13: 'sha512' }[said.readUInt16BE(at)] ?? 'unknown'
    const bits = said.subarray(at + 3, at + 3 + said.readUInt8(at + 2))
    const pcrs = [...bits].reduce((sum, byte) => sum + byte.toString(2).replaceAll('0', '').length, 0)
    if (pcrs > 0) banks[name] = pcrs
    at += 3 + bits.length
  }
  return banks
}
