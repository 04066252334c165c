import { kindRow, type ObjectOf } from '@skerry/api'
import type { Client } from '@skerry/client'
import { NotFound, UsageError } from '../errors.ts'
import { locate } from './locate.ts'

type Registration = ObjectOf<'Registration'>

/** The registrations of a cluster that wait for a decision: all, or those that these flags insist on. */
export function waiting(
  registrations: readonly Registration[],
  { node, fingerprint }: { readonly node?: string | undefined; readonly fingerprint?: string | undefined },
): Registration[] {
  const open = registrations.filter(({ spec }) => spec.decision === undefined)
  const named = open.filter(({ metadata }) => node === undefined || metadata.name === node)
  if (node !== undefined && named.length === 0)
    throw new NotFound(`no registration of node ${node} waits${whoWaits(open)}`)
  const matching = named.filter(({ spec }) => fingerprint === undefined || spec.fingerprint === fingerprint)
  if (fingerprint !== undefined && matching.length === 0)
    throw new NotFound(`no waiting registration has fingerprint ${fingerprint}${whoWaits(named)}; nothing was accepted`)
  return matching
}

function whoWaits(open: readonly Registration[]): string {
  if (open.length === 0) return '; none waits'
  return `; waiting: ${open.map(({ metadata, spec }) => `${metadata.name} (${spec.fingerprint})`).join(', ')}`
}

/** The registration that `CLUSTER/NODE`, or a node's name alone, means. */
export async function findRegistration(client: Client, text: string): Promise<Registration> {
  const [first = '', second, ...more] = text.split('/')
  if (first === '' || second === '' || more.length > 0) throw new UsageError(`"${text}" is no CLUSTER/NODE`)
  const asked = second === undefined ? {} : { namespace: first }
  const found = await locate(client, kindRow('Registration'), second ?? first, asked, undefined)
  if (found.kind !== 'Registration') throw new NotFound(`"${text}" is no registration`)
  return found
}

/** `node shop-17 of shop-17, class software-key, fingerprint 1234-…` */
export function registrationText({ metadata, spec }: Registration): string {
  return `node ${metadata.name} of ${metadata.namespace}, class ${spec.class}, fingerprint ${spec.fingerprint}`
}
