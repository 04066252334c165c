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
  keyIn = 'file',
  ...of
}: {
  readonly node: EdgeNode
  readonly boot: SeenBoot | undefined
  readonly tpm: TpmView | undefined
  readonly class: NodeClass | undefined
  /** Where the node's key lies, for whoever asks at the site: what a node cannot sign it can tell nobody else. */
  readonly keyIn?: 'tpm' | 'file' | undefined
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
  const trouble = of.class === 'tpm' && tpm ? troubleOf(tpm) : undefined
  if (!trouble) return troubles
  const { signs, message, ...rest } = trouble
  troubles.push({ of: 'tpm', ...rest, message: signs || keyIn === 'file' ? message : cannotSign(message) })
  return troubles
}

function troubleOf({ path, since, trouble }: TpmView): (Omit<NodeTrouble, 'of'> & { signs: boolean }) | undefined {
  if (path === null) return { signs: false, reason: 'NoTpm', message: WITHOUT_TPM, since }
  if (!trouble) return undefined
  const { tried, code, message, at } = trouble
  return { signs: tried !== 'signature', reason: code, message, since: at }
}

const WITHOUT_TPM =
  'this node is registered with a TPM, and there is none: switch it on in the firmware, or say with --tpm where it is, and start the agent again'

function cannotSign(why: string): string {
  return `this node cannot sign, so the hub hears nothing of it and calls it Offline, because its key lies in its TPM: ${why}. What it does meanwhile is kept, and told when it signs again. Where the TPM is lost for good, whoever runs the hub deletes the registration (skerry delete registration), and this machine enters anew with an empty data folder and another bundle`
}
