import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { requireFile } from './read.ts'

export type Bytes = { readonly file: string; readonly sha256: string; readonly length: number }

/** Digest and length of a file that may be larger than memory. */
export async function digestOf(file: string): Promise<Bytes> {
  requireFile(file)
  const hash = createHash('sha256')
  let length = 0
  for await (const chunk of createReadStream(file)) {
    hash.update(chunk as Buffer)
    length += (chunk as Buffer).length
  }
  return { file, sha256: hash.digest('hex'), length }
}
