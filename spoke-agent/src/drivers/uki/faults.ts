import { DriverFault, diskFault } from '../driver.ts'

/** Every reason of this driver, whether it may be right later, and what to do. DESIGN.md has the same list. */
export const FAULTS = {
  EspMissing: ['surroundings', 'mount the EFI system partition, or name where it is with --esp'],
  EspNotVfat: ['surroundings', 'a firmware reads FAT alone: mount the EFI system partition there'],
  EspReadOnly: ['surroundings', 'check it with fsck.vfat if the kernel made it so, and mount it writable'],
  NoSpace: ['surroundings', 'make room, or make it larger'],
  EfiVarsMissing: [
    'surroundings',
    'mount efivarfs on /sys/firmware/efi/efivars, or boot a kernel that has it, by UEFI',
  ],
  LoaderMissing: ['surroundings', 'nothing would count the tries of an image: let systemd-boot start this machine'],
  LoaderDefaultSet: ['surroundings', 'an entry that is named there boots also when its tries are spent: take it away'],
  BootedImageUnknown: [
    'surroundings',
    "each image's .osrel has to be its own os-release, and the file that booted has to stay on the ESP",
  ],
  CounterPending: [
    'surroundings',
    'an image that has not been confirmed is not upgraded from: let its upgrade end, or take the counter off its name',
  ],
  SlotArmed: ['surroundings', 'it boots next: reboot and see, or remove it'],
  SlotWritten: ['surroundings', 'one slot a boot: reboot first'],
  NoFallback: ['surroundings', 'it stays as it is: put a confirmed image on the ESP'],
  NotBooted: ['surroundings', 'only what runs can be confirmed'],
  BytesDiffer: ['surroundings', 'it is written anew; when this stays, the disk is at its end'],
  ImageMismatch: ['surroundings', 'it is downloaded anew'],
  RebootFailed: ['surroundings', 'name with --reboot-command what reboots this machine, or reboot it by hand'],
  NotStaged: ['image', 'publish it anew: what was to be armed is not there any more'],
  NameUnfit: ['image', 'build and publish it under another version'],
  SameVersion: ['image', 'two images of one version cannot be told apart by what runs: build it with its own version'],
  OtherFamily: ['image', 'systemd-boot orders by IMAGE_ID first: build it with the IMAGE_ID that runs here'],
  VersionMismatch: ['image', 'systemd-boot orders by IMAGE_VERSION: build it with the version it is published as'],
  NotUki: ['image', 'publish a unified kernel image'],
  SignerNotEnrolled: ['image', "sign it with a key that is in this machine's db, or enroll its key first"],
} as const satisfies Record<string, readonly [DriverFault['of'], string]>

export type UkiReason = keyof typeof FAULTS

/** A fault with its next step: `what` says what was found where. */
export function fault(reason: UkiReason, what: string, cause?: unknown): DriverFault {
  const [of, next] = FAULTS[reason]
  return new DriverFault(of, reason, `${what}; ${next}`, cause)
}

/** What went wrong on the ESP. A FAT with an error in it turns read-only under the driver. */
export function espFault(cause: unknown): DriverFault {
  if (cause instanceof Error && 'code' in cause && cause.code === 'EROFS')
    return fault('EspReadOnly', 'the EFI system partition cannot be written', cause)
  return diskFault(cause)
}
