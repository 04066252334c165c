import { randomBytes } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { NodeKeyCertificate, PublicJwk } from '@skerry/api'
import { type EccArea, nameOf, parsePublic } from '@skerry/measured-boot'
import { type DocumentSigner, openKeyFile, thumbprint, writeSecret } from '@skerry/trust'
import type { Hardware } from '../tpm/index.ts'

// The key that signs what a node says. Made once, where the node first enters: in its TPM, which it cannot leave, or in a
// file where there is none. What it is stays: a TPM that is switched on later changes nothing.

export type NodeKey = DocumentSigner & {
  /** The AK's word, over a digest, that the key lies in the TPM; undefined where it lies in a file. */
  readonly certify: ((digest: string) => Promise<NodeKeyCertificate>) | undefined
}

/** What is kept of a key in the TPM: what makes it this disk's, and its public half. Nothing of it is secret. */
type Kept = { readonly unique: string; readonly public: string }

const pemFile = (dataDir: string) => join(dataDir, 'keys', 'node.pem')
const tpmFile = (dataDir: string) => join(dataDir, 'keys', 'node.tpm.json')

/** The node's key, made when there is none. Rejects with TpmError where it is to be made in the TPM, which cannot be asked. */
export async function openNodeKey(dataDir: string, hardware: Hardware | undefined): Promise<NodeKey> {
  const kept = loadKept(dataDir)
  if (kept) return tpmKey(kept, hardware)
  if (existsSync(pemFile(dataDir)) || !hardware)
    return { ...openKeyFile(pemFile(dataDir), 'ES256'), certify: undefined }
  const unique = randomBytes(32).toString('hex')
  const { public: area } = await hardware.ask((tpm) => tpm.nodeKey(unique))
  const made = { unique, public: Buffer.from(area).toString('base64') }
  writeSecret(tpmFile(dataDir), JSON.stringify(made))
  return tpmKey(made, hardware)
}

/** Which key the node has; undefined where it has none. Asks no TPM. */
export function nodeKeyThumbprint(dataDir: string): string | undefined {
  const kept = loadKept(dataDir)
  if (kept) return thumbprint(jwkOf(areaOf(kept)))
  return existsSync(pemFile(dataDir)) ? openKeyFile(pemFile(dataDir), 'ES256').thumbprint : undefined
}

/** Where the node's key lies; undefined where it has none. Asks no TPM. */
export function nodeKeyIn(dataDir: string): 'tpm' | 'file' | undefined {
  if (existsSync(tpmFile(dataDir))) return 'tpm'
  return existsSync(pemFile(dataDir)) ? 'file' : undefined
}

function tpmKey(kept: Kept, hardware: Hardware | undefined): NodeKey {
  const area = areaOf(kept)
  const jwk = jwkOf(area)
  const by = { unique: kept.unique, name: nameOf(area) }
  const ask: Hardware['ask'] = (act) => {
    if (hardware) return hardware.ask(act, 'signature')
    const next = 'switch the TPM on in the firmware, or say with --tpm where it is'
    return Promise.reject(new Error(`this node's key lies in its TPM, and there is none: ${next}`))
  }
  return {
    ...{ alg: 'ES256', jwk, thumbprint: thumbprint(jwk) },
    sign: (data) => ask((tpm) => tpm.sign(by, data)),
    async certify(digest) {
      const { attest, signature } = await ask((tpm) => tpm.certifyNodeKey(kept.unique, Buffer.from(digest, 'hex')))
      const [one, other] = [attest, signature].map((bytes) => Buffer.from(bytes).toString('base64'))
      return { public: kept.public, attest: one ?? '', signature: other ?? '' }
    },
  }
}

function loadKept(dataDir: string): Kept | undefined {
  const file = tpmFile(dataDir)
  if (!existsSync(file)) return undefined
  const { unique, public: area }: Partial<Record<keyof Kept, unknown>> = JSON.parse(readFileSync(file, 'utf8'))
  if (typeof unique !== 'string' || typeof area !== 'string') throw new Error(`${file} says of no node key`)
  return { unique, public: area }
}

function areaOf({ public: area }: Kept): EccArea {
  const parsed = parsePublic(new Uint8Array(Buffer.from(area, 'base64')))
  if (parsed.type !== 'ecc') throw new Error('the node key is no P-256 key')
  return parsed
}

function jwkOf({ x, y }: EccArea): PublicJwk {
  const [one, other] = [x, y].map((coordinate) => {
    const whole = new Uint8Array(32)
    whole.set(coordinate, whole.length - coordinate.length)
    return Buffer.from(whole).toString('base64url')
  })
  return { kty: 'EC', crv: 'P-256', x: one ?? '', y: other ?? '' }
}
