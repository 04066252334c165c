import { BANKS, type BankName } from '../banks.ts'
import { big, concat, type Reader } from '../bytes.ts'
import type { ClockInfo } from './attest.ts'
import { type ResponseCode, responseCode } from './response-codes.ts'
import { type PcrSelection, readSelection, writeSelection } from './selection.ts'
import { ALG, LARGEST_HASH, LARGEST_NAME, readSized, sized, tpmReader } from './wire.ts'

// TPM 2.0 Part 3: commands as bytes, and what their responses say. Nothing is sent here. Who authorises does so with an
// empty password or a policy session that needs none: secrets of a TPM's owner are none of ours.

/** TPM_CC (Part 2) of the commands there are here. */
const COMMAND_CODES = {
  NV_DefineSpace: 0x12a,
  CreatePrimary: 0x131,
  NV_Increment: 0x134,
  NV_Write: 0x137,
  NV_WriteLock: 0x138,
  ActivateCredential: 0x147,
  Certify: 0x148,
  NV_Read: 0x14e,
  PolicySecret: 0x151,
  Quote: 0x158,
  Sign: 0x15d,
  FlushContext: 0x165,
  NV_ReadPublic: 0x169,
  ReadPublic: 0x173,
  StartAuthSession: 0x176,
  GetCapability: 0x17a,
  PCR_Read: 0x17e,
  ReadClock: 0x181,
  PCR_Extend: 0x182,
} as const
export type CommandName = keyof typeof COMMAND_CODES

/** TPM_RH: hierarchies and other handles that are always there (Part 2). */
export const HANDLES = { owner: 0x40000001, null: 0x40000007, endorsement: 0x4000000b } as const
const PASSWORD_SESSION = 0x40000009

/** TPM_ST (Part 2): whether sessions follow the handles. */
const TAG = { noSessions: 0x8001, sessions: 0x8002, hashCheck: 0x8024 } as const
const HEADER = 10
/** What Linux gives a TPM device as its buffer; no response is larger. */
export const LARGEST_RESPONSE = 4096

/** A command as the TPM takes it, and how its response is read. */
export type Command<Value> = {
  readonly name: CommandName
  readonly bytes: Uint8Array
  /** Handles the response begins with, and sessions it ends with. */
  readonly handles: number
  readonly sessions: number
  readonly read: (parameters: Reader, handles: readonly number[]) => Value
}

/** Who authorises the use of a handle: nobody but an empty password, or a policy session. */
export type Authorisation = 'empty-password' | { readonly session: number }

/** What the TPM answered: the value, or the code that says why not. Throws Malformed when it is no response to this command. */
export type Answer<Value> =
  | { readonly ok: true; readonly value: Value }
  | { readonly ok: false; readonly code: ResponseCode }

export function readAnswer<Value>(command: Command<Value>, bytes: Uint8Array): Answer<Value> {
  const reader = tpmReader(bytes, `response to TPM2_${command.name}`)
  if (bytes.length > LARGEST_RESPONSE) reader.fail('TooLarge', `${bytes.length} bytes`, 0)
  const tag = reader.u16()
  const size = reader.u32()
  if (size !== bytes.length)
    reader.fail(size > bytes.length ? 'Truncated' : 'TrailingBytes', `it says ${size} bytes`, 2)
  const code = reader.u32()
  if (code !== 0) {
    reader.end()
    return { ok: false, code: responseCode(code) }
  }
  if (tag !== (command.sessions > 0 ? TAG.sessions : TAG.noSessions))
    reader.fail('BadValue', `tag 0x${tag.toString(16)}`, 0)
  const handles = Array.from({ length: command.handles }, () => reader.u32())
  if (command.sessions === 0) {
    const value = command.read(reader, handles)
    reader.end()
    return { ok: true, value }
  }
  const length = reader.u32()
  const parameters = tpmReader(
    reader.raw(length),
    `parameters of TPM2_${command.name}`,
    HEADER + 4 * handles.length + 4,
  )
  const value = command.read(parameters, handles)
  parameters.end()
  for (let session = 0; session < command.sessions; session++) {
    readSized(reader, LARGEST_HASH)
    reader.u8()
    readSized(reader, LARGEST_HASH)
  }
  reader.end()
  return { ok: true, value }
}

function command<Value>(
  name: CommandName,
  given: {
    handles?: readonly number[]
    by?: readonly Authorisation[]
    parameters?: readonly Uint8Array[]
    answersWithHandles?: number
  },
  read: Command<Value>['read'],
): Command<Value> {
  const { handles = [], by = [], parameters = [], answersWithHandles = 0 } = given
  const sessions = concat(...by.map(authorisation))
  const body = concat(
    ...handles.map(big.u32),
    ...(by.length > 0 ? [big.u32(sessions.length), sessions] : []),
    ...parameters,
  )
  const head = [big.u16(by.length > 0 ? TAG.sessions : TAG.noSessions), big.u32(HEADER + body.length)]
  const bytes = concat(...head, big.u32(COMMAND_CODES[name]), body)
  return { name, bytes, handles: answersWithHandles, sessions: by.length, read }
}

