import { sign } from 'node:crypto'
import {
  HardwareProfile,
  HUB_TARGET,
  type HubIntroduction,
  OSImageManifest,
  PROFILE_BYTES,
  type PublicJwk,
  parse,
  profileTarget,
  Refusal,
} from '@skerry/api'
import { Metadata, MetadataKind, MetaFile, Signature, Snapshot, TargetFile, Targets, Timestamp } from '@tufjs/models'
import { sha256Hex } from '../digest.ts'
import type { Signer } from '../keys.ts'
import { parseStrictJson } from '../strict-json.ts'
import { readRoot, readTargets, SPEC_VERSION, toBytes, tufKey, validSigners } from './metadata.ts'

// The signing side of the TUF repository. Root and targets are signed by people with offline keys; snapshot and
// timestamp by the hub. Everything here is bytes in, bytes out: files and networks are the caller's.

/** A small file that targets metadata names: an image manifest, a hardware profile, or hub.json. */
export type TargetBytes = { readonly path: string; readonly bytes: Uint8Array }

export type RootPlan = {
  readonly version: number
  readonly rootKeys: readonly PublicJwk[]
  readonly targetsKeys: readonly PublicJwk[]
  readonly threshold: number
  readonly online: HubIntroduction['tuf']
  /** RFC 3339. */
  readonly expires: string
}

/** An unsigned root: `threshold` of the root keys for itself, `threshold` of the targets keys, the hub's keys for the rest. */
export function makeRoot(plan: RootPlan): Uint8Array {
  const { threshold } = plan
  for (const [name, keys] of [
    ['root', plan.rootKeys],
    ['targets', plan.targetsKeys],
  ] as const) {
    if (threshold < 1)
      throw new Refusal('MetadataInvalid', `a threshold of ${threshold} is none: at least one key has to sign`)
    if (keys.length < threshold)
      throw new Refusal(
        'MetadataInvalid',
        `a threshold of ${threshold} needs at least as many ${name} keys; there ${keys.length === 1 ? 'is' : 'are'} ${keys.length}`,
      )
  }
  const roles = {
    root: plan.rootKeys,
    targets: plan.targetsKeys,
    snapshot: [plan.online.snapshot],
    timestamp: [plan.online.timestamp],
  }
  const all = Object.values(roles)
    .flat()
    .map((jwk) => tufKey(jwk))
  // One key in two roles that check each other would make one theft count twice.
  if (new Set(all.map((key) => key.keyID)).size !== all.length)
    throw new Refusal('MetadataInvalid', 'one key stands in two places of the root')
  const role = (jwks: readonly PublicJwk[], count: number) => ({
    keyids: jwks.map((jwk) => tufKey(jwk).keyID),
    threshold: count,
  })
  return toBytes(
    Metadata.fromJSON(MetadataKind.Root, {
      signatures: [],
      signed: {
        _type: 'root',
        spec_version: SPEC_VERSION,
        version: plan.version,
        expires: plan.expires,
        consistent_snapshot: true,
        keys: Object.fromEntries(all.map((key) => [key.keyID, key.toJSON()])),
        roles: {
          root: role(roles.root, threshold),
          targets: role(roles.targets, threshold),
          snapshot: role(roles.snapshot, 1),
          timestamp: role(roles.timestamp, 1),
        },
      },
    }),
  )
}

/** The next unsigned targets: everything `previous` lists, with `files` added or put in the place of what had their path. */
export function makeTargets({
  previous,
  files,
  expires,
}: {
  previous: Uint8Array | undefined
  files: readonly TargetBytes[]
  expires: string
}): Uint8Array {
  const before = previous ? readTargets(previous).signed : undefined
  const targets: Record<string, TargetFile> = { ...before?.targets }
  for (const { path, bytes } of files)
    targets[path] = new TargetFile({ path, length: bytes.byteLength, hashes: { sha256: sha256Hex(bytes) } })
  return toBytes(
    new Metadata(new Targets({ version: (before?.version ?? 0) + 1, specVersion: SPEC_VERSION, expires, targets })),
  )
}

