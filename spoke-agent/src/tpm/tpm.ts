import {
  type Bank,
  type ClockInfo,
  command,
  digest,
  type EkTemplateName,
  type PcrSelection,
  parseQuote,
  parseSignature,
} from '@skerry/measured-boot'
import { type Commander, makeTurns } from './commander.ts'
import { type EndorsementKey, findEndorsementKeys, openCredential } from './endorsement.ts'
import { TpmError } from './errors.ts'
import { es256Of } from './es256.ts'
import { raiseReleaseFloor, readReleaseFloor } from './release-floor.ts'
import { AK_TEMPLATE, nodeKeyTemplate } from './templates.ts'

/** TPM2B_PUBLIC and name of a key. */
type TpmKey = { readonly public: Uint8Array; readonly name: Uint8Array }

/** What a TPM says of a boot: TPMS_ATTEST, TPMT_SIGNATURE, and the values that it quoted. */
type Quoted = {
  readonly quote: Uint8Array
  readonly signature: Uint8Array
  readonly pcrs: ReadonlyMap<number, Uint8Array>
}

/** What a person asks of a TPM that does not do what it should. */
export type TpmState = {
  /** Four letters, as its maker registered them. */
  readonly manufacturer: string
  /** Banks that may count as evidence and are switched on. */
  readonly banks: readonly Bank[]
  readonly inLockout: boolean
  /** Wrong passwords that are remembered, how many of them lock, and after how long one is forgiven. */
  readonly wrongPasswords: { readonly remembered: number; readonly most: number; readonly forgivenAfterSeconds: number }
}

/** This machine's TPM. Every method is one turn: it leaves nothing in the TPM, and rejects with TpmError. */
export type Tpm = {
  state(): Promise<TpmState>
  endorsementKeys(): Promise<EndorsementKey[]>
  attestationKey(): Promise<TpmKey>
  /** The secret in a credential that was made for this attestation key and that endorsement key (WrongCredential: for others). */
  activate(given: {
    readonly ek: EkTemplateName
    readonly idObject: Uint8Array
    readonly encryptedSecret: Uint8Array
  }): Promise<Uint8Array>
  quote(given: { readonly nonce: Uint8Array; readonly bank: Bank; readonly pcrs: readonly number[] }): Promise<Quoted>
  clock(): Promise<ClockInfo>
  /** A P-256 key for what the node says, which cannot leave this TPM; another for each `unique`. */
  nodeKey(unique: string): Promise<TpmKey>
  /** ES256 (RFC 7518) by the node key of this name: r and s, 64 bytes, over the SHA-256 of the message. OtherTpm where it lies elsewhere. */
  sign(by: { readonly unique: string; readonly name: Uint8Array }, message: Uint8Array): Promise<Uint8Array>
  /** The attestation key's word that the node key lies in the same TPM: TPMS_ATTEST and TPMT_SIGNATURE. */
  certifyNodeKey(unique: string, nonce: Uint8Array): Promise<command.Attested>
  readonly releaseFloor: { read(): Promise<number | undefined>; raise(to: number): Promise<number> }
}

/** PCRs move while something measures; a quote and its values are taken again so often. */
const MOST_QUOTES = 5

