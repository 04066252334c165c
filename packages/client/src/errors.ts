/** One thing wrong with what was sent: where, and what. */
export type ErrorCause = { readonly field: string; readonly message: string; readonly reason?: string }

/** An answer of the hub that is no success: Kubernetes' Status, as fields. */
export class ApiError extends Error {
  readonly code: number
  readonly reason: string
  readonly causes: readonly { field: string; message: string }[]
  constructor(code: number, reason: string, message: string, causes: ApiError['causes'] = []) {
    super(message)
    this.name = 'ApiError'
    this.code = code
    this.reason = reason
    this.causes = causes
  }
}

/** Nobody answered at the hub's address. */
export class Unreachable extends Error {
  constructor(server: string, cause: unknown) {
    super(
      `the hub at ${server} cannot be reached: ${cause instanceof Error ? cause.message || String(Reflect.get(cause, 'code') ?? 'no answer') : String(cause)}`,
      { cause },
    )
    this.name = 'Unreachable'
  }
}
