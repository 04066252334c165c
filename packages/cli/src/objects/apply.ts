import type { KindName, KindRow, SkerryObject } from '@skerry/api'
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
  { row, object }: Manifest,
  namespace: string | undefined,
  dryRun: boolean,
): Promise<Applied> {
  const wanted = declared(object, row.namespaced ? (object.metadata.namespace ?? namespace) : object.metadata.namespace)
  try {
    return await tryApply(client, row, wanted, dryRun)
  } catch (error) {
    // With a resourceVersion in the file, a conflict is what was asked for.
    if (!(error instanceof ApiError) || error.code !== 409 || object.metadata['resourceVersion'] !== undefined)
      throw error
    return tryApply(client, row, wanted, dryRun)
  }
}

async function tryApply(client: Client, row: KindRow, wanted: Declared, dryRun: boolean): Promise<Applied> {
  const { name, namespace } = wanted.metadata
  const before = await getObject(client, row, namespace, name).catch((error: unknown) => {
    if (error instanceof ApiError && error.code === 404) return undefined
    throw error
  })
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
