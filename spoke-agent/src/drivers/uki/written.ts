import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { writeSecret } from '@skerry/trust'

/** The slot that was armed last, and in which boot: written before it is. */
export type Written = {
  readonly manifestSha256: string
  readonly imageSha256: string
  readonly bootId: string
  readonly slot: string
}

export type WrittenStore = { load(): Written | undefined; save(written: Written): void }

/** Kept as `written.json` in the folder. */
export function openWritten(folder: string): WrittenStore {
  const path = join(folder, 'written.json')
  return {
    load: () => (existsSync(path) ? parse(readFileSync(path, 'utf8')) : undefined),
    save: (written) => writeSecret(path, JSON.stringify(written)),
  }
}

// What is no record says of no write: then the names on the ESP are all there is, and they are enough to go on.
function parse(text: string): Written | undefined {
  try {
    const value: Partial<Record<keyof Written, unknown>> = JSON.parse(text)
    const { manifestSha256, imageSha256, bootId, slot } = value
    if (typeof manifestSha256 !== 'string' || typeof imageSha256 !== 'string') return undefined
    if (typeof bootId !== 'string' || typeof slot !== 'string') return undefined
    return { manifestSha256, imageSha256, bootId, slot }
  } catch {
    return undefined
  }
}
