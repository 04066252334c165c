import { type BankName, BOOT_PHASES, parse, UkiBoot } from '@skerry/api'
import { type BootBlock, describeBoot } from '@skerry/measured-boot'

/** The files of an image as they are deployed: its UKI, and each boot loader that may start it. */
export type ImageFiles = {
  readonly uki: Uint8Array
  readonly loaders: readonly { readonly name: string; readonly file: Uint8Array }[]
  readonly banks: readonly BankName[]
}

/**
 * The boot block of a manifest, computed from the image's files: what any machine that boots them will measure, Secure
 * Boot on and off. The same files give the same block, at the signers' desk and at the hub. Throws Malformed for files of
 * which nobody here knows what they measure.
 */
export function promiseOf({ uki, loaders, banks }: ImageFiles): UkiBoot {
  const block = describeBoot({ path: '', uki, bootLoaders: loaders, banks })
  const { stub, commandLine } = block
  return parse(
    UkiBoot,
    {
      kind: 'uki',
      stub: { vendor: 'systemd', version: stub.version },
      sections: block.uki.sections.map(({ name, length, sha256 }) => ({ name, length, sha256 })),
      commandLine: commandLine.text,
      signers: block.uki.signers,
      measured: Object.fromEntries(banks.map((bank) => [bank, measuredOf(block, bank)])),
    },
    'the boot block',
  )
}

function measuredOf({ pcr }: BootBlock, bank: BankName): object {
  const predicted = pcr.predicted[bank]
  if (!predicted) throw new Error(`nothing was predicted for bank ${bank}`)
  const { '4': four, '9': nine, '11': eleven, '12': twelve } = predicted
  return {
    applications: { loaders: four.bootLoaders, uki: four.uki, kernel: four.kernel },
    pcr9: nine,
    pcr11: {
      phases: BOOT_PHASES.flatMap((phase) => {
        const value = eleven.phases[phase]
        return value === undefined ? [] : [{ phase, value }]
      }),
    },
    pcr12: { on: twelve.secureBootOn, off: twelve.secureBootOff },
  }
}
