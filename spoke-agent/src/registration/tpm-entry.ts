import { createHash } from 'node:crypto'
import { Refusal, type RegistrationChallenge, type RegistrationProof, type RegistrationRequest } from '@skerry/api'
import type { EndorsementKey, Hardware } from '../tpm/index.ts'

// What a TPM adds to the three calls.

/** The keys that a request names, and what its proof must say when the hub has asked. */
export type TpmEntry = {
  readonly members: Pick<RegistrationRequest, 'ek' | 'ak' | 'ekCertificates'>
  readonly ekSha256: string
  readonly akName: string
  /** Opens the credential and quotes over the exchange. Rejects with TpmError; Refusal for a challenge that asks no TPM. */
  answer(
    challenge: RegistrationChallenge,
    transcript: string,
  ): Promise<{ readonly tpm: NonNullable<RegistrationProof['tpm']>; readonly bank: Bank }>
}
type Bank = NonNullable<RegistrationChallenge['tpm']>['bank']

/** Enters with the EK that the node is registered with, else with the best that its maker certified. */
export async function tpmEntry(hardware: Hardware, registered: string | undefined): Promise<TpmEntry> {
  const keys = await hardware.ask((tpm) => tpm.endorsementKeys())
  const ek = keys.find((key) => sha256(key.public) === registered) ?? keys[0]
  if (!ek) throw new Error('the TPM has no endorsement key')
  const ak = await hardware.ask((tpm) => tpm.attestationKey())
  return {
    members: {
      ek: base64(ek.public),
      ak: base64(ak.public),
      ...(ek.certificate ? { ekCertificates: [ek.certificate, ...ek.chain].map(base64) } : {}),
    },
    ekSha256: sha256(ek.public),
    akName: Buffer.from(ak.name).toString('hex'),
    async answer({ tpm }, transcript) {
      if (!tpm) throw new Refusal('InvalidField', 'the hub asks nothing of the TPM', { field: 'tpm' })
      const secret = await open(hardware, ek, tpm)
      const quote = await hardware.quote(new Uint8Array(Buffer.from(transcript, 'hex')), tpm.bank)
      return { tpm: { secret: Buffer.from(secret).toString('hex'), quote }, bank: tpm.bank }
    },
  }
}

function open(
  hardware: Hardware,
  { kind }: EndorsementKey,
  { idObject, encryptedSecret }: NonNullable<RegistrationChallenge['tpm']>,
): Promise<Uint8Array> {
  const credential = { idObject: bytes(idObject), encryptedSecret: bytes(encryptedSecret) }
  return hardware.ask((tpm) => tpm.activate({ ek: kind, ...credential }))
}

const sha256 = (data: Uint8Array): string => createHash('sha256').update(data).digest('hex')
const base64 = (data: Uint8Array): string => Buffer.from(data).toString('base64')
const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'base64'))
