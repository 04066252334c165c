import {
  closeSync,
  cpSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
} from 'node:fs'
import { join } from 'node:path'
import { HUB_TARGET, HubDescription, type OSImageManifest, parse, Refusal } from '@skerry/api'
import type { Metadata, Targets } from '@tufjs/models'
import { BaseFetcher, Updater } from 'tuf-js'
// Not exported at the top of the package, and the one error by which a fetcher can say "there is no newer root".
import { DownloadHTTPError } from 'tuf-js/dist/error.js'
import { sha256Hex } from '../digest.ts'
import { writeSecret } from '../keys.ts'
import { parseStrictJson } from '../strict-json.ts'
import { MAX_BYTES, readRoot, readTargets, strictMetadata } from './metadata.ts'
import { readManifest } from './repository.ts'

// The site's TUF client. tuf-js walks the specification's workflow; around it stand the checks it leaves open, a clock
// that is given, and a switch that is atomic: it works on a copy of the trusted set, and the copy becomes the set only
// when every check has passed. A crash anywhere leaves the old set or the new one.

/** Where files come from: all sources are equally untrusted. undefined when this one has no such file. */
export type Source = (path: string, maxBytes: number, signal?: AbortSignal) => Promise<Uint8Array | undefined>

/** Versions of the trusted files; 0 where there is none yet. */
export type Versions = {
  readonly root: number
  readonly timestamp: number
  readonly snapshot: number
  readonly targets: number
}

export type Trust = {
  /**
   * Fetches what is newer from the first source that brings what can be believed. Returns what others had brought before
   * it that could not. Refusals, when none did: MetadataUnavailable, or that of what was fetched. The set stays then.
   */
  refresh(nowMs: number, signal?: AbortSignal): Promise<readonly Refusal[]>
  /** The trusted hub.json. What is in force stays so when metadata expires. */
  hub(): HubDescription
  /** The manifest at a target path, if its digest is the one given and metadata allows a new install now. */
  manifest(target: string, sha256: string, nowMs: number, signal?: AbortSignal): Promise<OSImageManifest>
  versions(): Versions
}

const MAX_ROOT_STEPS = 64

/**
 * The trust of one site, kept under `dir`. `root` is root 1 and `pinned` its SHA-256, which the site's own administrator
 * named: another root is refused for ever (Refusal MetadataUntrusted).
 */
export function openTrust({
  dir,
  root,
  pinned,
  sources,
}: {
  dir: string
  root: Uint8Array
  pinned: string
  /** Asked for at each use, in the order in which they are tried. */
  sources: () => readonly Source[]
}): Trust {
  const current = join(dir, 'current')
  if (sha256Hex(root) !== pinned)
    throw new Refusal('MetadataUntrusted', 'the root in the bundle is not the one it names in acceptHub')
  mkdirSync(join(dir, 'targets'), { recursive: true, mode: 0o700 })
  if (existsSync(join(dir, 'pinned'))) {
    const before = readFileSync(join(dir, 'pinned'), 'utf8')
    if (before !== pinned)
      throw new Refusal('MetadataUntrusted', `this site accepted hub ${before} and will not follow ${pinned}`)
  } else {
    strictMetadata(root)
    readRoot(root)
    const first = join(dir, 'set-0')
    mkdirSync(first, { recursive: true })
    writeSecret(join(first, 'root.json'), Buffer.from(root).toString('utf8'))
    switchTo(dir, 'set-0')
    writeSecret(join(dir, 'pinned'), pinned)
  }

  return {
    async refresh(nowMs, signal) {
      const { lies } = await fromFirst(sources(), signal, async (source) => {
        const staged = stage(dir)
        await update(staged.path, source, nowMs, signal)
        // hub.json is part of the set: a set whose hub.json nobody can show is not switched to.
        const targets = readTargets(readFileSync(join(staged.path, 'targets.json')))
        await loadTarget(dir, targets, HUB_TARGET, source, signal)
        adopt(dir, staged.name)
      })
      return lies
    },
    hub() {
      const targets = trustedTargets(current)
      const sha256 = targets?.signed.targets[HUB_TARGET]?.hashes['sha256']
      if (!sha256) throw new Refusal('MetadataUnavailable', 'this site has no trusted hub.json yet')
      const bytes = readFileSync(join(dir, 'targets', sha256))
      if (sha256Hex(bytes) !== sha256)
        throw new Refusal('MetadataUnavailable', 'the hub.json kept here is damaged; the next refresh brings it again')
      return parse(HubDescription, parseStrictJson(bytes, { maxBytes: 65_536 }), HUB_TARGET)
    },
    async manifest(target, sha256, nowMs, signal) {
      const targets = trustedTargets(current)
      if (!targets) throw new Refusal('MetadataUnavailable', 'this site has no trusted targets yet')
      const expired = firstExpired(current, nowMs)
      if (expired)
        throw new Refusal(
          'MetadataExpired',
          `${expired.file} expired at ${expired.at}: nothing new is installed until newer metadata arrives`,
        )
      const named = targets.signed.targets[target]
      if (!named) throw new Refusal('TargetUnknown', `the signed targets do not list ${target}`)
      if (named.hashes['sha256'] !== sha256)
        throw new Refusal('ManifestMismatch', `the signed targets name another manifest at ${target}`)
      const { found } = await fromFirst(sources(), signal, (source) => loadTarget(dir, targets, target, source, signal))
      return readManifest(found, target)
    },
    versions() {
      const found = new Map(files(current).map(({ file, version }) => [file, version]))
      const of = (file: string) => found.get(file) ?? 0
      return {
        root: of('root.json'),
        timestamp: of('timestamp.json'),
        snapshot: of('snapshot.json'),
        targets: of('targets.json'),
      }
    },
  }
}

