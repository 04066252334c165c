import { Malformed } from '../bytes.ts'
import { UKI_SECTIONS, type UkiSectionName } from '../uki-sections.ts'
import { type Pe, type PeSection, parsePe } from './pe.ts'

/** A unified kernel image taken apart. `data` are windows into the file, as long as they are in memory. */
export type Uki = {
  readonly file: Uint8Array
  readonly pe: Pe
  /** As it names itself, e.g. systemd-stub 252.39-1; undefined where the image's first code is no stub that does. */
  readonly stub: { readonly name: string; readonly version: string } | undefined
  readonly sections: ReadonlyMap<UkiSectionName, Uint8Array>
  readonly osRelease: ReadonlyMap<string, string>
  readonly commandLine: CommandLine | undefined
}

/** The command line as the boot loader and the stub make it of `.cmdline`: control characters are spaces, none at its end. */
type CommandLine = {
  readonly text: string
  /** What is measured of it into PCR 12 and 9: UTF-16LE with its NUL. */
  readonly loadOptions: Uint8Array
}

const MOST_TEXT_BYTES = 64 * 1024
/** Where systemd's programs name themselves: src/fundamental, SD_MAGIC. */
const MAGIC = /#### LoaderInfo: (\S{1,64}) (\S{1,64}) ####/

/**
 * Reads a UKI's sections and refuses what two readers could see differently: a name twice, a name that begins like a
 * known one (systemd-stub 252 compares no further and takes the last), a section that is longer in memory than in the
 * file or of no length there.
 */
export function parseUki(file: Uint8Array): Uki {
  const pe = parsePe(file)
  const sections = new Map<UkiSectionName, Uint8Array>()
  const names = new Set<string>()
  for (const section of pe.sections) {
    const { name, headerOffset } = section
    if (names.has(name)) refuse(headerOffset, `section ${name} stands twice`)
    names.add(name)
    const known = UKI_SECTIONS.find((one) => name.startsWith(one))
    if (known === undefined) continue
    // .dtbauto begins like .dtb by its own specification; a stub that takes it for one is met below, in the prediction.
    if (known !== name && !isKnown(name)) refuse(headerOffset, `a stub may take section ${name} for ${known}`)
    sections.set(isKnown(name) ? name : known, dataOf(file, section))
  }
  if (!sections.has('.linux')) refuse(pe.sectionTableOffset, 'no section .linux')
  return {
    file,
    pe,
    stub: stubOf(file, pe),
    sections,
    osRelease: osReleaseOf(sections.get('.osrel')),
    commandLine: commandLineOf(sections.get('.cmdline')),
  }
}

function isKnown(name: string): name is UkiSectionName {
  return UKI_SECTIONS.some((one) => one === name)
}

function refuse(offset: number, message: string, what = 'UKI'): never {
  throw new Malformed('BadValue', what, offset, message)
}

function dataOf(file: Uint8Array, section: PeSection): Uint8Array {
  const { name, virtualSize, sizeOfRawData, pointerToRawData, headerOffset } = section
  if (virtualSize === 0) refuse(headerOffset + 8, `section ${name} has no length in memory: a stub does not see it`)
  if (virtualSize > sizeOfRawData)
    refuse(headerOffset + 8, `section ${name} is longer in memory (${virtualSize}) than in the file (${sizeOfRawData})`)
  return file.subarray(pointerToRawData, pointerToRawData + virtualSize)
}

/** The name and version that a program of systemd's carries in its `.sdmagic` section. */
export function stubOf(file: Uint8Array, pe: Pe): Uki['stub'] {
  const section = pe.sections.find(({ name }) => name === '.sdmagic')
  if (!section) return undefined
  const text = file.subarray(section.pointerToRawData, section.pointerToRawData + Math.min(section.sizeOfRawData, 256))
  const [, name, version] = MAGIC.exec(Buffer.from(text).toString('latin1')) ?? []
  return name && version ? { name, version } : undefined
}

/** os-release(5): KEY=value lines; of a key that stands twice the last counts. */
function osReleaseOf(data: Uint8Array | undefined): ReadonlyMap<string, string> {
  const values = new Map<string, string>()
  if (!data) return values
  for (const line of textOf(data, '.osrel').split('\n')) {
    const [, key, value = ''] = /^([A-Z][A-Z0-9_]*)=(.*)$/.exec(withoutEnd(line, ' \t\r')) ?? []
    if (key) values.set(key, unquoted(value))
  }
  return values
}

function unquoted(value: string): string {
  const quoted = /^(["'])(.*)\1$/.exec(value)
  if (!quoted) return value
  return quoted[1] === '"' ? (quoted[2] ?? '').replace(/\\([\\"$`])/g, '$1') : (quoted[2] ?? '')
}

// systemd 252: xstrn8_to_16 ends at the first NUL and leaves out what is not UCS-2; mangle_stub_cmdline does the rest.
function commandLineOf(data: Uint8Array | undefined): CommandLine | undefined {
  if (!data) return undefined
  const raw = textOf(data, '.cmdline')
  if (/[\u{10000}-\u{10ffff}]/u.test(raw))
    refuse(0, 'a character that UCS-2 does not have: the stub leaves it out', '.cmdline')
  const text = withoutEnd([...raw].map((character) => (character < ' ' ? ' ' : character)).join(''), ' ')
  return { text, loadOptions: Uint8Array.from(Buffer.from(`${text}\0`, 'utf16le')) }
}

/** `text` without any of `characters` at its end; a pattern would take the square of the text's length for it. */
function withoutEnd(text: string, characters: string): string {
  let end = text.length
  while (end > 0 && characters.includes(text.charAt(end - 1))) end -= 1
  return text.slice(0, end)
}

/** UTF-8, with NULs at its end at most: what follows one is measured and not shown. */
function textOf(data: Uint8Array, what: string): string {
  if (data.length > MOST_TEXT_BYTES)
    throw new Malformed('TooLarge', what, 0, `${data.length} bytes of text, at most ${MOST_TEXT_BYTES} are read`)
  const nul = data.indexOf(0)
  if (nul >= 0 && data.subarray(nul).some((byte) => byte !== 0)) refuse(nul, 'text goes on after a NUL', what)
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(nul < 0 ? data : data.subarray(0, nul))
  } catch {
    return refuse(0, 'not UTF-8', what)
  }
}
