import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { HUB_TARGET, HubIntroduction, PublicJwk, parse, Refusal } from '@skerry/api'
import { sha256Hex } from '../digest.ts'
import { openKeyFile, type Signer, writeSecret } from '../keys.ts'
import { parseStrictJson } from '../strict-json.ts'
import { readRoot, readTargets, signMetadata, tufKey, validSigners } from '../tuf/metadata.ts'
import { judgeChange, judgeRoot, makeRoot, makeTargets, rootThumbprint, type TargetBytes } from '../tuf/repository.ts'

// The signers' folder: what people with offline keys carry from machine to machine. No socket is opened here.
//
//   introduction.json  signers.json            the hub's public keys and addresses; the people's names and public keys
//   1.root.json  N.targets.json  targets/…     what is published, named as TUF names it
//   keys/NAME.root.pem  keys/NAME.targets.pem  each belongs to one person, on that person's machine alone

type Person = { readonly name: string; readonly root: PublicJwk; readonly targets: PublicJwk }

/** One version of the targets: what it lists, what it adds to the one before, and who has signed. */
export type Release = {
  readonly version: number
  readonly bytes: Uint8Array
  readonly expires: string
  readonly files: readonly { readonly path: string; readonly sha256: string }[]
  readonly added: readonly { readonly path: string; readonly sha256: string }[]
  /** Names, or the key's id where the folder knows no name for it. Only signatures that verify. */
  readonly signedBy: readonly string[]
  /** How many signatures are missing; 0 when it can be published. */
  readonly missing: number
}

export type SigningFolder = {
  readonly introduction: HubIntroduction
  /** Root 1, and what a site pins. */
  readonly root: Uint8Array
  readonly thumbprint: string
  readonly threshold: number
  readonly names: readonly string[]
  /** Oldest first; the newest may still lack signatures. */
  releases(): readonly Release[]
  /** The bytes of a target file that a release lists. Refusal TargetUnknown. */
  target(file: { readonly path: string; readonly sha256: string }): Uint8Array
  /**
   * Puts files into the newest release, or into the next one when the newest has its signatures. A change drops the
   * signatures given so far: they were over less. Refusals: those of a release that the hub would not take.
   */
  add(files: readonly TargetBytes[], expires: string): Release
  /**
   * Adds signatures to the newest release; one that has enough stays as it is, because it may be published in these very
   * bytes. Refusal UnknownKey for a key that the root does not list for targets.
   */
  sign(signers: readonly Signer[]): Release
}

/** Makes keys for these people, root 1 signed by a threshold of them, and a first release with hub.json, yet unsigned. */
export function initSigningFolder(
  dir: string,
  options: { introduction: HubIntroduction; names: readonly string[]; threshold: number; expires: string },
): SigningFolder {
  const { introduction, names, threshold, expires } = options
  if (existsSync(join(dir, '1.root.json')))
    throw new Refusal('MetadataInvalid', `${dir} holds a root already; a root is made once`)
  if (new Set(names).size !== names.length) throw new Refusal('MetadataInvalid', 'a signer is named twice')
  const people = names.map((name) => ({ name, root: keyOf(dir, name, 'root'), targets: keyOf(dir, name, 'targets') }))
  const unsigned = makeRoot({
    version: 1,
    rootKeys: people.map(({ root }) => root.jwk),
    targetsKeys: people.map(({ targets }) => targets.jwk),
    threshold,
    online: introduction.tuf,
    expires,
  })
  write(dir, 'introduction.json', JSON.stringify(introduction, null, 2))
  const signers: Person[] = people.map(({ name, root, targets }) => ({ name, root: root.jwk, targets: targets.jwk }))
  write(dir, 'signers.json', JSON.stringify({ signers }, null, 2))
  // Last: the folder is one as soon as it has its root, whole or not at all.
  write(
    dir,
    '1.root.json',
    signMetadata(
      unsigned,
      people.slice(0, threshold).map(({ root }) => root),
    ),
  )
  const folder = openSigningFolder(dir)
  folder.add([hubTarget(introduction)], expires)
  return folder
}

