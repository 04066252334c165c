import { createHash } from 'node:crypto'
import type { Bank } from '../banks.ts'
import { Malformed } from '../bytes.ts'
import { type Pe, parsePe, rawEnd } from './pe.ts'

/**
 * What a firmware measures of an image it starts and what signatures of it are over: "Windows Authenticode Portable
 * Executable Signature Format", "Calculating the PE Image Hash". All but the checksum, the directory entry of the
 * certificate table and that table. Nothing is padded: a file that ends unaligned is hashed as it ends, as EDK2 does,
 * and a tool that pads before it signs (sbsign does) has made another image. Reads the file once, copies nothing.
 */
export function authenticodeDigest(file: Uint8Array, bank: Bank, pe: Pe = parsePe(file)): Uint8Array {
  const hash = createHash(bank)
  const end = pe.certificateTable?.offset ?? file.length
  hash.update(file.subarray(0, pe.checksumOffset))
  const afterChecksum = pe.checksumOffset + 4
  if (pe.securityDirectoryOffset === undefined) hash.update(file.subarray(afterChecksum, pe.sizeOfHeaders))
  else {
    hash.update(file.subarray(afterChecksum, pe.securityDirectoryOffset))
    hash.update(file.subarray(pe.securityDirectoryOffset + 8, pe.sizeOfHeaders))
  }
  let hashed = pe.sizeOfHeaders
  const stored = pe.sections.filter(({ sizeOfRawData }) => sizeOfRawData > 0)
  for (const section of stored.sort((a, b) => a.pointerToRawData - b.pointerToRawData)) {
    // The specification counts bytes and then takes that count for an offset: with a gap, EDK2 hashes some bytes twice
    // and the gap not at all, and other readers do not. No image that is built by known tools has one.
    if (section.pointerToRawData !== hashed)
      throw new Malformed(
        'Unsupported',
        'IMAGE_SECTION_HEADER',
        section.headerOffset + 20,
        `${section.pointerToRawData - hashed} bytes before section ${section.name} that no digest covers`,
      )
    hash.update(file.subarray(section.pointerToRawData, rawEnd(section)))
    hashed = rawEnd(section)
  }
  hash.update(file.subarray(hashed, end))
  return hash.digest()
}
