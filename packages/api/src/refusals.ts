// Every reason for which a document, a request or an image is not believed. `retry` says whether the same bytes can
// be right later: 'never' is a fault in them, 'later' is one of the surroundings.

export const REFUSALS = {
  TooLarge: { retry: 'never', means: 'more bytes than this document may have' },
  MalformedJson: { retry: 'never', means: 'not JSON in UTF-8, or nested too deep' },
  DuplicateMember: { retry: 'never', means: 'an object names a member twice, so two readers could see two documents' },
  InvalidField: {
    retry: 'never',
    means: 'a member is missing, unknown or of the wrong form; the message gives its path',
  },
  MalformedJws: { retry: 'never', means: 'not a compact JWS in its one canonical spelling' },
  UnknownKey: { retry: 'later', means: 'signed by a key that is not listed for this document' },
  BadSignature: { retry: 'never', means: 'the signature does not verify' },
  WrongType: { retry: 'never', means: 'signed as another kind of document' },
  WrongAudience: { retry: 'never', means: 'addressed to another cluster or node' },
  WrongSender: {
    retry: 'never',
    means: 'the key that signed belongs to another node than the document or the subject names',
  },
  OlderPosition: { retry: 'never', means: 'older than the desired state this site holds' },
  PositionReused: { retry: 'never', means: 'the same (timeline, generation) as the one held, with other contents' },
  MetadataInvalid: { retry: 'never', means: 'TUF metadata that breaks a rule beyond the specification' },
  MetadataUntrusted: { retry: 'never', means: 'TUF metadata without a threshold of trusted signatures' },
  MetadataRollback: { retry: 'never', means: 'TUF metadata older than what this site has seen' },
  MetadataExpired: { retry: 'later', means: 'TUF metadata past its expiry: no new install until newer arrives' },
  MetadataUnavailable: { retry: 'later', means: 'TUF metadata that no source could give' },
  TargetUnknown: { retry: 'later', means: 'the signed targets do not list this path' },
  ManifestMismatch: {
    retry: 'never',
    means: 'the manifest at this path has another digest than the desired state names',
  },
  HardwareMismatch: { retry: 'never', means: 'the image is not for this hardware' },
  ReleaseCounterTooLow: {
    retry: 'never',
    means: "the image's release counter is below the one confirmed here, or held by this machine's TPM",
  },
  ImageFailedBefore: { retry: 'never', means: 'these very bytes failed on this node before' },
  AttestationImpossible: { retry: 'never', means: 'asks for an affirming boot from a node that cannot prove its boot' },
  WorksUnsupported: { retry: 'never', means: 'asks for Kubernetes works from a node without Kubernetes' },
  ImageMismatch: { retry: 'later', means: 'downloaded bytes do not hash to what the manifest names' },
  ImageUnavailable: { retry: 'later', means: 'no source could give the image' },
  NoSpace: { retry: 'later', means: 'not enough free space for the image' },
  OutboxFull: {
    retry: 'later',
    means: 'the node keeps as many statements that the hub has not taken as it may',
  },
  TokenUnknown: { retry: 'never', means: 'no such join token, or a wrong secret' },
  TokenExpired: { retry: 'never', means: 'the join token is past its time' },
  TokenUsedUp: { retry: 'never', means: 'the join token has been used as often as it may be' },
  TokenOutOfScope: { retry: 'never', means: 'the join token is for another cluster, set or key class' },
  NodeTaken: { retry: 'never', means: 'another key holds this node name in this cluster' },
  ProfileUnknown: { retry: 'later', means: 'no signed hardware profile names this hardware' },
  EkUntrusted: { retry: 'later', means: 'an endorsement key that the hardware profile does not vouch for' },
  AkUnfit: { retry: 'never', means: 'an attestation key that proves nothing about its TPM' },
  IdentityChanged: { retry: 'never', means: "another TPM than the node's, or another node than the TPM's" },
  ChallengeExpired: { retry: 'later', means: 'the challenge was answered too late; start again' },
  ProofMismatch: { retry: 'never', means: 'the proof does not cover this request and challenge' },
  NotAllowed: { retry: 'later', means: 'denied, suspended or revoked; a person decides' },
  ForkedChain: { retry: 'never', means: 'two different statements with one number: a copied node' },
  BrokenChain: { retry: 'never', means: 'a statement does not follow from the one before it' },
  StatusOvertaken: {
    retry: 'never',
    means: 'counts lower than a status that came before it: a copied node, or its disk was put back',
  },
  ChainGap: {
    retry: 'later',
    means: 'as much is stored above a gap in this chain as may be: what is missing below it has to come first',
  },
  RolloutAborted: { retry: 'never', means: 'something done to a rollout that was aborted, which is final' },
  NotPaused: { retry: 'later', means: 'a resume of a rollout that neither a person nor a breach has paused' },
  NothingFailed: { retry: 'later', means: 'a retry where nothing failed, or of a cluster that did not fail' },
  GateNotAsked: { retry: 'later', means: 'an approval at a gate where the rollout asks for none' },
  SecondPersonNeeded: {
    retry: 'later',
    means: "an approval by whoever made the last change of the rollout's spec, or of one whose author is not known",
  },
  TooManyRequests: { retry: 'later', means: 'too many open requests; the answer says when to come back' },
} as const satisfies Record<string, { retry: 'never' | 'later'; means: string }>

export type RefusalCode = keyof typeof REFUSALS

/** An untrusted document or request that is not believed: a code, a sentence, and where in the document. */
export class Refusal extends Error {
  readonly code: RefusalCode
  /** Path of the member at fault, such as `image.sha256`; empty when it is the whole. */
  readonly field: string

  constructor(code: RefusalCode, message: string, options: { field?: string; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.name = 'Refusal'
    this.code = code
    this.field = options.field ?? ''
  }

  /** Whether the same bytes can be right later. */
  get retry(): 'never' | 'later' {
    return REFUSALS[this.code].retry
  }
}
