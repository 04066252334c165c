import { type KindName, type KindRow, mergePatch, type SkerryObject } from '@skerry/api'
import { ApiError, type Client, type NewObject } from '@skerry/client'
import type { Declared, Manifest } from './documents.ts'
import { getObject } from './locate.ts'
import { declared, lastApplied, threeWayPatch } from './merge.ts'

export type Applied = {
  readonly outcome: 'created' | 'configured' | 'unchanged'
  readonly before?: SkerryObject
  readonly after: SkerryObject
}

/** Makes the hub's object what a manifest declares. Somebody who writes at the same moment is met by one more try. */
export async function applyManifest(
  client: Client,
  manifest: Manifest,
  namespace: string | undefined,
  dryRun: boolean,
): Promise<Applied> {
  const { row, object } = manifest
  const wanted = wantedOf(manifest, namespace)
  try {
    return await tryApply(client, row, wanted, dryRun)
  } catch (error) {
    // With a resourceVersion in the file, a conflict is what was asked for.
    if (!(error instanceof ApiError) || error.code !== 409 || object.metadata['resourceVersion'] !== undefined)
      throw error
    return tryApply(client, row, wanted, dryRun)
  }
}

/** The object that a manifest would make of what the hub has, or as a new one; the hub is asked to write nothing. */
export async function wouldBe(client: Client, manifest: Manifest, namespace: string): Promise<Declared> {
  const wanted = wantedOf(manifest, namespace)
  const before = await storedOf(client, manifest.row, wanted)
  if (!before) return wanted
  const after = mergePatch(before, threeWayPatch(lastApplied(before), wanted, before) ?? {}) as Declared
  // Of whichever version it is.
  const { resourceVersion: _, ...metadata } = after.metadata
  return { ...after, metadata }
}

async function tryApply(client: Client, row: KindRow, wanted: Declared, dryRun: boolean): Promise<Applied> {
  const { name, namespace } = wanted.metadata
  const before = await storedOf(client, row, wanted)
  if (!before) {
    const { apiVersion: _, kind: _kind, ...rest } = wanted
    const made: unknown = await client.create(row.kind, rest as unknown as NewObject<KindName>, { dryRun })
    return { outcome: 'created', after: made as SkerryObject }
  }
  const patch = threeWayPatch(lastApplied(before), wanted, before)
  if (!patch) return { outcome: 'unchanged', before, after: before }
  const after: unknown = await client.mergePatch(row.kind, namespace, name, patch, { dryRun })
  return { outcome: 'configured', before, after: after as SkerryObject }
}

function wantedOf({ row, object }: Manifest, namespace: string | undefined): Declared {
  return declared(object, row.namespaced ? (object.metadata.namespace ?? namespace) : object.metadata.namespace)
}

function storedOf(client: Client, row: KindRow, { metadata }: Declared): Promise<SkerryObject | undefined> {
  return getObject(client, row, metadata.namespace, metadata.name).catch((error: unknown) => {
    if (error instanceof ApiError && error.code === 404) return undefined
    throw error
  })
}