/** Snapshot and timestamp for a set of targets, signed by the hub. Versions are given: the hub's rise with its clock. */
export function makeOnline(options: {
  targets: Uint8Array
  version: number
  snapshot: Signer
  timestamp: Signer
  snapshotExpires: string
  timestampExpires: string
}): { snapshot: Uint8Array; timestamp: Uint8Array } {
  const { targets, version } = options
  const meta = { 'targets.json': describe(targets, readTargets(targets).signed.version) }
  const snapshot = sealed(
    new Metadata(new Snapshot({ version, specVersion: SPEC_VERSION, expires: options.snapshotExpires, meta })),
    options.snapshot,
  )
  return {
    snapshot,
    timestamp: makeTimestamp({ snapshot, version, timestamp: options.timestamp, expires: options.timestampExpires }),
  }
}

/** A fresh timestamp over a snapshot. */
export function makeTimestamp({
  snapshot,
  version,
  timestamp,
  expires,
}: {
  snapshot: Uint8Array
  version: number
  timestamp: Signer
  expires: string
}): Uint8Array {
  const { signed } = JSON.parse(Buffer.from(snapshot).toString('utf8')) as { signed: { version: number } }
  return sealed(
    new Metadata(
      new Timestamp({ version, specVersion: SPEC_VERSION, expires, snapshotMeta: describe(snapshot, signed.version) }),
    ),
    timestamp,
  )
}

function describe(bytes: Uint8Array, version: number): MetaFile {
  return new MetaFile({ version, length: bytes.byteLength, hashes: { sha256: sha256Hex(bytes) } })
}

function sealed(metadata: Metadata<Snapshot> | Metadata<Timestamp>, signer: Signer): Uint8Array {
  const { keyID } = tufKey(signer.jwk)
  metadata.sign((data) => new Signature({ keyID, sig: sign(null, data, signer.key).toString('hex') }), false)
  return toBytes(metadata)
}

/** Judges a root that shall follow `current` (undefined: the first). Returns its version. */
export function judgeRoot(current: Uint8Array | undefined, next: Uint8Array): number {
  const root = readRoot(next)
  const before = current ? readRoot(current) : root
  const wanted = current ? before.signed.version + 1 : 1
  if (root.signed.version !== wanted)
    throw new Refusal('MetadataRollback', `root version ${root.signed.version}, expected ${wanted}`)
  trusted(() => {
    before.verifyDelegate('root', root)
    root.verifyDelegate('root', root)
  }, `root ${root.signed.version}`)
  return root.signed.version
}

/** What a judged targets upload adds. */
export type JudgedTargets = JudgedChange & { readonly signers: readonly string[] }
type JudgedChange = {
  readonly version: number
  readonly manifests: readonly { path: string; sha256: string; manifest: OSImageManifest }[]
  readonly profiles: readonly { path: string; sha256: string; profile: HardwareProfile }[]
  readonly files: readonly { path: string; sha256: string }[]
}

/** Judges targets that shall follow `current` under `root`: signed by a threshold, and a change that may be (`judgeChange`). */
export function judgeTargets(
  root: Uint8Array,
  current: Uint8Array | undefined,
  next: Uint8Array,
  load: (path: string, sha256: string) => Uint8Array | undefined,
): JudgedTargets {
  trustTargets(root, next)
  return { ...judgeChange(current, next, load), signers: validSigners(root, 'targets', next) }
}

/** Targets that a threshold of what this root says has signed. Throws Refusal. */
export function trustTargets(root: Uint8Array, bytes: Uint8Array): Targets {
  const targets = readTargets(bytes)
  trusted(() => readRoot(root).verifyDelegate('targets', targets), `targets ${targets.signed.version}`)
  return targets.signed
}

/**
 * Judges what targets change, whoever signed them: version, no target gone, no manifest changed in place, counters that
 * differ within a family, one profile for each hardware, and every file's bytes at hand (`load`) and right.
 */
