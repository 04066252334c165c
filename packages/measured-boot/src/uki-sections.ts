/**
 * Sections that have a meaning in a UKI: UAPI.5 "Unified Kernel Image", and systemd's own until release 258. Which of
 * them a stub measures, and in which order, is each release's own.
 */
export const UKI_SECTIONS = [
  '.linux',
  '.osrel',
  '.cmdline',
  '.initrd',
  '.ucode',
  '.splash',
  '.dtb',
  '.uname',
  '.sbat',
  '.pcrsig',
  '.pcrpkey',
  '.profile',
  '.dtbauto',
  '.hwids',
  '.efifw',
] as const
export type UkiSectionName = (typeof UKI_SECTIONS)[number]