/** TPMS_AUTH_COMMAND: no nonce and no HMAC; a session is to go on after the command (continueSession), so that who began it ends it. */
function authorisation(by: Authorisation): Uint8Array {
  const [handle, attributes] = by === 'empty-password' ? [PASSWORD_SESSION, 0] : [by.session, 1]
  return concat(big.u32(handle), sized(EMPTY), big.u8(attributes), sized(EMPTY))
}

const EMPTY = new Uint8Array()
const nothing = (): void => {}
const MOST = 0xffff
const noScheme = big.u16(ALG.null)
/** The bytes of what follows, to the end: a TPMT_SIGNATURE, read by `parseSignature`. */
const rest = (reader: Reader): Uint8Array => reader.raw(reader.left())

/** TPM_PT (Part 2): properties that are asked for here. */
export const PROPERTIES = {
  manufacturer: 0x105,
  firmwareVersion1: 0x10b,
  nvBufferMax: 0x12c,
  permanent: 0x200,
  lockoutCounter: 0x20e,
  maxAuthFail: 0x20f,
  lockoutInterval: 0x210,
} as const

const MOST_IN_LIST = 256

/** Values of properties from `first` on, at most `count`, by number; the TPM leaves out what it has not. */
export function getProperties(first: number, count: number): Command<ReadonlyMap<number, number>> {
  return getCapability(
    6,
    first,
    count,
    (reader) => [reader.u32(), reader.u32()] as const,
    (pairs) => new Map(pairs),
  )
}

/** Handles there are from `first` on: persistent objects from 0x81000000, NV indexes from 0x01000000, transient ones from 0x80000000. */
export function getHandles(first: number): Command<readonly number[]> {
  return getCapability(
    1,
    first,
    MOST_IN_LIST,
    (reader) => reader.u32(),
    (handles) => handles,
  )
}

function getCapability<Item, Value>(
  capability: number,
  first: number,
  count: number,
  readItem: (reader: Reader) => Item,
  finish: (items: Item[]) => Value,
): Command<Value> {
  const parameters = [big.u32(capability), big.u32(first), big.u32(count)]
  return command('GetCapability', { parameters }, (reader) => {
    const more = reader.u8()
    if (more > 1) reader.fail('BadValue', `"moreData" is ${more}`)
    const at = reader.offset()
    if (reader.u32() !== capability) reader.fail('BadValue', 'another capability was answered', at)
    const countAt = reader.offset()
    const length = reader.u32()
    if (length > MOST_IN_LIST) reader.fail('TooLarge', `${length} items`, countAt)
    return finish(Array.from({ length }, () => readItem(reader)))
  })
}

/** The banks that are allocated, with their PCRs. A bank without PCRs is one that is switched off. */
export function getBanks(): Command<readonly PcrSelection[]> {
  const PCRS = 5
  return command('GetCapability', { parameters: [big.u32(PCRS), big.u32(0), big.u32(1)] }, (reader) => {
    reader.u8()
    const at = reader.offset()
    if (reader.u32() !== PCRS) reader.fail('BadValue', 'another capability was answered', at)
    return readSelection(reader)
  })
}

/** TPM2B_PUBLIC and name of a loaded or persistent object. */
export function readPublic(handle: number): Command<{ readonly public: Uint8Array; readonly name: Uint8Array }> {
  return command('ReadPublic', { handles: [handle] }, (reader) => {
    const area = sized(readSized(reader, MOST))
    const name = readSized(reader, LARGEST_NAME)
    readSized(reader, LARGEST_NAME)
    return { public: area, name }
  })
}

export type Loaded = { readonly handle: number; readonly public: Uint8Array; readonly name: Uint8Array }

/** A primary object of a hierarchy with an empty password: the same one each time, for the same template (TPM2B_PUBLIC) and seed. */
export function createPrimary(hierarchy: keyof typeof HANDLES, template: Uint8Array): Command<Loaded> {
  const noSecret = sized(concat(sized(EMPTY), sized(EMPTY)))
  const parameters = [noSecret, template, sized(EMPTY), writeSelection([])]
  const given = { handles: [HANDLES[hierarchy]], by: ['empty-password'], parameters, answersWithHandles: 1 } as const
  return command('CreatePrimary', given, (reader, [handle = 0]) => {
    const area = sized(readSized(reader, MOST))
    // Creation data, its hash and the ticket for it.
    readSized(reader, MOST)
    readSized(reader, LARGEST_HASH)
    reader.u16()
    reader.u32()
    readSized(reader, LARGEST_HASH)
    return { handle, public: area, name: readSized(reader, LARGEST_NAME) }
  })
}

