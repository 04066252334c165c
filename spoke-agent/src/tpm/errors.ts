import { type command, Malformed, type ResponseCode, responseCodeText } from '@skerry/measured-boot'

/** Why a TPM does not do what was asked: whether the same may work later, and what a person can do about it. */
const TPM_FAULTS = {
  NoTpm: {
    retry: false,
    next: 'switch the TPM on in the firmware (its name there is TPM, PTT or fTPM), or say with --tpm where it is; a node that is new may enter without one (--tpm off)',
  },
  NoAccess: { retry: false, next: 'run the agent as root or give its user the group that /dev/tpmrm0 belongs to' },
  DeviceBusy: {
    retry: true,
    next: 'another program holds the TPM; the agent uses /dev/tpmrm0, which several may share, so end whoever has /dev/tpm0 open',
  },
  TimedOut: { retry: true, next: 'the agent tries again; if it stays so, restart the machine' },
  Failed: {
    retry: false,
    next: 'the TPM failed its self-test or its device broke: restart the machine, then replace it',
  },
  Lockout: {
    retry: true,
    next: 'too many wrong passwords were given to this TPM; it forgives one in each interval that "tpm2_getcap properties-variable" shows, and its owner can end the lockout with tpm2_dictionarylockout',
  },
  PasswordSet: {
    retry: false,
    next: 'somebody gave this TPM’s owner or endorsement hierarchy a password, which the agent does not know: clear the TPM in the firmware',
  },
  Unsupported: {
    retry: false,
    next: 'this TPM lacks what the agent needs: a TPM 2.0 of revision 1.38 or newer has it',
  },
  WrongCredential: {
    retry: false,
    next: 'the credential was made for another TPM or another key: the node enters anew',
  },
  OtherTpm: {
    retry: false,
    next: 'put the TPM back in which it was made; where it is lost, let the node enter anew with an empty data folder',
  },
  Full: {
    retry: true,
    next: 'the TPM has no room left: end programs that keep objects in it, or undefine NV indexes that nobody uses',
  },
  Moving: { retry: true, next: 'something measures without pause; the agent tries again' },
  ForeignIndex: {
    retry: false,
    next: 'another program uses the NV index of the release floor: undefine it (tpm2_nvundefine) when nobody needs it',
  },
  NotUnderstood: {
    retry: false,
    next: 'the TPM’s answer is not what the specification says: report it with the TPM’s maker and firmware',
  },
  Refused: { retry: false, next: 'look the response code up in TPM 2.0 Part 2, or with tpm2_rc_decode' },
} as const
export type TpmFault = keyof typeof TPM_FAULTS

/** The one error of this room. The message says what was tried, why it was not done, and the next step. */
export class TpmError extends Error {
  override readonly name = 'TpmError'
  readonly code: TpmFault
  readonly canRetry: boolean
  /** What the TPM answered, where it answered. */
  readonly response: ResponseCode | undefined

  constructor(code: TpmFault, what: string, reason: string, more: { cause?: unknown; response?: ResponseCode } = {}) {
    const { retry, next } = TPM_FAULTS[code]
    super(`${what}: ${reason}. ${next[0]?.toUpperCase()}${next.slice(1)}`, { cause: more.cause })
    this.code = code
    this.canRetry = retry
    this.response = more.response
  }
}

/** A response code as the fault it is. */
export function faultOfResponse(name: command.CommandName, response: ResponseCode): TpmError {
  return new TpmError(codeOf(name, response), `TPM2_${name}`, `the TPM answered ${responseCodeText(response)}`, {
    response,
  })
}

function codeOf(name: command.CommandName, { name: code, about }: ResponseCode): TpmFault {
  switch (code) {
    case 'LOCKOUT':
      return 'Lockout'
    case 'AUTH_FAIL':
    case 'BAD_AUTH':
    case 'AUTH_UNAVAILABLE':
      return 'PasswordSet'
    case 'RETRY':
    case 'YIELDED':
    case 'TESTING':
    case 'NV_RATE':
    case 'CANCELED':
      return 'DeviceBusy'
    case 'FAILURE':
    case 'INITIALIZE':
    case 'NEEDS_TEST':
    case 'REBOOT':
    case 'UPGRADE':
    case 'NV_UNAVAILABLE':
      return 'Failed'
    case 'OBJECT_MEMORY':
    case 'SESSION_MEMORY':
    case 'MEMORY':
    case 'SESSION_HANDLES':
    case 'OBJECT_HANDLES':
    case 'CONTEXT_GAP':
    case 'TOO_MANY_CONTEXTS':
    case 'NV_SPACE':
      return 'Full'
    case 'COMMAND_CODE':
    case 'CURVE':
    case 'SCHEME':
    case 'ASYMMETRIC':
    case 'SYMMETRIC':
    case 'KEY_SIZE':
    case 'HASH':
    case 'HIERARCHY':
      return 'Unsupported'
    default:
      // Whatever is wrong with a credential is its parameters: its integrity, its size, how it was encrypted.
      return name === 'ActivateCredential' && about?.part === 'parameter' ? 'WrongCredential' : 'Refused'
  }
}

/** Bytes that are no response. */
export function notUnderstood(name: command.CommandName, cause: unknown): unknown {
  if (!(cause instanceof Malformed)) return cause
  return new TpmError('NotUnderstood', `TPM2_${name}`, cause.message, { cause })
}
