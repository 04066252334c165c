export {
  type Client,
  type Explanation,
  type Heard,
  type ListQuery,
  type NewObject,
  openClient,
  type Server,
  type Table,
} from './client.ts'
export { type Context, type Contexts, contextsFile, readContexts, saveContext, writeContexts } from './contexts.ts'
export { AnswerTooLong, ApiError, type ErrorCause, Unreachable } from './errors.ts'
export { type Publication, publishReleases } from './publish.ts'
export type { Frame } from './watch.ts'
