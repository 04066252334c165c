import { constants } from 'node:buffer'
import type { Readable } from 'node:stream'
import {
  type ActVerb,
  apiVersionOf,
  type ComplianceReport,
  type KindName,
  kindRow,
  type ObjectOf,
  type RolloutAct,
  type RolloutActAnswer,
  type RolloutActList,
} from '@skerry/api'
import { Agent, request } from 'undici'
import { AnswerTooLong, ApiError, type ErrorCause, Unreachable } from './errors.ts'
import { type Frame, type OnLost, watchFrames } from './watch.ts'

/** Where a hub is and who asks. `caPem` pins the hub's own CA. */
export type Server = { readonly server: string; readonly caPem?: string; readonly token: string }
export type NewObject<K extends KindName> = {
  metadata: { name: string; namespace?: string; labels?: Record<string, string>; annotations?: Record<string, string> }
  spec: ObjectOf<K>['spec']
}
export type ListQuery = {
  namespace?: string | undefined
  labelSelector?: string | undefined
  fieldSelector?: string | undefined
}
export type RequestOptions = {
  method?: string
  body?: unknown
  stream?: Readable
  headers?: Record<string, string>
  /** How long the hub may be silent, before its answer and within it. */
  silentMs?: number
  /** Nobody is told what the hub has to say beside its answer. */
  quiet?: boolean
}
/**
 * How long a hub may be silent before it counts as one that does not answer; a watch has bookmarks every half minute. And
 * how long its answer may be: never more bytes than one text may have.
 */
export type Patience = { readonly silentMs?: number; readonly watchSilentMs?: number; readonly mostBytes?: number }

const SILENT_MS = 30_000
const WATCH_SILENT_MS = 100_000
/** A report is made of the whole fleet; an image is hashed and written to the disk before it is acknowledged. */
const LONG_WORK_MS = 900_000
const JSON_TYPE = 'application/json'
const TABLE = 'application/json;as=Table;v=v1;g=meta.k8s.io'

export type Client = ReturnType<typeof openClient>

/**
 * The hub's API over the table of kinds. Errors: ApiError for what the hub says no to, Unreachable when nobody answers,
 * AnswerTooLong.
 * `onWarning` hears what the hub has to say beside an answer.
 */
