import { DENIED_BECAUSE_ANNOTATION, kindRow, type ObjectOf } from '@skerry/api'
import { ApiError, type Client } from '@skerry/client'
import type { Command } from 'commander'
import { NotFound } from '../errors.ts'
import { didYouMean } from '../nearby.ts'
import { nameOf } from '../objects/kinds.ts'
import { registrationText, undecided, whoWaits } from '../objects/registrations.ts'
import { applyTaints, parseTaint } from '../objects/taints.ts'
import { line, type Shell, withHub } from '../shell.ts'

export function clusterCommand(program: Command, shell: Shell): void {
  const cluster = program
    .command('cluster')
    .description('Decides about clusters: whether they may belong, and what keeps placements away.')
  acceptCommand(cluster, shell)
  denyCommand(cluster, shell)
  taintCommand(cluster, shell)
}

function acceptCommand(cluster: Command, shell: Shell): void {
  cluster
    .command('accept')
    .description('Accepts a cluster and its waiting registrations. The agent prints the same fingerprint at the site.')
    .argument('<name>', 'the cluster')
    .option('--node <name>', 'only the registration of this node')
    .option('--fingerprint <text>', 'only if a waiting registration has this fingerprint')
    .addHelpText('after', '\nExample:\n  skerry cluster accept shop-17 --fingerprint 786e-253d-ba32-bcd2')
    .action(async (name: string, options: { node?: string; fingerprint?: string }, command: Command) => {
      await withHub(command, shell, async ({ client }) => {
        const found = await findCluster(client, name)
        const all = await client.list('Registration', { namespace: name })
        const registrations = undecided(all, options)
        for (const registration of registrations) {
          const { fingerprint } = registration.spec
          // The fingerprint goes along: a registration whose keys were exchanged meanwhile is not the one that was seen.
          await client.approve(name, registration.metadata.name, { state: 'Accepted', fingerprint })
          line(shell, `${registrationText(registration)}: accepted`)
        }
        await setAccepted(client, found, true, null)
        const before = found.spec.hubAcceptsClient === true ? 'was accepted already' : 'accepted'
        line(
          shell,
          `${nameOf(kindRow('ManagedCluster'), name)} ${before}${registrations.length === 0 ? `; ${whoWaits(all)}` : ''}`,
        )
      })
    })
}

function denyCommand(cluster: Command, shell: Shell): void {
  cluster
    .command('deny')
    .description(
      'Denies a cluster: a connected site is cut off, a waiting registration refused. It may be accepted again.',
    )
    .argument('<name>', 'the cluster')
    .option('--reason <sentence>', 'why, for those who look later')
    .addHelpText('after', '\nExample:\n  skerry cluster deny shop-17 --reason "stolen on Monday"')
    .action(async (name: string, { reason }: { reason?: string }, command: Command) => {
      await withHub(command, shell, async ({ client }) => {
        const found = await findCluster(client, name)
        await setAccepted(client, found, false, reason ?? null)
        for (const registration of undecided(await client.list('Registration', { namespace: name }), {})) {
          const { fingerprint } = registration.spec
          await client.approve(name, registration.metadata.name, { state: 'Denied', reason, fingerprint })
          line(shell, `${registrationText(registration)}: denied`)
        }
        line(shell, `${nameOf(kindRow('ManagedCluster'), name)} denied`)
      })
    })
}

/** The cluster to decide about. One that is not there is told with what is near, and with who waits. */
async function findCluster(client: Client, name: string): Promise<ObjectOf<'ManagedCluster'>> {
  try {
    return await client.get('ManagedCluster', undefined, name)
  } catch (error) {
    if (!(error instanceof ApiError && error.code === 404)) throw error
    const clusters = await client.list('ManagedCluster')
    const near = didYouMean(
      name,
      clusters.map(({ metadata }) => metadata.name),
    )
    const open = (await client.list('Registration')).filter(({ spec }) => spec.decision === undefined)
    const waits = open.length > 0 ? whoWaits(open) : 'no registration waits ("skerry get registrations" lists all)'
    throw new NotFound(`there is no cluster "${name}"${near}; ${waits}`)
  }
}

async function setAccepted(
  client: Client,
  { metadata, spec }: ObjectOf<'ManagedCluster'>,
  accepted: boolean,
  reason: string | null,
): Promise<void> {
  const annotations =
    reason !== null || metadata.annotations?.[DENIED_BECAUSE_ANNOTATION] !== undefined
      ? { annotations: { [DENIED_BECAUSE_ANNOTATION]: reason } }
      : {}
  if (spec.hubAcceptsClient === accepted && Object.keys(annotations).length === 0) return
  await client.mergePatch('ManagedCluster', undefined, metadata.name, {
    metadata: annotations,
    spec: { hubAcceptsClient: accepted },
  })
}

function taintCommand(cluster: Command, shell: Shell): void {
  cluster
    .command('taint')
    .description(
      'Puts taints on a cluster or takes them off. Placements that do not tolerate a taint do not choose the cluster.',
    )
    .argument('<name>', 'the cluster')
    .argument('<taint...>', 'key=value:Effect or key:Effect; key:Effect- or key- takes it off')
    .addHelpText(
      'after',
      '\nExample:\n  skerry cluster taint shop-17 rebuilding=yes:NoSelect\n  skerry cluster taint shop-17 rebuilding-',
    )
    .action(async (name: string, words: string[], _: object, command: Command) => {
      const wanted = words.map((word) => parseTaint(word))
      await withHub(command, shell, async ({ client }) => {
        const change = async () => {
          const { metadata, spec } = await client.get('ManagedCluster', undefined, name)
          const taints = applyTaints(spec.taints ?? [], wanted)
          // A list is replaced as a whole: whoever writes between reading and writing is not overwritten.
          await client.mergePatch('ManagedCluster', undefined, name, {
            metadata: { resourceVersion: metadata.resourceVersion },
            spec: { taints },
          })
        }
        await change().catch((error: unknown) => {
          if (error instanceof ApiError && error.code === 409) return change()
          throw error
        })
        const verb = wanted.every(({ remove }) => remove) ? 'untainted' : 'tainted'
        line(shell, `${nameOf(kindRow('ManagedCluster'), name)} ${verb}`)
      })
    })
}
