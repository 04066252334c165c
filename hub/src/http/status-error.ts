import { type Cause, Refusal } from '@skerry/api'
import { LeaseLost } from '../store/leases.ts'
import { WriteConflict } from '../store/resources.ts'

// Kubernetes' Status is the one form of every error that leaves this server.

const REASONS = {
  400: 'BadRequest',
  401: 'Unauthorized',
  403: 'Forbidden',
  404: 'NotFound',
  405: 'MethodNotAllowed',
  406: 'NotAcceptable',
  409: 'Conflict',
  410: 'Expired',
  412: 'PreconditionFailed',
  413: 'RequestEntityTooLarge',
  414: 'RequestURITooLong',
  415: 'UnsupportedMediaType',
  422: 'Invalid',
  429: 'TooManyRequests',
  500: 'InternalError',
  503: 'ServiceUnavailable',
  504: 'Timeout',
} as const
export type HttpCode = keyof typeof REASONS

export type Details = {
  name?: string
  group?: string
  kind?: string
  causes?: readonly Cause[]
  retryAfterSeconds?: number
  code?: string
}

/** An answer that is no success: an HTTP code, a sentence, and Kubernetes' details. */
export class StatusError extends Error {
  readonly code: HttpCode
  readonly reason: string
  readonly details: Details
  constructor(code: HttpCode, message: string, details: Details & { reason?: string } = {}, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause })
    this.name = 'StatusError'
    this.code = code
    const { reason, ...rest } = details
    this.reason = reason ?? REASONS[code]
    this.details = rest
  }
}

export type StatusBody = {
  kind: 'Status'
  apiVersion: 'v1'
  metadata: object
  status: 'Failure'
  message: string
  reason: string
  details: object
  code: number
}

export function statusBody({ code, reason, message, details }: StatusError): StatusBody {
  const { causes, ...rest } = details
  const told = causes
    ? { ...rest, causes: causes.map((cause) => ({ reason: cause.reason, message: cause.message, field: cause.field })) }
    : rest
  return { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Failure', message, reason, details: told, code }
}

/** Any error as a StatusError; what nobody foresaw is a 500 whose text stays inside. */
export function toStatusError(error: unknown): StatusError {
  if (error instanceof StatusError) return error
  if (error instanceof WriteConflict) {
    if (error.code === 'AlreadyExists') return new StatusError(409, error.message, { reason: 'AlreadyExists' }, error)
    return new StatusError(error.code === 'PreconditionFailed' ? 412 : 409, error.message, {}, error)
  }
  if (error instanceof Refusal)
    return new StatusError(
      refusalCode(error),
      error.message,
      { code: error.code, causes: [{ field: error.field, message: error.message, reason: 'FieldValueInvalid' }] },
      error,
    )
  if (error instanceof LeaseLost)
    return new StatusError(503, 'another hub took over; try again', { retryAfterSeconds: 1 }, error)
  if (error instanceof Error && 'code' in error && error.code === 'FST_ERR_HANDLER_TIMEOUT')
    return new StatusError(
      504,
      'the hub did not come to an answer in time, most likely because its database does not answer (/readyz tells); what was asked may still be carried out: read before you ask again',
      { retryAfterSeconds: 5 },
      error,
    )
  if (isUnstorable(error))
    return new StatusError(
      400,
      'a text holds a character that cannot be stored: NUL, or half of a surrogate pair',
      {},
      error,
    )
  const code = error instanceof Error && 'statusCode' in error ? Number(error.statusCode) : 0
  if (code >= 400 && code < 500)
    return new StatusError(
      code in REASONS ? (code as HttpCode) : 400,
      error instanceof Error ? error.message : '',
      {},
      error,
    )
  if (isDatabaseAway(error))
    return new StatusError(503, 'the database is not reachable; try again', { retryAfterSeconds: 2 }, error)
  return new StatusError(500, 'an unforeseen error; the hub has logged it', {}, error)
}

function refusalCode({ code }: Refusal): HttpCode {
  if (code === 'TooManyRequests') return 429
  if (code === 'TooLarge') return 413
  if (code === 'MalformedJson' || code === 'DuplicateMember' || code === 'MalformedJws') return 400
  if (
    code === 'InvalidField' ||
    code.startsWith('Metadata') ||
    code === 'ManifestMismatch' ||
    code === 'TargetUnknown' ||
    code === 'ImageUnavailable'
  )
    return 422
  if (code === 'NodeTaken' || code === 'IdentityChanged' || NOT_AS_IT_STANDS.has(code)) return 409
  return 403
}

/** What was asked does not go with what the object is now. */
const NOT_AS_IT_STANDS: ReadonlySet<Refusal['code']> = new Set([
  'RolloutAborted',
  'NotPaused',
  'NothingFailed',
  'GateNotAsked',
])

const AWAY = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'ENOENT',
  'EPIPE',
  'CONNECTION_CLOSED',
  'CONNECTION_ENDED',
  'CONNECTION_DESTROYED',
  'CONNECT_TIMEOUT',
  '57P01',
  '57P02',
  '57P03',
])

function isDatabaseAway(error: unknown): boolean {
  return error instanceof Error && 'code' in error && AWAY.has(String(error.code))
}

// PostgreSQL keeps neither in text nor in jsonb what has no place in UTF-8: untranslatable_character,
// character_not_in_repertoire, invalid_text_representation.
function isUnstorable(error: unknown): boolean {
  return error instanceof Error && 'code' in error && ['22P05', '22021', '22P02'].includes(String(error.code))
}
