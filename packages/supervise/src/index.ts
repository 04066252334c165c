export { type Say, until } from './child.ts'
export { type HeldFolder, holdFolder } from './folder.ts'
export { forgetPostgres, leftovers } from './homes.ts'
export {
  endEarlierNatsServer,
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
export { manufactureTpm, startTpm, type Tpm, type TpmState } from './swtpm.ts'
