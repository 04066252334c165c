export type { HubConfig } from './config.ts'
export { type Hub, startHub } from './hub.ts'
export { createNkey } from './transport/index.ts'