export function openClient(
  { server, caPem, token }: Server,
  {
    silentMs: patientMs = SILENT_MS,
    watchSilentMs = WATCH_SILENT_MS,
    mostBytes = constants.MAX_STRING_LENGTH,
    onWarning,
  }: Patience & { onWarning?: (text: string) => void } = {},
) {
  const dispatcher = new Agent({ connect: caPem ? { ca: caPem } : {}, connectTimeout: 5_000 })

  async function send(
    path: string,
    { method = 'GET', body, stream, headers = {}, silentMs = patientMs, quiet = false }: RequestOptions,
    signal?: AbortSignal,
  ) {
    const payload =
      stream ??
      (body === undefined
        ? undefined
        : body instanceof Uint8Array || typeof body === 'string'
          ? body
          : JSON.stringify(body))
    try {
      const answer = await request(`${server}${path}`, {
        method: method as 'GET',
        dispatcher,
        headersTimeout: silentMs,
        bodyTimeout: silentMs,
        headers: {
          authorization: `Bearer ${token}`,
          accept: JSON_TYPE,
          ...(payload === undefined ? {} : { 'content-type': JSON_TYPE }),
          ...headers,
        },
        ...(payload === undefined ? {} : { body: payload }),
        ...(signal ? { signal } : {}),
      })
      if (!quiet) for (const text of warningsIn(answer.headers['warning'])) onWarning?.(text)
      return answer
    } catch (error) {
      signal?.throwIfAborted()
      throw new Unreachable(server, error)
    }
  }

  /** All of a body. A connection that breaks within it is a hub that does not answer. */
  function whole<T>(body: Promise<T>): Promise<T> {
    return body.catch((error: unknown) => {
      throw new Unreachable(server, error)
    })
  }

  async function* piecesOf(body: AsyncIterable<Uint8Array>) {
    try {
      yield* body
    } catch (error) {
      throw new Unreachable(server, error)
    }
  }

  async function textOf(path: string, body: AsyncIterable<Uint8Array>): Promise<string> {
    const pieces: Uint8Array[] = []
    let bytes = 0
    for await (const piece of piecesOf(body)) {
      bytes += piece.byteLength
      if (bytes > mostBytes) throw new AnswerTooLong(path, mostBytes)
      pieces.push(piece)
    }
    return Buffer.concat(pieces, bytes).toString('utf8')
  }

  /** Any request; the parsed JSON of a success. */
  async function call<T>(path: string, options: RequestOptions = {}): Promise<T> {
    const answer = await send(path, options)
    const text = await textOf(path, answer.body)
    const value = text === '' ? undefined : parseJson(text)
    if (answer.statusCode >= 400) throw toApiError(answer.statusCode, value, text)
    return value as T
  }

  const collection = (kind: KindName, namespace?: string) => {
    const row = kindRow(kind)
    const scope = row.namespaced && namespace !== undefined ? `/namespaces/${encodeURIComponent(namespace)}` : ''
    return `/apis/${row.group}/${row.version}${scope}/${row.plural}`
  }
  const one = (kind: KindName, namespace: string | undefined, name: string) =>
    `${collection(kind, namespace ?? '')}/${encodeURIComponent(name)}`.replace('/namespaces//', '/')
  const query = (values: Record<string, string | undefined>) => {
    const given = Object.entries(values).filter(
      (entry): entry is [string, string] => entry[1] !== undefined && entry[1] !== '',
    )
    return given.length > 0 ? `?${new URLSearchParams(given)}` : ''
  }
  const selectors = ({ labelSelector, fieldSelector }: ListQuery) => ({ labelSelector, fieldSelector })

  /** A list with the version it is of: where a watch goes on from. */
  async function snapshot<K extends KindName>(kind: K, options: ListQuery = {}) {
    const path = `${collection(kind, options.namespace)}${query(selectors(options))}`
    const { items, metadata } = await call<{ items: ObjectOf<K>[]; metadata: { resourceVersion: string } }>(path)
    return { objects: items, version: metadata.resourceVersion }
  }

  return {
    server,
    call,
    get: <K extends KindName>(kind: K, namespace: string | undefined, name: string) =>
      call<ObjectOf<K>>(one(kind, namespace, name)),
    list: async <K extends KindName>(kind: K, options: ListQuery = {}): Promise<ObjectOf<K>[]> =>
      (await snapshot(kind, options)).objects,
    snapshot,
    /** The server's own table of a list or of one object. */
    table: (kind: KindName, options: ListQuery & { name?: string | undefined }) =>
      call<Table>(
        options.name
          ? one(kind, options.namespace, options.name)
          : `${collection(kind, options.namespace)}${query(selectors(options))}`,
        { headers: { accept: TABLE } },
      ),
    create: <K extends KindName>(kind: K, object: NewObject<K>, flags: { dryRun?: boolean } = {}) =>
      call<ObjectOf<K>>(
        `${collection(kind, object.metadata.namespace)}${query({ dryRun: flags.dryRun ? 'All' : undefined })}`,
        { method: 'POST', body: { apiVersion: apiVersionOf(kind), kind, ...object } },
      ),
    mergePatch: <K extends KindName>(
      kind: K,
      namespace: string | undefined,
      name: string,
      patch: object,
      { dryRun = false, quiet = false }: { dryRun?: boolean; quiet?: boolean } = {},
    ) =>
      call<ObjectOf<K>>(`${one(kind, namespace, name)}${query({ dryRun: dryRun ? 'All' : undefined })}`, {
        ...{ method: 'PATCH', body: patch, quiet },
        headers: { 'content-type': 'application/merge-patch+json' },
      }),
    delete: (kind: KindName, namespace: string | undefined, name: string) =>
      call<object>(one(kind, namespace, name), { method: 'DELETE' }),
    approve: (
      namespace: string,
      name: string,
      decision: {
        state: 'Accepted' | 'Denied' | 'Revoked'
        reason?: string | undefined
        fingerprint?: string | undefined
      },
    ) =>
      call<ObjectOf<'Registration'>>(`${one('Registration', namespace, name)}/approval`, {
        method: 'PUT',
        body: decision,
      }),
    /** Lets go what a placement holds: this removal, and no other. */
    approveRemoval: (namespace: string, name: string, body: { removal: string; reason?: string | undefined }) =>
      call<ObjectOf<'Placement'>>(`${one('Placement', namespace, name)}/approval`, { method: 'PUT', body }),
    /** Ends a node's present NATS key: the node comes back with another one by itself. */
    rotate: (namespace: string, name: string, body: { reason?: string | undefined }) =>
      call<ObjectOf<'Registration'>>(`${one('Registration', namespace, name)}/rotation`, { method: 'PUT', body }),
    /** Something that a person does to a rollout; what stands already is answered as it stands. */
    act: (namespace: string, name: string, verb: ActVerb, body: object) =>
      call<RolloutActAnswer>(`${one('Rollout', namespace, name)}/${verb}`, { method: 'POST', body }),
    /** What people did to a rollout, oldest first. */
    acts: async (namespace: string, name: string): Promise<RolloutAct[]> =>
      (await call<RolloutActList>(`${one('Rollout', namespace, name)}/acts`)).items,
    why: (namespace: string, name: string, cluster?: string) =>
      call<Explanation>(`${one('Placement', namespace, name)}/why${query({ cluster })}`),
    /** The same of a placement that nothing stores. */
    whyIf: (namespace: string, name: string, placement: object, cluster?: string) =>
      call<Explanation>(`${one('Placement', namespace, name)}/why${query({ cluster })}`, {
        method: 'POST',
        body: placement,
      }),
    /** When each node of a cluster was last heard from, by the hub's clock; heartbeats change no object. */
    heard: async (cluster: string): Promise<readonly Heard[]> =>
      (await call<{ nodes: Heard[] }>(`${one('ManagedCluster', undefined, cluster)}/heard`)).nodes,
    /** What can be claimed of the fleet, or of these clusters; with `evidence`, all that the claims rest on. */
    report: ({ evidence, clusters = [] }: { evidence?: boolean; clusters?: readonly string[] | undefined } = {}) => {
      const asked = new URLSearchParams(evidence ? { evidence: 'true' } : {})
      for (const name of clusters) asked.append('cluster', name)
      return call<ComplianceReport>(`/apis/skerry.dev/v1alpha1/report?${asked}`, { silentMs: LONG_WORK_MS })
    },
    /** Puts a TUF file or a blob; repeating it is harmless. */
    upload: (path: string, content: Uint8Array | Readable, length: number) =>
      call<object>(path, {
        method: 'PUT',
        silentMs: LONG_WORK_MS,
        headers: { 'content-type': 'application/octet-stream', 'content-length': String(length) },
        ...(content instanceof Uint8Array ? { body: content } : { stream: content }),
      }),
    /** The SHA-256 of what the hub has under a blob's name, which it reads for this; undefined when it has nothing. */
    blobDigest: (sha256: string): Promise<string | undefined> =>
      call<{ sha256: string }>(`/blobs/sha256/${sha256}/digest`, { silentMs: LONG_WORK_MS }).then(
        (answer) => answer.sha256,
        (error: unknown) => {
          if (error instanceof ApiError && error.code === 404) return undefined
          throw error
        },
      ),
    /** An open file of the hub (`/tuf/…`): exact bytes. */
    async file(path: string): Promise<Uint8Array | undefined> {
      const answer = await send(path, {})
      const bytes = new Uint8Array(await whole(answer.body.arrayBuffer()))
      if (answer.statusCode === 404) return undefined
      if (answer.statusCode >= 400) throw toApiError(answer.statusCode, undefined, Buffer.from(bytes).toString('utf8'))
      return bytes
    },
    /**
     * Every object now, and then every change, until the signal; with `from`, only the changes after that version. Goes on
     * over lost connections, of which `onLost` is told the first after each that worked; where history was compacted
     * meanwhile, it begins with every object again.
     */
    watch<K extends KindName>(
      kind: K,
      options: ListQuery & { asTable?: boolean; from?: string | undefined; signal: AbortSignal; onLost?: OnLost },
    ): AsyncGenerator<Frame<ObjectOf<K>>> {
      const { signal, asTable, from, namespace, onLost } = options
      const open = async (version: string | undefined) => {
        const asked = { ...selectors(options), watch: 'true', allowWatchBookmarks: 'true' }
        const start = version
          ? { resourceVersion: version }
          : { sendInitialEvents: 'true', resourceVersionMatch: 'NotOlderThan' }
        const path = `${collection(kind, namespace)}${query({ ...asked, ...start })}`
        const headers = { accept: asTable ? TABLE : JSON_TYPE }
        const answer = await send(path, { headers, silentMs: watchSilentMs }, signal)
        if (answer.statusCode >= 400) throw toApiError(answer.statusCode, undefined, await answer.body.text())
        return piecesOf(answer.body)
      }
      return watchFrames(open, { from, signal, onLost })
    },
    close: () => dispatcher.close(),
  }
}

