import type { EvidenceBody, Statement, StatementRef, TransitionBody } from '@skerry/api'
import type { NodeInventory } from './assess.ts'

/** A statement and the digest of its text. */
export type KnownStatement = { readonly statement: Statement; readonly digest: string }

type StatedFacts = Pick<NodeInventory, 'running' | 'confirmed' | 'failure' | 'newest'>
type NewestSaid = {
  readonly newest: StatementRef | undefined
  readonly booted: Said<Pick<EvidenceBody, 'imageSha256' | 'bootId'>> | undefined
  readonly confirmed: Said<TransitionBody> | undefined
  readonly failed: Said<TransitionBody> | undefined
}

/**
 * What a node's own statements say of it, of whatever order and number: the newest of each kind counts, as far as nothing
 * above it is lost. `lostUpTo` is the highest number that is.
 */
export function factsOf(known: Iterable<KnownStatement>, lostUpTo = 0): StatedFacts {
  let newest: StatementRef | undefined
  let booted: Said<EvidenceBody> | undefined
  let confirmed: Said<TransitionBody> | undefined
  let failed: Said<TransitionBody> | undefined
  for (const { statement, digest } of known) {
    const { cluster, node, incarnation, seq } = statement
    const ref = { cluster, node, incarnation, seq, digest }
    const isNewer = (held: { readonly seq: number } | undefined) => held === undefined || seq > held.seq
    if (isNewer(newest)) newest = ref
    if (statement.kind === 'evidence' && isNewer(booted?.ref)) booted = { body: statement.body, ref }
    if (statement.kind !== 'transition') continue
    if (statement.body.to === 'Idle' && isNewer(confirmed?.ref)) confirmed = { body: statement.body, ref }
    if (statement.body.to === 'Failed' && isNewer(failed?.ref)) failed = { body: statement.body, ref }
  }
  return shapeFacts({ newest, ...sinceLoss({ booted, confirmed, failed }, lostUpTo) })
}

type Numbered<Body> = { readonly body: Body; readonly ref: { readonly seq: number } } | undefined

/**
 * What still counts of a node's newest words when numbers up to `lostUpTo` are lost: what it ran and confirmed before is
 * not known to be what it runs and confirmed last. What failed before failed all the same, unless the same bytes were
 * confirmed after that.
 */
export function sinceLoss<
  Booted extends Numbered<unknown>,
  Confirmed extends Numbered<{ readonly imageSha256?: string }>,
  Failed extends Numbered<{ readonly imageSha256?: string }>,
>(
  { booted, confirmed, failed }: { booted: Booted; confirmed: Confirmed; failed: Failed },
  lostUpTo: number,
): { booted: Booted | undefined; confirmed: Confirmed | undefined; failed: Failed | undefined } {
  const later = <T extends Numbered<unknown>>(said: T) => (said && said.ref.seq > lostUpTo ? said : undefined)
  const mended =
    failed && confirmed && confirmed.body.imageSha256 === failed.body.imageSha256 && confirmed.ref.seq > failed.ref.seq
  return {
    booted: later(booted),
    confirmed: later(confirmed),
    failed: mended && !later(confirmed) ? undefined : failed,
  }
}

/** The newest of each kind that a node said, in the form in which a report states it. */
export function shapeFacts({ newest, booted, confirmed, failed }: NewestSaid): StatedFacts {
  return {
    ...(newest ? { newest } : {}),
    ...(booted
      ? { running: { imageSha256: booted.body.imageSha256, bootId: booted.body.bootId, statement: booted.ref } }
      : {}),
    ...(confirmed?.body.imageSha256 !== undefined && confirmed.body.bootId !== undefined
      ? {
          confirmed: {
            imageSha256: confirmed.body.imageSha256,
            bootId: confirmed.body.bootId,
            statement: confirmed.ref,
          },
        }
      : {}),
    ...(failed?.body.imageSha256 !== undefined
      ? {
          failure: {
            imageSha256: failed.body.imageSha256,
            outcome: failed.body.outcome ?? 'ActivationFailed',
            reason: failed.body.reason,
            statement: failed.ref,
          },
        }
      : {}),
  }
}

type Said<Body> = { readonly body: Body; readonly ref: StatementRef }
