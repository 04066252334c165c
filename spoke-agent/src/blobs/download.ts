import { createHash } from 'node:crypto'
import {
  closeSync,
  createReadStream,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { join } from 'node:path'
import { Agent, request } from 'undici'
import { DriverFault, diskFault } from '../drivers/driver.ts'
import { reasonOf } from '../reason.ts'

// Brings an image's bytes here: resumed where it stopped, never more than were named, hashed from the start of the file
// before anybody uses them. Sources are untrusted, so any will do.

/** A source that brings fewer bytes than these in so long is given up, and the next one goes on. */
type Pace = { readonly bytes: number; readonly ms: number }
const PACE: Pace = { bytes: 16_384, ms: 60_000 }

export type DownloadOptions = {
  readonly pace?: Pace
  /** Told how many bytes are here: at the beginning, and with each piece that comes. */
  readonly onProgress?: (done: number) => void
}

export type Wanted = { readonly sha256: string; readonly length: number }

/** The verified file of an image. Faults of the surroundings: ImageUnavailable, ImageMismatch, NoSpace. */
export async function download(
  dir: string,
  wanted: Wanted,
  urls: readonly string[],
  signal: AbortSignal,
  { pace = PACE, onProgress = () => {} }: DownloadOptions = {},
): Promise<string> {
  mkdirSync(dir, { recursive: true, mode: 0o700 })
  const whole = join(dir, wanted.sha256)
  if (existsSync(whole) && (await hashOf(whole)) === wanted.sha256) {
    onProgress(wanted.length)
    return whole
  }
  const part = `${whole}.part`
  let last: unknown
  for (const url of urls) {
    try {
      await fetchInto(part, wanted, `${url}/blobs/sha256/${wanted.sha256}`, signal, { pace, onProgress })
      if ((await hashOf(part)) !== wanted.sha256) {
        // Wrong from the first byte or the last: nothing of it can be trusted to go on from.
        rmSync(part, { force: true })
        throw new DriverFault('surroundings', 'ImageMismatch', `${url} sent bytes that are not the image`)
      }
      renameSync(part, whole)
      sync(dir)
      forgetOthers(dir, wanted.sha256)
      return whole
    } catch (error) {
      signal.throwIfAborted()
      last = error
      const code = error instanceof Error && 'code' in error ? error.code : undefined
      if (code === 'ENOSPC' || code === 'EDQUOT') throw diskFault(error)
    }
  }
  if (last instanceof DriverFault) throw last
  throw new DriverFault(
    'surroundings',
    'ImageUnavailable',
    `no source could give the image: ${last === undefined ? 'none is known' : reasonOf(last)}`,
    last,
  )
}

/** Images that are kept beside the newest: the one before it, for whoever goes back to it. */
const KEPT_BESIDE = 1

function forgetOthers(dir: string, sha256: string): void {
  const others = readdirSync(dir)
    .filter((file) => !file.startsWith(sha256))
    .map((file) => ({ path: join(dir, file), atMs: statSync(join(dir, file)).mtimeMs }))
    .toSorted((a, b) => Number(a.path.endsWith('.part')) - Number(b.path.endsWith('.part')) || b.atMs - a.atMs)
  for (const { path } of others.slice(KEPT_BESIDE)) rmSync(path, { force: true })
}

async function fetchInto(
  part: string,
  { length }: Wanted,
  url: string,
  signal: AbortSignal,
  { pace, onProgress }: Required<DownloadOptions>,
): Promise<void> {
  let done = existsSync(part) ? statSync(part).size : 0
  if (done > length) {
    rmSync(part)
    done = 0
  }
  onProgress(done)
  if (done === length) return
  const stalled = new AbortController()
  const slow = () => stalled.abort(new Error(`${url} brought fewer than ${pace.bytes} bytes in ${pace.ms / 1000} s`))
  let timer = setTimeout(slow, pace.ms)
  const dispatcher = new Agent({ connect: { rejectUnauthorized: false }, connectTimeout: 5_000 })
  const file = await open(part, done > 0 ? 'a' : 'w', 0o600)
  try {
    const answer = await request(url, {
      dispatcher,
      signal: AbortSignal.any([signal, stalled.signal]),
      headers: done > 0 ? { range: `bytes=${done}-` } : {},
    })
    const begins = /^bytes (\d+)-/.exec(String(answer.headers['content-range'] ?? ''))?.[1]
    if (answer.statusCode === 206 && Number(begins) !== done) {
      await answer.body.dump()
      throw new Error(`${url} sends another part than was asked for`)
    }
    if (answer.statusCode === 200 && done > 0) {
      await file.truncate(0)
      done = 0
    } else if (answer.statusCode !== 200 && answer.statusCode !== 206) {
      // What is here is no part of what that source has: the next one begins anew.
      if (answer.statusCode === 416) await file.truncate(0)
      await answer.body.dump()
      throw new Error(`${url} answered ${answer.statusCode}`)
    }
    let credit = 0
    for await (const chunk of answer.body as AsyncIterable<Buffer>) {
      credit += chunk.length
      if (credit >= pace.bytes) {
        credit = 0
        clearTimeout(timer)
        timer = setTimeout(slow, pace.ms)
      }
      done += chunk.length
      if (done > length) {
        // Nothing of it is of use to the next source.
        await file.truncate(0)
        throw new DriverFault(
          'surroundings',
          'ImageMismatch',
          `${url} sends more than the ${length} bytes of the image`,
        )
      }
      await writeAll(file, chunk)
      onProgress(done)
    }
    await file.sync()
    if (done < length) throw new Error(`${url} ended after ${done} of ${length} bytes`)
  } finally {
    clearTimeout(timer)
    await file.close()
    await dispatcher.close()
  }
}

// A disk that is nearly full takes a part of it and says so; the next write then says why.
async function writeAll(file: FileHandle, chunk: Buffer): Promise<void> {
  for (let at = 0; at < chunk.length; ) at += (await file.write(chunk, at)).bytesWritten
}

function sync(dir: string): void {
  const folder = openSync(dir, 'r')
  fsyncSync(folder)
  closeSync(folder)
}

async function hashOf(file: string): Promise<string> {
  const hash = createHash('sha256')
  for await (const chunk of createReadStream(file)) hash.update(chunk as Buffer)
  return hash.digest('hex')
}
