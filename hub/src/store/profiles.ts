import type { HardwareProfile, ObjectOf } from '@skerry/api'
import { getObject } from './resources.ts'
import type { Reader } from './store.ts'

// Which signed profile is a machine's: the one that names its hardware id. No release is signed or taken in that has two
// of them (judgeTargets). Whoever asks, at the door or in a controller, asks here, and so gets the same one.

export type SignedProfile = { readonly profileSha256: string; readonly profile: HardwareProfile }
/** The signed profile of a machine, by its hardware id. */
export type Profiles = (hardwareId: string) => Promise<HardwareProfile | undefined>

/** A profile may have a megabyte of inventory: its file is read again when another was signed, not at every call. */
export function openProfiles(sql: Reader): Profiles {
  const read = new Map<string, SignedProfile>()
  return async (hardwareId) => {
    const rows = await sql<{ name: string; sha256: string }[]>`
      select name, spec->>'profileSha256' as sha256 from resource
      where kind = 'HardwareProfile' and jsonb_exists(spec->'hardwareIds', ${hardwareId})`
    const counts = theOne(rows)
    if (!counts) return undefined
    const kept = read.get(counts.name)
    if (kept?.profileSha256 === counts.sha256) return kept.profile
    const found = await getObject(sql, 'HardwareProfile', '', counts.name)
    if (!found) return undefined
    const signed = signedProfile(found)
    read.set(counts.name, signed)
    return signed.profile
  }
}

/** The same of objects that are at hand, for every hardware id that they name. */
export function profilesByHardware(
  objects: Iterable<ObjectOf<'HardwareProfile'>>,
): (hardwareId: string) => SignedProfile | undefined {
  const named = [...objects].flatMap((object) =>
    object.spec.hardwareIds.map((id) => ({ id, name: object.metadata.name, object })),
  )
  const byId = Map.groupBy(named, ({ id }) => id)
  return (hardwareId) => {
    const counts = theOne(byId.get(hardwareId) ?? [])
    return counts && signedProfile(counts.object)
  }
}

/** Of the profiles that name one hardware id the one that counts. */
function theOne<Named extends { readonly name: string }>(found: readonly Named[]): Named | undefined {
  const [first] = found.toSorted((a, b) => (a.name < b.name ? -1 : 1))
  return first
}

function signedProfile({ metadata: { name }, spec }: ObjectOf<'HardwareProfile'>): SignedProfile {
  const { target: _, profileSha256, signers: __, ...says } = spec
  return { profileSha256, profile: { kind: 'HardwareProfile', name, ...says } }
}

/** Which hardware each registered node said that it is, by `cluster/node`. */
export async function hardwareIds(sql: Reader): Promise<Map<string, string>> {
  const rows = await sql<{ place: string; id: string }[]>`
    select namespace || '/' || name as place, spec->>'hardwareId' as id from resource
    where kind = 'Registration' and spec->>'hardwareId' is not null`
  return new Map(rows.map(({ place, id }) => [place, id]))
}
