import { createHash, generateKeyPairSync, randomBytes, timingSafeEqual } from 'node:crypto'
import {
  type HardwareProfile,
  type NodeKeyPlace,
  Refusal,
  type RegistrationChallenge,
  type RegistrationProof,
  type RegistrationRequest,
  type RegistrationSpec,
} from '@skerry/api'
import { type CredentialRandomness, Malformed, makeCredential, type PublicArea } from '@skerry/measured-boot'
import {
  type FirstBoot,
  judgeFirstBoot,
  judgeHardware,
  judgeNodeKey,
  type NamedTpm,
  QUOTED_PCRS,
  refusalOf,
} from '@skerry/policy'
import type { Exchange, ExchangeTpm } from '../../store/exchanges.ts'
import type { IdentityRow } from '../../store/identities.ts'

// The TPM's half of the two calls: a secret that only it can open, and a quote by the key that the secret was made for.

type TpmSpec = NonNullable<RegistrationSpec['tpm']>
const SECRET_BYTES = 32

/** What a TPM is asked, and what is kept of it. Throws ProfileUnknown, EkUntrusted, AkUnfit: all that is wrong, in one. */
export function askTpm(
  request: RegistrationRequest,
  named: NamedTpm,
  profile: HardwareProfile | undefined,
  before: TpmSpec | undefined,
  nowMs: number,
): { challenge: NonNullable<RegistrationChallenge['tpm']>; kept: ExchangeTpm } {
  const vouched = before ? still(named, before) : vouch(request, named, profile, nowMs)
  const bank = profile?.banks[0] ?? 'sha256'
  const secret = randomBytes(SECRET_BYTES)
  const { idObject, encryptedSecret } = seal(named, secret)
  const { ekSha256, ekTwins, akName } = named
  return {
    challenge: {
      idObject: Buffer.from(idObject).toString('base64'),
      encryptedSecret: Buffer.from(encryptedSecret).toString('base64'),
      bank,
      pcrs: [...QUOTED_PCRS],
    },
    kept: { ekSha256, ekTwins, akName, bank, ...vouched, secretSha256: sha256(secret).toString('hex') },
  }
}

type Vouched = Pick<ExchangeTpm, 'profile' | 'endorsedBy'>

// Who is on record was vouched for when it came. A maker's certificate that ended since, or a profile that went, keeps
// nobody away for whom a person has not decided so.
function still({ faults }: NamedTpm, { profile, endorsedBy }: TpmSpec): Vouched {
  const refusal = refusalOf(faults)
  if (refusal) throw refusal
  return { profile, endorsedBy }
}

function vouch(
  request: RegistrationRequest,
  named: NamedTpm,
  profile: HardwareProfile | undefined,
  nowMs: number,
): Vouched {
  if (!profile)
    throw new Refusal(
      'ProfileUnknown',
      `no signed HardwareProfile names hardware "${request.hardwareId}": sign one for it and publish it, or start the agent with another --hardware-id`,
      { field: 'hardwareId' },
    )
  return { profile: profile.name, endorsedBy: judgeHardware(named, request, profile, nowMs) }
}

function seal({ ek, akName }: NamedTpm, secret: Uint8Array): ReturnType<typeof makeCredential> {
  try {
    return makeCredential(ek, new Uint8Array(Buffer.from(akName, 'hex')), secret, fresh(ek))
  } catch (error) {
    if (!(error instanceof Malformed)) throw error
    throw new Refusal('EkUntrusted', `no secret can be made for this EK: ${error.message}`, {
      field: 'ek',
      cause: error,
    })
  }
}

function fresh(ek: PublicArea): CredentialRandomness {
  if (ek.type === 'ecc') return { ephemeral: generateKeyPairSync('ec', { namedCurve: ek.curve }).privateKey }
  return { seed: new Uint8Array(randomBytes(ek.nameAlg === 'sha256' ? 32 : ek.nameAlg === 'sha384' ? 48 : 64)) }
}

/**
 * Judges what a TPM answered: that it opened the secret, what its quote over the exchange says of the machine, and that the
 * node key lies in it, where the proof says so. Throws
 * ProofMismatch. Undefined for class software-key.
 */
export function judgeTpmProof(
  { transcript }: Exchange,
  asked: ExchangeTpm | undefined,
  request: RegistrationRequest,
  proof: RegistrationProof,
  { profile, record }: { profile: HardwareProfile | undefined; record: IdentityRow | undefined },
): { readonly firstBoot: FirstBoot; readonly nodeKeyIn: NodeKeyPlace } | undefined {
  if (!asked || request.ak === undefined) {
    if (proof.tpm) throw new Refusal('ProofMismatch', 'no TPM was asked', { field: 'tpm' })
    return undefined
  }
  if (!proof.tpm)
    throw new Refusal('ProofMismatch', 'the TPM was asked, and the proof has no answer of it', { field: 'tpm' })
  const { secret, quote, nodeKey: certificate } = proof.tpm
  if (!timingSafeEqual(sha256(Buffer.from(secret, 'hex')), Buffer.from(asked.secretSha256, 'hex')))
    throw new Refusal('ProofMismatch', 'this is not what was in the credential: another TPM answers', {
      field: 'tpm.secret',
    })
  const { akName, bank } = asked
  const firmware = record?.akName === akName ? (record.firmware ?? undefined) : undefined
  const { ak, nodeKey } = request
  if (certificate) judgeNodeKey({ certificate, ak, transcript, nodeKey })
  const firstBoot = judgeFirstBoot({ quote, ak, akName, transcript, bank, profile, firmware })
  return { firstBoot, nodeKeyIn: certificate ? 'tpm' : 'file' }
}

/** What the Registration says of the TPM. The first boot stays the one that was decided about; where the node key lies is news. */
export function tpmSpecOf(
  asked: ExchangeTpm | undefined,
  shown: ReturnType<typeof judgeTpmProof>,
  before: Pick<RegistrationSpec, 'decision' | 'tpm'> | undefined,
): { tpm?: TpmSpec } {
  if (!asked || !shown) return {}
  const { firstBoot, nodeKeyIn } = shown
  if (before?.decision && before.tpm) return { tpm: { ...before.tpm, nodeKeyIn } }
  const { ekSha256, akName, endorsedBy, profile } = asked
  const { verdict, reason, message } = firstBoot
  return { tpm: { ekSha256, akName, endorsedBy, profile, nodeKeyIn, firstBoot: { verdict, reason, message } } }
}

const sha256 = (bytes: Uint8Array): Buffer => createHash('sha256').update(bytes).digest()
