import { type Bank, digest, extended } from '../banks.ts'
import { Malformed } from '../bytes.ts'
import type { UkiSectionName } from '../uki-sections.ts'
import { authenticodeDigest } from './authenticode.ts'
import { passedInitrd } from './extra-initrd.ts'
import { parsePe } from './pe.ts'
import { stubOf, type Uki } from './sections.ts'

// What a machine measures that starts systemd-boot, and from it this UKI. Every formula is held against systemd-measure
// or against a booted machine (kind-e2e).

/**
 * The sections that systemd-stub measures into PCR 11, in its order, by its release: systemd 252, src/fundamental/tpm-pcr.h.
 * Later stubs measure more sections, in another order and with profiles; an order is written down here once it has been
 * held against that stub.
 */
const MEASURED: Readonly<Record<number, readonly UkiSectionName[]>> = {
  252: ['.linux', '.osrel', '.cmdline', '.initrd', '.splash', '.dtb', '.pcrpkey'],
}
/** Sections that no such stub measures: what signs the measurements, and the stub's own. */
const UNMEASURED: readonly UkiSectionName[] = ['.pcrsig', '.sbat']

/** The words that systemd extends PCR 11 with as a machine comes up and goes down: systemd-pcrphase.service(8). */
export const PHASES = ['enter-initrd', 'leave-initrd', 'sysinit', 'ready', 'shutdown', 'final'] as const

/** What of a UKI is measured, each digest taken once. Both ways of booting, with and without Secure Boot, follow from it. */
export type UkiDigests = {
  readonly bank: Bank
  readonly authenticode: Uint8Array
  /** Authenticode of `.linux`: the stub has the firmware start it, if Secure Boot is off. */
  readonly kernelAuthenticode: Uint8Array
  readonly loadOptions: Uint8Array
  readonly initrd: Uint8Array | undefined
  /** In the order in which the stub measures them. */
  readonly sections: readonly { readonly name: UkiSectionName; readonly digest: Uint8Array }[]
}

/** Refuses, by name, a UKI of which nobody here knows what its stub does. */
export function digestUki(uki: Uki, bank: Bank): UkiDigests {
  const order = orderOf(uki)
  if (!uki.commandLine?.text)
    unsupported('.cmdline', 'no command line in the image: what is measured would be up to whoever starts it')
  const sections = order.flatMap((name) => {
    const data = uki.sections.get(name)
    return data ? [{ name, digest: digest(bank, data) }] : []
  })
  const pieces = passedInitrd(uki.sections)
  const [initrd] = pieces
  const alone = pieces.length === 1 ? sections.find(({ name }) => name === '.initrd')?.digest : undefined
  return {
    bank,
    authenticode: authenticodeDigest(uki.file, bank, uki.pe),
    kernelAuthenticode: authenticodeDigest(uki.sections.get('.linux') ?? new Uint8Array(), bank),
    loadOptions: digest(bank, uki.commandLine?.loadOptions ?? new Uint8Array()),
    initrd: alone ?? (initrd && digest(bank, ...pieces)),
    sections,
  }
}

/** A boot loader's own digest. Only systemd-boot 252 passes the command line on in the way that PCR 12 is predicted for. */
export function digestBootLoader(file: Uint8Array, bank: Bank): Uint8Array {
  const pe = parsePe(file)
  const loader = stubOf(file, pe)
  if (loader?.name !== 'systemd-boot' || releaseOf(loader.version) !== 252)
    unsupported(
      'boot loader',
      `${loader ? `${loader.name} ${loader.version}` : 'an unknown one'}, systemd-boot 252 is known`,
    )
  return authenticodeDigest(file, bank, pe)
}

/**
 * PCR 4, by the firmware: the digests of the images that are started (`bootLoader` is its Authenticode digest), in their
 * order, and the value of a boot in which the first entry tried is the one that runs. A retry within a boot adds events.
 */
export function predictPcr4(
  { bank, authenticode, kernelAuthenticode }: UkiDigests,
  bootLoader: Uint8Array,
  secureBoot: boolean,
): { readonly applications: readonly Uint8Array[]; readonly value: Uint8Array } {
  // With Secure Boot on, the stub starts the kernel in a way that the firmware neither checks nor measures.
  const applications = [bootLoader, authenticode, ...(secureBoot ? [] : [kernelAuthenticode])]
  const calling = digest(bank, Buffer.from('Calling EFI Application from Boot Option', 'latin1'))
  const separator = digest(bank, new Uint8Array(4))
  return { applications, value: extended(bank, [calling, separator, ...applications]) }
}

/** PCR 9, by the kernel's EFI stub (Linux 6.1: efi_convert_cmdline, efi_load_initrd): what it was given. */
export function predictPcr9({ bank, loadOptions, initrd }: UkiDigests): Uint8Array {
  return extended(bank, initrd ? [loadOptions, initrd] : [loadOptions])
}

/** PCR 11, by systemd-stub and, for each phase, by systemd: by the phases passed, joined by colons; '' is before the first. */
export function predictPcr11({ bank, sections }: UkiDigests): ReadonlyMap<string, Uint8Array> {
  const measured = sections.flatMap(({ name, digest: content }) => [
    digest(bank, Buffer.from(`${name}\0`, 'latin1')),
    content,
  ])
  const values = new Map([['', extended(bank, measured)]])
  PHASES.forEach((word, index) => {
    measured.push(digest(bank, Buffer.from(word, 'latin1')))
    values.set(PHASES.slice(0, index + 1).join(':'), extended(bank, measured))
  })
  return values
}

/** PCR 12: systemd-boot measures what it passes on; the stub what it takes, and with Secure Boot on it takes its own. */
export function predictPcr12({ bank, loadOptions }: UkiDigests, secureBoot: boolean): Uint8Array {
  return extended(bank, secureBoot ? [loadOptions] : [loadOptions, loadOptions])
}

function orderOf({ stub, sections }: Uki): readonly UkiSectionName[] {
  const order = stub?.name === 'systemd-stub' ? MEASURED[releaseOf(stub.version)] : undefined
  if (!stub || !order)
    return unsupported('stub', `${stub ? `${stub.name} ${stub.version}` : 'an unknown one'}, systemd-stub 252 is known`)
  const unknown = [...sections.keys()].find((name) => !order.includes(name) && !UNMEASURED.includes(name))
  if (unknown)
    unsupported(unknown, `systemd-stub ${stub.version} does not know this section, and another stub would measure it`)
  return order
}

function releaseOf(version: string): number {
  return Number.parseInt(version, 10)
}

function unsupported(what: string, message: string): never {
  throw new Malformed('Unsupported', what, 0, message)
}
