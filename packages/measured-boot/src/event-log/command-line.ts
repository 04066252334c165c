import { coveredAs } from './coverage.ts'
import type { Measurement } from './measured.ts'
import { utf16 } from './variable.ts'

/** The command line that a digest proves, whatever the event's type says: UTF-16 that ends with NUL and has none within. */
export function provenCommandLine({ proof }: Measurement): string | undefined {
  const { data } = proof
  if (data.length % 2 !== 0 || coveredAs('commandLine', proof).covered !== 'yes') return undefined
  const text = utf16(data)
  return text.indexOf('\0') === text.length - 1 && text.length > 0 ? text.slice(0, -1) : undefined
}
