export type { EndorsementKey } from './endorsement.ts'
export { type Hardware, openHardware, type TpmTrouble, type TpmView, tpmPath } from './hardware.ts'
export { EVENT_LOG } from './logs.ts'
