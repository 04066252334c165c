import { createReadStream, statSync } from 'node:fs'
import { readFile as readBytes } from 'node:fs/promises'
import type { Readable } from 'node:stream'
import { HUB_TARGET, type OSImageManifest, type OSImageSpec, osImageName, PROFILE_BYTES, Refusal } from '@skerry/api'
import { profileFault, promiseFault } from '@skerry/policy'
import { type JudgedTargets, judgeRoot, judgeTargets, MAX_BYTES, type Role, sha256Hex } from '@skerry/trust'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { recordAudit } from '../store/audit.ts'
import { recordEvent } from '../store/events.ts'
import { createObject, getObject, updateObject } from '../store/resources.ts'
import { type Sealer, seal } from '../store/seal.ts'
import { type Store, type Tx, write } from '../store/store.ts'
import {
  appendMetadata,
  type Blobs,
  loadMetadata,
  loadTarget,
  loadTargets,
  newestMetadata,
  saveTarget,
} from '../store/trust.ts'
import { LARGE_ANSWER_MS } from './server.ts'
import { StatusError } from './status-error.ts'

// /tuf and /blobs: open to read, because nothing there is secret and every reader verifies; written by platform-admins,
// and only what a threshold of offline keys has signed.

export type TufDoor = { readonly store: Store; readonly blobs: Blobs; readonly sealer: Sealer }

const MAX_TARGET_BYTES = 65_536

export function tufRoutes(app: FastifyInstance, door: TufDoor): void {
  const open = { config: { access: 'open' } } as const
  const large = { handlerTimeout: LARGE_ANSWER_MS } as const
  const publish = { config: { access: { verb: 'publish', resource: 'tuf' } } } as const
  app.register(async (tuf) => {
    tuf.removeAllContentTypeParsers()
    // The body is a stream: an image does not fit into memory, and metadata has its own limits.
    tuf.addContentTypeParser('*', async (_: FastifyRequest, payload: Readable) => payload)
    tuf.get<{ Params: { '*': string } }>('/tuf/*', open, async (request, reply) => {
      const bytes = await readFile(door, request.params['*'])
      if (!bytes) throw new StatusError(404, `no such file: ${request.params['*']}`)
      return reply.type('application/json').send(Buffer.from(bytes))
    })
    tuf.put<{ Params: { '*': string } }>(
      '/tuf/*',
      { ...publish, ...large, bodyLimit: MAX_BYTES.targets },
      async (request) => {
        const path = request.params['*']
        const bytes = await collect(request.body as Readable, MAX_BYTES.targets)
        return writeFile(door, path, bytes, request)
      },
    )
    tuf.get<{ Params: { sha256: string } }>('/blobs/sha256/:sha256', { ...open, ...large }, (request, reply) => {
      const file = /^[0-9a-f]{64}$/.test(request.params.sha256) ? door.blobs.path(request.params.sha256) : undefined
      if (!file) throw new StatusError(404, 'no such blob')
      return sendFile(file, request, reply)
    })
    tuf.put<{ Params: { sha256: string } }>(
      '/blobs/sha256/:sha256',
      { config: { ...publish.config, longBody: true }, ...large, bodyLimit: Number.MAX_SAFE_INTEGER },
      async (request) => {
        const { sha256 } = request.params
        if (!/^[0-9a-f]{64}$/.test(sha256))
          throw new StatusError(400, 'a blob is named by its SHA-256 in lower-case hex')
        // The bytes come to their place inside the transaction of their record: neither is there without the other, but
        // for a database that fails while it commits, which leaves bytes that nobody asked about yet.
        const { length, taken } = await door.blobs.save(sha256, request.body as Readable, (what, put) =>
          write(door.store, async (tx) => {
            const verb = what === 'new' ? 'publish' : 'heal'
            await recordAudit(tx, {
              ...madeBy(request),
              verb,
              kind: 'Blob',
              name: sha256,
              before: undefined,
              after: sha256,
            })
            put()
          }),
        )
        return { sha256, length, taken }
      },
    )
    tuf.get<{ Params: { sha256: string } }>('/blobs/sha256/:sha256/digest', publish, async (request) => {
      const { sha256 } = request.params
      const found = /^[0-9a-f]{64}$/.test(sha256) ? await door.blobs.digest(sha256) : undefined
      if (found === undefined) throw new StatusError(404, 'no such blob')
      return { sha256: found }
    })
  })
}

