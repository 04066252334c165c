import { concat } from '../bytes.ts'
import type { Uki } from './sections.ts'

/**
 * What the kernel is given as its initrd, in pieces: `.initrd`, and behind it the archives in which systemd-stub 252
 * passes on `.pcrsig` and `.pcrpkey` (src/boot/efi: combine_initrd, pack_cpio_literal). With either of them in the UKI,
 * PCR 9 is not the digest of `.initrd`. None: no initrd.
 */
export function passedInitrd(sections: Uki['sections']): readonly Uint8Array[] {
  const archives = (
    [
      ['.pcrsig', 'tpm2-pcr-signature.json'],
      ['.pcrpkey', 'tpm2-pcr-public-key.pem'],
    ] as const
  ).flatMap(([section, name]) => {
    const data = sections.get(section)
    return data ? [archive(name, data)] : []
  })
  const initrd = sections.get('.initrd')
  if (archives.length === 0) return initrd ? [initrd] : []
  return [...(initrd ? [initrd, padding(initrd.length)] : []), ...archives]
}

/** `.extra/name` in the kernel's newc format (Linux, "initramfs buffer format"), with no times. */
function archive(name: string, data: Uint8Array): Uint8Array {
  return concat(
    entry({ inode: 1, mode: 0o040555, name: '.extra', data: new Uint8Array() }),
    entry({ inode: 2, mode: 0o100444, name: `.extra/${name}`, data }),
    trailer,
  )
}

type Entry = { readonly inode: number; readonly mode: number; readonly name: string; readonly data: Uint8Array }

function entry({ inode, mode, name, data }: Entry): Uint8Array {
  const fields = [inode, mode, 0, 0, 1, 0, data.length, 0, 0, 0, 0, name.length + 1, 0]
  const text = Buffer.from(
    `070701${fields.map((field) => field.toString(16).padStart(8, '0')).join('')}${name}\0`,
    'latin1',
  )
  return concat(text, padding(text.length), data, padding(data.length))
}

// The stub's own has an upper-case digit in it.
const trailer = Uint8Array.from(
  Buffer.from(`070701${'0'.repeat(32)}00000001${'0'.repeat(48)}0000000B00000000TRAILER!!!\0\0\0\0`, 'latin1'),
)

function padding(length: number): Uint8Array {
  return new Uint8Array((4 - (length % 4)) % 4)
}
