import { createHash } from 'node:crypto'
import { createReadStream, existsSync, mkdirSync, renameSync, rmSync, statSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { Agent, request } from 'undici'
import { DriverFault } from '../drivers/driver.ts'
import { diskFault } from '../drivers/slots.ts'

// Brings an image's bytes here: resumed where it stopped, never more than were named, hashed from the start of the file
// before anybody uses them. Sources are untrusted, so any will do.

/** A download that brings less than this in a minute is given up and tried elsewhere. */
const STALL_MS = 60_000

export type Wanted = { readonly sha256: string; readonly length: number }

/** The verified file of an image. Faults of the surroundings: ImageUnavailable, ImageMismatch, NoSpace. */
export async function download(
  dir: string,
  wanted: Wanted,
  urls: readonly string[],
  onProgress: (done: number) => void,
  signal: AbortSignal,
): Promise<string> {
  mkdirSync(dir, { recursive: true, mode: 0o700 })
  const whole = join(dir, wanted.sha256)
  if (existsSync(whole) && (await hashOf(whole)) === wanted.sha256) return whole
  const part = `${whole}.part`
  let last: unknown
  for (const url of urls) {
    try {
      await fetchInto(part, wanted, `${url}/blobs/sha256/${wanted.sha256}`, onProgress, signal)
      if ((await hashOf(part)) !== wanted.sha256) {
        // Wrong from the first byte or the last: nothing of it can be trusted to go on from.
        rmSync(part, { force: true })
        throw new DriverFault('surroundings', 'ImageMismatch', `${url} sent bytes that are not the image`)
      }
      renameSync(part, whole)
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
    `no source could give the image: ${last instanceof Error ? last.message : 'none is known'}`,
    last,
  )
}

async function fetchInto(
  part: string,
  { length }: Wanted,
  url: string,
  onProgress: (done: number) => void,
  signal: AbortSignal,
): Promise<void> {
  let done = existsSync(part) ? statSync(part).size : 0
  if (done > length) {
    rmSync(part)
    done = 0
  }
  if (done === length) return
  const stalled = new AbortController()
  let timer = setTimeout(() => stalled.abort(new Error('the download stalled')), STALL_MS)
  const dispatcher = new Agent({ connect: { rejectUnauthorized: false }, connectTimeout: 5_000 })
  const file = await open(part, done > 0 ? 'a' : 'w', 0o600)
  try {
    const answer = await request(url, {
      dispatcher,
      signal: AbortSignal.any([signal, stalled.signal]),
      headers: done > 0 ? { range: `bytes=${done}-` } : {},
    })
    if (answer.statusCode === 200 && done > 0) {
      await file.truncate(0)
      done = 0
    } else if (answer.statusCode !== 200 && answer.statusCode !== 206) {
      await answer.body.dump()
      throw new Error(`${url} answered ${answer.statusCode}`)
    }
    for await (const chunk of answer.body as AsyncIterable<Buffer>) {
      clearTimeout(timer)
      timer = setTimeout(() => stalled.abort(new Error('the download stalled')), STALL_MS)
      done += chunk.length
      if (done > length)
        throw new DriverFault(
          'surroundings',
          'ImageMismatch',
          `${url} sends more than the ${length} bytes of the image`,
        )
      await file.write(chunk)
      onProgress(done)
    }
    await file.sync()
  } finally {
    clearTimeout(timer)
    await file.close()
    await dispatcher.close()
  }
}

async function hashOf(file: string): Promise<string> {
  const hash = createHash('sha256')
  for await (const chunk of createReadStream(file)) hash.update(chunk as Buffer)
  return hash.digest('hex')
}