async function readFile({ store }: TufDoor, path: string): Promise<Uint8Array | undefined> {
  if (path === 'timestamp.json') return (await newestMetadata(store.sql, 'timestamp'))?.bytes
  const [, version, role] = /^(\d{1,12})\.(root|targets|snapshot)\.json$/.exec(path) ?? []
  if (version && role) return loadMetadata(store.sql, role as Role, Number(version))
  // Consistent snapshots: targets/<folder>/<sha256>.<name>
  const [, folder = '', sha256, name] =
    /^targets\/((?:[a-z0-9][a-z0-9.-]*\/)*)([0-9a-f]{64})\.([a-z0-9][a-z0-9.-]*)$/.exec(path) ?? []
  return sha256 ? loadTarget(store.sql, `${folder}${name}`, sha256) : undefined
}

async function writeFile(door: TufDoor, path: string, bytes: Uint8Array, request: FastifyRequest): Promise<object> {
  const { store } = door
  const target = /^targets\/((?:[a-z0-9][a-z0-9.-]*\/)*[a-z0-9][a-z0-9.-]*\.json)$/.exec(path)?.[1]
  if (target) {
    const most = target.startsWith('hardware/') ? PROFILE_BYTES : MAX_TARGET_BYTES
    if (bytes.byteLength > most) throw new Refusal('TooLarge', `the target file ${target} may have ${most} bytes`)
    // Stored by digest, and worth nothing until signed targets name it.
    await write(store, async (tx) => {
      if (!(await saveTarget(tx, target, bytes))) return
      const after = sha256Hex(bytes)
      await recordAudit(tx, {
        ...madeBy(request),
        verb: 'publish',
        kind: 'TufTarget',
        name: target,
        before: undefined,
        after,
      })
    })
    return { stored: target }
  }
  const role = /^\d{1,12}\.(root|targets)\.json$/.exec(path)?.[1]
  if (role !== 'root' && role !== 'targets')
    throw new StatusError(400, `"${path}" cannot be uploaded: N.root.json, N.targets.json and targets/… can`)
  let shown: readonly OSImageManifest[] = []
  const answer = await write(store, async (tx) => {
    const current = await newestMetadata(tx, role)
    const named = Number(path.split('.')[0])
    // Uploading what is there again is no error: a publish may be repeated from its start.
    const same = named <= (current?.version ?? 0) ? await loadMetadata(tx, role, named) : undefined
    if (same && Buffer.from(same).equals(Buffer.from(bytes))) return { version: named, role }
    const taken =
      role === 'root'
        ? { version: judgeRoot(current?.bytes, bytes), shown: [] }
        : await takeTargets(tx, door, current?.bytes, bytes)
    const { version } = taken
    shown = taken.shown
    if (version !== named) throw new StatusError(400, `the file is named ${path} and holds version ${version}`)
    await appendMetadata(tx, role, version, bytes)
    await seal(tx, door.sealer)
    const [before, after] = [current?.version, version]
    await recordAudit(tx, { ...madeBy(request), verb: 'publish', kind: 'TufMetadata', name: path, before, after })
    return { version, role }
  })
  // Reading an image takes a while; nobody else's write waits for it.
  for (const manifest of shown) await doubt(door, manifest)
  return answer
}

/** Images above this are not read whole to be doubted. */
const MAX_DOUBTED_BYTES = 512 * 1024 ** 2

/**
 * Computes a manifest's boot block again from the image. A wrong one is told and stays: a threshold signed it, a release
 * that is refused can be followed by none, and a hub older than its signers' tools may be the one that errs. No boot of
 * these bytes is affirmed by wrong values; that a boot of others would be is why people must see it.
 */
async function doubt({ store, blobs }: TufDoor, manifest: OSImageManifest): Promise<void> {
  const { boot, image } = manifest
  const file = blobs.path(image.sha256)
  if (boot.kind !== 'uki' || !file || statSync(file).size > MAX_DOUBTED_BYTES) return
  const fault = promiseFault(boot, new Uint8Array(await readBytes(file)))
  if (fault === undefined) return
  const name = osImageName(manifest)
  await write(store, (tx) =>
    recordEvent(tx, {
      type: 'Warning',
      reason: 'BootBlockDoubted',
      message: `the signed manifest of ${name} does not follow from the image: ${fault}`.slice(0, 1_000),
      component: 'tuf',
      regarding: { kind: 'OSImage', name },
    }),
  )
}