/** Takes an object or a session out of the TPM's memory. */
export function flushContext(handle: number): Command<void> {
  return command('FlushContext', { parameters: [big.u32(handle)] }, nothing)
}

/** A policy session, with no salt and no binding. `nonce`: 16 bytes that are new. */
export function startPolicySession(nonce: Uint8Array, hash: BankName): Command<number> {
  const POLICY = 0x01
  const parameters = [sized(nonce), sized(EMPTY), big.u8(POLICY), noScheme, big.u16(BANKS[hash].id)]
  const given = { handles: [HANDLES.null, HANDLES.null], parameters, answersWithHandles: 1 }
  return command('StartAuthSession', given, (reader, [session = 0]) => {
    readSized(reader, LARGEST_HASH)
    return session
  })
}

/** Shows a policy session that the hierarchy's password, which is empty, is known. */
export function policySecret(hierarchy: keyof typeof HANDLES, session: number): Command<void> {
  // nonceTPM, cpHashA, policyRef, expiration: none.
  const parameters = [sized(EMPTY), sized(EMPTY), sized(EMPTY), big.u32(0)]
  const given = { handles: [HANDLES[hierarchy], session], by: ['empty-password'], parameters } as const
  return command('PolicySecret', given, (reader) => {
    readSized(reader, MOST)
    reader.u16()
    reader.u32()
    readSized(reader, LARGEST_HASH)
  })
}

/** The secret that somebody made for the object `ak` by its name and encrypted to the key `ek`. INTEGRITY: it was made for another. */
export function activateCredential(given: {
  ak: number
  ek: number
  ekBy: Authorisation
  /** TPM2B_ID_OBJECT and TPM2B_ENCRYPTED_SECRET, as MakeCredential gives them. */
  idObject: Uint8Array
  encryptedSecret: Uint8Array
}): Command<Uint8Array> {
  const { ak, ek, ekBy, idObject, encryptedSecret } = given
  const parts = { handles: [ak, ek], by: ['empty-password', ekBy], parameters: [idObject, encryptedSecret] } as const
  return command('ActivateCredential', parts, (reader) => readSized(reader, LARGEST_HASH))
}

/** What a key says of something: TPMS_ATTEST, and its TPMT_SIGNATURE by the key's own scheme. */
export type Attested = { readonly attest: Uint8Array; readonly signature: Uint8Array }
const readAttested = (reader: Reader): Attested => ({ attest: readSized(reader, MOST), signature: rest(reader) })

export function quote(ak: number, nonce: Uint8Array, selection: readonly PcrSelection[]): Command<Attested> {
  const parameters = [sized(nonce), noScheme, writeSelection(selection)]
  return command('Quote', { handles: [ak], by: ['empty-password'], parameters }, readAttested)
}

/** The name of `object`, signed by `ak`: both are in one TPM. */
export function certify(object: number, ak: number, nonce: Uint8Array): Command<Attested> {
  const parameters = [sized(nonce), noScheme]
  return command(
    'Certify',
    { handles: [object, ak], by: ['empty-password', 'empty-password'], parameters },
    readAttested,
  )
}

/** A signature over a digest from outside, by a key that is not restricted and has a scheme. */
export function sign(key: number, digest: Uint8Array): Command<Uint8Array> {
  // TPMT_TK_HASHCHECK: none, for the TPM did not make the digest.
  const ticket = concat(big.u16(TAG.hashCheck), big.u32(HANDLES.null), sized(EMPTY))
  return command(
    'Sign',
    { handles: [key], by: ['empty-password'], parameters: [sized(digest), noScheme, ticket] },
    rest,
  )
}

/** Values of as many of these PCRs as one response holds (eight); `updates` counts every extend. */
export function pcrRead(
  bank: BankName,
  pcrs: readonly number[],
): Command<{
  readonly updates: number
  readonly values: ReadonlyMap<number, Uint8Array>
}> {
  return command('PCR_Read', { parameters: [writeSelection([{ bank, pcrs }])] }, (reader) => {
    const updates = reader.u32()
    const selection = readSelection(reader)
    const read = selection.flatMap((part) => (part.bank === bank ? part.pcrs : []))
    const at = reader.offset()
    const count = reader.u32()
    if (count !== read.length) reader.fail('BadValue', `${count} values of ${read.length} PCRs`, at)
    const values = new Map<number, Uint8Array>()
    for (const pcr of read) {
      const valueAt = reader.offset()
      const value = readSized(reader, LARGEST_HASH)
      if (value.length !== BANKS[bank].size)
        reader.fail('BadValue', `${value.length} bytes are no ${bank} digest`, valueAt)
      values.set(pcr, value)
    }
    return { updates, values }
  })
}

