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

/** A digest that says by itself what was measured. Types may lie about it, a digest does not. */
export type Known =
  | { readonly is: 'separator' | 'separator-error'; readonly text: string }
  | { readonly is: 'action'; readonly action: Action; readonly text: string }
  | { readonly is: 'section'; readonly text: string }

const ascii = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, 'latin1'))

function table(bank: Bank): ReadonlyMap<string, Known> {
  const hex = (bytes: Uint8Array): string => toHex(digest(bank, bytes))
  return new Map<string, Known>([
    ...Object.entries(SEPARATORS).map(([data, is]): [string, Known] => [
      hex(Uint8Array.from(Buffer.from(data, 'hex'))),
      { is, text: data },
    ]),
    ...Object.entries(ACTIONS).map(([action, text]): [string, Known] => [
      hex(ascii(text)),
      { is: 'action', action: action as Action, text },
    ]),
    ...SECTIONS.map((text): [string, Known] => [hex(ascii(`${text}\0`)), { is: 'section', text }]),
  ])
}

const TABLES = new Map(TRUSTED_BANKS.map((bank) => [bank, table(bank)]))

export function knownIn(bank: Bank): ReadonlyMap<string, Known> {
  return TABLES.get(bank) ?? new Map()
}
