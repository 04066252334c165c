import type { HardwareProfile } from '@skerry/api'
import { HARDWARE_ID } from '@skerry/demo'
import type { TpmState } from '@skerry/supervise'

/**
 * What is signed of a story's kind of machine: the CA that its TPMs' endorsement certificates chain up to, and no Secure
 * Boot. Its firmware is nobody's to name before it ran: what it measures when the node registers counts from then on.
 */
export function hardwareProfile({ ca }: TpmState): HardwareProfile {
  return {
    kind: 'HardwareProfile',
    name: 'emulated',
    hardwareIds: [HARDWARE_ID],
    tpm: { roots: [ca.root, ca.issuer], inventory: [] },
    banks: ['sha256'],
    firmware: [],
    learn: 'tofu',
  }
}
