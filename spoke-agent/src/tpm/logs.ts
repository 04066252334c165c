import { open } from 'node:fs/promises'
import { reasonOf } from '../reason.ts'

/** Where the firmware's log lies (securityfs), and systemd's of what was measured after it. */
export const EVENT_LOG = '/sys/kernel/security/tpm0/binary_bios_measurements'
export const MEASUREMENT_LOG = '/run/log/systemd/tpm2-measure.log'
/** What a statement has room for; machines were seen with up to 75 KB. */
export const LARGEST_LOG = { [EVENT_LOG]: 98_304, [MEASUREMENT_LOG]: 12_288 } as const

/** A log's bytes as they are, or why there are none: each is a reason for evidence without it. */
export type Log =
  | { readonly bytes: Uint8Array }
  | { readonly missing: 'NoLog' | 'TooLarge' | 'Unreadable'; readonly reason: string }

/** Reads at most `most` bytes: the kernel's files tell no size, and this one comes from the firmware. */
export async function readLog(path: string, most: number): Promise<Log> {
  try {
    const file = await open(path, 'r')
    try {
      const bytes = new Uint8Array(most + 1)
      let length = 0
      while (length < bytes.length) {
        const { bytesRead } = await file.read(bytes, length, bytes.length - length)
        if (bytesRead === 0) break
        length += bytesRead
      }
      if (length > most) return { missing: 'TooLarge', reason: `${path} holds more than ${most} bytes` }
      if (length === 0) return { missing: 'NoLog', reason: `${path} is empty: the firmware kept no log` }
      return { bytes: bytes.slice(0, length) }
    } finally {
      await file.close()
    }
  } catch (error) {
    const isNone = error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR')
    return isNone
      ? { missing: 'NoLog', reason: `there is no ${path}: the kernel found no log, or securityfs is not mounted` }
      : { missing: 'Unreadable', reason: `${path}: ${reasonOf(error)}` }
  }
}