// Nobody is believed more than another, so that one who fails or lies must not stand before one who does not.
async function fromFirst<T>(
  sources: readonly Source[],
  signal: AbortSignal | undefined,
  take: (source: Source) => Promise<T>,
): Promise<{ found: T; lies: readonly Refusal[] }> {
  const lies: Refusal[] = []
  let expired: Refusal | undefined
  let last = new Refusal('MetadataUnavailable', 'no source is known')
  for (const source of sources) {
    try {
      return { found: await take(source), lies }
    } catch (error) {
      if (!(error instanceof Refusal)) throw error
      last = error
      if (signal?.aborted) break
      if (error.retry === 'never') lies.push(error)
      if (error.code === 'MetadataExpired') expired = error
    }
  }
  // A set that is good but for its age says most; what is wrong in itself says more than who was not reached.
  throw expired ?? lies[0] ?? last
}

async function update(dir: string, source: Source, nowMs: number, signal: AbortSignal | undefined): Promise<void> {
  const before = onlineKeys(dir)
  try {
    await walk(dir, source, nowMs, signal)
  } catch (error) {
    if (onlineKeys(dir) === before) throw error
    // Whoever stole an online key may have pushed its versions ahead. The root that rotates it is written by now: what
    // either key said before is forgotten, as the specification asks, and the rest of the way is walked once more.
    for (const file of ['timestamp.json', 'snapshot.json']) rmSync(join(dir, file), { force: true })
    await walk(dir, source, nowMs, signal)
  }
}

async function walk(dir: string, source: Source, nowMs: number, signal: AbortSignal | undefined): Promise<void> {
  const fetcher = new StrictFetcher(source, signal)
  try {
    const updater = new Updater({
      metadataDir: dir,
      metadataBaseUrl: 'tuf:',
      fetcher,
      config: {
        maxRootRotations: MAX_ROOT_STEPS,
        maxDelegations: 1,
        rootMaxLength: MAX_BYTES.root,
        timestampMaxLength: MAX_BYTES.timestamp,
        snapshotMaxLength: MAX_BYTES.snapshot,
        targetsMaxLength: MAX_BYTES.targets,
      },
    })
    setReferenceTime(updater, new Date(nowMs))
    await updater.refresh()
  } catch (error) {
    throw fetcher.refusal ?? toRefusal(error)
  }
}

/** The keys that the trusted root gives the two online roles. */
function onlineKeys(dir: string): string {
  const { roles } = readRoot(readFileSync(join(dir, 'root.json'))).signed
  return JSON.stringify([roles['timestamp']?.keyIDs, roles['snapshot']?.keyIDs])
}

/** tuf-js takes the wall clock in its constructor. A test holds that this still reaches it. */
function setReferenceTime(updater: Updater, time: Date): void {
  const inside = updater as unknown as { trustedSet?: { referenceTime?: Date } }
  if (!(inside.trustedSet?.referenceTime instanceof Date))
    throw new Error('tuf-js keeps its reference time elsewhere now')
  inside.trustedSet.referenceTime = time
}

/** Fetches through the given source and looks at every byte before tuf-js does. */
class StrictFetcher extends BaseFetcher {
  refusal: Refusal | undefined
  readonly #source: Source
  readonly #signal: AbortSignal | undefined

  constructor(source: Source, signal: AbortSignal | undefined) {
    super()
    this.#source = source
    this.#signal = signal
  }

  override async fetch(): Promise<never> {
    throw new Error('downloadBytes is the only way in')
  }

