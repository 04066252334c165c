import { createHash, createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import { closeSync, existsSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs'
import { dirname } from 'node:path'
import type { HubKey, PublicJwk } from '@skerry/api'
import { Refusal } from '@skerry/api'

export type Algorithm = 'ES256' | 'EdDSA'

/** A private key that signs documents, wherever it lies, and is known by the RFC 7638 thumbprint of its public half. */
export type DocumentSigner = {
  readonly alg: Algorithm
  readonly jwk: PublicJwk
  readonly thumbprint: string
  /** The signature as a JWS has it (RFC 7518, 3.4 and RFC 8037, 3.1). */
  sign(data: Uint8Array): Promise<Uint8Array>
}
/** One that lies in this process. */
export type Signer = DocumentSigner & { readonly key: KeyObject }
/** A public key from trusted storage: what may verify, and with which algorithm alone. */
export type VerifyKey = { readonly key: KeyObject; readonly alg: Algorithm; readonly thumbprint: string }

/** A new key: ES256 is P-256, EdDSA is Ed25519. */
export function createKey(alg: Algorithm): Signer {
  const { privateKey } =
    alg === 'ES256' ? generateKeyPairSync('ec', { namedCurve: 'P-256' }) : generateKeyPairSync('ed25519')
  return toSigner(privateKey)
}

/** The signer of a PKCS#8 PEM text. Throws when it is no P-256 or Ed25519 key. */
export function parseKey(pem: string): Signer {
  return toSigner(createPrivateKey(pem))
}

/** PKCS#8 PEM of a signer's private key. */
export function keyPem(signer: Signer): string {
  return signer.key.export({ format: 'pem', type: 'pkcs8' }).toString()
}

/** The key in a file, made there first when the file is missing. 0600, whole or not at all, on disk before it is used. */
export function openKeyFile(path: string, alg: Algorithm): Signer {
  if (existsSync(path)) return parseKey(readFileSync(path, 'utf8'))
  const signer = createKey(alg)
  writeSecret(path, keyPem(signer))
  return signer
}

/** Replaces a file by secret text: 0600, written beside, synced, renamed, folder synced. */
export function writeSecret(path: string, text: string): void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
  const beside = `${path}.new`
  const file = openSync(beside, 'w', 0o600)
  writeSync(file, text)
  fsyncSync(file)
  closeSync(file)
  renameSync(beside, path)
  const folder = openSync(dirname(path), 'r')
  fsyncSync(folder)
  closeSync(folder)
}

/** A public key that may verify documents. Weak or foreign kinds never get in: P-256 and Ed25519 alone (Refusal InvalidField). */
export function verifyKey(jwk: PublicJwk): VerifyKey {
  try {
    const key = createPublicKey({ key: jwk, format: 'jwk' })
    return { key, alg: algorithmOf(key), thumbprint: thumbprint(jwk) }
  } catch (cause) {
    throw new Refusal('InvalidField', 'not a usable P-256 or Ed25519 public key', { cause })
  }
}

/** Keys by thumbprint, as `verifyDocument` takes them. */
export function keyRing(jwks: Iterable<PublicJwk>): ReadonlyMap<string, VerifyKey> {
  return new Map([...jwks].map((jwk) => verifyKey(jwk)).map((key) => [key.thumbprint, key]))
}

/**
 * The keys of hub.json that may sign a new document at `nowMs`, as `verifyDocument` takes them. A key counts from its
 * notBefore on and until just before its notAfter; a retired key stays listed to prove what is old, and verifies nothing new.
 */
export function keysInForce(keys: readonly HubKey[], nowMs: number): ReadonlyMap<string, VerifyKey> {
  const counts = ({ notBefore, notAfter }: HubKey) =>
    Date.parse(notBefore) <= nowMs && (notAfter === undefined || nowMs < Date.parse(notAfter))
  return keyRing(keys.filter(counts).map(({ jwk }) => jwk))
}

/**
 * How far a time counts that a key of hub.json has signed: up to that key's notAfter, because later it could not sign
 * anything; undefined when it is not listed any more.
 */
export function countedTime(
  keys: readonly HubKey[],
  { by, atMs }: { readonly by: string; readonly atMs: number },
): number | undefined {
  const key = keys.find(({ jwk }) => thumbprint(jwk) === by)
  return key && Math.min(atMs, key.notAfter === undefined ? atMs : Date.parse(key.notAfter))
}

/** RFC 7638: SHA-256 over the required members in lexical order, base64url. */
export function thumbprint(jwk: PublicJwk): string {
  const members =
    jwk.kty === 'EC' ? { crv: jwk.crv, kty: jwk.kty, x: jwk.x, y: jwk.y } : { crv: jwk.crv, kty: jwk.kty, x: jwk.x }
  return createHash('sha256').update(JSON.stringify(members)).digest('base64url')
}

function toSigner(key: KeyObject): Signer {
  const alg = algorithmOf(key)
  const { x, y } = createPublicKey(key).export({ format: 'jwk' })
  if (x === undefined) throw new Error('the key has no public part')
  if (alg === 'EdDSA') return finish({ kty: 'OKP', crv: 'Ed25519', x })
  if (y === undefined) throw new Error('the key has no public part')
  return finish({ kty: 'EC', crv: 'P-256', x, y })

  function finish(jwk: PublicJwk): Signer {
    const how = alg === 'ES256' ? ({ key, dsaEncoding: 'ieee-p1363' } as const) : key
    return {
      ...{ key, alg, jwk, thumbprint: thumbprint(jwk) },
      sign: async (data) => new Uint8Array(sign(alg === 'ES256' ? 'sha256' : null, data, how)),
    }
  }
}

function algorithmOf(key: KeyObject): Algorithm {
  if (key.asymmetricKeyType === 'ed25519') return 'EdDSA'
  if (key.asymmetricKeyType === 'ec' && key.asymmetricKeyDetails?.namedCurve === 'prime256v1') return 'ES256'
  throw new Error(`a ${key.asymmetricKeyType ?? 'secret'} key is not used here: P-256 and Ed25519 are`)
}
