import { type Bank, digest } from '../banks.ts'
import { toHex } from '../bytes.ts'
import { authenticodeDigest } from './authenticode.ts'
import { kernelParameters } from './findings.ts'
import { imageSignatures } from './image-signature.ts'
import { pcrKeySha256 } from './pcrsig.ts'
import { digestBootLoader, digestUki, predict } from './predict.ts'
import { parseUki, type UkiSectionName } from './sections.ts'
import { authorityOf, NOTHING_ENROLLED, predictPcr7, type SecureBootVariables } from './secure-boot.ts'
import { parseSignatureLists, type SignatureEntry } from './signature-list.ts'

/** Values of one bank in hex. Where a list stands, one for each boot loader, in their order: any of them is right. */
export type PredictedPcrs = {
  readonly '4': {
    readonly bootLoaders: readonly string[]
    readonly uki: string
    /** Measured with Secure Boot off alone. */
    readonly kernel: string
    /** Of a boot without retries. */
    readonly secureBootOn: readonly string[]
    readonly secureBootOff: readonly string[]
  }
  /** Off: of a machine with nothing enrolled. On: where keys were given and the firmware would start everything. */
  readonly '7': { readonly secureBootOn?: readonly string[]; readonly secureBootOff: string }
  readonly '9': string
  readonly '11': { readonly phases: Readonly<Record<string, string>> }
  readonly '12': { readonly secureBootOn: string; readonly secureBootOff: string }
}

/** What a manifest promises of a boot. Plain data; digests are hex, keys of objects stand in one order. */
export type BootBlock = {
  readonly kind: 'uki'
  readonly stub: { readonly name: string; readonly version: string }
  readonly uki: {
    readonly path: string
    readonly sha256: string
    readonly length: number
    readonly authenticode: Readonly<Partial<Record<Bank, string>>>
    /** SHA-256 of the certificates of good signatures. */
    readonly signers: readonly string[]
    readonly sections: readonly { readonly name: UkiSectionName; readonly sha256: string; readonly length: number }[]
  }
  readonly osRelease: { readonly imageId?: string; readonly imageVersion?: string }
  readonly bootLoaders: readonly {
    readonly name: string
    readonly sha256: string
    readonly authenticode: Readonly<Partial<Record<Bank, string>>>
    readonly signers: readonly string[]
  }[]
  readonly commandLine: { readonly text: string; readonly sha256: string }
  /** `roothash=` on the command line. */
  readonly verity?: { readonly rootHash: string }
  /** SHA-256 of the certificates that are enrolled, and of those by which the images start. */
  readonly secureBoot?: {
    readonly pk: readonly string[]
    readonly kek: readonly string[]
    readonly db: readonly string[]
    readonly authorities: readonly string[]
  }
  readonly pcrPolicyKey?: { readonly pkcs1Sha256: string }
  readonly pcrsigSha256?: string
  readonly pcr: { readonly banks: readonly Bank[]; readonly predicted: Readonly<Partial<Record<Bank, PredictedPcrs>>> }
}

export type BootFiles = {
  /** Where the UKI lies on the ESP. */
  readonly path: string
  readonly uki: Uint8Array
  /** Each that may start it, as deployed: a signer may have padded it. */
  readonly bootLoaders: readonly { readonly name: string; readonly file: Uint8Array }[]
  readonly secureBoot?: SecureBootVariables
  /** In order of preference. */
  readonly banks?: readonly Bank[]
}

