import { readerOf } from '../bytes.ts'

/** One entry of the section table: PE Format, "Section Table (Section Headers)". Offsets and sizes are bytes. */
export type PeSection = {
  readonly name: string
  /** Where this entry stands in the file. */
  readonly headerOffset: number
  readonly virtualSize: number
  readonly virtualAddress: number
  readonly sizeOfRawData: number
  readonly pointerToRawData: number
  readonly characteristics: number
}

/** The headers of a PE image. Offsets count from the first byte of the file. */
export type Pe = {
  readonly format: 'PE32' | 'PE32+'
  readonly machine: number
  readonly subsystem: number
  readonly fileHeaderOffset: number
  readonly optionalHeaderOffset: number
  readonly sectionTableOffset: number
  readonly checksumOffset: number
  /** The entry of the Certificate Table among the data directories; images of fewer directories have none. */
  readonly securityDirectoryOffset: number | undefined
  /** The attribute certificate table: the last bytes of the file, or nothing. */
  readonly certificateTable: { readonly offset: number; readonly size: number } | undefined
  readonly sectionAlignment: number
  readonly fileAlignment: number
  readonly sizeOfImage: number
  readonly sizeOfHeaders: number
  /** In the order of the section table. */
  readonly sections: readonly PeSection[]
}

/** What the Windows loader takes; UEFI names no number. */
const MOST_SECTIONS = 96
const MOST_DIRECTORIES = 16
const MOST_FILE_BYTES = 2 ** 30
const MOST_IMAGE_BYTES = 2 ** 31
export const SECTION_HEADER_BYTES = 40
const SECURITY_DIRECTORY = 4
const PRINTABLE = /^[\x21-\x7e]+$/

/**
 * Reads the headers of a PE32 or PE32+ image (Microsoft's "PE Format") and copies none of its content. Stricter than
 * the firmware where two readers could see different images: no section lies over another or over the headers, in the
 * file or in memory, and a certificate table ends the file.
 */
