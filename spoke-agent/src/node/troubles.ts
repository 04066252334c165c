import type { NodeClass, NodeTrouble } from '@skerry/api'
import type { BootFacts } from '@skerry/policy'
import type { EdgeNode } from '../store/bus.ts'
import type { TpmView } from '../tpm/index.ts'

/** What the driver saw last, and since when it has been ill. */
export type SeenBoot = BootFacts & { readonly illSince: string | undefined }

export function seenBoot(facts: BootFacts, before: SeenBoot | undefined, nowMs: number): SeenBoot {
  return { ...facts, illSince: facts.healthy ? undefined : (before?.illSince ?? new Date(nowMs).toISOString()) }
}

/** What is not well on a node, whatever its machine is at: a boot that is ill or cannot be looked at, a TPM that gives no quote. */
export function troublesOf({
  node: { unseen, state },
  boot,
  tpm,
  ...of
}: {
  readonly node: EdgeNode
  readonly boot: SeenBoot | undefined
  readonly tpm: TpmView | undefined
  readonly class: NodeClass | undefined
}): NodeTrouble[] {
  const troubles: NodeTrouble[] = []
  if (unseen) {
    const { reason, message, since } = unseen
    troubles.push({ of: 'boot', reason, message, since })
  } else if (boot?.illSince !== undefined && state.stage.phase === 'Idle') {
    // While something is under way its own reason says so.
    const bytes = boot.imageSha256.slice(0, 12) || 'nothing that can be read'
    const message = `what runs in slot ${boot.slot} (${bytes}) does not answer as healthy`
    troubles.push({ of: 'boot', reason: 'BootUnhealthy', message, since: boot.illSince })
  }
  if (of.class !== 'tpm' || !tpm) return troubles
  if (tpm.path === null) {
    const message = `this node is registered with a TPM, and there is none: ${WITHOUT_TPM}`
    troubles.push({ of: 'tpm', reason: 'NoTpm', message, since: tpm.since })
  } else if (tpm.trouble) {
    const { code, message, at } = tpm.trouble
    troubles.push({ of: 'tpm', reason: code, message, since: at })
  }
  return troubles
}

const WITHOUT_TPM = 'switch it on in the firmware, or say with --tpm where it is'
