import { BANK_NAMES, type HardwareProfile, type PcrValues, Refusal, type TpmQuote, type Verdict } from '@skerry/api'
import { QUOTE_CHECKS } from '@skerry/measured-boot'
import { appraise } from '../attestation/appraise.ts'
import { FIRMWARE_PCRS } from '../attestation/reference.ts'

/** What a registration's quote is held against. */
export type FirstQuote = {
  readonly quote: TpmQuote
  /** The attestation key that the credential was opened for: as the request has it, and its Name. */
  readonly ak: string
  readonly akName: string
  /** Digest of the exchange: what the quote must answer. */
  readonly transcript: string
  readonly bank: (typeof BANK_NAMES)[number]
  readonly profile: HardwareProfile | undefined
  /** Of a node that is on record: what its firmware showed when it registered. */
  readonly firmware: PcrValues | undefined
}

export type FirstBoot = {
  readonly verdict: Verdict
  readonly reason: string
  readonly message: string
  /** What the firmware's PCRs hold. */
  readonly firmware: PcrValues
}

/**
 * The quote by which an AK vouches for an exchange, and what it says of the machine. Throws ProofMismatch for one that is
 * not by this key, over this exchange and of this bank: all that fails, by name. What booted is not judged: nobody said it
 * yet, and the first statement will.
 */
export function judgeFirstBoot({ quote, ak, akName, transcript, bank, profile, firmware }: FirstQuote): FirstBoot {
  const banks = BANK_NAMES.filter((name) => quote.pcrs[name] !== undefined)
  if (banks.length !== 1 || banks[0] !== bank)
    throw new Refusal('ProofMismatch', `the quote brings ${banks.join(', ') || 'no bank'}, and ${bank} was asked for`, {
      field: 'tpm.quote.pcrs',
    })
  if (!Buffer.from(quote.akPublic, 'base64').equals(Buffer.from(ak, 'base64')))
    throw new Refusal('ProofMismatch', 'the quote is by another attestation key than the one that was asked', {
      field: 'tpm.quote.akPublic',
    })
  const shown: PcrValues = Object.fromEntries(
    FIRMWARE_PCRS.flatMap((pcr) => {
      const value = quote.pcrs[bank]?.[pcr]
      return value === undefined ? [] : [[pcr, value]]
    }),
  )
  const evidence = {
    ...quote,
    class: 'tpm' as const,
    bootId: 'registration',
    slot: 'unknown',
    imageSha256: '0'.repeat(64),
    nonce: transcript,
  }
  const { verdict, reason, message, checks, findings } = appraise(evidence, {
    nonce: transcript,
    tpm: {
      akName,
      image: 'not-given',
      others: [],
      profile,
      // What it shows when it registers is what counts for it from now on.
      firmware: { atRegistration: firmware ?? shown, shownBy: [] },
      before: undefined,
    },
  })
  const quoteChecks: readonly string[] = QUOTE_CHECKS
  const failed = checks.filter(({ name, ok }) => !ok && quoteChecks.includes(name)).map(({ name }) => name)
  if (checks.length === 0 || failed.length > 0) {
    const why = findings.filter((one) => failed.some((name) => one.message.startsWith(`${name}: `)))
    throw new Refusal(
      'ProofMismatch',
      `the quote does not vouch for this exchange: ${why.map((one) => one.message).join('; ') || message}`,
      { field: 'tpm.quote' },
    )
  }
  return { verdict, reason, message: message.slice(0, 1_000), firmware: shown }
}
