import { execFile, spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { command } from '@skerry/measured-boot'
import { lacksTpm, type TestTpm, testFolder } from '@skerry/supervise/testing'
import { onTestFinished } from 'vitest'
import { openDoor } from './door.ts'

/** Whether the emulator or tpm2-tools, which it is held against, are missing here. */
export const lacksTools = lacksTpm || spawnSync('tpm2_checkquote', ['--version']).error !== undefined

export const FOREVER = new AbortController().signal

/** Runs one of tpm2-tools on an emulated TPM; its standard output. Rejects when it fails. */
export async function tool(tpm: TestTpm, name: string, ...args: readonly string[]): Promise<string> {
  const env = { ...process.env, TPM2TOOLS_TCTI: tpm.tcti }
  const { stdout } = await promisify(execFile)(`tpm2_${name}`, args, { env, timeout: 120_000 })
  return stdout
}

/** Leaves bytes in an NV index, as a maker does. */
export async function leaveInNv(
  tpm: TestTpm,
  index: number,
  bytes: Uint8Array,
  attributes = 'authread|ownerread|ownerwrite|no_da',
): Promise<void> {
  const file = join(testFolder(), 'bytes')
  writeFileSync(file, bytes)
  const at = `0x${index.toString(16)}`
  await tool(tpm, 'nvdefine', '-Q', '-C', 'o', '-s', String(bytes.length), '-a', attributes, at)
  await tool(tpm, 'nvwrite', '-Q', '-C', 'o', '-i', file, at)
}

/** Guesses a password until the TPM locks. */
export async function lockOut(tpm: TestTpm): Promise<void> {
  await tool(tpm, 'nvdefine', '-Q', '-s', '8', '-p', 'secret', '-a', 'authread|authwrite', '0x1500001')
  for (let guesses = 0; guesses < 10; guesses++)
    try {
      await tool(tpm, 'nvread', '-P', 'wrong', '0x1500001')
    } catch (error) {
      if (error instanceof Error && /lockout/i.test(error.message)) return
    }
  throw new Error('ten wrong passwords did not lock the TPM')
}

/** Handles of objects and sessions that are in the TPM's memory: none, when nobody is at work. */
export async function leftInMemory(tpm: TestTpm): Promise<readonly number[]> {
  const [HMAC_SESSIONS, POLICY_SESSIONS, TRANSIENT] = [0x02000000, 0x03000000, 0x80000000]
  const connection = await openDoor(tpm.socketPath)
  try {
    const found: number[] = []
    for (const first of [HMAC_SESSIONS, POLICY_SESSIONS, TRANSIENT]) {
      const asked = command.getHandles(first)
      const answered = command.readAnswer(asked, await connection.transmit(asked.bytes, 5_000))
      if (answered.ok) found.push(...answered.value)
    }
    return found
  } finally {
    await connection.close()
  }
}

/** A socket to the same TPM on which `before` runs before each command is passed on: what another program does in between. */
export async function withSomebodyBetween(
  tpm: TestTpm,
  before: (asked: Buffer, transmit: (bytes: Uint8Array) => Promise<Uint8Array>) => Promise<void>,
): Promise<string> {
  const path = join(testFolder(), 's.sock')
  const server = createServer(async (socket) => {
    const behind = await openDoor(tpm.socketPath)
    const transmit = (bytes: Uint8Array) => behind.transmit(bytes, 5_000)
    for await (const asked of socket) {
      await before(asked, transmit)
      socket.write(await transmit(asked))
    }
    await behind.close()
  })
  await new Promise<void>((resolve) => server.listen(path, resolve))
  onTestFinished(() => void server.close())
  return path
}
