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

/** Nobody answered at the hub's address, or somebody else. Says what to look at. */
export class Unreachable extends Error {
  constructor(server: string, cause: unknown) {
    const code = cause instanceof Error ? String(Reflect.get(cause, 'code') ?? '') : ''
    const why = cause instanceof Error ? cause.message || code || 'no answer' : String(cause)
    super(`the hub at ${server} cannot be reached: ${why}; ${nextStep(code)}`, { cause })
    this.name = 'Unreachable'
  }
}

/** The hub's answer is longer than one text may be: trying again helps nothing, asking for less does. */
export class AnswerTooLong extends Error {
  constructor(path: string, mostBytes: number) {
    super(`the hub's answer to ${path} is longer than ${mostBytes} bytes, which is what one text may be: ask for less`)
    this.name = 'AnswerTooLong'
  }
}

function nextStep(code: string): string {
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN') return 'is the name in its address right?'
  // Codes of OpenSSL and of Node's own check of names.
  if (/CERT|SIGNATURE/.test(code))
    return 'its certificate is not one of the CA that is known for it: compare the CA, and the names that the hub was started with (--name)'
  if (code === 'UND_ERR_HEADERS_TIMEOUT' || code === 'UND_ERR_BODY_TIMEOUT')
    return 'it takes connections and does not answer: its log and its /readyz?verbose say which part hangs'
  return 'does the hub run there, and is the way to it open? Its address is in the line that it prints when it is ready'
}
