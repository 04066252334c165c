import { existsSync, readFileSync, statSync } from 'node:fs'
import {
  HardwareProfile,
  HubIntroduction,
  manifestTarget,
  OSImageManifest,
  PROFILE_BYTES,
  parse,
  profileTarget,
} from '@skerry/api'
import { profileFault } from '@skerry/policy'
import { openKeyFile, parseStrictJson, type Signer, signerKeyFile, type TargetBytes } from '@skerry/trust'
import { UsageError } from '../errors.ts'

// What the commands that need no hub take from files. None of them opens a socket.

export function readIntroduction(file: string): HubIntroduction {
  return parse(HubIntroduction, parseStrictJson(bytesOf(file), { maxBytes: 262_144 }), file)
}

/** The exact bytes of a manifest or a hardware profile, under the path at which the repository lists it. */
export function readTargetFile(file: string): TargetBytes {
  const bytes = bytesOf(file)
  const read = parseStrictJson(bytes, { maxBytes: PROFILE_BYTES })
  if (typeof read === 'object' && read !== null && 'kind' in read && read.kind === 'HardwareProfile') {
    const profile = parse(HardwareProfile, read, file)
    const fault = profileFault(profile)
    if (fault !== undefined) throw new UsageError(`${file}: ${fault}`)
    return { path: profileTarget(profile.name), bytes }
  }
  const manifest = parse(OSImageManifest, parseStrictJson(bytes, { maxBytes: 65_536 }), file)
  return { path: manifestTarget(manifest.family, manifest.version), bytes }
}

/** A person's key for targets: by name from the folder, or a PEM file anywhere (a stick, a safe). */
export function readTargetsKey(trustDir: string, name: string): Signer {
  const file = name.includes('/') || name.endsWith('.pem') ? name : signerKeyFile(trustDir, name, 'targets')
  if (!existsSync(file)) throw new UsageError(`--key ${name}: there is no key ${file}`)
  return openKeyFile(file, 'EdDSA')
}

/** The bytes of a file that was named; UsageError where there is none. */
export function bytesOf(file: string): Uint8Array {
  requireFile(file)
  return new Uint8Array(readFileSync(file))
}

/** Refuses a name under which there is no file that can be read. */
export function requireFile(file: string): void {
  if (!existsSync(file)) throw new UsageError(`there is no file ${file}`)
  const kind = statSync(file)
  if (kind.isDirectory()) throw new UsageError(`${file} is a folder, not a file`)
  // A device may have no end.
  if (!kind.isFile() && !kind.isFIFO()) throw new UsageError(`${file} is a device, not a file`)
}
