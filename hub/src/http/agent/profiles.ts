import type { HardwareProfile } from '@skerry/api'
import { getObject } from '../../store/resources.ts'
import type { Reader } from '../../store/store.ts'

/** The signed profile that names this hardware; of several the first by name. */
export type Profiles = (hardwareId: string) => Promise<HardwareProfile | undefined>

/** A profile may have a megabyte of inventory: its file is read again when another was signed, not at every call. */
export function openProfiles(sql: Reader): Profiles {
  const read = new Map<string, { readonly sha256: string; readonly profile: HardwareProfile }>()
  return async (hardwareId) => {
    const [row] = await sql<{ name: string; sha256: string }[]>`
      select name, spec->>'profileSha256' as sha256 from resource
      where kind = 'HardwareProfile' and jsonb_exists(spec->'hardwareIds', ${hardwareId}) order by name limit 1`
    if (!row) return undefined
    const kept = read.get(row.name)
    if (kept?.sha256 === row.sha256) return kept.profile
    const found = await getObject(sql, 'HardwareProfile', '', row.name)
    if (!found) return undefined
    const { target: _, signers: __, profileSha256: sha256, ...says } = found.spec
    const profile: HardwareProfile = { kind: 'HardwareProfile', name: row.name, ...says }
    read.set(row.name, { sha256, profile })
    return profile
  }
}
