import type { KindName, KindRow, ObjectOf } from '@skerry/api'
import type { Change } from '../../store/resources.ts'
import type { Selection } from './selectors.ts'
import { toTable } from './table.ts'

// Kubernetes' watch frames. Which ones a watcher gets follows from a change and its selection alone.

export type Frame =
  | { readonly type: 'ADDED' | 'MODIFIED' | 'DELETED'; readonly object: ObjectOf<KindName> }
  | { readonly type: 'BOOKMARK'; readonly version: number; readonly endOfInitialEvents: boolean }
  | { readonly type: 'ERROR'; readonly object: object }

/** What a watcher is interested in. */
export type Interest = { readonly namespace: string | undefined; readonly selection: Selection }

/** The frame of a change: an object that leaves the selection is DELETED for this watcher, one that enters it is ADDED. */
export function frameOf({ type, object, labelsBefore }: Change, interest: Interest): Frame | undefined {
  const { metadata } = object
  const was = type !== 'ADDED' && matches({ metadata: { ...metadata, labels: labelsBefore } }, interest)
  const is = type !== 'DELETED' && matches(object, interest)
  if (is) return { type: was ? 'MODIFIED' : 'ADDED', object }
  return was ? { type: 'DELETED', object } : undefined
}

/** Whether an object is in a watcher's selection. Of what can be selected by, labels alone can change. */
export function matches(object: Pick<ObjectOf<KindName>, 'metadata'>, { namespace, selection }: Interest): boolean {
  if (namespace !== undefined && object.metadata.namespace !== namespace) return false
  return selection.matches(object)
}

/** A frame as its line. In a watch as Table every frame but an error is a Table. */
export function lineOf(row: KindRow, frame: Frame, asTable: boolean): string {
  return `${JSON.stringify({ type: frame.type, object: bodyOf(row, frame, asTable) })}\n`
}

function bodyOf(row: KindRow, frame: Frame, asTable: boolean): object {
  if (frame.type === 'ERROR') return frame.object
  if (frame.type !== 'BOOKMARK') return asTable ? toTable(row, [frame.object], {}) : frame.object
  const annotations = frame.endOfInitialEvents ? { annotations: { 'k8s.io/initial-events-end': 'true' } } : {}
  const metadata = { resourceVersion: String(frame.version), ...annotations }
  return asTable ? toTable(row, [], metadata) : { kind: row.kind, apiVersion: `${row.group}/${row.version}`, metadata }
}
