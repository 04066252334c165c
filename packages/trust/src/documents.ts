import { verify as verifyBytes } from 'node:crypto'
import { promisify } from 'node:util'
import { DOCUMENTS, type DocumentKind, type DocumentOf, PublicJwk, parse, Refusal } from '@skerry/api'
import { sha256Hex } from './digest.ts'
import { type DocumentSigner, type VerifyKey, verifyKey } from './keys.ts'
import { parseStrictJson, readStrictJson } from './strict-json.ts'

// JWS documents: everything up is signed by a node's key, everything down by a hub key. node:crypto signs and verifies; the
// rules around it (type, audience, stored keys alone, one algorithm a key, strict JSON) are here. Nothing of a header is believed but as a hint which stored key to try.

export type Verified<K extends DocumentKind> = {
  readonly payload: DocumentOf<K>
  /** The signed bytes and their digest: what a document is called everywhere else. */
  readonly bytes: Uint8Array
  readonly digest: string
  /** The payload is spelled as JSON.stringify spells it. False may also be said of one that is. */
  readonly plain: boolean
  /** Thumbprint of the stored key that verified it. */
  readonly thumbprint: string
}

/** Signs a payload as a document of a kind. `aud` is the cluster, or cluster/node, that it is for. */
export async function signDocument<K extends DocumentKind>(
  kind: K,
  payload: DocumentOf<K>,
  signer: DocumentSigner,
  aud?: string,
): Promise<string> {
  return signBytes(kind, new TextEncoder().encode(JSON.stringify(payload)), signer, aud)
}

/** Signs bytes that already are the payload, such as a desired state as it stands in the database. */
export async function signBytes(
  kind: DocumentKind,
  bytes: Uint8Array,
  signer: DocumentSigner,
  aud?: string,
): Promise<string> {
  const header = {
    alg: signer.alg,
    typ: DOCUMENTS[kind].typ,
    kid: signer.thumbprint,
    ...(aud === undefined ? {} : { aud }),
  }
  // RFC 7515, 7.1. By hand: a key may lie in a TPM, where no library signs.
  const covered = `${base64url(JSON.stringify(header))}.${base64url(bytes)}`
  return `${covered}.${base64url(await signer.sign(new TextEncoder().encode(covered)))}`
}

/**
 * The payload of a document that one of `keys` signed. Refusals: TooLarge, MalformedJws, UnknownKey, BadSignature,
 * WrongType, WrongAudience (when `aud` is given), and those of the payload: MalformedJson, DuplicateMember, InvalidField.
 */
export async function verifyDocument<K extends DocumentKind>(
  kind: K,
  text: string,
  keys: ReadonlyMap<string, VerifyKey>,
  options: { aud?: string } = {},
): Promise<Verified<K>> {
  const opened = await openDocument(kind, text, keys, options)
  return { ...opened, digest: sha256Hex(opened.bytes) }
}

/** The same without the digest, which of a long document costs as much as its signature. */
export async function openDocument<K extends DocumentKind>(
  kind: K,
  text: string,
  keys: ReadonlyMap<string, VerifyKey>,
  { aud }: { aud?: string } = {},
): Promise<Omit<Verified<K>, 'digest'>> {
  const parts = split(kind, text)
  const { header, payload } = parts
  const known = keys.get(header.kid)
  if (!known) throw new Refusal('UnknownKey', `signed by key ${header.kid}, which is not listed for ${kind}`)
  await verify(text, known, parts)
  if (header.typ !== DOCUMENTS[kind].typ)
    throw new Refusal('WrongType', `signed as ${header.typ}, expected ${DOCUMENTS[kind].typ}`)
  if (aud !== undefined && header.aud !== aud)
    throw new Refusal('WrongAudience', `addressed to ${header.aud ?? 'nobody'}, this is ${aud}`)
  return { ...read(kind, payload), bytes: payload, thumbprint: known.thumbprint }
}

/**
 * The payload of a document that brings its own key in member `nodeKey` (a registration request): the signature proves
 * that the sender holds that key, nothing more.
 */
