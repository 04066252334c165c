import type { BootFacts, State } from '@skerry/policy'

/** What a node says of itself: the machine's word, or, while nothing is under way, that what runs there is not well. */
export function wordOf(
  { stage, reason, message }: Pick<State, 'stage' | 'reason' | 'message'>,
  boot: BootFacts | undefined,
): Pick<State, 'reason' | 'message'> {
  if (stage.phase !== 'Idle' || !boot || boot.healthy) return { reason, message }
  return {
    reason: 'BootUnhealthy',
    message: `what runs in slot ${boot.slot} (${boot.imageSha256.slice(0, 12) || 'nothing that can be read'}) does not answer as healthy`,
  }
}
