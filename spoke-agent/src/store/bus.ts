import type { DesiredState, Holds, OSImageManifest, Position } from '@skerry/api'
import { initialState, type SitePlan, type State, type Target } from '@skerry/policy'
import type { Database } from './database.ts'

// The site's bus of a machine without Kubernetes. site/ writes EdgeSite, node/ writes EdgeNode; each reads the other's.

export type EdgeSite = {
  /** The last desired state that was verified, verbatim. */
  readonly jws: string
  readonly document: DesiredState
  readonly holds: Holds
  readonly manifest?: OSImageManifest
  readonly target?: Target
  /** With the place of what was staged when it was made: a turn is good for that alone. */
  readonly plan?: SitePlan & { readonly staged?: Position }
  /** The chapter of the chain in which it was told that this was accepted. */
  readonly toldIn?: string
}

export type EdgeNode = {
  readonly state: State
  /** The boot whose evidence was given, and the chapter of the chain in which it was. */
  readonly evidenceBootId?: string
  /** The chapter at whose beginning it was told where the machine stands. */
  readonly restatedIn?: string
  /** The same as `evidenceBootId`, as long as the TPM gave no quote of it. */
  readonly quoteOwed?: string
  /** A later one that proves nothing and waits for room. */
  readonly owedBootId?: string
  /** How far the download of an image has come. */
  readonly progress?: { readonly imageSha256: string; readonly done: number; readonly total: number }
  /** The boot that cannot be looked at, why, and since when. */
  readonly unseen?: Readonly<Record<'bootId' | 'reason' | 'message' | 'since', string>>
}

export type Bus = {
  site(): EdgeSite | undefined
  saveSite(site: EdgeSite): void
  node(): EdgeNode
  saveNode(node: EdgeNode): void
  /** Called whenever either side wrote. */
  onChange(listener: () => void): () => void
}

export function openBus(database: Database): Bus {
  const listeners = new Set<() => void>()
  const tell = () => {
    for (const listener of listeners) queueMicrotask(listener)
  }
  return {
    site: () => database.load<EdgeSite>('edge_site'),
    saveSite(site) {
      database.save('edge_site', site)
      tell()
    },
    node: () => database.load<EdgeNode>('edge_node') ?? { state: initialState(undefined) },
    saveNode(node) {
      database.save('edge_node', node)
      tell()
    },
    onChange(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
  }
}
