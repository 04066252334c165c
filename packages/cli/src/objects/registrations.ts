import { kindRow, type ObjectOf } from '@skerry/api'
import type { Client } from '@skerry/client'
import { NotFound, UsageError } from '../errors.ts'
import { locate } from './locate.ts'

type Registration = ObjectOf<'Registration'>

/** The registrations of a cluster that wait for a decision: all, or those that these flags insist on. */
export function undecided(
  registrations: readonly Registration[],
  { node, fingerprint }: { readonly node?: string | undefined; readonly fingerprint?: string | undefined },
): Registration[] {
  const open = registrations.filter(({ spec }) => spec.decision === undefined)
  const named = open.filter(({ metadata }) => node === undefined || metadata.name === node)
  if (node !== undefined && named.length === 0)
    throw new NotFound(`nothing was decided: no registration of node ${node} waits; ${whoWaits(registrations)}`)
  const matching = named.filter(({ spec }) => fingerprint === undefined || spec.fingerprint === fingerprint)
  if (fingerprint !== undefined && matching.length === 0)
    throw new NotFound(
      `nothing was decided: no waiting registration has fingerprint ${fingerprint}; ${whoWaits(registrations)}`,
    )
  return matching
}

const SHOWN = 5

/** Which registrations wait; where none does, what was decided about those that there are, and what can be done next. */
export function whoWaits(registrations: readonly Registration[]): string {
  if (registrations.length === 0)
    return 'no node has asked to join: "skerry join-token create --bundle FILE" makes what a machine asks with'
  const open = registrations.filter(({ spec }) => spec.decision === undefined)
  if (open.length > 0)
    return `waiting: ${some(open, ({ metadata, spec }) => `${metadata.namespace}/${metadata.name} (${spec.fingerprint})`)}`
  return `no registration waits: ${some(registrations, decided)}`
}

function decided({ metadata, spec: { decision }, status }: Registration): string {
  const node = `${metadata.namespace}/${metadata.name}`
  const takesBack = `("skerry node accept ${node}" takes it back)`
  if (status?.state === 'Suspended') return `${node} is suspended, because two machines spoke as it ${takesBack}`
  const was = `${node} was ${decision?.state.toLowerCase()} by ${decision?.by}`
  return decision?.state === 'Accepted' ? was : `${was} ${takesBack}`
}

// Those that need somebody first.
function some(registrations: readonly Registration[], tell: (registration: Registration) => string): string {
  const first = registrations.toSorted((a, b) => Number(isAccepted(a)) - Number(isAccepted(b)))
  const more = first.length - SHOWN
  return `${first.slice(0, SHOWN).map(tell).join(', ')}${more > 0 ? `, and ${more} more` : ''}`
}

function isAccepted({ spec, status }: Registration): boolean {
  return spec.decision?.state === 'Accepted' && status?.state !== 'Suspended'
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