/** Computes the boot block of these files. The same files give the same block, wherever it is computed. */
export function describeBoot({ path, uki: file, bootLoaders, secureBoot, banks = ['sha256'] }: BootFiles): BootBlock {
  const uki = parseUki(file)
  const digests = new Map(banks.map((bank) => [bank, digestUki(uki, bank)]))
  const sha256 = digests.get('sha256') ?? digestUki(uki, 'sha256')
  const hashed = (name: UkiSectionName, data: Uint8Array) =>
    toHex(sha256.sections.find((one) => one.name === name)?.digest ?? digest('sha256', data))

  const images = [...bootLoaders.map((one) => one.file), file]
  const authorities = secureBoot ? images.map((image) => authorityOf(image, secureBoot)) : []
  const entries = authorities.map((one) => (one.allowed ? one.entry : undefined))
  const ownEntry = entries.at(-1)

  const predicted = Object.fromEntries(
    [...digests].map(([bank, ofBank]): [Bank, PredictedPcrs] => {
      const loaders = bootLoaders.map((one) => digestBootLoader(one.file, bank))
      const [on, off] = [true, false].map((state) => loaders.map((loader) => predict(ofBank, loader, state)))
      const pcr7 = secureBoot
        ? loaders.map((_, index) => {
            const entry = entries[index]
            return entry && ownEntry ? toHex(predictPcr7(bank, true, secureBoot, [entry, ownEntry])) : undefined
          })
        : []
      const whole = predict(ofBank, new Uint8Array(), false)
      return [
        bank,
        {
          '4': {
            bootLoaders: loaders.map(toHex),
            uki: toHex(ofBank.authenticode),
            kernel: toHex(ofBank.kernelAuthenticode),
            secureBootOn: (on ?? []).map(({ pcr4 }) => toHex(pcr4.value)),
            secureBootOff: (off ?? []).map(({ pcr4 }) => toHex(pcr4.value)),
          },
          '7': {
            ...(pcr7.length > 0 && pcr7.every((one) => one !== undefined) ? { secureBootOn: pcr7 } : {}),
            secureBootOff: toHex(predictPcr7(bank, false, NOTHING_ENROLLED, [])),
          },
          '9': toHex(whole.pcr9),
          '11': { phases: Object.fromEntries([...whole.pcr11].map(([phase, value]) => [phase, toHex(value)])) },
          '12': {
            secureBootOn: toHex(predict(ofBank, new Uint8Array(), true).pcr12),
            secureBootOff: toHex(whole.pcr12),
          },
        },
      ]
    }),
  )
  const [imageId, imageVersion] = [uki.osRelease.get('IMAGE_ID'), uki.osRelease.get('IMAGE_VERSION')]
  const rootHash = kernelParameters(uki.commandLine?.text ?? '').findLast(({ name }) => name === 'roothash')?.value
  const [pcrKey, pcrsig] = [uki.sections.get('.pcrpkey'), uki.sections.get('.pcrsig')]
  return {
    kind: 'uki',
    stub: { name: uki.stub?.name ?? '', version: uki.stub?.version ?? '' },
    uki: {
      path,
      sha256: toHex(digest('sha256', file)),
      length: file.length,
      authenticode: Object.fromEntries([...digests].map(([bank, { authenticode }]) => [bank, toHex(authenticode)])),
      signers: signersOf(file),
      sections: [...uki.sections].map(([name, data]) => ({ name, sha256: hashed(name, data), length: data.length })),
    },
    osRelease: { ...(imageId ? { imageId } : {}), ...(imageVersion ? { imageVersion } : {}) },
    bootLoaders: bootLoaders.map((one) => ({
      name: one.name,
      sha256: toHex(digest('sha256', one.file)),
      authenticode: Object.fromEntries(banks.map((bank) => [bank, toHex(authenticodeDigest(one.file, bank))])),
      signers: signersOf(one.file),
    })),
    commandLine: { text: uki.commandLine?.text ?? '', sha256: hashed('.cmdline', new Uint8Array()) },
    ...(rootHash ? { verity: { rootHash } } : {}),
    ...(secureBoot ? { secureBoot: enrolled(secureBoot, entries) } : {}),
    ...(pcrKey ? { pcrPolicyKey: { pkcs1Sha256: pcrKeySha256(pcrKey) } } : {}),
    ...(pcrsig ? { pcrsigSha256: toHex(digest('sha256', pcrsig)) } : {}),
    pcr: { banks, predicted },
  }
}

function signersOf(file: Uint8Array): readonly string[] {
  return imageSignatures(file).flatMap(({ verdict, signer }) => (verdict === 'Good' && signer ? [signer.sha256] : []))
}

function enrolled(
  { pk, kek, db }: SecureBootVariables,
  used: readonly (SignatureEntry | undefined)[],
): NonNullable<BootBlock['secureBoot']> {
  const of = (bytes: Uint8Array) =>
    parseSignatureLists(bytes).flatMap(({ kind, entries }) => (kind === 'x509' ? entries.map(fingerprint) : []))
  return {
    pk: of(pk),
    kek: of(kek),
    db: of(db),
    authorities: [...new Set(used.flatMap((one) => (one ? [fingerprint(one)] : [])))],
  }
}

function fingerprint({ data }: SignatureEntry): string {
  return toHex(digest('sha256', data))
}
