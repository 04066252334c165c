import type { Condition, KindRow, SkerryObject } from '@skerry/api'
import type { Client, ListQuery } from '@skerry/client'
import { NotFound, UsageError } from '../errors.ts'
import { namespaceFor } from './kinds.ts'

export type Asked = { readonly namespace?: string | undefined; readonly allNamespaces?: boolean | undefined }

/** What the status of an object of any kind may say: where a kind has a phase or conditions, they are these. */
export function told(object: SkerryObject): { phase?: string; conditions?: readonly Condition[] } {
  return (object.status ?? {}) as { phase?: string; conditions?: readonly Condition[] }
}

/** Where to look for a node that is not there. */
export const WAITING = 'who waits to be let in is in "skerry get registrations", and who was refused in "skerry events"'

/**
 * The one object of that name. Where no namespace is meant, all are looked through, so that a node or a rollout is found by
 * its name alone; a name that several namespaces have is a UsageError that lists them. NotFound otherwise.
 */
export async function locate(
  client: Client,
  row: KindRow,
  name: string,
  asked: Asked,
  ofContext: string | undefined,
): Promise<SkerryObject> {
  const namespace = namespaceFor(row, asked, ofContext)
  if (!row.namespaced || namespace !== undefined) return getObject(client, row, namespace, name)
  const found = await listObjects(client, row, { fieldSelector: `metadata.name=${name}` })
  const [only, ...others] = found
  if (!only)
    throw new NotFound(`${row.plural}.${row.group} "${name}" not found${row.kind === 'EdgeNode' ? `; ${WAITING}` : ''}`)
  if (others.length === 0) return only
  const namespaces = found.map(({ metadata }) => metadata.namespace)
  throw new UsageError(`${row.singular} "${name}" is in the namespaces ${namespaces.join(', ')}: say which with -n`)
}

// The client types an object by its kind; of a kind that is only known at run time it is one of all.

export async function getObject(
  client: Client,
  { kind }: KindRow,
  namespace: string | undefined,
  name: string,
): Promise<SkerryObject> {
  return (await client.get(kind, namespace, name)) as unknown as SkerryObject
}

export async function listObjects(client: Client, { kind }: KindRow, query: ListQuery): Promise<SkerryObject[]> {
  return (await client.list(kind, query)) as unknown as SkerryObject[]
}
