import { closeSync, fstatSync, mkdtempSync, openSync, readSync, rmSync, writeSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

// A disk with a cache that its power takes along, given to QEMU as a Network Block Device (the NBD protocol, fixed newstyle
// handshake). What a machine wrote and did not flush is lost or has come through when its power fails, write by write,
// as a real disk may have it. And a story may hold a disk at a write or at a flush: it answers no more, so that the machine
// stands at exactly that place of its work until the power is cut.

export type CachedDisk = {
  /** How QEMU names it. */
  readonly url: string
  /** Writes so many more bytes, and lets the write after them wait. */
  holdAtWrite(afterBytes: number): void
  /** Lets the n-th flush from now wait, before it is done or when it is. */
  holdAtFlush(n: number, when: 'before' | 'done'): void
  /** Something waits for an answer. */
  isHeld(): boolean
  /** The power is gone: each write since the last flush came through or did not. What a held disk kept waiting did not. */
  fail(): Settled
  close(): Promise<void>
}

/** Writes that were not flushed when the power failed. */
export type Settled = { readonly lost: number; readonly kept: number }

type Write = { readonly at: number; readonly before: Buffer; readonly after: Buffer }

/** Serves this file on a Unix socket. `random` gives numbers in [0, 1). */
export async function openCachedDisk(file: string, random: () => number): Promise<CachedDisk> {
  const fd = openSync(file, 'r+')
  // A socket's path may hold 107 bytes.
  const folder = mkdtempSync(join(tmpdir(), 'skerry-disk-'))
  const socketPath = join(folder, 'nbd')
  const { size } = fstatSync(fd)
  const open = new Set<Socket>()
  let cache: Write[] = []
  let bytesLeft = Number.POSITIVE_INFINITY
  let flushesLeft = Number.POSITIVE_INFINITY
  let holdWhen: 'before' | 'done' = 'done'
  let isHeld = false
  const hold = () => {
    isHeld = true
    // For ever: the machine that asked ends before its disk answers.
    return new Promise<never>(() => {})
  }

  const read = (at: number, length: number) => {
    const bytes = Buffer.allocUnsafe(length)
    readSync(fd, bytes, 0, length, at)
    return bytes
  }
  const disk: Disk = {
    size,
    read,
    async write(at, after) {
      if (bytesLeft <= 0) await hold()
      bytesLeft -= after.length
      cache.push({ at, before: read(at, after.length), after })
      writeSync(fd, after, 0, after.length, at)
    },
    async flush() {
      flushesLeft -= 1
      if (flushesLeft <= 0 && holdWhen === 'before') await hold()
      cache = []
      if (flushesLeft <= 0) await hold()
    },
  }
  const server = createServer((socket) => {
    open.add(socket)
    socket.once('close', () => open.delete(socket))
    // QEMU was killed in the midst of a request: what it had not said whole was never asked.
    serve(socket, disk).catch(() => socket.destroy())
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(socketPath, resolve)
  })

  return {
    url: `nbd+unix:///?socket=${socketPath}`,
    holdAtWrite(afterBytes) {
      bytesLeft = afterBytes
    },
    holdAtFlush(n, when) {
      flushesLeft = n
      holdWhen = when
    },
    isHeld: () => isHeld,
    fail() {
      for (const socket of open) socket.destroy()
      isHeld = false
      bytesLeft = flushesLeft = Number.POSITIVE_INFINITY
      for (const { at, before } of cache.toReversed()) writeSync(fd, before, 0, before.length, at)
      const kept = cache.filter(() => random() < 0.5)
      for (const { at, after } of kept) writeSync(fd, after, 0, after.length, at)
      const lost = cache.length - kept.length
      cache = []
      return { lost, kept: kept.length }
    },
    async close() {
      for (const socket of open) socket.destroy()
      await new Promise<void>((resolve) => server.close(() => resolve()))
      closeSync(fd)
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

type Disk = {
  readonly size: number
  read(at: number, length: number): Buffer
  write(at: number, bytes: Buffer): Promise<void>
  flush(): Promise<void>
}

// Numbers of the protocol, by its own names.
const OPTION = { EXPORT_NAME: 1, ABORT: 2, INFO: 6, GO: 7 } as const
const REPLY = { ACK: 1, INFO: 3, ERR_UNSUP: 0x80000001 } as const
const REQUEST = { READ: 0, WRITE: 1, DISC: 2, FLUSH: 3 } as const
const EXPORT_FLAGS = 0b101 // HAS_FLAGS, SEND_FLUSH: no forced write, which QEMU makes of a write and a flush.
const ERR_INVALID = 22

async function serve(socket: Socket, disk: Disk): Promise<void> {
  const next = readerOf(socket)
  const number = (value: number, bytes: 2 | 4 | 8) => {
    const field = Buffer.alloc(bytes)
    if (bytes === 8) field.writeBigUInt64BE(BigInt(value))
    else field.writeUIntBE(value, 0, bytes)
    return field
  }
  const exported = Buffer.concat([number(disk.size, 8), number(EXPORT_FLAGS, 2)])
  socket.write(Buffer.concat([Buffer.from('NBDMAGICIHAVEOPT'), number(0b11, 2)]))
  await next(4)
  for (let isNegotiating = true; isNegotiating; ) {
    const head = await next(16)
    const option = head.readUInt32BE(8)
    await next(head.readUInt32BE(12))
    const answer = (type: number, body: Uint8Array = new Uint8Array()) =>
      socket.write(
        Buffer.concat([
          Buffer.from('0003e889045565a9', 'hex'),
          ...[number(option, 4), number(type, 4), number(body.length, 4), body],
        ]),
      )
    if (option === OPTION.EXPORT_NAME) {
      socket.write(exported)
      isNegotiating = false
    } else if (option === OPTION.INFO || option === OPTION.GO) {
      // Of all there is to ask, the size and the flags (NBD_INFO_EXPORT, 0).
      answer(REPLY.INFO, Buffer.concat([number(0, 2), exported]))
      answer(REPLY.ACK)
      isNegotiating = option === OPTION.INFO
    } else if (option === OPTION.ABORT) {
      answer(REPLY.ACK)
      return void socket.end()
    } else answer(REPLY.ERR_UNSUP)
  }
  for (;;) {
    const head = await next(28)
    const [type, cookie] = [head.readUInt16BE(6), head.subarray(8, 16)]
    const [at, length] = [Number(head.readBigUInt64BE(16)), head.readUInt32BE(24)]
    const data = type === REQUEST.WRITE ? await next(length) : undefined
    const reply = (error: number, body: Uint8Array = new Uint8Array()) =>
      socket.write(Buffer.concat([Buffer.from('67446698', 'hex'), number(error, 4), cookie, body]))
    if (type === REQUEST.DISC) return void socket.end()
    if (type === REQUEST.READ) reply(0, disk.read(at, length))
    else if (type === REQUEST.FLUSH) await disk.flush().then(() => reply(0))
    else if (data) await disk.write(at, data).then(() => reply(0))
    else reply(ERR_INVALID)
  }
}

/** Gives so many bytes at a time; rejects when the other end is gone. */
function readerOf(socket: Socket): (bytes: number) => Promise<Buffer> {
  const chunks = socket[Symbol.asyncIterator]() as AsyncIterator<Buffer>
  let held: Buffer = Buffer.alloc(0)
  return async (bytes) => {
    const parts = [held]
    let length = held.length
    while (length < bytes) {
      const { value, done } = await chunks.next()
      if (done === true || value === undefined) throw new Error('the other end is gone')
      parts.push(value)
      length += value.length
    }
    const all = parts.length === 1 ? held : Buffer.concat(parts, length)
    held = all.subarray(bytes)
    return all.subarray(0, bytes)
  }
}
