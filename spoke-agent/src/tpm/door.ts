import { constants } from 'node:fs'
import { type FileHandle, open, stat } from 'node:fs/promises'
import { connect, type Socket } from 'node:net'
import { command } from '@skerry/measured-boot'
import { reasonOf } from '../reason.ts'
import { TpmError } from './errors.ts'

/** A way to one TPM, open for a while. Between `transmit`s the TPM remembers objects and sessions; behind `/dev/tpmrm0` they go when it is closed. */
export type Connection = {
  /** One command in, one response out. Rejects with TpmError; after that the connection is of no more use. */
  transmit(bytes: Uint8Array, deadlineMs: number): Promise<Uint8Array>
  close(): Promise<void>
}

/** The kernel's resource manager: each open file has objects and sessions of its own. */
export const DEVICE = '/dev/tpmrm0'
const HEADER = 10

/** Opens a TPM's device, or the unix socket of an emulated one. Rejects with TpmError (NoTpm, NoAccess, DeviceBusy). */
export async function openDoor(path: string): Promise<Connection> {
  try {
    return (await stat(path)).isSocket() ? await openSocket(path) : await openDevice(path)
  } catch (error) {
    throw faultOf(path, error)
  }
}

/** One write is one command, one read is one response. Both block a thread of Node's pool, never the loop. */
async function openDevice(path: string): Promise<Connection> {
  const file = await open(path, constants.O_RDWR)
  // A command that is written into a file is lost, and so is what was there.
  if (!(await file.stat()).isCharacterDevice()) {
    await file.close()
    throw new TpmError('NoTpm', path, 'this is neither a device nor a socket')
  }
  let pending: Promise<unknown> = Promise.resolve()
  return {
    transmit(bytes, deadlineMs) {
      const done = exchange(file, path, bytes)
      pending = done.catch(() => {})
      return within(done, path, deadlineMs)
    },
    async close() {
      // A driver that hangs keeps its file: it is closed when it lets go, and nobody waits for that.
      void pending.then(() => file.close()).catch(() => {})
    },
  }
}

async function exchange(file: FileHandle, path: string, bytes: Uint8Array): Promise<Uint8Array> {
  const { bytesWritten } = await file.write(bytes)
  if (bytesWritten !== bytes.length)
    throw new TpmError('Failed', path, `it took ${bytesWritten} of a command's ${bytes.length} bytes`)
  const buffer = new Uint8Array(command.LARGEST_RESPONSE)
  const { bytesRead } = await file.read(buffer, 0, buffer.length)
  return buffer.subarray(0, bytesRead)
}

async function openSocket(path: string): Promise<Connection> {
  const socket = connect(path)
  await new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve)
    socket.once('error', reject)
  })
  return {
    transmit: (bytes, deadlineMs) => within(exchangeOver(socket, bytes), path, deadlineMs),
    async close() {
      socket.destroy()
    },
  }
}

function exchangeOver(socket: Socket, bytes: Uint8Array): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    let said = Buffer.alloc(0)
    const end = (settle: () => void) => {
      socket.off('data', hear).off('error', fail).off('close', closed)
      settle()
    }
    const fail = (error: Error) => end(() => reject(error))
    const closed = () => fail(new Error('the TPM closed the connection in the middle of a response'))
    const hear = (data: Buffer) => {
      said = Buffer.concat([said, data])
      if (said.length < HEADER) return
      // A size that no response has is not waited for: what reads the response says what is wrong with it.
      const size = said.readUInt32BE(2)
      const isOne = size >= HEADER && size <= command.LARGEST_RESPONSE
      if (!isOne || said.length >= size) end(() => resolve(new Uint8Array(said)))
    }
    socket.on('data', hear).on('error', fail).on('close', closed)
    socket.write(bytes)
  })
}

async function within(done: Promise<Uint8Array>, path: string, deadlineMs: number): Promise<Uint8Array> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new TpmError('TimedOut', path, `there was no answer within ${deadlineMs / 1000} s`)),
      deadlineMs,
    )
  })
  try {
    return await Promise.race([done, late])
  } catch (error) {
    throw faultOf(path, error)
  } finally {
    clearTimeout(timer)
  }
}

function faultOf(path: string, error: unknown): TpmError {
  if (error instanceof TpmError) return error
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  const more = { cause: error }
  switch (code) {
    case 'ENOENT':
    case 'ENODEV':
    case 'ENXIO':
    case 'ENOTDIR':
    case 'EISDIR':
    case 'ECONNREFUSED':
      return new TpmError('NoTpm', path, 'there is no TPM here', more)
    case 'EACCES':
    case 'EPERM':
      return new TpmError('NoAccess', path, 'it may not be opened by this user', more)
    case 'EBUSY':
    // The queue of a socket is full.
    case 'EAGAIN':
      return new TpmError('DeviceBusy', path, 'another program uses it', more)
    case 'ETIME':
    case 'ETIMEDOUT':
      return new TpmError('TimedOut', path, 'the driver waited for the TPM in vain', more)
    default:
      return new TpmError('Failed', path, reasonOf(error), more)
  }
}
