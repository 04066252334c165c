import type { EdgeNodeStatus } from '@skerry/api'
import type { AppraisalCode } from '@skerry/policy'

type Attestation = NonNullable<EdgeNodeStatus['attestation']>

/** What to do about a finding where that is known; about others it is what is done with any machine that shows what nobody signed. */
const NEXT: Readonly<Record<string, string>> = {
  NoQuote: 'its TPM gave none: see its conditions, and at the site "skerry-agent status", under troubles',
  EventLogMissing:
    'at the site, see that the kernel shows its log (/sys/kernel/security/tpm0/binary_bios_measurements), or name it with --event-log',
  NoProfile:
    'have a hardware profile signed that names its hardware, and publish it: skerry image sign, skerry image publish',
  FirmwareUnknown:
    'if these values are of a firmware that you know, have them signed into its hardware profile: skerry image sign, skerry image publish',
  FirmwareChanged:
    'if its firmware was updated, have its values signed into its hardware profile: skerry image sign, skerry image publish',
  FirmwareUnconfirmed: 'nothing: it counts once as many other clusters show the same firmware as its profile asks for',
  BankNotTrusted: 'if its firmware fills this bank, have that signed into its hardware profile: skerry image sign',
  ImageUnknown: 'find out who put these bytes there; if they are yours, have their manifest signed: skerry image sign',
  ImageNotMeasured:
    'an image that is no UKI cannot be proven: let rollouts of it ask for attestation: warning, or register the node with class software-key',
  BankNotPredicted:
    'have the manifest made anew with --bank, signed and published: skerry image manifest, skerry image sign',
  SecureBootOff: 'switch Secure Boot on in the firmware of this machine',
} satisfies Partial<Record<AppraisalCode, string>>

const STRANGE =
  'nobody signed for what it shows: look at it before it is trusted with anything; "skerry cluster deny" cuts its site off, "skerry attest status CLUSTER/NODE --results" gives every verdict'

/** What a person does about the worst that was found of a boot; undefined where nothing needs to be done. */
export function nextOf({ verdict, reason }: Attestation): string | undefined {
  if (verdict === 'affirming') return undefined
  return NEXT[reason] ?? (verdict === 'contraindicated' ? STRANGE : undefined)
}
