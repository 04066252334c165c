import type { HardwareProfile } from '@skerry/api'
import { HARDWARE_ID } from '@skerry/demo'
import type { TpmState } from '@skerry/supervise'
import type { SecureBootKeys } from './secure-boot.ts'

/**
 * What is signed of a story's kind of machine: the CA that its TPMs' endorsement certificates chain up to, and the keys of
 * its Secure Boot, or none. Its firmware is nobody's to name before it ran: what it measures when the node registers
 * counts from then on.
 */
export function hardwareProfile({ ca }: TpmState, secureBoot?: Pick<SecureBootKeys, 'lists'>): HardwareProfile {
  return {
    kind: 'HardwareProfile',
    name: 'emulated',
    hardwareIds: [HARDWARE_ID],
    tpm: { roots: [ca.root, ca.issuer], inventory: [] },
    banks: ['sha256'],
    firmware: [],
    learn: 'tofu',
    ...(secureBoot ? { secureBoot: listsOf(secureBoot) } : {}),
  }
}

/** As the firmware holds them once they are enrolled; nothing is forbidden. */
function listsOf({ lists: { PK, KEK, db } }: Pick<SecureBootKeys, 'lists'>) {
  const [pk, kek, allowed] = [PK, KEK, db].map((list) => Buffer.from(list).toString('base64'))
  return { pk: pk ?? '', kek: kek ?? '', db: allowed ?? '', dbx: [''] }
}
