// File names in EFI/Linux, as systemd-boot reads them (UAPI.1, "Boot counting"): `<slot>+<left>-<done>.efi`. Without a
// counter an entry is confirmed; with none left it sorts behind every other. Two names are ours: `<slot>.part` is no entry
// at all, and `<slot>.aside+0.efi` is a confirmed entry that has to sort behind an older version that is on trial.

export type EntryName = {
  readonly file: string
  /** The name without its counter, in lower case, for FAT knows none: what stays when tries are counted. */
  readonly slot: string
  /** Tries left; undefined where none are counted. */
  readonly left: number | undefined
  /** Tries used. */
  readonly done: number
  /** Confirmed, and kept behind what is on trial. */
  readonly aside: boolean
}

const ENTRY = '.efi'
const PART = '.part'
const ASIDE = '.aside'
const MOST_TRIES = 2 ** 31 - 1
const MOST_NAME_LENGTH = 120

/** undefined where systemd-boot sees no entry. */
export function parseEntryName(file: string): EntryName | undefined {
  if (file.startsWith('.') || !file.toLowerCase().endsWith(ENTRY)) return undefined
  const name = file.slice(0, -ENTRY.length).toLowerCase()
  const [, counted = '', left, done] = /^(.+)\+(\d+)(?:-(\d+))?$/.exec(name) ?? []
  if (left === undefined || Number(left) > MOST_TRIES || Number(done ?? 0) > MOST_TRIES)
    return { file, slot: name, left: undefined, done: 0, aside: false }
  const aside = Number(left) === 0 && counted.endsWith(ASIDE) && counted.length > ASIDE.length
  const slot = aside ? counted.slice(0, -ASIDE.length) : counted
  return { file, slot, left: Number(left), done: Number(done ?? 0), aside }
}

export const confirmedName = (slot: string): string => `${slot}${ENTRY}`
export const armedName = (slot: string, tries: number): string => `${slot}+${tries}${ENTRY}`
/** The name of an entry that shall not be tried again. How often it was tried stays to be seen. */
export const spentName = ({ slot, done }: EntryName): string => `${slot}+0-${done}${ENTRY}`
export const asideName = (slot: string): string => `${slot}${ASIDE}+0${ENTRY}`
export const partName = (slot: string): string => `${slot}${PART}`
export const isPart = (file: string): boolean => file.endsWith(PART)

/** Whether it may run when it is the first of all: on trial with tries left, or confirmed. */
export const isArmed = ({ left }: EntryName): boolean => left !== undefined && left > 0
export const isConfirmed = ({ left, aside }: EntryName): boolean => left === undefined || aside
export const isSpent = ({ left, aside }: EntryName): boolean => left === 0 && !aside

/** Why a slot of this name could not be told from another on FAT, or from a counter by systemd-boot; undefined if it can. */
export function unfitName(slot: string): string | undefined {
  // FAT knows no case, and a plus begins a counter. os-release(5) allows no more of an IMAGE_VERSION either.
  const foreign = /[^a-z0-9._-]/.exec(slot)?.[0]
  if (foreign !== undefined)
    return `"${slot}" has a ${JSON.stringify(foreign)} in it; a-z, 0-9, ".", "_" and "-" may be`
  if (slot.startsWith('.')) return `"${slot}" begins with a point, and systemd-boot passes over such files`
  if (slot.endsWith(ASIDE)) return `"${slot}" ends as the name of an entry that is set aside`
  if (slot.length > MOST_NAME_LENGTH) return `a name of ${slot.length} characters, at most ${MOST_NAME_LENGTH} may be`
  return undefined
}
