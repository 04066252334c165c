import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fault } from './faults.ts'

// UEFI variables as efivarfs shows them: a file `<name>-<GUID>`, four bytes of attributes, then the value.

const GUIDS = {
  /** The Boot Loader Interface: systemd-boot and systemd-stub. */
  loader: '4a67b082-0a4c-41cf-b6c7-440b29bb8c4f',
  global: '8be4df61-93ca-11d2-aa0d-00e098032b8c',
  security: 'd719b2cb-3d3a-4596-a3bc-dad00e67656f',
} as const
const ATTRIBUTE_BYTES = 4

export type EfiVars = {
  bytes(owner: keyof typeof GUIDS, name: string): Uint8Array | undefined
  /** A text of the Boot Loader Interface: UTF-16LE with a NUL. An empty one is none. */
  loader(name: string): string | undefined
}

export function efiVars(folder: string): EfiVars {
  const bytes: EfiVars['bytes'] = (owner, name) => {
    const path = join(folder, `${name}-${GUIDS[owner]}`)
    if (!existsSync(path)) return undefined
    const file = Uint8Array.from(readFileSync(path))
    // efivarfs shows a variable that is being deleted as an empty file.
    return file.length < ATTRIBUTE_BYTES ? undefined : file.subarray(ATTRIBUTE_BYTES)
  }
  return {
    bytes,
    loader(name) {
      const value = bytes('loader', name)
      return value && (new TextDecoder('utf-16le').decode(value).split('\0')[0] || undefined)
    },
  }
}

/** Fault EfiVarsMissing. Without efivarfs there may be the folder, and nothing in it. */
export function requireEfiVars(folder: string): void {
  let names: readonly string[] = []
  try {
    names = readdirSync(folder)
  } catch (cause) {
    throw fault('EfiVarsMissing', `${folder} cannot be read`, cause)
  }
  if (names.length === 0) throw fault('EfiVarsMissing', `${folder} is empty`)
}
