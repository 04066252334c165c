import type { AttestationResult, ObjectOf, OSImageManifest } from '@skerry/api'
import type { Client } from '@skerry/client'
import { eventually } from '@skerry/demo'
import { ruleMayAccept } from '@skerry/policy'
import type { Machine } from './machine.ts'

// What the hub makes of a machine's boots, and why it may make nothing of them: nobody let the machine in.

type NodeStatus = NonNullable<ObjectOf<'EdgeNode'>['status']>
export type Judged = NodeStatus & { readonly attestation: NonNullable<NodeStatus['attestation']> }

/** One verdict on one boot, as the hub tells it of its node. */
export type Result = {
  readonly bootId: string
  readonly verdict: string
  readonly reason: string
  readonly judgedAt: string
  readonly revision: number
  /** When its evidence was made, wherever the node was then. */
  readonly said: { readonly after?: string; readonly before: string }
  /** As it was signed. */
  readonly ear: string
}

/** A site of these stories has one node, of the site's name. */
type Site = Pick<Machine, 'name' | 'present'>

/**
 * Waits until the hub says that this boot runs and has judged it, and gives what it says of the node. Fails at once, with
 * the reason, when it will not come to that: in a story nobody is there to decide about a registration.
 */
export function judged(client: Client, machine: Site, bootId: string, deadlineMs: number): Promise<Judged> {
  const { name } = machine
  return eventually(
    async () => {
      const [node] = await client.list('EdgeNode', { namespace: name })
      const { status } = node ?? {}
      const { attestation } = status ?? {}
      if (status?.bootId === bootId && attestation?.bootId === bootId) return { ...status, attestation }
      const [registration] = await client.list('Registration', { namespace: name })
      const why = whyNotIn(registration) ?? whyRefused(machine.present())
      if (why) throw new Error(`${name} is not let in, so the hub judges no boot of it: ${why}`)
      return undefined
    },
    `a verdict on boot ${bootId} of ${name}`,
    deadlineMs,
  )
}

/** Every verdict on a node's boots, the newest first. */
export async function resultsOf(client: Client, name: string): Promise<readonly Result[]> {
  const { items } = await client.call<{ items: Result[] }>(
    `/apis/skerry.dev/v1alpha1/namespaces/${name}/edgenodes/${name}/results`,
  )
  return items
}

/** What an EAR says, read without a check of its signature. */
export function claimsOf({ ear }: Pick<Result, 'ear'>): AttestationResult {
  return JSON.parse(Buffer.from(ear.split('.')[1] ?? '', 'base64url').toString()) as AttestationResult
}

/** Why a registration stays as it is until a person decides; undefined where the hub's rules go on by themselves. */
export function whyNotIn(registration: Pick<ObjectOf<'Registration'>, 'spec' | 'status'> | undefined) {
  if (registration?.status === undefined) return undefined
  const { state, reason, message } = registration.status
  const word = `${state}, ${reason}: ${message}`
  switch (state) {
    case 'Denied':
    case 'Suspended':
    case 'Revoked':
    case 'Left':
      return word
    case 'Pending':
      return reason === 'AwaitingClusterAcceptance' || !ruleMayAccept(registration.spec.tpm) ? word : undefined
    default:
      return undefined
  }
}

/** Why the hub refused it before there was a registration, as its agent says on its console. */
export function whyRefused(lines: readonly string[]): string | undefined {
  const line = lines.find((one) => one.includes('"registration waits') && one.includes('"decided":true'))
  return line === undefined ? undefined : (JSON.parse(line) as { reason: string }).reason
}

/** What a manifest says that PCRs hold on a machine in which no systemd goes through phases. */
export function promisedPcrs({ boot }: OSImageManifest, secureBoot: 'on' | 'off'): Readonly<Record<number, string>> {
  const measured = boot.kind === 'uki' ? boot.measured.sha256 : undefined
  const before = measured?.pcr11.phases.find(({ phase }) => phase === '')
  if (!measured || !before) throw new Error('the manifest promises nothing of bank sha256')
  return { 9: measured.pcr9, 11: before.value, 12: measured.pcr12[secureBoot] }
}
