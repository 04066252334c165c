export type { HubConfig } from './config.ts'
export { type Hub, startHub } from './hub.ts'
