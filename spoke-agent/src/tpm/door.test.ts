import { spawnSync } from 'node:child_process'
import { chmodSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { command } from '@skerry/measured-boot'
import { testFolder } from '@skerry/supervise/testing'
import { describe, expect, onTestFinished, test } from 'vitest'
import { makeTurns } from './commander.ts'
import { openDoor } from './door.ts'
import { FOREVER } from './test-world.ts'

/** Something on a socket that answers as no TPM does. */
async function listen(answer: (socket: Socket, asked: Buffer) => void): Promise<string> {
  const path = join(testFolder(), 's.sock')
  const server = createServer((socket) => socket.on('data', (asked) => answer(socket, asked)).on('error', () => {}))
  await new Promise<void>((resolve) => server.listen(path, resolve))
  onTestFinished(() => void server.close())
  return path
}
const bytes = (hex: string) => Buffer.from(hex.replaceAll(' ', ''), 'hex')
const RETRY = bytes('8001 0000000a 00000922')
const CLOCK = bytes('8001 00000023 00000000 0000000000000001 0000000000000002 00000003 00000004 01')
const clockOf = (path: string, signal = FOREVER) => makeTurns(path, signal)((tpm) => tpm.run(command.readClock()))

describe('the way to a TPM', () => {
  test.each([
    ['nothing', () => join(testFolder(), 'tpmrm0'), 'NoTpm'],
    ['a folder', testFolder, 'NoTpm'],
    [
      'a socket that nobody listens on',
      () => {
        const path = join(testFolder(), 's.sock')
        spawnSync(process.execPath, [
          '-e',
          `require('net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`,
        ])
        return path
      },
      'NoTpm',
    ],
  ])('%s is refused by name, with what to do', async (_, makePath, code) => {
    const path = makePath()
    await expect(openDoor(path)).rejects.toMatchObject({
      name: 'TpmError',
      code,
      message: expect.stringContaining(path),
    })
  })

  test('a file that is no device is refused, and nothing is written into it', async () => {
    const path = join(testFolder(), 'machine-id')
    writeFileSync(path, 'precious')
    await expect(openDoor(path)).rejects.toMatchObject({
      code: 'NoTpm',
      message: expect.stringMatching(/machine-id: this is neither a device nor a socket\. .*--tpm/),
    })
    await expect(clockOf(path)).rejects.toMatchObject({ code: 'NoTpm' })
    expect(readFileSync(path, 'utf8')).toBe('precious')
  })

  test('a device that belongs to others', async () => {
    const path = join(testFolder(), 'tpmrm0')
    writeFileSync(path, '')
    chmodSync(path, 0)
    const isRoot = process.geteuid?.() === 0
    if (isRoot) process.seteuid?.(65534)
    try {
      await expect(openDoor(path)).rejects.toMatchObject({ code: 'NoAccess' })
    } finally {
      if (isRoot) process.seteuid?.(0)
    }
  })

  test.each([
    ['is closed in the middle of a response', (socket: Socket) => void socket.end(CLOCK.subarray(0, 12)), 'Failed'],
    ['is closed instead of a response', (socket: Socket) => void socket.end(), 'Failed'],
    [
      'answers something else',
      (socket: Socket) => void socket.write('HTTP/1.1 400 Bad Request\r\n\r\n'),
      'NotUnderstood',
    ],
    ['announces more than it may', (socket: Socket) => void socket.write(Buffer.alloc(8192, 0xff)), 'NotUnderstood'],
    ['adds a byte', (socket: Socket) => void socket.write(Buffer.concat([CLOCK, CLOCK])), 'NotUnderstood'],
  ])('one that %s', async (_, answer, code) => {
    await expect(clockOf(await listen(answer))).rejects.toMatchObject({ code, canRetry: false })
  })

  test('one that does not answer: the wait ends at its deadline, which the error names', async () => {
    const connection = await openDoor(await listen(() => {}))
    const asked = connection.transmit(command.readClock().bytes, 50)
    await expect(asked).rejects.toMatchObject({ code: 'TimedOut', message: expect.stringContaining('0.05 s') })
    await connection.close()
  })

  test('a response that comes in pieces is one', async () => {
    const path = await listen(async (socket) => {
      for (const byte of CLOCK) {
        socket.write(Buffer.of(byte))
        await new Promise(setImmediate)
      }
    })
    expect(await clockOf(path)).toMatchObject({ clockMs: 2, resetCount: 3 })
  })

  test('"again" is tried again, and ends', async () => {
    let asked = 0
    const twice = await listen((socket) => void socket.write(++asked <= 2 ? RETRY : CLOCK))
    expect(await clockOf(twice)).toMatchObject({ resetCount: 3 })
    expect(asked).toBe(3)
    let always = 0
    const never = await listen((socket) => {
      always += 1
      socket.write(RETRY)
    })
    await expect(clockOf(never)).rejects.toMatchObject({ code: 'DeviceBusy', canRetry: true })
    expect(always).toBe(30)
  })

  test('an agent that ends does not wait for a busy TPM', async () => {
    const end = new AbortController()
    const path = await listen((socket) => {
      socket.write(RETRY)
      end.abort(new Error('the agent ends'))
    })
    await expect(clockOf(path, end.signal)).rejects.toThrow('the agent ends')
  })

  test('whoever comes next is served after one that failed', async () => {
    let asked = 0
    const path = await listen((socket) => void (++asked === 1 ? socket.end() : socket.write(CLOCK)))
    const turn = makeTurns(path, FOREVER)
    const [first, second] = await Promise.allSettled([
      turn((tpm) => tpm.run(command.readClock())),
      turn((tpm) => tpm.run(command.readClock())),
    ])
    expect([first.status, second.status]).toEqual(['rejected', 'fulfilled'])
  })
})
