import { apiVersionOf, KINDS, type KindRow } from '@skerry/api'
import type { ErrorCause } from '@skerry/client'
import { type Document, isMap, isSeq, LineCounter, type Node, parseAllDocuments } from 'yaml'
import { didYouMean } from '../nearby.ts'
import { placeOf } from './faults.ts'

// Manifests: YAML of any number of documents, or JSON, which YAML contains. Every fault is told with its place.

/** What a client says of an object. */
export type Declared = {
  readonly apiVersion: string
  readonly kind: string
  readonly metadata: {
    readonly name: string
    readonly namespace?: string
    readonly annotations?: Record<string, string>
  } & Record<string, unknown>
} & Record<string, unknown>

export type Manifest = {
  readonly row: KindRow
  readonly object: Declared
  /** `file:line:column` of a cause that the server told, or of the object's beginning. */
  place(cause?: Pick<ErrorCause, 'field' | 'reason'>): string
}

/** The objects of one file, and its faults as `file:line:column: sentence`. `List`s are opened. */
export function readManifests(file: string, text: string): { manifests: Manifest[]; faults: string[] } {
  const lines = new LineCounter()
  const manifests: Manifest[] = []
  const faults: string[] = []
  const documents = parseAllDocuments(text, { lineCounter: lines, prettyErrors: false, uniqueKeys: true })
  const at = (offset: number) => {
    const { line, col } = lines.linePos(offset)
    return `${line}:${col}`
  }
  for (const document of Array.isArray(documents) ? documents : []) {
    for (const { pos, message } of document.errors) {
      faults.push(`${file}:${at(pos[0])}: ${message}`)
    }
    const { contents } = document
    if (document.errors.length > 0 || contents === null) continue
    const value = plain(document, (message) => faults.push(`${file}:${at(contents.range?.[0] ?? 0)}: ${message}`))
    if (value === undefined) continue
    for (const { node, object } of objectsIn(contents, value)) {
      const place: Manifest['place'] = (cause) => {
        const { line, column } = placeOf(cause ?? { field: '' }, node, lines)
        return `${file}:${line}:${column}`
      }
      const read = readObject(object, (field, message) => faults.push(`${place({ field })}: ${message}`))
      if (read) manifests.push({ ...read, place })
    }
  }
  return { manifests, faults }
}

// Aliases that lead nowhere, or grow without end, show only here.
export function plain(document: Document, fault: (message: string) => void): unknown {
  try {
    return document.toJS({ maxAliasCount: 100 })
  } catch (error) {
    fault(error instanceof Error ? error.message : String(error))
    return undefined
  }
}

function objectsIn(contents: Node, value: unknown): { node: Node; object: unknown }[] {
  const list = isMap(contents) && isRecord(value) && value['kind'] === 'List' ? contents.get('items') : undefined
  const items = isRecord(value) && Array.isArray(value['items']) ? value['items'] : []
  if (!isSeq(list)) return value === null ? [] : [{ node: contents, object: value }]
  return list.items.map((node, index) => ({ node: node as Node, object: items[index] as unknown }))
}

function readObject(
  value: unknown,
  fault: (field: string, message: string) => void,
): { row: KindRow; object: Declared } | undefined {
  if (!isRecord(value)) {
    fault('', 'a manifest is an object with apiVersion, kind, metadata and spec')
    return undefined
  }
  const { apiVersion, kind, metadata } = value
  const row = KINDS.find((known) => known.kind === kind && apiVersionOf(known.kind) === apiVersion)
  if (!row) {
    fault(...unknownKind(apiVersion, kind))
    return undefined
  }
  const name = isRecord(metadata) ? metadata['name'] : undefined
  if (typeof name !== 'string' || name === '') {
    fault('metadata.name', 'metadata.name is required, as text')
    return undefined
  }
  return { row, object: value as Declared }
}

function unknownKind(apiVersion: unknown, kind: unknown): [field: string, message: string] {
  if (kind === undefined) return ['', 'kind is required']
  const same = KINDS.find((row) => row.kind === kind)
  if (same)
    return [
      apiVersion === undefined ? '' : 'apiVersion',
      `${same.kind} has apiVersion ${apiVersionOf(same.kind)} here${apiVersion === undefined ? '' : `, not ${String(apiVersion)}`}`,
    ]
  const kinds = KINDS.map((row) => row.kind)
  const near = didYouMean(String(kind), kinds)
  return ['kind', `there is no kind ${String(kind)}${near}; there are: ${kinds.join(', ')}`]
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
