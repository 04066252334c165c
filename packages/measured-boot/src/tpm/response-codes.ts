/** TPM_RC (TPM 2.0 Part 2), format zero: a fault of the whole command (VER1), or a warning that trying later can help (WARN). */
const VER1 = 0x100
const WARN = 0x900
const FORMAT_ZERO = {
  INITIALIZE: VER1 + 0x00,
  FAILURE: VER1 + 0x01,
  SEQUENCE: VER1 + 0x03,
  PRIVATE: VER1 + 0x0b,
  HMAC: VER1 + 0x19,
  DISABLED: VER1 + 0x20,
  EXCLUSIVE: VER1 + 0x21,
  AUTH_TYPE: VER1 + 0x24,
  AUTH_MISSING: VER1 + 0x25,
  POLICY: VER1 + 0x26,
  PCR: VER1 + 0x27,
  PCR_CHANGED: VER1 + 0x28,
  UPGRADE: VER1 + 0x2d,
  TOO_MANY_CONTEXTS: VER1 + 0x2e,
  AUTH_UNAVAILABLE: VER1 + 0x2f,
  REBOOT: VER1 + 0x30,
  UNBALANCED: VER1 + 0x31,
  COMMAND_SIZE: VER1 + 0x42,
  COMMAND_CODE: VER1 + 0x43,
  AUTHSIZE: VER1 + 0x44,
  AUTH_CONTEXT: VER1 + 0x45,
  NV_RANGE: VER1 + 0x46,
  NV_SIZE: VER1 + 0x47,
  NV_LOCKED: VER1 + 0x48,
  NV_AUTHORIZATION: VER1 + 0x49,
  NV_UNINITIALIZED: VER1 + 0x4a,
  NV_SPACE: VER1 + 0x4b,
  NV_DEFINED: VER1 + 0x4c,
  BAD_CONTEXT: VER1 + 0x50,
  CPHASH: VER1 + 0x51,
  PARENT: VER1 + 0x52,
  NEEDS_TEST: VER1 + 0x53,
  NO_RESULT: VER1 + 0x54,
  SENSITIVE: VER1 + 0x55,
  CONTEXT_GAP: WARN + 0x01,
  OBJECT_MEMORY: WARN + 0x02,
  SESSION_MEMORY: WARN + 0x03,
  MEMORY: WARN + 0x04,
  SESSION_HANDLES: WARN + 0x05,
  OBJECT_HANDLES: WARN + 0x06,
  LOCALITY: WARN + 0x07,
  YIELDED: WARN + 0x08,
  CANCELED: WARN + 0x09,
  TESTING: WARN + 0x0a,
  REFERENCE_H0: WARN + 0x10,
  REFERENCE_H1: WARN + 0x11,
  REFERENCE_H2: WARN + 0x12,
  REFERENCE_S0: WARN + 0x18,
  REFERENCE_S1: WARN + 0x19,
  REFERENCE_S2: WARN + 0x1a,
  NV_RATE: WARN + 0x20,
  LOCKOUT: WARN + 0x21,
  RETRY: WARN + 0x22,
  NV_UNAVAILABLE: WARN + 0x23,
} as const

/** Format one: a fault of one parameter, handle or session, whose number is in the code too. */
const FORMAT_ONE = {
  ASYMMETRIC: 0x01,
  ATTRIBUTES: 0x02,
  HASH: 0x03,
  VALUE: 0x04,
  HIERARCHY: 0x05,
  KEY_SIZE: 0x07,
  MGF: 0x08,
  MODE: 0x09,
  TYPE: 0x0a,
  HANDLE: 0x0b,
  KDF: 0x0c,
  RANGE: 0x0d,
  AUTH_FAIL: 0x0e,
  NONCE: 0x0f,
  PP: 0x10,
  SCHEME: 0x12,
  SIZE: 0x15,
  SYMMETRIC: 0x16,
  TAG: 0x17,
  SELECTOR: 0x18,
  INSUFFICIENT: 0x1a,
  SIGNATURE: 0x1b,
  KEY: 0x1c,
  POLICY_FAIL: 0x1d,
  INTEGRITY: 0x1f,
  TICKET: 0x20,
  RESERVED_BITS: 0x21,
  BAD_AUTH: 0x22,
  EXPIRED: 0x23,
  POLICY_CC: 0x24,
  BINDING: 0x25,
  CURVE: 0x26,
  ECC_POINT: 0x27,
  FW_LIMITED: 0x28,
  SVN_LIMITED: 0x29,
} as const

export type ResponseCodeName = keyof typeof FORMAT_ZERO | keyof typeof FORMAT_ONE
/** A response code by its name in Part 2 without TPM_RC_; `about` names the part of the command it speaks of, counted from one. */
export type ResponseCode = {
  readonly value: number
  readonly name: ResponseCodeName | undefined
  readonly about?: { readonly part: 'parameter' | 'handle' | 'session'; readonly number: number }
}

const ZERO_BY_VALUE = byValue<ResponseCodeName>(FORMAT_ZERO)
const ONE_BY_VALUE = byValue<ResponseCodeName>(FORMAT_ONE)

/** The meaning of a response code other than success. The kernel's resource manager writes its own layer above bit 16: it is left out. */
export function responseCode(value: number): ResponseCode {
  const code = value & 0xffff
  if ((code & 0x80) === 0) return { value, name: ZERO_BY_VALUE.get(code) }
  const name = ONE_BY_VALUE.get(code & 0x3f)
  const number = (code >>> 8) & 0xf
  // Part 2, "Response Code Formats": bit 6 is a parameter; else bit 11 tells a session from a handle.
  if ((code & 0x40) !== 0) return { value, name, about: { part: 'parameter', number } }
  return { value, name, about: { part: number >= 8 ? 'session' : 'handle', number: number & 0x7 } }
}

/** `TPM_RC_INTEGRITY, parameter 1 (0x1df)`. */
export function responseCodeText({ value, name, about }: ResponseCode): string {
  const named = name === undefined ? 'an unknown response code' : `TPM_RC_${name}`
  return `${named}${about ? `, ${about.part} ${about.number}` : ''} (0x${value.toString(16)})`
}

function byValue<Name extends string>(names: Readonly<Partial<Record<Name, number>>>): ReadonlyMap<number, Name> {
  const found = new Map<number, Name>()
  for (const name in names) {
    const value = names[name]
    if (value !== undefined) found.set(value, name)
  }
  return found
}