function madeBy({ identity, ip, id }: FastifyRequest) {
  return { actor: identity?.name ?? 'nobody', sourceIp: ip, namespace: '', requestId: id }
}

async function takeTargets(
  tx: Tx,
  { blobs }: TufDoor,
  current: Uint8Array | undefined,
  next: Uint8Array,
): Promise<{ readonly version: number; readonly shown: readonly OSImageManifest[] }> {
  const root = await newestMetadata(tx, 'root')
  if (!root) throw new Refusal('MetadataUntrusted', 'there is no root yet: publish 1.root.json first')
  const files = await loadTargets(tx)
  const judged = judgeTargets(root.bytes, current, next, (path, sha256) => files.get(`${path} ${sha256}`))
  if (!judged.files.some(({ path }) => path === HUB_TARGET))
    throw new Refusal(
      'MetadataInvalid',
      `the targets do not list ${HUB_TARGET}, without which no site finds this hub's keys`,
    )
  const shown: OSImageManifest[] = []
  for (const { path, sha256, manifest } of judged.manifests) {
    const name = osImageName(manifest)
    if (await getObject(tx, 'OSImage', '', name)) continue
    if (!blobs.path(manifest.image.sha256))
      throw new Refusal(
        'ImageUnavailable',
        `the bytes of ${name} (${manifest.image.sha256}) are not here: upload them first`,
      )
    const { family, version, releaseCounter, hardwareIds, image, boot } = manifest
    const spec: OSImageSpec = {
      target: path,
      manifestSha256: sha256,
      family,
      version,
      releaseCounter,
      hardwareIds,
      image,
      boot: { kind: boot.kind },
      signers: [...judged.signers],
    }
    await createObject(tx, 'OSImage', { metadata: { name, labels: { 'skerry.dev/family': family } }, spec })
    shown.push(manifest)
  }
  await takeProfiles(tx, judged)
  return { version: judged.version, shown }
}

async function takeProfiles(tx: Tx, { profiles, signers }: JudgedTargets): Promise<void> {
  for (const { path, sha256, profile } of profiles) {
    const fault = profileFault(profile)
    if (fault !== undefined) throw new Refusal('InvalidField', `${path}: ${fault}`)
    const { kind: _, name, ...says } = profile
    const object = { metadata: { name }, spec: { target: path, profileSha256: sha256, signers: [...signers], ...says } }
    const current = await getObject(tx, 'HardwareProfile', '', name)
    if (!current) await createObject(tx, 'HardwareProfile', object)
    else if (current.spec.profileSha256 !== sha256) await updateObject(tx, 'HardwareProfile', object)
  }
}

async function collect(source: Readable, maxBytes: number): Promise<Uint8Array> {
  const chunks: Buffer[] = []
  let length = 0
  for await (const chunk of source) {
    length += (chunk as Buffer).length
    if (length > maxBytes) throw new Refusal('TooLarge', `more than ${maxBytes} bytes`)
    chunks.push(chunk as Buffer)
  }
  return Buffer.concat(chunks)
}

// One range is what a resuming download asks for; everything else is answered whole, as HTTP allows.
function sendFile(
  file: string,
  request: FastifyRequest,
  reply: {
    code(code: number): typeof reply
    header(name: string, value: string | number): typeof reply
    send(body: unknown): unknown
  },
): unknown {
  const { size } = statSync(file)
  reply
    .header('accept-ranges', 'bytes')
    .header('content-type', 'application/octet-stream')
    .header('cache-control', 'public, max-age=31536000, immutable')
  const [, from] = /^bytes=(\d+)-$/.exec(request.headers.range ?? '') ?? []
  if (from === undefined) return reply.header('content-length', size).send(createReadStream(file))
  const start = Number(from)
  if (start >= size) return reply.code(416).header('content-range', `bytes */${size}`).send(undefined)
  return reply
    .code(206)
    .header('content-range', `bytes ${start}-${size - 1}/${size}`)
    .header('content-length', size - start)
    .send(createReadStream(file, { start }))
}
