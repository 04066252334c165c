import { type Bank, digest } from '../banks.ts'
import { toHex } from '../bytes.ts'
import type { UkiSectionName } from '../uki-sections.ts'
import { kernelParameters } from './findings.ts'
import { imageSignatures } from './image-signature.ts'
import { pcrKeySha256 } from './pcrsig.ts'
import {
  digestBootLoader,
  digestUki,
  predictPcr4,
  predictPcr9,
  predictPcr11,
  predictPcr12,
  type UkiDigests,
} from './predict.ts'
import { parseUki } from './sections.ts'
import { authorityOf, NOTHING_ENROLLED, predictPcr7, type SecureBootVariables, signedImageOf } from './secure-boot.ts'
import { parseSignatureLists, type SignatureEntry } from './signature-list.ts'

/** Values of one bank in hex. Where a list stands, one for each boot loader, in their order: any of them is right. */
type PredictedPcrs = {
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
    /** What those signatures carry, in DER and in base64: the signers' own, and those that vouch for them. */
    readonly certificates: readonly string[]
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
  const sha256 = digestUki(uki, 'sha256')
  const digests = banks.map((bank) => (bank === 'sha256' ? sha256 : digestUki(uki, bank)))
  const hashed = (name: UkiSectionName, data: Uint8Array) =>
    toHex(sha256.sections.find((one) => one.name === name)?.digest ?? digest('sha256', data))
  const loaderFiles = bootLoaders.map((one) => one.file)
  const starting = secureBoot && startedBy(secureBoot, loaderFiles, file)

  const [imageId, imageVersion] = [uki.osRelease.get('IMAGE_ID'), uki.osRelease.get('IMAGE_VERSION')]
  const [commandLine, pcrKey, pcrsig] = (['.cmdline', '.pcrpkey', '.pcrsig'] as const).map((name) =>
    uki.sections.get(name),
  )
  const rootHash = kernelParameters(uki.commandLine?.text ?? '').findLast(({ name }) => name === 'roothash')?.value
  return {
    kind: 'uki',
    stub: { name: uki.stub?.name ?? '', version: uki.stub?.version ?? '' },
    uki: {
      path,
      sha256: toHex(digest('sha256', file)),
      length: file.length,
      authenticode: Object.fromEntries(digests.map(({ bank, authenticode }) => [bank, toHex(authenticode)])),
      signers: signersOf(file),
      certificates: certificatesOf(file),
      sections: [...uki.sections].map(([name, data]) => ({ name, sha256: hashed(name, data), length: data.length })),
    },
    osRelease: { ...(imageId ? { imageId } : {}), ...(imageVersion ? { imageVersion } : {}) },
    bootLoaders: bootLoaders.map((one) => ({
      name: one.name,
      sha256: toHex(digest('sha256', one.file)),
      authenticode: Object.fromEntries(banks.map((bank) => [bank, toHex(digestBootLoader(one.file, bank))])),
      signers: signersOf(one.file),
    })),
    commandLine: { text: uki.commandLine?.text ?? '', sha256: hashed('.cmdline', commandLine ?? new Uint8Array()) },
    ...(rootHash ? { verity: { rootHash } } : {}),
    ...(starting ? { secureBoot: enrolled(starting) } : {}),
    ...(pcrKey ? { pcrPolicyKey: { pkcs1Sha256: pcrKeySha256(pcrKey) } } : {}),
    ...(pcrsig ? { pcrsigSha256: toHex(digest('sha256', pcrsig)) } : {}),
    pcr: {
      banks,
      predicted: Object.fromEntries(digests.map((of) => [of.bank, predictedPcrs(of, loaderFiles, starting)])),
    },
  }
}

/** By which entries of db a machine starts each boot loader, and the UKI; undefined where it would not. */
type Starting = {
  readonly variables: SecureBootVariables
  readonly bootLoaders: readonly (SignatureEntry | undefined)[]
  readonly uki: SignatureEntry | undefined
}

function startedBy(variables: SecureBootVariables, bootLoaders: readonly Uint8Array[], uki: Uint8Array): Starting {
  const entryFor = (image: Uint8Array) => {
    const authority = authorityOf(signedImageOf(image), variables)
    return authority.allowed ? authority.entry : undefined
  }
  return { variables, bootLoaders: bootLoaders.map(entryFor), uki: entryFor(uki) }
}

function predictedPcrs(uki: UkiDigests, files: readonly Uint8Array[], starting: Starting | undefined): PredictedPcrs {
  const { bank } = uki
  const loaders = files.map((file) => digestBootLoader(file, bank))
  const pcr4 = (secureBoot: boolean) => loaders.map((loader) => toHex(predictPcr4(uki, loader, secureBoot).value))
  const pcr7On = starting && pcr7With(bank, starting)
  return {
    '4': {
      bootLoaders: loaders.map(toHex),
      uki: toHex(uki.authenticode),
      kernel: toHex(uki.kernelAuthenticode),
      secureBootOn: pcr4(true),
      secureBootOff: pcr4(false),
    },
    '7': {
      ...(pcr7On ? { secureBootOn: pcr7On } : {}),
      secureBootOff: toHex(predictPcr7(bank, false, NOTHING_ENROLLED, [])),
    },
    '9': toHex(predictPcr9(uki)),
    '11': { phases: Object.fromEntries([...predictPcr11(uki)].map(([phase, value]) => [phase, toHex(value)])) },
    '12': { secureBootOn: toHex(predictPcr12(uki, true)), secureBootOff: toHex(predictPcr12(uki, false)) },
  }
}

/** PCR 7 for each boot loader; nothing where the firmware would not start all of them and the UKI. */
function pcr7With(bank: Bank, { variables, bootLoaders, uki }: Starting): readonly string[] | undefined {
  const values = bootLoaders.map((entry) =>
    entry && uki ? [toHex(predictPcr7(bank, true, variables, [entry, uki]))] : [],
  )
  return values.length > 0 && values.every(({ length }) => length > 0) ? values.flat() : undefined
}

function signersOf(file: Uint8Array): readonly string[] {
  return imageSignatures(file).flatMap(({ verdict, signer }) => (verdict === 'Good' && signer ? [signer.sha256] : []))
}

function certificatesOf(file: Uint8Array): readonly string[] {
  const carried = imageSignatures(file).flatMap(({ verdict, certificates }) => (verdict === 'Good' ? certificates : []))
  return [...new Set(carried.map(({ der }) => Buffer.from(der).toString('base64')))]
}

function enrolled({ variables, bootLoaders, uki }: Starting): NonNullable<BootBlock['secureBoot']> {
  const of = (bytes: Uint8Array) =>
    parseSignatureLists(bytes).flatMap(({ kind, entries }) => (kind === 'x509' ? entries.map(fingerprint) : []))
  const used = [...bootLoaders, uki].flatMap((entry) => (entry ? [fingerprint(entry)] : []))
  return { pk: of(variables.pk), kek: of(variables.kek), db: of(variables.db), authorities: [...new Set(used)] }
}

function fingerprint({ data }: SignatureEntry): string {
  return toHex(digest('sha256', data))
}