export function parsePe(file: Uint8Array): Pe {
  const dos = readerOf(file, 'IMAGE_DOS_HEADER', 'little')
  if (file.length > MOST_FILE_BYTES) dos.fail('TooLarge', `${file.length} bytes, at most ${MOST_FILE_BYTES} are read`)
  if (dos.u16() !== 0x5a4d) dos.fail('BadMagic', 'no "MZ"', 0)
  dos.raw(0x3c - 2)
  const peOffset = dos.u32()
  if (peOffset > file.length) dos.fail('Truncated', `the PE header is said to stand at byte ${peOffset}`, 0x3c)

  const header = readerOf(file.subarray(peOffset), 'IMAGE_FILE_HEADER', 'little', peOffset)
  if (header.u32() !== 0x4550) header.fail('BadMagic', 'no "PE"', peOffset)
  const fileHeaderOffset = header.offset()
  const machine = header.u16()
  const count = header.u16()
  if (count === 0) header.fail('BadValue', 'no sections', fileHeaderOffset + 2)
  if (count > MOST_SECTIONS)
    header.fail('TooLarge', `${count} sections, at most ${MOST_SECTIONS} are read`, fileHeaderOffset + 2)
  header.raw(12)
  const sizeOfOptionalHeader = header.u16()
  header.u16()

  const optionalHeaderOffset = header.offset()
  const optional = readerOf(header.raw(sizeOfOptionalHeader), 'IMAGE_OPTIONAL_HEADER', 'little', optionalHeaderOffset)
  const magic = optional.u16()
  if (magic !== 0x10b && magic !== 0x20b) optional.fail('BadMagic', `0x${magic.toString(16)}`, optionalHeaderOffset)
  const plus = magic === 0x20b
  optional.raw(14)
  const entryPoint = optional.u32()
  optional.raw(12)
  const sectionAlignment = optional.u32()
  const fileAlignment = optional.u32()
  optional.raw(16)
  const sizeOfImage = optional.u32()
  const sizeOfHeaders = optional.u32()
  const checksumOffset = optional.offset()
  optional.u32()
  const subsystem = optional.u16()
  optional.raw(plus ? 38 : 22)
  const directories = optional.u32()
  const at = (field: number) => optionalHeaderOffset + field
  if (sizeOfImage > MOST_IMAGE_BYTES)
    optional.fail('TooLarge', `an image of ${sizeOfImage} bytes, at most ${MOST_IMAGE_BYTES} are read`, at(56))
  if (entryPoint >= sizeOfImage) optional.fail('BadValue', 'the entry point lies outside the image', at(16))
  if (directories > MOST_DIRECTORIES)
    optional.fail('TooLarge', `${directories} data directories, there are ${MOST_DIRECTORIES}`, optional.offset() - 4)
  if (optional.left() !== directories * 8)
    optional.fail('BadValue', `${directories} data directories in ${optional.left()} bytes`)

  let securityDirectoryOffset: number | undefined
  let certificateTable: Pe['certificateTable']
  if (directories > SECURITY_DIRECTORY) {
    optional.raw(SECURITY_DIRECTORY * 8)
    securityDirectoryOffset = optional.offset()
    // The one directory entry whose address is an offset in the file.
    const [offset, size] = [optional.u32(), optional.u32()]
    if (offset !== 0 || size !== 0) {
      if (offset + size !== file.length)
        optional.fail('BadValue', 'the certificate table does not end where the file ends', securityDirectoryOffset)
      if (size === 0 || offset % 8 !== 0)
        optional.fail('BadValue', 'the certificate table is empty or not aligned', securityDirectoryOffset)
      certificateTable = { offset, size }
    }
  }

  const sectionTableOffset = header.offset()
  const tableBytes = header.raw(count * SECTION_HEADER_BYTES)
  if (sizeOfHeaders < header.offset() || sizeOfHeaders > file.length || sizeOfHeaders > sizeOfImage)
    optional.fail('BadValue', `${sizeOfHeaders} bytes of headers do not hold them, or are more than there are`, at(60))
  const table = readerOf(tableBytes, 'IMAGE_SECTION_HEADER', 'little', sectionTableOffset)
  const sections: PeSection[] = []
  for (let index = 0; index < count; index++) {
    const headerOffset = table.offset()
    const padded = Buffer.from(table.raw(8)).toString('latin1')
    const name = padded.replace(/\0+$/, '')
    if (!PRINTABLE.test(name)) table.fail('BadValue', `the name of section ${index} is not text`, headerOffset)
    const [virtualSize, virtualAddress] = [table.u32(), table.u32()]
    const [sizeOfRawData, pointerToRawData] = [table.u32(), table.u32()]
    table.raw(12)
    const section: PeSection = {
      name,
      headerOffset,
      virtualSize,
      virtualAddress,
      sizeOfRawData,
      pointerToRawData,
      characteristics: table.u32(),
    }
    if (section.sizeOfRawData > 0 && rawEnd(section) > (certificateTable?.offset ?? file.length))
      table.fail('Truncated', `section ${name} ends at byte ${rawEnd(section)}, past the file`, headerOffset + 20)
    if (virtualEnd(section) > sizeOfImage)
      table.fail('BadValue', `section ${name} ends past the image's ${sizeOfImage} bytes`, headerOffset + 8)
    sections.push(section)
  }
  const overlap = (field: number, start: (one: PeSection) => number, end: (one: PeSection) => number) => {
    let [before, reached] = ['the headers', sizeOfHeaders]
    for (const section of [...sections].filter((one) => end(one) > start(one)).sort((a, b) => start(a) - start(b))) {
      if (start(section) < reached)
        table.fail('BadValue', `section ${section.name} lies over ${before}`, section.headerOffset + field)
      before = section.name
      reached = end(section)
    }
  }
  overlap(20, (one) => one.pointerToRawData, rawEnd)
  overlap(12, (one) => one.virtualAddress, virtualEnd)

  return {
    format: plus ? 'PE32+' : 'PE32',
    machine,
    subsystem,
    fileHeaderOffset,
    optionalHeaderOffset,
    sectionTableOffset,
    checksumOffset,
    securityDirectoryOffset,
    certificateTable,
    sectionAlignment,
    fileAlignment,
    sizeOfImage,
    sizeOfHeaders,
    sections,
  }
}

/** The first byte after a section's data in the file. */
export function rawEnd(section: PeSection): number {
  return section.pointerToRawData + section.sizeOfRawData
}

/** The first address after a section in memory. A section of no virtual size is loaded as long as its data is. */
export function virtualEnd(section: PeSection): number {
  return section.virtualAddress + (section.virtualSize || section.sizeOfRawData)
}
