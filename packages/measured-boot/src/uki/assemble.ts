import { Malformed } from '../bytes.ts'
import { parsePe, rawEnd, SECTION_HEADER_BYTES, virtualEnd } from './pe.ts'

/** IMAGE_SCN_CNT_INITIALIZED_DATA, IMAGE_SCN_MEM_READ. */
const READ_ONLY_DATA = 0x40000040
const NAME_BYTES = 8

/**
 * A unified kernel image (UAPI.5): the sections put behind the stub's own, in the order given. The same stub and
 * sections give the same bytes: no time, no checksum, no symbols, and nothing of what followed the stub's sections.
 */
export function assembleUki(
  stub: Uint8Array,
  sections: readonly { readonly name: string; readonly data: Uint8Array }[],
): Uint8Array {
  const pe = parsePe(stub)
  const refuse = (message: string, offset = pe.sectionTableOffset): never => {
    throw new Malformed('BadValue', 'UKI', offset, message)
  }
  if (pe.certificateTable) refuse('the stub is signed; sections go behind an unsigned one', pe.certificateTable.offset)
  for (const alignment of [pe.fileAlignment, pe.sectionAlignment])
    if (alignment === 0 || (alignment & (alignment - 1)) !== 0)
      refuse(`an alignment of ${alignment} bytes is no power of two`, pe.optionalHeaderOffset + 32)
  const tableEnd = pe.sectionTableOffset + pe.sections.length * SECTION_HEADER_BYTES
  const room = Math.floor((pe.sizeOfHeaders - tableEnd) / SECTION_HEADER_BYTES)
  if (sections.length > room)
    refuse(`the stub's headers have room for ${room} more sections, not for ${sections.length}`, tableEnd)
  const names = new Set(pe.sections.map(({ name }) => name))
  for (const { name, data } of sections) {
    if (!/^[\x21-\x7e]+$/.test(name) || name.length > NAME_BYTES)
      refuse(`"${name}" is no section name: 1 to ${NAME_BYTES} printable ASCII characters`)
    if (names.has(name)) refuse(`section ${name} would stand twice`)
    if (data.length === 0) refuse(`section ${name} is empty`)
    names.add(name)
  }

  const kept = Math.max(pe.sizeOfHeaders, ...pe.sections.map(rawEnd))
  let raw = aligned(kept, pe.fileAlignment)
  let address = aligned(Math.max(...pe.sections.map(virtualEnd)), pe.sectionAlignment)
  const placed = sections.map(({ name, data }) => {
    const here = { name, data, raw, address, rawSize: aligned(data.length, pe.fileAlignment) }
    raw += here.rawSize
    address = aligned(address + data.length, pe.sectionAlignment)
    return here
  })
  if (raw > 2 ** 30 || address > 2 ** 31) refuse(`an image of ${raw} bytes is too large`)

  const uki = new Uint8Array(raw)
  uki.set(stub.subarray(0, kept))
  const view = new DataView(uki.buffer)
  uki.fill(0, tableEnd, tableEnd + placed.length * SECTION_HEADER_BYTES)
  for (const [index, section] of placed.entries()) {
    const at = tableEnd + index * SECTION_HEADER_BYTES
    uki.set(Buffer.from(section.name, 'latin1'), at)
    view.setUint32(at + 8, section.data.length, true)
    view.setUint32(at + 12, section.address, true)
    view.setUint32(at + 16, section.rawSize, true)
    view.setUint32(at + 20, section.raw, true)
    view.setUint32(at + 36, READ_ONLY_DATA, true)
    uki.set(section.data, section.raw)
  }
  view.setUint16(pe.fileHeaderOffset + 2, pe.sections.length + placed.length, true)
  // TimeDateStamp, PointerToSymbolTable, NumberOfSymbols.
  uki.fill(0, pe.fileHeaderOffset + 4, pe.fileHeaderOffset + 16)
  view.setUint32(pe.optionalHeaderOffset + 56, address, true)
  view.setUint32(pe.checksumOffset, 0, true)
  return uki
}

function aligned(size: number, alignment: number): number {
  return Math.ceil(size / alignment) * alignment
}