export function pcrExtend(pcr: number, bank: BankName, measured: Uint8Array): Command<void> {
  const parameters = [big.u32(1), big.u16(BANKS[bank].id), measured]
  return command('PCR_Extend', { handles: [pcr], by: ['empty-password'], parameters }, nothing)
}

/** TPMS_TIME_INFO without the time since power came, which says nothing that the clock does not. */
export function readClock(): Command<ClockInfo> {
  return command('ReadClock', {}, (reader) => {
    reader.u64()
    const at = reader.offset()
    const clock = reader.u64()
    if (clock > BigInt(Number.MAX_SAFE_INTEGER)) reader.fail('TooLarge', `a clock of ${clock} ms`, at)
    const [resetCount, restartCount] = [reader.u32(), reader.u32()]
    const safeAt = reader.offset()
    const safe = reader.u8()
    if (safe > 1) reader.fail('BadValue', `"safe" is ${safe}`, safeAt)
    return { clockMs: Number(clock), resetCount, restartCount, safe: safe === 1 }
  })
}

/** TPMA_NV (Part 2), by bit. */
export const NV_ATTRIBUTES = {
  authWrite: 2,
  counter: 4,
  writeLocked: 11,
  writeDefine: 13,
  authRead: 18,
  noDA: 25,
  written: 29,
  platformCreate: 30,
} as const
export type NvAttribute = keyof typeof NV_ATTRIBUTES
/** TPMS_NV_PUBLIC without what is not asked for here; attributes that have no name here are left out. */
export type NvPublic = { readonly index: number; readonly attributes: ReadonlySet<NvAttribute>; readonly size: number }

export function nvReadPublic(index: number): Command<NvPublic> {
  return command('NV_ReadPublic', { handles: [index] }, (whole) => {
    const at = whole.offset()
    const reader = tpmReader(readSized(whole, MOST), 'TPMS_NV_PUBLIC', at + 2)
    const answered = reader.u32()
    if (answered !== index) reader.fail('BadValue', 'another index was answered', at + 2)
    reader.u16()
    const word = reader.u32()
    readSized(reader, LARGEST_HASH)
    const size = reader.u16()
    reader.end()
    readSized(whole, LARGEST_NAME)
    const attributes = new Set<NvAttribute>()
    for (const name of NV_NAMES) if (((word >>> NV_ATTRIBUTES[name]) & 1) === 1) attributes.add(name)
    return { index, attributes, size }
  })
}

const NV_NAMES = Object.keys(NV_ATTRIBUTES) as NvAttribute[]

/** Makes an index in the owner's hierarchy, with an empty password of its own. */
export function nvDefineSpace(index: number, attributes: readonly NvAttribute[], size: number): Command<void> {
  const word = attributes.reduce((bits, name) => bits + 2 ** NV_ATTRIBUTES[name], 0)
  const area = concat(big.u32(index), big.u16(BANKS.sha256.id), big.u32(word), sized(EMPTY), big.u16(size))
  const parameters = [sized(EMPTY), sized(area)]
  return command('NV_DefineSpace', { handles: [HANDLES.owner], by: ['empty-password'], parameters }, nothing)
}

const byItsOwnPassword = (index: number) => ({ handles: [index, index], by: ['empty-password'] }) as const

/** `length` bytes from `offset` on: at most what PROPERTIES.nvBufferMax says. */
export function nvRead(index: number, length: number, offset: number): Command<Uint8Array> {
  const parameters = [big.u16(length), big.u16(offset)]
  return command('NV_Read', { ...byItsOwnPassword(index), parameters }, (reader) => {
    const at = reader.offset()
    const bytes = readSized(reader, MOST)
    if (bytes.length !== length) reader.fail('BadValue', `${bytes.length} bytes, where ${length} were asked for`, at)
    return bytes
  })
}

export function nvWrite(index: number, bytes: Uint8Array): Command<void> {
  return command('NV_Write', { ...byItsOwnPassword(index), parameters: [sized(bytes), big.u16(0)] }, nothing)
}

/** With `writeDefine`, nobody writes the index again as long as it is defined. */
export function nvWriteLock(index: number): Command<void> {
  return command('NV_WriteLock', byItsOwnPassword(index), nothing)
}

/** A counter goes up by one; its first value is above that of any counter this TPM ever had. */
export function nvIncrement(index: number): Command<void> {
  return command('NV_Increment', byItsOwnPassword(index), nothing)
}