export function judgeChange(
  current: Uint8Array | undefined,
  next: Uint8Array,
  load: (path: string, sha256: string) => Uint8Array | undefined,
): JudgedChange {
  const targets = readTargets(next)
  const before = current ? readTargets(current).signed : undefined
  const wanted = (before?.version ?? 0) + 1
  if (targets.signed.version !== wanted)
    throw new Refusal('MetadataRollback', `targets version ${targets.signed.version}, expected ${wanted}`)
  for (const [path, was] of Object.entries(before?.targets ?? {})) {
    const is = targets.signed.targets[path]
    if (!is) throw new Refusal('MetadataRollback', `target ${path} is gone; a published target stays`)
    if (!mayChange(path) && is.hashes['sha256'] !== was.hashes['sha256'])
      throw new Refusal(
        'MetadataRollback',
        `target ${path} has other bytes than before; a new image needs a new version`,
      )
  }
  const files: { path: string; sha256: string }[] = []
  const manifests: { path: string; sha256: string; manifest: OSImageManifest }[] = []
  const profiles: { path: string; sha256: string; profile: HardwareProfile }[] = []
  for (const [path, target] of Object.entries(targets.signed.targets)) {
    const sha256 = target.hashes['sha256'] ?? ''
    const bytes = load(path, sha256)
    if (!bytes) throw new Refusal('TargetUnknown', `the bytes of ${path} (${sha256}) are not here: upload them first`)
    if (sha256Hex(bytes) !== sha256 || bytes.byteLength !== target.length)
      throw new Refusal('ManifestMismatch', `the bytes of ${path} are not those the targets name`)
    files.push({ path, sha256 })
    if (path.startsWith('images/')) manifests.push({ path, sha256, manifest: readManifest(bytes, path) })
    if (path.startsWith('hardware/')) profiles.push({ path, sha256, profile: readProfile(bytes, path) })
  }
  countersRise(manifests)
  oneProfileEach(profiles)
  return { version: targets.signed.version, manifests, profiles, files }
}

/** An image stays what it was; a hub moves, and a type of machine gets new firmware. */
function mayChange(path: string): boolean {
  return path === HUB_TARGET || path.startsWith('hardware/')
}

/** A profile's bytes, judged: strict JSON, its schema, and the path it stands under. */
export function readProfile(bytes: Uint8Array, path: string): HardwareProfile {
  const profile = parse(HardwareProfile, parseStrictJson(bytes, { maxBytes: PROFILE_BYTES }), path)
  if (path !== profileTarget(profile.name))
    throw new Refusal('ManifestMismatch', `the hardware profile ${profile.name} stands under ${path}`)
  return profile
}

function oneProfileEach(profiles: readonly { profile: HardwareProfile }[]): void {
  const seen = new Map<string, string>()
  for (const { profile } of profiles)
    for (const id of profile.hardwareIds) {
      const other = seen.get(id)
      if (other !== undefined)
        throw new Refusal(
          'ManifestMismatch',
          `the hardware ${id} stands in two profiles, ${profileTarget(other)} and ${profileTarget(profile.name)}: a machine has one; add to its "firmware" what it may measure too, or take ${id} out of the other's "hardwareIds"`,
          { field: `${profileTarget(profile.name)}: hardwareIds` },
        )
      seen.set(id, profile.name)
    }
}

/** A manifest's bytes, judged: strict JSON, its schema, and the path it stands under. */
export function readManifest(bytes: Uint8Array, path: string): OSImageManifest {
  const manifest = parse(OSImageManifest, parseStrictJson(bytes, { maxBytes: 65_536 }), path)
  if (path !== `images/${manifest.family}/${manifest.version}.json`)
    throw new Refusal('ManifestMismatch', `a manifest of ${manifest.family} ${manifest.version} stands under ${path}`)
  return manifest
}

function countersRise(manifests: readonly { manifest: OSImageManifest }[]): void {
  const seen = new Map<string, string>()
  for (const { manifest } of manifests) {
    const counter = `${manifest.family}#${manifest.releaseCounter}`
    const other = seen.get(counter)
    if (other)
      throw new Refusal(
        'ManifestMismatch',
        `${manifest.family} ${other} and ${manifest.version} have one release counter, ${manifest.releaseCounter}`,
      )
    seen.set(counter, manifest.version)
  }
}

function trusted(check: () => void, what: string): void {
  try {
    check()
  } catch (cause) {
    throw new Refusal('MetadataUntrusted', `${what} is not signed by a threshold of its keys`, { cause })
  }
}

/** SHA-256 of root 1: what a site pins for ever. */
export function rootThumbprint(root: Uint8Array): string {
  return sha256Hex(root)
}
