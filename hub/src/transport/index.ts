export { makeAcknowledger } from './acknowledger.ts'
export { connectHub, type HubConnection } from './connection.ts'
export { runHeartbeats } from './heartbeats.ts'
export { runIngest } from './ingest.ts'
export {
  mintUser,
  type NatsKeys,
  newRoutingToken,
  serverConfig,
} from './layout.ts'
export { createNkey, type Nkey, parseSeed } from './nkeys.ts'
export { looksWhole, publishNew, refill } from './publisher.ts'
export { nodeDirectory } from './reports.ts'
export { ensureStreams } from './streams.ts'
