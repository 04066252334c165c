import { type DesiredState, type OSImageManifest, Refusal } from '@skerry/api'
import { isUnheardOf, type Memory } from '../node-upgrade/state.ts'

/** What a node knows of itself, as far as it decides whether an image may come here. */
export type AdmissionFacts = {
  readonly hardwareId: string
  readonly memory: Memory
  /** The floor that the machine's TPM holds, which no restored disk puts back; undefined where it holds none. */
  readonly tpmFloor?: number | undefined
  /** The platform can prove what it booted. */
  readonly measuresBoot: boolean
  /** There is a Kubernetes to apply works to. */
  readonly appliesWorks: boolean
}

/**
 * Whether an authentic manifest may be installed here, asked before staging and again before activation: the site's own
 * judgement, whatever the hub wants. undefined when it may; otherwise the refusal.
 */
export function admit(
  manifest: OSImageManifest,
  desired: Pick<DesiredState, 'attestation' | 'works' | 'retry'>,
  facts: AdmissionFacts,
): Refusal | undefined {
  const { memory, hardwareId } = facts
  if (desired.works.length > 0 && !facts.appliesWorks)
    return new Refusal('WorksUnsupported', 'this agent runs without Kubernetes and can apply no works')
  if (!manifest.hardwareIds.includes(hardwareId)) {
    return new Refusal(
      'HardwareMismatch',
      `${manifest.family} ${manifest.version} is for ${manifest.hardwareIds.join(', ')}; this is ${hardwareId}`,
      { field: 'hardwareIds' },
    )
  }
  const { retry } = desired
  if (retry && retry.imageSha256 !== manifest.image.sha256)
    return new Refusal(
      'InvalidField',
      `asks to try ${retry.imageSha256.slice(0, 12)}… again, which is not the image that it names`,
      { field: 'retry.imageSha256' },
    )
  const failed = memory.failures.find(({ imageSha256 }) => imageSha256 === manifest.image.sha256)
  if (failed && !isUnheardOf(retry?.act, memory))
    return new Refusal(
      'ImageFailedBefore',
      `these bytes ended in ${failed.outcome} here at ${failed.at}: ${failed.message}${retry ? `; they were tried again as act ${retry.act} asked` : ''}`,
      { field: 'image.sha256' },
    )
  const confirmed = memory.confirmed?.releaseCounter ?? 0
  const { tpmFloor = 0 } = facts
  if (manifest.releaseCounter < Math.max(confirmed, tpmFloor)) {
    const below =
      tpmFloor > confirmed
        ? `${tpmFloor}, which this machine's TPM holds though its disk knows of ${confirmed}: was the disk put back?`
        : `${confirmed}, which was confirmed here`
    return new Refusal('ReleaseCounterTooLow', `release counter ${manifest.releaseCounter} is below ${below}`, {
      field: 'releaseCounter',
    })
  }
  if (desired.attestation === 'affirming' && !(facts.measuresBoot && manifest.boot.kind !== 'none')) {
    return new Refusal(
      'AttestationImpossible',
      'the rollout asks for an affirming boot; nothing measures the boot here',
      { field: 'attestation' },
    )
  }
  return undefined
}
