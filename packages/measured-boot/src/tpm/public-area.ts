import { BANKS, type BankName, digest } from '../banks.ts'
import { big, concat, type Reader } from '../bytes.ts'
import { attributesWord, type ObjectAttribute, readAttributes } from './attributes.ts'
import { ALG, hex16, LARGEST_HASH, readHash, readSized, sized, tpmReader } from './wire.ts'

/** TPM_ECC_CURVE (TPM 2.0 Part 2), and how many bytes a coordinate has. */
export const CURVES = {
  'P-256': { id: 3, size: 32 },
  'P-384': { id: 4, size: 48 },
  'P-521': { id: 5, size: 66 },
} as const
export type Curve = keyof typeof CURVES
const RSA_BITS = [2048, 3072] as const
export type RsaBits = (typeof RSA_BITS)[number]
const AES_BITS = [128, 192, 256] as const
type AesBits = (typeof AES_BITS)[number]

/** TPMT_KDF_SCHEME. */
const KDFS = { mgf1: 0x0007, 'kdf1-sp800-56a': 0x0020, kdf2: 0x0021, 'kdf1-sp800-108': 0x0022 } as const
type KeyDerivation = { readonly algorithm: keyof typeof KDFS; readonly hash: BankName }

/** The signing schemes of TPMT_RSA_SCHEME and TPMT_ECC_SCHEME. */
const RSA_SCHEMES = { rsassa: ALG.rsassa, rsapss: ALG.rsapss } as const
const ECC_SCHEMES = { ecdsa: ALG.ecdsa } as const
type RsaScheme = { readonly algorithm: keyof typeof RSA_SCHEMES; readonly hash: BankName }
type EccScheme = { readonly algorithm: keyof typeof ECC_SCHEMES; readonly hash: BankName }
export type Scheme = RsaScheme | EccScheme

/**
 * TPMT_PUBLIC (TPM 2.0 Part 2): the public half of a key, and everything its TPM holds it to. A template
 * is one too, with an empty or zero modulus or point. `exponent` 0 means 65537; null is TPM_ALG_NULL.
 */
export type PublicArea = RsaArea | EccArea
type Common = {
  readonly nameAlg: BankName
  readonly attributes: readonly ObjectAttribute[]
  readonly authPolicy: Uint8Array
  /** AES in CFB mode, for keys that protect others. */
  readonly symmetric: { readonly keyBits: AesBits } | null
}
export type RsaArea = Common & {
  readonly type: 'rsa'
  readonly scheme: RsaScheme | null
  readonly keyBits: RsaBits
  readonly exponent: number
  readonly modulus: Uint8Array
}
export type EccArea = Common & {
  readonly type: 'ecc'
  readonly scheme: EccScheme | null
  readonly curve: Curve
  readonly kdf: KeyDerivation | null
  readonly x: Uint8Array
  readonly y: Uint8Array
}

/** TPM2B_PUBLIC: as TPM2_ReadPublic answers and tpm2-tools writes. Throws Malformed. */
export function parsePublic(bytes: Uint8Array): PublicArea {
  const reader = tpmReader(bytes, 'TPM2B_PUBLIC')
  const area = readSized(reader, 0xffff)
  reader.end()
  return parsePublicArea(area, 2)
}

/** TPMT_PUBLIC alone, the bytes a name is made of; `base` is where they began. Throws Malformed. */
export function parsePublicArea(bytes: Uint8Array, base = 0): PublicArea {
  const reader = tpmReader(bytes, 'TPMT_PUBLIC', base)
  const type = reader.u16()
  if (type !== ALG.rsa && type !== ALG.ecc) reader.fail('Unsupported', `object type ${hex16(type)}`, base)
  const nameAlg = readHash(reader)
  const attributes = readAttributes(reader)
  const policyAt = reader.offset()
  const authPolicy = readSized(reader, LARGEST_HASH)
  if (authPolicy.length !== 0 && authPolicy.length !== BANKS[nameAlg].size)
    reader.fail('BadValue', `a policy of ${authPolicy.length} bytes is no ${nameAlg} digest`, policyAt)
  const common = { nameAlg, attributes, authPolicy, symmetric: readSymmetric(reader) }
  const area = type === ALG.rsa ? readRsa(reader, common) : readEcc(reader, common)
  reader.end()
  return area
}

