import { BANK_NAMES, type BankName, BOOT_PHASES, parse, UkiBoot } from '@skerry/api'
import { type BootBlock, describeBoot, Malformed } from '@skerry/measured-boot'

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
export function promiseOf(files: ImageFiles): UkiBoot {
  return parse(UkiBoot, blockOf(files), 'the boot block')
}

/**
 * What a manifest says otherwise of its image than follows from the image's bytes; undefined where it says the same. Of
 * boot loaders nothing is asked: they are other files.
 */
export function promiseFault(boot: UkiBoot, uki: Uint8Array): string | undefined {
  const banks = BANK_NAMES.filter((name) => boot.measured[name] !== undefined)
  if (banks.length === 0) return 'it predicts nothing of any bank'
  let own: ReturnType<typeof blockOf>
  try {
    own = blockOf({ uki, loaders: [], banks })
  } catch (error) {
    if (!(error instanceof Malformed)) throw error
    return `nobody here can say what these bytes measure: ${error.code}: ${error.message}`
  }
  const [said, follows] = [membersOf(boot), membersOf(own)]
  const others = [...said].flatMap(([name, text]) => (follows.get(name) === text ? [] : [name]))
  return others.length === 0 ? undefined : `these bytes do not make its ${others.join(', ')}`
}

function membersOf(boot: UkiBoot) {
  const { stub, sections, commandLine, signers, certificates, measured } = boot
  const members: [string, unknown][] = [
    ['stub', [stub.vendor, stub.version]],
    ['sections', sections.map(({ name, length, sha256 }) => [name, length, sha256])],
    ['commandLine', commandLine],
    ['signers', signers.toSorted()],
    // A manifest from before there was this says nothing of it.
    ...(certificates ? [['certificates', certificates.toSorted()] satisfies [string, unknown]] : []),
    ...BANK_NAMES.flatMap((bank): [string, unknown][] => {
      const one = measured[bank]
      if (!one) return []
      const { applications, pcr9, pcr11, pcr12 } = one
      return [
        [`${bank} image (PCR 4)`, applications.uki],
        [`${bank} kernel (PCR 4)`, applications.kernel],
        [`${bank} PCR 9`, pcr9],
        [`${bank} PCR 11`, pcr11.phases.map(({ phase, value }) => [phase, value])],
        [`${bank} PCR 12`, [pcr12.on, pcr12.off]],
      ]
    }),
  ]
  return new Map(members.map(([name, value]) => [name, JSON.stringify(value)]))
}

type Measured = NonNullable<UkiBoot['measured'][BankName]>

function blockOf({ uki, loaders, banks }: ImageFiles): UkiBoot {
  const block = describeBoot({ path: '', uki, bootLoaders: loaders, banks })
  const { stub, commandLine } = block
  return {
    kind: 'uki',
    stub: { vendor: 'systemd', version: stub.version },
    sections: block.uki.sections.map(({ name, length, sha256 }) => ({ name, length, sha256 })),
    commandLine: commandLine.text,
    signers: [...block.uki.signers],
    certificates: [...block.uki.certificates],
    measured: Object.fromEntries(banks.map((bank) => [bank, measuredOf(block, bank)])),
  }
}

function measuredOf({ pcr }: BootBlock, bank: BankName): Measured {
  const predicted = pcr.predicted[bank]
  if (!predicted) throw new Error(`nothing was predicted for bank ${bank}`)
  const { '4': four, '9': nine, '11': eleven, '12': twelve } = predicted
  return {
    applications: { loaders: [...four.bootLoaders], uki: four.uki, kernel: four.kernel },
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
