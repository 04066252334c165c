export {
  type Client,
  type Explanation,
  type Frame,
  type ListQuery,
  type NewObject,
  openClient,
  type Server,
  type Table,
} from './client.ts'
export { type Context, type Contexts, contextsFile, readContexts, saveContext, writeContexts } from './contexts.ts'
export { ApiError, Unreachable } from './errors.ts'