  override async downloadBytes(url: string, maxLength: number): Promise<Buffer> {
    const path = url.slice(url.lastIndexOf('/') + 1).replace(/^tuf:/, '')
    let bytes: Uint8Array | undefined
    try {
      bytes = await this.#source(path, maxLength, this.#signal)
      if (bytes && bytes.byteLength > maxLength)
        throw new Refusal('TooLarge', `${path} has more than ${maxLength} bytes`)
      if (bytes) strictMetadata(bytes)
    } catch (error) {
      this.refusal =
        error instanceof Refusal
          ? error
          : new Refusal('MetadataUnavailable', `${path} could not be fetched`, { cause: error })
      throw this.refusal
    }
    if (bytes) return Buffer.from(bytes)
    if (!path.endsWith('.root.json')) this.refusal = new Refusal('MetadataUnavailable', `no source has ${path}`)
    throw notFound()
  }
}

// The error by which tuf-js learns that there is no newer root: its class is not exported at the top.
function notFound(): Error {
  return new DownloadHTTPError('not found', 404)
}

function toRefusal(error: unknown): Refusal {
  const text = error instanceof Error ? `${error.message}` : String(error)
  const name = error instanceof Error ? error.constructor.name : ''
  if (name === 'ExpiredMetadataError' || /expired/i.test(text))
    return new Refusal('MetadataExpired', text, { cause: error })
  if (name === 'BadVersionError' || /version|rollback|missing/i.test(text))
    return new Refusal('MetadataRollback', text, { cause: error })
  if (/signed|signature|threshold|verif/i.test(text)) return new Refusal('MetadataUntrusted', text, { cause: error })
  return new Refusal('MetadataInvalid', text, { cause: error })
}

async function loadTarget(
  dir: string,
  targets: Metadata<Targets>,
  path: string,
  source: Source,
  signal: AbortSignal | undefined,
): Promise<Uint8Array> {
  const named = targets.signed.targets[path]
  const sha256 = named?.hashes['sha256']
  if (!named || !sha256) throw new Refusal('TargetUnknown', `the signed targets do not list ${path}`)
  const kept = join(dir, 'targets', sha256)
  if (existsSync(kept)) {
    const bytes = readFileSync(kept)
    if (sha256Hex(bytes) === sha256) return bytes
  }
  const cut = path.lastIndexOf('/') + 1
  const bytes = await source(`targets/${path.slice(0, cut)}${sha256}.${path.slice(cut)}`, named.length, signal).catch(
    (cause: unknown) => {
      throw cause instanceof Refusal
        ? cause
        : new Refusal('MetadataUnavailable', `${path} could not be fetched`, { cause })
    },
  )
  if (!bytes) throw new Refusal('MetadataUnavailable', `no source has ${path}`)
  if (bytes.byteLength !== named.length || sha256Hex(bytes) !== sha256)
    throw new Refusal('MetadataUnavailable', `a source sent other bytes of ${path} than the signed targets name`)
  writeSecret(kept, Buffer.from(bytes).toString('utf8'))
  return bytes
}

function trustedTargets(current: string): Metadata<Targets> | undefined {
  const file = join(current, 'targets.json')
  return existsSync(file) ? readTargets(readFileSync(file)) : undefined
}

function files(dir: string): { file: string; version: number; expires: string }[] {
  return ['root.json', 'timestamp.json', 'snapshot.json', 'targets.json']
    .filter((file) => existsSync(join(dir, file)))
    .map((file) => {
      const { signed } = strictMetadata(readFileSync(join(dir, file))) as {
        signed: { version: number; expires: string }
      }
      return { file, version: signed.version, expires: signed.expires }
    })
}

function firstExpired(dir: string, nowMs: number): { file: string; at: string } | undefined {
  const late = files(dir).find(({ expires }) => !(Date.parse(expires) > nowMs))
  return late ? { file: late.file, at: late.expires } : undefined
}

function stage(dir: string): { name: string; path: string } {
  const now = readlinkSync(join(dir, 'current'))
  const name = `set-${Number(now.slice('set-'.length)) + 1}`
  const path = join(dir, name)
  // Whatever a crash left there was never switched to.
  rmSync(path, { recursive: true, force: true })
  cpSync(join(dir, now), path, { recursive: true })
  return { name, path }
}

function adopt(dir: string, name: string): void {
  const set = join(dir, name)
  for (const file of readdirSync(set)) sync(join(set, file))
  sync(set)
  switchTo(dir, name)
  for (const old of readdirSync(dir)) {
    if (/^set-\d+$/.test(old) && old !== name) rmSync(join(dir, old), { recursive: true, force: true })
  }
}

function switchTo(dir: string, name: string): void {
  const beside = join(dir, 'current.new')
  rmSync(beside, { force: true })
  symlinkSync(name, beside)
  renameSync(beside, join(dir, 'current'))
  sync(dir)
}

function sync(path: string): void {
  const file = openSync(path, 'r')
  fsyncSync(file)
  closeSync(file)
}