export async function verifySelfSigned(text: string): Promise<Verified<'RegistrationRequest'>> {
  const parts = split('RegistrationRequest', text)
  const { header, payload } = parts
  const { payload: claimed, plain } = read('RegistrationRequest', payload)
  const own = verifyKey(parse(PublicJwk, claimed.nodeKey, 'nodeKey'))
  if (header.kid !== own.thumbprint) throw new Refusal('UnknownKey', 'signed by another key than the nodeKey it names')
  await verify(text, own, parts)
  if (header.typ !== DOCUMENTS.RegistrationRequest.typ) throw new Refusal('WrongType', `signed as ${header.typ}`)
  return { payload: claimed, plain, bytes: payload, digest: sha256Hex(payload), thumbprint: own.thumbprint }
}

const base64url = (data: string | Uint8Array): string => Buffer.from(data).toString('base64url')

type Header = { alg: string; typ: string; kid: string; aud: string | undefined }
// Members that would bring a key along or change what is signed: their presence alone is a refusal.
const HEADER_MEMBERS = new Set(['alg', 'typ', 'kid', 'aud'])
const SIGNATURE_BYTES = 64

type Parts = { readonly header: Header; readonly payload: Uint8Array; readonly signature: Uint8Array }

function split(kind: DocumentKind, text: string): Parts {
  const { maxBytes } = DOCUMENTS[kind]
  if (text.length > maxBytes * 1.4 + 2_048) throw new Refusal('TooLarge', `a ${kind} may have ${maxBytes} bytes`)
  const parts = text.split('.')
  const [protectedPart, payloadPart, signaturePart] = parts
  if (parts.length !== 3 || !protectedPart || !payloadPart || !signaturePart)
    throw new Refusal('MalformedJws', 'not a compact JWS')
  const payload = decode(payloadPart)
  if (payload.byteLength > maxBytes) throw new Refusal('TooLarge', `a ${kind} may have ${maxBytes} bytes`)
  const signature = decode(signaturePart)
  if (signature.byteLength !== SIGNATURE_BYTES)
    throw new Refusal('MalformedJws', 'the signature has an unexpected length')
  return { header: readHeader(decode(protectedPart)), payload, signature }
}

function readHeader(bytes: Uint8Array): Header {
  const header = parseStrictJson(bytes, { maxBytes: 1_024, maxDepth: 2 })
  if (typeof header !== 'object' || header === null || Array.isArray(header))
    throw new Refusal('MalformedJws', 'the header is no object')
  const members = new Map(Object.entries(header))
  for (const [name, value] of members) {
    if (!HEADER_MEMBERS.has(name)) throw new Refusal('MalformedJws', `the header member "${name}" is not allowed`)
    if (typeof value !== 'string') throw new Refusal('MalformedJws', `the header member "${name}" is no string`)
  }
  const member = (name: string) => String(members.get(name) ?? '')
  return {
    alg: member('alg'),
    typ: member('typ'),
    kid: member('kid'),
    aud: members.has('aud') ? member('aud') : undefined,
  }
}

/** In a thread of its own, so that a hub takes in what comes while it verifies. */
const verifySignature = promisify(verifyBytes)

async function verify(text: string, stored: VerifyKey, { header, signature }: Parts): Promise<void> {
  const { alg, key } = stored
  // The algorithm is the stored key's, whatever the header says.
  if (header.alg !== alg)
    throw new Refusal('BadSignature', `signed with ${header.alg || 'no algorithm'}, the key is for ${alg}`)
  // RFC 7515, 5.2: what was signed is the text before the second dot, as it stands.
  const covered = Buffer.from(text.slice(0, text.lastIndexOf('.')), 'latin1')
  const how = { key, dsaEncoding: 'ieee-p1363' } as const
  if (!(await verifySignature(alg === 'ES256' ? 'sha256' : null, covered, how, signature)))
    throw new Refusal('BadSignature', 'the signature does not verify')
}

function read<K extends DocumentKind>(kind: K, bytes: Uint8Array): Pick<Verified<K>, 'payload' | 'plain'> {
  const { schema, maxBytes } = DOCUMENTS[kind]
  const { value, plain } = readStrictJson(bytes, { maxBytes })
  return { payload: parse(schema, value, kind) as DocumentOf<K>, plain }
}

// base64url has one spelling for each sequence of bytes here: padding, spaces and loose last bits are other digests of
// one statement.
function decode(part: string): Uint8Array {
  const bytes = Buffer.from(part, 'base64url')
  if (bytes.toString('base64url') !== part)
    throw new Refusal('MalformedJws', 'base64url in a spelling that is not the canonical one')
  return bytes
}