export type Table = {
  metadata: { resourceVersion?: string }
  columnDefinitions: { name: string; priority: number }[]
  rows: { cells: (string | number | boolean)[]; object: { metadata: { name: string; namespace?: string } } }[]
}
export type Heard = { readonly node: string; readonly lastHeardAt: string }
export type Explanation = {
  /** NAMESPACE/NAME. */
  placement: string
  outcome: string
  selected: number
  unscheduled: number
  conditions: { type: string; status: string; reason: string; message: string }[]
  heldRemoval?: { hash: string; count: number; of: number; sample: string[]; recent?: number; until?: string }
  clusters: {
    cluster: string
    reason: string
    message: string
    rank?: number
    score?: number
    scores?: { name: string; score: number; weight: number }[]
  }[]
}

// RFC 7234, 5.5, as Kubernetes writes it: 299 - "text", …
function warningsIn(header: string | string[] | undefined): string[] {
  return [header ?? []]
    .flat()
    .flatMap((line) => [...line.matchAll(/299 \S+ "((?:[^"\\]|\\.)*)"/g)])
    .map(([, text = '']) => text.replaceAll(/\\(.)/g, '$1'))
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}

function toApiError(code: number, value: unknown, text: string): ApiError {
  const status = (typeof value === 'object' && value !== null ? value : parseJson(text)) as {
    reason?: string
    message?: string
    details?: { causes?: ErrorCause[] }
  }
  return new ApiError(
    code,
    status?.reason ?? 'Unknown',
    status?.message ?? text.slice(0, 300),
    status?.details?.causes ?? [],
  )
}
