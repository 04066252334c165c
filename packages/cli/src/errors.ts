import { Refusal } from '@skerry/api'
import { ApiError, type ErrorCause, Unreachable } from '@skerry/client'

/** What a shell learns from a command that did not do what it was asked. */
export const EXIT = { ok: 0, error: 1, usage: 2, notFound: 3, conflict: 4, unreachable: 5 } as const

/** A command that makes no sense as it was typed. */
export class UsageError extends Error {
  override name = 'UsageError'
}

/** Nothing bears this name. */
export class NotFound extends Error {
  override name = 'NotFound'
}

/** Several sentences at once, each with its own place: a file's faults. */
export class Faults extends Error {
  override name = 'Faults'
  readonly faults: readonly string[]
  readonly exitCode: number
  constructor(faults: readonly string[], exitCode: number = EXIT.error) {
    super(faults.join('\n'))
    this.faults = faults
    this.exitCode = exitCode
  }
}

/** The answer was given, and it is not good: nothing more is said, the exit code says it to scripts. */
export class Answered extends Error {
  override name = 'Answered'
  readonly exitCode: number
  constructor(exitCode: number) {
    super('')
    this.exitCode = exitCode
  }
}

export function exitCodeOf(error: unknown): number {
  if (error instanceof Answered) return error.exitCode
  if (error instanceof Faults) return error.exitCode
  if (error instanceof UsageError) return EXIT.usage
  if (error instanceof NotFound) return EXIT.notFound
  if (error instanceof Unreachable) return EXIT.unreachable
  if (error instanceof ApiError && error.code === 404) return EXIT.notFound
  if (error instanceof ApiError && (error.code === 409 || error.code === 412)) return EXIT.conflict
  return EXIT.error
}

/** An error as it is told: `skerry: sentence`, or one JSON object shaped as Kubernetes' Status. */
export function tellError(error: unknown, asJson: boolean): string {
  if (error instanceof Answered) return ''
  if (asJson) return `${JSON.stringify(statusOf(error), null, 2)}\n`
  const sentences = error instanceof Faults ? error.faults : [sentenceOf(error)]
  return sentences.map((sentence) => `skerry: ${sentence}\n`).join('')
}

function sentenceOf(error: unknown): string {
  if (error instanceof ApiError && error.code === 401)
    return `${error.message}; "skerry login" stores another token, --token gives one for this call`
  return error instanceof Error ? error.message : String(error)
}

function statusOf(error: unknown): object {
  const causes: readonly ErrorCause[] = error instanceof ApiError ? error.causes : []
  const [reason, code] = reasonOf(error)
  return {
    kind: 'Status',
    apiVersion: 'v1',
    status: 'Failure',
    message: sentenceOf(error),
    reason,
    ...(code ? { code } : {}),
    details: { exitCode: exitCodeOf(error), ...(causes.length > 0 ? { causes } : {}) },
  }
}

function reasonOf(error: unknown): [reason: string, code?: number] {
  if (error instanceof ApiError) return [error.reason, error.code]
  if (error instanceof Refusal) return [error.code]
  return [error instanceof Error && error.name !== 'Error' ? error.name : 'Failed']
}
