/** What a log may break and still be read. Real machines do: whether it is forgiven is for policy, by code, PCR and machine. */
export const FINDINGS = {
  EmptyBank: 'the firmware measured nothing into this bank: whoever ran later may have filled it',
  ZeroDigest: 'a digest of zeros is no measurement',
  NoActionDigest: 'an event that measures nothing has a digest',
  StartupLocality: 'a StartupLocality that does not count',
  UnknownType: 'an event type that the Platform Firmware Profile does not list',
  TypeNotExpected: 'an event type that has no place in this PCR, or not with this digest',
  DataNotCovered: 'the digest is not that of the data, as it must be for this type',
  SeparatorMissing: 'no separator between firmware and what it started',
  SeparatorRepeated: 'more than one separator',
  SeparatorFailed: 'the firmware says that measuring failed',
  SeparatorMismatch: "a separator whose data or digest is not a separator's",
  SeparatorDisguised: "a separator's data or digest under another type",
  VariableUnreadable: 'the data is no UEFI_VARIABLE_DATA, or more than one',
  VariableMissing: 'a Secure Boot variable was not measured before the separator',
  VariableRepeated: 'a Secure Boot variable was measured twice',
  VariableOutOfOrder: 'a Secure Boot variable was measured out of order',
  VariableNotExpected: 'a variable that has no place before the separator',
  VariableLate: 'a Secure Boot variable was measured after the separator',
  AuthorityEarly: 'an authority was used before the separator',
  BootActionMissing: 'no boot option was called',
  BootActionRepeated: 'a boot option was called again, though none had returned',
  BootRetried: 'a boot option returned, and the firmware went on',
  ActionUnknown: 'an action that is none of those of this PCR',
  ApplicationEarly: 'an application before the first boot option was called, or before the separator',
  ExitBootServicesMissing: 'boot services were not left: the log is not complete',
  ExitBootServicesNotLast: 'leaving boot services is not the last that was measured',
  SectionNotNamed: "a UKI section's name was to be measured",
  SectionNotPaired: "a UKI section's name without its content",
  SectionRepeated: 'a UKI section was measured twice',
  CommandLineUnreadable: 'the data is no UTF-16 text that ends with NUL',
  CommandLinesDiffer: 'boot loader and stub did not measure the same command line',
  CommandLinesTooMany: 'more command lines than there are measurers',
  GrubPrefix: 'a text that GRUB does not write',
  KernelCommandLineRepeated: 'more than one kernel command line',
} as const
export type FindingCode = keyof typeof FINDINGS

export type Finding = {
  readonly code: FindingCode
  readonly pcr?: number
  /** The index of the event, as the log counts them; none where something is missing. */
  readonly event?: number
  readonly expected?: string
  readonly actual?: string
  readonly message: string
}

const CHARACTERS = 256

/** Words of a log, for people: one line, and no more of it than anybody reads. A log of one MiB has 8,192 events to say it of. */
export function oneLine(text: string): string {
  const plain = text.slice(0, CHARACTERS).replace(/[\p{C}\p{Zl}\p{Zp}]/gu, '\u00b7')
  return text.length > CHARACTERS ? `${plain.slice(0, CHARACTERS - 1)}…` : plain
}

/** A finding whose message says what, where, and what there should have been. */
export function finding(code: FindingCode, where: Omit<Finding, 'code' | 'message'> = {}): Finding {
  const { pcr, event } = where
  const expected = where.expected === undefined ? undefined : oneLine(where.expected)
  const actual = where.actual === undefined ? undefined : oneLine(where.actual)
  const place = [pcr !== undefined && `PCR ${pcr}`, event !== undefined && `event ${event}`].filter(Boolean).join(', ')
  const compared = [expected !== undefined && `expected ${expected}`, actual !== undefined && `found ${actual}`]
  const detail = compared.filter(Boolean).join(', ')
  const held = { ...(expected === undefined ? {} : { expected }), ...(actual === undefined ? {} : { actual }) }
  return { code, ...where, ...held, message: `${place}${place && ': '}${FINDINGS[code]}${detail && ` (${detail})`}` }
}
