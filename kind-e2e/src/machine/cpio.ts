// The archive that Linux unpacks as its first root: "newc" of cpio(5), as Documentation/driver-api/early-userspace/
// buffer-format.rst of the kernel has it. The same entries give the same bytes: sorted, of root, of no time.

export type Entry = { readonly path: string } & (
  | { readonly kind: 'file'; readonly data: Uint8Array; readonly executable?: boolean }
  | { readonly kind: 'link'; readonly to: string }
  | { readonly kind: 'folder' }
  | { readonly kind: 'characterDevice'; readonly major: number; readonly minor: number }
)

const MODES = { file: 0o100644, link: 0o120777, folder: 0o040755, characterDevice: 0o020600 } as const

/** The archive of these entries and of every folder on the way to them. Throws when a path stands twice or is not plain. */
export function cpio(entries: readonly Entry[]): Uint8Array<ArrayBuffer> {
  const all = new Map<string, Entry>()
  for (const entry of entries) {
    const names = entry.path.split('/')
    if (names.some((name) => name === '' || name === '.' || name === '..'))
      throw new Error(`"${entry.path}" is no plain path inside an archive`)
    for (let n = 1; n < names.length; n += 1) {
      const path = names.slice(0, n).join('/')
      if ((all.get(path) ?? { kind: 'folder' }).kind !== 'folder')
        throw new Error(`${path} is no folder of ${entry.path}`)
      all.set(path, { path, kind: 'folder' })
    }
    const known = all.get(entry.path)
    if (known && !(known.kind === 'folder' && entry.kind === 'folder')) throw new Error(`${entry.path} stands twice`)
    all.set(entry.path, entry)
  }
  // A folder's name is the beginning of what is in it, so it sorts before.
  const sorted = [...all.values()].toSorted((a, b) => (a.path < b.path ? -1 : 1))
  return Buffer.concat([...sorted.flatMap((entry, index) => record(entry, index + 1)), ...TRAILER])
}

function record(entry: Entry, inode: number): Uint8Array[] {
  const data =
    entry.kind === 'file' ? entry.data : entry.kind === 'link' ? new TextEncoder().encode(entry.to) : new Uint8Array()
  const mode = entry.kind === 'file' && entry.executable ? 0o100755 : MODES[entry.kind]
  const [major, minor] = entry.kind === 'characterDevice' ? [entry.major, entry.minor] : [0, 0]
  return fields(entry.path, data, { inode, mode, major, minor })
}

function fields(
  path: string,
  data: Uint8Array,
  { inode, mode, major, minor }: { inode: number; mode: number; major: number; minor: number },
): Uint8Array[] {
  const name = new TextEncoder().encode(`${path}\0`)
  const [uid, gid, links, time, device, check] = [0, 0, 1, 0, 0, 0]
  const numbers = [inode, mode, uid, gid, links, time, data.length, device, device, major, minor, name.length, check]
  const header = new TextEncoder().encode(
    `070701${numbers.map((n) => n.toString(16).toUpperCase().padStart(8, '0')).join('')}`,
  )
  return [header, name, padding(header.length + name.length), data, padding(data.length)]
}

const padding = (length: number) => new Uint8Array((4 - (length % 4)) % 4)
const TRAILER = fields('TRAILER!!!', new Uint8Array(), { inode: 0, mode: 0, major: 0, minor: 0 })