/** The TPM behind a device or a socket. Nothing is opened before the first turn; `signal` ends the pauses between tries. */
export function tpmAt(path: string, signal: AbortSignal): Tpm {
  const turn = makeTurns(path, signal)
  const key = (template: Uint8Array): Promise<TpmKey> =>
    turn((tpm) => tpm.withPrimary(template, async ({ public: area, name }) => ({ public: area, name })))
  return {
    state: () => turn(readState),
    endorsementKeys: () => turn(findEndorsementKeys),
    attestationKey: () => key(AK_TEMPLATE),
    nodeKey: (unique) => key(nodeKeyTemplate(unique)),
    activate: ({ ek, ...credential }) =>
      turn((tpm) => tpm.withPrimary(AK_TEMPLATE, (ak) => openCredential(tpm, ek, ak, credential))),
    quote: (given) => turn((tpm) => tpm.withPrimary(AK_TEMPLATE, (ak) => quoteWithValues(tpm, ak.handle, given))),
    clock: () => turn((tpm) => tpm.run(command.readClock())),
    sign: ({ unique, name }, message) =>
      turn((tpm) =>
        tpm.withPrimary(nodeKeyTemplate(unique), async (own) => {
          // A primary key is made from its TPM's seed: in another TPM it is another key, and its word nobody's.
          if (!Buffer.from(own.name).equals(name))
            throw new TpmError('OtherTpm', 'the node key', 'this TPM is not the one in which it was made')
          return signES256(tpm, own.handle, message)
        }),
      ),
    certifyNodeKey: (unique, nonce) =>
      turn((tpm) =>
        tpm.withPrimary(AK_TEMPLATE, (ak) =>
          tpm.withPrimary(nodeKeyTemplate(unique), (own) => tpm.run(command.certify(own.handle, ak.handle, nonce))),
        ),
      ),
    releaseFloor: {
      read: () => turn(readReleaseFloor),
      raise: (to) => turn((tpm) => raiseReleaseFloor(tpm, to)),
    },
  }
}

async function quoteWithValues(
  tpm: Commander,
  ak: number,
  { nonce, bank, pcrs }: { nonce: Uint8Array; bank: Bank; pcrs: readonly number[] },
): Promise<Quoted> {
  const selection: PcrSelection[] = [{ bank, pcrs }]
  for (let quotes = 0; quotes < MOST_QUOTES; quotes++) {
    const { attest, signature } = await tpm.run(command.quote(ak, nonce, selection))
    const values = await readPcrs(tpm, bank, pcrs)
    const rising = [...values].sort(([one], [other]) => one - other).map(([, value]) => value)
    // The key signs with SHA-256, which is what the quoted digest is made with, whatever the bank.
    if (Buffer.from(digest('sha256', ...rising)).equals(parseQuote(attest).pcrDigest))
      return { quote: attest, signature, pcrs: values }
  }
  throw new TpmError('Moving', 'a quote', `PCRs changed during each of ${MOST_QUOTES} tries`)
}

/** A response holds eight values, so what is missing is asked for again. */
async function readPcrs(tpm: Commander, bank: Bank, pcrs: readonly number[]): Promise<Map<number, Uint8Array>> {
  const values = new Map<number, Uint8Array>()
  for (let missing = pcrs; missing.length > 0; missing = pcrs.filter((pcr) => !values.has(pcr))) {
    const { values: more } = await tpm.run(command.pcrRead(bank, missing))
    if (more.size === 0) throw new TpmError('Unsupported', `PCRs ${missing.join(', ')}`, `this TPM has no bank ${bank}`)
    for (const [pcr, value] of more) values.set(pcr, value)
  }
  return values
}

async function signES256(tpm: Commander, key: number, message: Uint8Array): Promise<Uint8Array> {
  return es256Of(parseSignature(await tpm.run(command.sign(key, digest('sha256', message)))))
}

/** TPMA_PERMANENT (Part 2). */
const IN_LOCKOUT = 1 << 9

async function readState(tpm: Commander): Promise<TpmState> {
  const { manufacturer, permanent, lockoutCounter } = command.PROPERTIES
  const fixed = await tpm.run(command.getProperties(manufacturer, 1))
  const variable = await tpm.run(command.getProperties(permanent, 32))
  const banks = await tpm.run(command.getBanks())
  const property = (name: keyof typeof command.PROPERTIES) => variable.get(command.PROPERTIES[name]) ?? 0
  return {
    manufacturer: letters(fixed.get(manufacturer) ?? 0),
    banks: banks.flatMap(({ bank, pcrs }) => (pcrs.length > 0 && isBank(bank) ? [bank] : [])),
    inLockout: (property('permanent') & IN_LOCKOUT) !== 0,
    wrongPasswords: {
      remembered: variable.get(lockoutCounter) ?? 0,
      most: property('maxAuthFail'),
      forgivenAfterSeconds: property('lockoutInterval'),
    },
  }
}

const isBank = (bank: PcrSelection['bank']): bank is Bank => !bank.startsWith('0x') && bank !== 'sha1'

function letters(word: number): string {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(word)
  return bytes.toString('latin1').replaceAll('\0', '').trim()
}
