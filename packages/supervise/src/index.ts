export type { Say } from './child.ts'
export {
  findNatsServer,
  isRecent,
  NATS_VERSION,
  type NatsServer,
  type NatsSource,
  startNatsServer,
} from './nats-server.ts'
export { freePort, isFree } from './ports.ts'
export { type Connection, createDatabase, type Postgres, startPostgres, toOptions } from './postgres.ts'
export { keepRunning } from './restarting.ts'
