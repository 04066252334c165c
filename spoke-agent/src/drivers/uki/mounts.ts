import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fault } from './faults.ts'

/** A mount as /proc/self/mountinfo has it: proc(5). */
type Mount = { readonly point: string; readonly type: string; readonly readOnly: boolean }

/** Where an EFI system partition is mounted where nobody says so. */
const OWN = ['/efi', '/boot/efi', '/esp']
const USUAL = [...OWN, '/boot']

/** `named`, or the first usual place that has a VFAT. Faults: EspMissing, EspNotVfat. */
export function findEsp(
  root: string,
  named: string | undefined,
): { readonly path: string; readonly readOnly: boolean } {
  const mounts = parseMounts(readFileSync(join(root, '/proc/self/mountinfo'), 'utf8'))
  // What was mounted last lies on top.
  const at = (point: string) => mounts.findLast((one) => one.point === point)
  if (named === undefined) {
    const found = USUAL.map(at).find((one) => one?.type === 'vfat')
    const other = OWN.map(at).find((one) => one !== undefined)
    if (!found && other) throw fault('EspNotVfat', `${other.point} is a ${other.type}`)
    if (!found) throw fault('EspMissing', `no VFAT is mounted on ${USUAL.join(', ')}`)
    return { path: join(root, found.point), readOnly: found.readOnly }
  }
  const point = named.length > 1 ? named.replace(/\/+$/, '') : named
  const mount = at(point)
  if (!mount) throw fault('EspMissing', `nothing is mounted on ${named}`)
  if (mount.type !== 'vfat') throw fault('EspNotVfat', `${named} is a ${mount.type}`)
  return { path: join(root, point), readOnly: mount.readOnly }
}

export function parseMounts(text: string): readonly Mount[] {
  return text.split('\n').flatMap((line) => {
    // id parent major:minor root POINT OPTIONS [optional fields] - TYPE source SUPER-OPTIONS
    const [before = '', after = ''] = line.split(' - ')
    const [, , , , point, options] = before.split(' ')
    const [type, , superOptions] = after.split(' ')
    if (point === undefined || options === undefined || type === undefined) return []
    // Of the mount, or of the file system: a FAT with an error in it becomes read-only there.
    const readOnly = [options, superOptions ?? ''].some((list) => list.split(',').includes('ro'))
    const unescaped = point.replace(/\\([0-7]{3})/g, (_, octal: string) =>
      String.fromCharCode(Number.parseInt(octal, 8)),
    )
    return [{ point: unescaped, type, readOnly }]
  })
}
