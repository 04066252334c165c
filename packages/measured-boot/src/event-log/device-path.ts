import { type Reader, readerOf } from '../bytes.ts'
import { guidOf } from '../guid.ts'
import { utf16 } from './variable.ts'

/** One node of an EFI_DEVICE_PATH_PROTOCOL (UEFI 10.2). */
export type DevicePathNode = { readonly type: number; readonly subType: number; readonly data: Uint8Array }

const NODES = 64

/** The nodes before the end node. Throws Malformed; `base` is where `bytes` begin in what errors speak of. */
export function parseDevicePath(bytes: Uint8Array, base = 0): readonly DevicePathNode[] {
  const reader = readerOf(bytes, 'EFI_DEVICE_PATH_PROTOCOL', 'little', base)
  const nodes: DevicePathNode[] = []
  for (;;) {
    const [type, subType, data] = node(reader)
    if (type === 0x7f && subType === 0xff) {
      reader.end()
      return nodes
    }
    if (nodes.length === NODES) reader.fail('TooLarge', `more than ${NODES} nodes`)
    nodes.push({ type, subType, data })
  }
}

function node(reader: Reader): readonly [type: number, subType: number, data: Uint8Array] {
  const at = reader.offset()
  const type = reader.u8()
  const subType = reader.u8()
  const length = reader.u16()
  if (length < 4) reader.fail('BadValue', `a node of ${length} bytes`, at + 2)
  return [type, subType, reader.raw(length - 4)]
}

/** A path as people read it: disks and files by name, other nodes by their numbers. */
export function devicePathText(nodes: readonly DevicePathNode[]): string {
  return nodes.map(nodeText).join('/')
}

function nodeText({ type, subType, data }: DevicePathNode): string {
  const kind = (type << 8) | subType
  if (kind === 0x0404) return utf16(data).replace(/\0+$/, '')
  if (kind === 0x0401 && data.length === 38) return `HD(${guidOf(data.subarray(20, 36))})`
  if (kind === 0x0406 && data.length === 16) return `FvFile(${guidOf(data)})`
  if (kind === 0x0407 && data.length === 16) return `Fv(${guidOf(data)})`
  if (kind === 0x0101 && data.length === 2) return `Pci(${data[1]},${data[0]})`
  return `Path(${type},${subType})`
}