/** Opens a signers' folder. Refusal MetadataInvalid where it is none, MetadataUntrusted where its root is not signed. */
export function openSigningFolder(dir: string): SigningFolder {
  const rootFile = join(dir, '1.root.json')
  if (!existsSync(rootFile))
    throw new Refusal('MetadataInvalid', `${dir} is no signers' folder: "skerry trust init --out ${dir}" makes one`)
  const root = new Uint8Array(readFileSync(rootFile))
  judgeRoot(undefined, root)
  const role = readRoot(root).signed.roles['targets']
  if (!role) throw new Refusal('MetadataInvalid', 'the root names no targets role')
  const introduction = parse(HubIntroduction, json(join(dir, 'introduction.json')), join(dir, 'introduction.json'))
  const signers = readSigners(join(dir, 'signers.json'))
  const nameOf = new Map(signers.map(({ name, targets }) => [tufKey(targets).keyID, name]))

  const target: SigningFolder['target'] = ({ path, sha256 }) => {
    const file = join(dir, 'targets', dirname(path), `${sha256}.${path.slice(path.lastIndexOf('/') + 1)}`)
    if (!existsSync(file)) throw new Refusal('TargetUnknown', `${dir} does not have the bytes of ${path} (${sha256})`)
    return new Uint8Array(readFileSync(file))
  }
  const releases = (): Release[] => {
    const versions = readdirSync(dir)
      .map((file) => Number(/^(\d+)\.targets\.json$/.exec(file)?.[1]))
      .filter((version) => version > 0)
      .toSorted((a, b) => a - b)
    let before = new Map<string, string>()
    return versions.map((version) => {
      const bytes = new Uint8Array(readFileSync(join(dir, `${version}.targets.json`)))
      const { signed } = readTargets(bytes)
      const files = Object.entries(signed.targets).map(([path, { hashes }]) => ({
        path,
        sha256: hashes['sha256'] ?? '',
      }))
      const added = files.filter(({ path, sha256 }) => before.get(path) !== sha256)
      before = new Map(files.map(({ path, sha256 }) => [path, sha256]))
      const ids = validSigners(root, 'targets', bytes)
      return {
        version,
        bytes,
        expires: signed.expires,
        files,
        added,
        signedBy: ids.map((id) => nameOf.get(id) ?? id),
        missing: Math.max(0, role.threshold - ids.length),
      }
    })
  }
  const newest = (): Release => {
    const last = releases().at(-1)
    if (!last) throw new Refusal('MetadataInvalid', `${dir} has no targets to sign`)
    return last
  }

  return {
    introduction,
    root,
    thumbprint: rootThumbprint(root),
    threshold: role.threshold,
    names: signers.map(({ name }) => name),
    releases,
    target,
    add(files, expires) {
      const all = releases()
      const last = all.at(-1)
      const listed = new Map(last?.files.map(({ path, sha256 }) => [path, sha256]))
      const news = files.filter(({ path, bytes }) => listed.get(path) !== sha256Hex(bytes))
      if (last && news.length === 0) return last
      const open = last !== undefined && last.missing > 0
      const base = open ? all.at(-2) : last
      const kept = open ? last.added.map((file) => ({ path: file.path, bytes: target(file) })) : []
      const added = [...kept.filter(({ path }) => !news.some((file) => file.path === path)), ...news]
      const next = makeTargets({ previous: base?.bytes, files: added, expires })
      const given = new Map(added.map(({ path, bytes }) => [`${path} ${sha256Hex(bytes)}`, bytes]))
      judgeChange(base?.bytes, next, (path, sha256) => given.get(`${path} ${sha256}`) ?? target({ path, sha256 }))
      for (const { path, bytes } of news) {
        const cut = path.lastIndexOf('/') + 1
        write(dir, join('targets', path.slice(0, cut), `${sha256Hex(bytes)}.${path.slice(cut)}`), bytes)
      }
      write(dir, `${(base?.version ?? 0) + 1}.targets.json`, next)
      return newest()
    },
    sign(keys) {
      const { version, bytes, missing } = newest()
      if (missing === 0) return newest()
      // The folder came from another machine: what stands below a signature is judged again by whoever gives it.
      const all = releases()
      const unsigned = all.slice(0, -1).find(({ missing }) => missing > 0)
      if (unsigned)
        throw new Refusal(
          'MetadataUntrusted',
          `release ${unsigned.version} of this folder is not signed by a threshold`,
        )
      judgeChange(all.at(-2)?.bytes, bytes, (path, sha256) => target({ path, sha256 }))
      for (const { jwk } of keys) {
        const { keyID } = tufKey(jwk)
        if (!role.keyIDs.includes(keyID))
          throw new Refusal(
            'UnknownKey',
            `key ${keyID} is no targets key of this root, so its signature counts nothing`,
          )
      }
      write(dir, `${version}.targets.json`, signMetadata(bytes, keys))
      return newest()
    },
  }
}

/** The target that tells sites of their hub. */
export function hubTarget({ hub }: HubIntroduction): TargetBytes {
  return { path: HUB_TARGET, bytes: Buffer.from(JSON.stringify(hub)) }
}

/** Where a folder keeps a person's key for a role. */
export function signerKeyFile(dir: string, name: string, role: 'root' | 'targets'): string {
  return join(dir, 'keys', `${name}.${role}.pem`)
}

function keyOf(dir: string, name: string, role: 'root' | 'targets'): Signer {
  if (!/^[a-z0-9][a-z0-9-]{0,31}$/.test(name))
    throw new Refusal('InvalidField', `"${name}" is no signer's name: lower-case letters, digits and - are`)
  return openKeyFile(signerKeyFile(dir, name, role), 'EdDSA')
}

function readSigners(file: string): Person[] {
  const read = json(file)
  const list = typeof read === 'object' && read !== null && 'signers' in read ? read.signers : undefined
  if (!Array.isArray(list)) throw new Refusal('MetadataInvalid', `${file}: signers must be a list`)
  return list.map((entry: Record<string, unknown>, index) => {
    const of = (member: string) => parse(PublicJwk, entry?.[member], `${file}: signers[${index}].${member}`)
    return { name: String(entry?.['name']), root: of('root'), targets: of('targets') }
  })
}

function json(file: string): unknown {
  if (!existsSync(file)) throw new Refusal('MetadataInvalid', `${file} is missing`)
  return parseStrictJson(readFileSync(file), { maxBytes: 262_144 })
}

// Everything here is written whole or not at all; only the keys are secret.
function write(dir: string, file: string, content: string | Uint8Array): void {
  writeSecret(join(dir, file), typeof content === 'string' ? content : Buffer.from(content).toString('utf8'))
}