function readRsa(reader: Reader, common: Common): RsaArea {
  const scheme = readScheme(reader, RSA_SCHEMES)
  const keyBits = readOneOf(reader, RSA_BITS, 'bits of an RSA key')
  const exponentAt = reader.offset()
  const exponent = reader.u32()
  // FIPS 186-5: odd, above 2^16.
  if (exponent !== 0 && (exponent < 65537 || exponent % 2 === 0))
    reader.fail('BadValue', `an RSA exponent of ${exponent}`, exponentAt)
  const modulusAt = reader.offset()
  const modulus = readSized(reader, keyBits / 8)
  if (modulus.length !== 0 && modulus.length !== keyBits / 8)
    reader.fail('BadValue', `${modulus.length} bytes are no ${keyBits}-bit modulus`, modulusAt)
  return { ...common, type: 'rsa', scheme, keyBits, exponent, modulus }
}

function readEcc(reader: Reader, common: Common): EccArea {
  const scheme = readScheme(reader, ECC_SCHEMES)
  const curveAt = reader.offset()
  const id = reader.u16()
  const curve = nameOfId(CURVES, (known) => known.id === id)
  if (!curve) return reader.fail('Unsupported', `curve ${hex16(id)}`, curveAt)
  const kdf = readScheme(reader, KDFS)
  const { size } = CURVES[curve]
  return { ...common, type: 'ecc', scheme, curve, kdf, x: readSized(reader, size), y: readSized(reader, size) }
}

/** An algorithm and its hash, or TPM_ALG_NULL. */
function readScheme<Name extends string>(
  reader: Reader,
  known: Readonly<Record<Name, number>>,
): { algorithm: Name; hash: BankName } | null {
  const at = reader.offset()
  const id = reader.u16()
  if (id === ALG.null) return null
  const algorithm = nameOfId(known, (knownId) => knownId === id)
  if (!algorithm) return reader.fail('Unsupported', `scheme ${hex16(id)} for a key of this type`, at)
  return { algorithm, hash: readHash(reader) }
}

/** TPMT_SYM_DEF_OBJECT. */
function readSymmetric(reader: Reader): { keyBits: AesBits } | null {
  const at = reader.offset()
  const algorithm = reader.u16()
  if (algorithm === ALG.null) return null
  if (algorithm !== ALG.aes) reader.fail('Unsupported', `symmetric algorithm ${hex16(algorithm)}`, at)
  const keyBits = readOneOf(reader, AES_BITS, 'bits of an AES key')
  const modeAt = reader.offset()
  const mode = reader.u16()
  if (mode !== ALG.cfb) reader.fail('Unsupported', `symmetric mode ${hex16(mode)}`, modeAt)
  return { keyBits }
}

function readOneOf<Value extends number>(reader: Reader, values: readonly Value[], what: string): Value {
  const at = reader.offset()
  const read = reader.u16()
  return values.find((value) => value === read) ?? reader.fail('Unsupported', `${read} ${what}`, at)
}

function nameOfId<Name extends string, Value>(
  known: Readonly<Record<Name, Value>>,
  is: (value: Value) => boolean,
): Name | undefined {
  for (const name in known) if (is(known[name])) return name
  return undefined
}

export function writePublicArea(area: PublicArea): Uint8Array {
  const { nameAlg, attributes, authPolicy, symmetric } = area
  const head = concat(
    big.u16(area.type === 'rsa' ? ALG.rsa : ALG.ecc),
    big.u16(BANKS[nameAlg].id),
    big.u32(attributesWord(attributes)),
    sized(authPolicy),
    symmetric ? concat(big.u16(ALG.aes), big.u16(symmetric.keyBits), big.u16(ALG.cfb)) : big.u16(ALG.null),
  )
  if (area.type === 'rsa') {
    const { scheme, keyBits, exponent, modulus } = area
    return concat(head, writeScheme(scheme, RSA_SCHEMES), big.u16(keyBits), big.u32(exponent), sized(modulus))
  }
  const { scheme, curve, kdf, x, y } = area
  const parameters = concat(writeScheme(scheme, ECC_SCHEMES), big.u16(CURVES[curve].id), writeScheme(kdf, KDFS))
  return concat(head, parameters, sized(x), sized(y))
}

function writeScheme<Name extends string>(
  scheme: { readonly algorithm: Name; readonly hash: BankName } | null,
  known: Readonly<Record<Name, number>>,
): Uint8Array {
  return scheme ? concat(big.u16(known[scheme.algorithm]), big.u16(BANKS[scheme.hash].id)) : big.u16(ALG.null)
}

export function writePublic(area: PublicArea): Uint8Array {
  return sized(writePublicArea(area))
}

/** The Name of an object (TPM 2.0 Part 1): whoever knows it knows every byte of its public area. */
export function nameOf(area: PublicArea): Uint8Array {
  return nameOfArea(area.nameAlg, writePublicArea(area))
}

/** The same of TPMT_PUBLIC as it is written. */
export function nameOfArea(nameAlg: BankName, area: Uint8Array): Uint8Array {
  return concat(big.u16(BANKS[nameAlg].id), digest(nameAlg, area))
}
