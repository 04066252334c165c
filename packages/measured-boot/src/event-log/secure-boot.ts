import type { Measured, Measurement } from './measured.ts'
import { ofPcr } from './measured.ts'
import type { Variable } from './variable.ts'

const GLOBAL = '8be4df61-93ca-11d2-aa0d-00e098032b8c'
const SECURITY_DATABASE = 'd719b2cb-3d3a-4596-a3bc-dad00e67656f'

/** What the firmware measures into PCR 7 before its separator, once each and in this order (Platform Firmware Profile, 3.3.4.8). */
export const SECURE_BOOT_VARIABLES = ['SecureBoot', 'PK', 'KEK', 'db', 'dbx'] as const
export type SecureBootVariable = (typeof SECURE_BOOT_VARIABLES)[number]
const GUIDS: { readonly [name in SecureBootVariable]: string } = {
  SecureBoot: GLOBAL,
  PK: GLOBAL,
  KEK: GLOBAL,
  db: SECURITY_DATABASE,
  dbx: SECURITY_DATABASE,
}

export function secureBootVariable({ guid, name }: Variable): SecureBootVariable | undefined {
  return SECURE_BOOT_VARIABLES.find((one) => one === name && GUIDS[one] === guid)
}

/** One PCR's measurements before and after its separator; both empty-handed unless it has exactly one, told by its digest. */
export function split(
  measured: Measured,
  pcr: number,
): { readonly before: readonly Measurement[]; readonly after: readonly Measurement[] } | { readonly why: string } {
  const all = ofPcr(measured, pcr)
  const separators = all.filter(({ known }) => known?.is === 'separator')
  if (separators.length !== 1) return { why: `PCR ${pcr} has ${separators.length} separators` }
  const at = all.findIndex(({ known }) => known?.is === 'separator')
  return { before: all.slice(0, at), after: all.slice(at + 1) }
}
