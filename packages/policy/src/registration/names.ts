import { createHash } from 'node:crypto'
import { Refusal } from '@skerry/api'

const MAX_LABEL = 63
const HASH_CHARACTERS = 8

/**
 * The id of a node from its name: one RFC 1123 label, so that it is exactly one NATS token. Two names may meet in one
 * id; then the second key is refused. Refusal InvalidField for a name that is not ASCII letters, digits, `-`, `.`, `_`:
 * a look-alike from elsewhere in Unicode must not fold into somebody's id.
 */
export function nodeIdOf(nodeName: string): string {
  if (!/^[A-Za-z0-9._-]+$/.test(nodeName))
    throw fault(nodeName, 'may hold ASCII letters, digits, "-", "." and "_" alone')
  const id = trim(nodeName.toLowerCase().replaceAll(/[._]/g, '-'))
  if (id === '') throw fault(nodeName, 'holds no letter or digit')
  if (id.length <= MAX_LABEL) return id
  // Cut names would meet in one id where their ends are all that tells them apart.
  const hash = createHash('sha256').update(id).digest('hex').slice(0, HASH_CHARACTERS)
  return `${trim(id.slice(0, MAX_LABEL - HASH_CHARACTERS - 1))}-${hash}`
}

/** What two people read to each other before one of them accepts: the first 64 bits of the exchange, in four groups. */
export function fingerprintOf(transcript: string): string {
  return (transcript.slice(0, 16).match(/.{4}/g) ?? []).join('-')
}

function trim(text: string): string {
  return text.replaceAll(/^-+|(?<!-)-+$/g, '')
}

function fault(nodeName: string, what: string): Refusal {
  return new Refusal('InvalidField', `the node name ${JSON.stringify(nodeName.slice(0, 80))} ${what}`, {
    field: 'nodeName',
  })
}
