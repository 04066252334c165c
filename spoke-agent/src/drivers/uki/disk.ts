import { createHash } from 'node:crypto'
import { constants } from 'node:fs'
import { type FileHandle, open, readdir, readFile, rename, rm, stat, statfs } from 'node:fs/promises'

/** A file as its folder shows it. */
type FileFacts = { readonly name: string; readonly size: number; readonly stamp: string }

/** What the driver does to files. Each call is one instant at which the power can fail; only `sync` makes anything last. */
export type Disk = {
  list(folder: string): Promise<readonly FileFacts[]>
  read(path: string): Promise<Uint8Array>
  write(path: string, bytes: Uint8Array): Promise<void>
  /** A file's bytes, or a folder's names. */
  sync(path: string): Promise<void>
  rename(from: string, to: string): Promise<void>
  remove(path: string): Promise<void>
  /** SHA-256 of what the device gives back. */
  digest(path: string): Promise<string>
  freeBytes(folder: string): Promise<number>
}

const CHUNK = 1024 * 1024
/** No device asks for more; a buffer's address is not known, so that its place is found by trying. */
const PAGE = 4096
const STEP = 16

export const realDisk: Disk = {
  async list(folder) {
    const found = await readdir(folder, { withFileTypes: true })
    const files = found.filter((entry) => entry.isFile())
    return Promise.all(
      files.map(async ({ name }) => {
        const { size, mtimeMs, ino } = await stat(`${folder}/${name}`)
        return { name, size, stamp: `${size}/${mtimeMs}/${ino}` }
      }),
    )
  },
  read: (path) => readFile(path),
  async write(path, bytes) {
    const file = await open(path, 'w')
    try {
      for (let at = 0; at < bytes.length; at += CHUNK) await file.writeFile(bytes.subarray(at, at + CHUNK))
    } finally {
      await file.close()
    }
  },
  async sync(path) {
    const file = await open(path, 'r')
    try {
      await file.sync()
    } finally {
      await file.close()
    }
  },
  rename,
  remove: (path) => rm(path, { force: true }),
  // O_DIRECT goes past the page cache, to what the device holds (or the device's own cache, which nobody sees past). Where
  // a file system has none the reading proves that the file is whole, and not that it lies on the device: fsync said that.
  async digest(path) {
    try {
      return await digestBy(path, constants.O_DIRECT)
    } catch (error) {
      // There is none here, or not at any place that a buffer can have.
      if (isInvalid(error)) return digestBy(path, 0)
      throw error
    }
  },
  async freeBytes(folder) {
    const { bavail, bsize } = await statfs(folder)
    return bavail * bsize
  },
}

async function digestBy(path: string, flag: number): Promise<string> {
  const file = await open(path, constants.O_RDONLY | flag)
  try {
    return await digestOf(file)
  } finally {
    await file.close()
  }
}

async function digestOf(file: FileHandle): Promise<string> {
  const hash = createHash('sha256')
  const buffer = Buffer.allocUnsafeSlow(CHUNK + PAGE)
  let aligned = 0
  let position = 0
  // To the end and no further: past it some kernels call the place unaligned instead of saying that nothing is there.
  const { size } = await file.stat()
  while (position < size) {
    try {
      const { bytesRead } = await file.read(buffer, aligned, CHUNK, position)
      if (bytesRead === 0) break
      hash.update(buffer.subarray(aligned, aligned + bytesRead))
      position += bytesRead
    } catch (error) {
      if (!isInvalid(error) || position > 0 || aligned >= PAGE - STEP) throw error
      aligned += STEP
    }
  }
  return hash.digest('hex')
}

function isInvalid(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'EINVAL'
}
