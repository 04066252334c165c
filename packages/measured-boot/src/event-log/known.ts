import { type Bank, digest, TRUSTED_BANKS } from '../banks.ts'
import { toHex } from '../bytes.ts'
import { UKI_SECTIONS } from '../uki-sections.ts'

/** What separates the firmware's own measurements from what it starts; the third says that measuring failed (Platform Firmware Profile, 10.4.1). */
export const SEPARATORS = { '00000000': 'separator', ffffffff: 'separator', '00000001': 'separator-error' } as const

/** EV_EFI_ACTION strings (Platform Firmware Profile, 10.4.4), as they are measured: without a NUL. */
export const ACTIONS = {
  calling: 'Calling EFI Application from Boot Option',
  returning: 'Returning from EFI Application from Boot Option',
  exitInvocation: 'Exit Boot Services Invocation',
  exitFailure: 'Exit Boot Services Returned with Failure',
  exitSuccess: 'Exit Boot Services Returned with Success',
} as const
type Action = keyof typeof ACTIONS

/** systemd-stub measures its sections' names into PCR 11, in ASCII with a NUL; all but the one that signs what is measured. */
const SECTIONS = UKI_SECTIONS.filter((name) => name !== '.pcrsig')

/** A digest that says by itself what was measured, `bytes`. Types may lie about it, a digest does not. */
export type Known = { readonly text: string; readonly bytes: Uint8Array } & (
  | { readonly is: 'separator' | 'separator-error' }
  | { readonly is: 'action'; readonly action: Action }
  | { readonly is: 'section' }
)

const ascii = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, 'latin1'))

function table(bank: Bank): ReadonlyMap<string, Known> {
  const all: readonly Known[] = [
    ...Object.entries(SEPARATORS).map(([text, is]) => ({ is, text, bytes: Uint8Array.from(Buffer.from(text, 'hex')) })),
    ...Object.entries(ACTIONS).map(([action, text]) => ({
      ...{ is: 'action' as const, action: action as Action, text },
      bytes: ascii(text),
    })),
    ...SECTIONS.map((text) => ({ is: 'section' as const, text, bytes: ascii(`${text}\0`) })),
  ]
  return new Map(all.map((known) => [toHex(digest(bank, known.bytes)), known]))
}

const TABLES = new Map(TRUSTED_BANKS.map((bank) => [bank, table(bank)]))

export function knownIn(bank: Bank): ReadonlyMap<string, Known> {
  return TABLES.get(bank) ?? new Map()
}
