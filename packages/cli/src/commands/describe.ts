import {
  type ClusterState,
  type KindName,
  type KindRow,
  type ObjectOf,
  PLACEMENT_LABEL,
  type SkerryObject,
} from '@skerry/api'
import { ApiError, type Client } from '@skerry/client'
import type { Command } from 'commander'
import { type ClusterChoice, parseLimit, parseStates, SHOWN } from '../cluster-choice.ts'
import { describeAny } from '../describe/any.ts'
import { type ClusterSurroundings, describeCluster } from '../describe/cluster.ts'
import { describeNode } from '../describe/node.ts'
import { eventTable, metadataEntries, regards } from '../describe/parts.ts'
import { describePlacement } from '../describe/placement.ts'
import { describeRollout } from '../describe/rollout.ts'
import { UsageError } from '../errors.ts'
import { namespaceFor, parseTargets } from '../objects/kinds.ts'
import { listObjects, locate } from '../objects/locate.ts'
import { type Entry, formatEntries } from '../output/sections.ts'
import { type Shell, say, withHub } from '../shell.ts'

type Options = { namespace?: string; allNamespaces?: boolean; state?: readonly ClusterState[]; limit?: number }

export function describeCommand(program: Command, shell: Shell): void {
  program
    .command('describe')
    .description('Tells of objects in full: what they are, why they are so, and what happened to them.')
    .argument('<kind>', 'a kind, or KIND/NAME')
    .argument('[name...]', 'which ones; all of the kind when none is named')
    .option('-n, --namespace <name>', 'the namespace they are in')
    .option('-A, --all-namespaces', 'in all namespaces')
    .option('--state <state,…>', 'of a rollout only the clusters in these states', parseStates)
    .option('--limit <count>', `of a rollout at most so many clusters, 0 for all (default: ${SHOWN})`, parseLimit)
    .addHelpText(
      'after',
      '\nExample:\n  skerry describe rollout edge-os-43\n  skerry describe rollout edge-os-43 --state Failed,TimeOut --limit 0',
    )
    .action(async (kind: string, names: string[], options: Options, command: Command) => {
      const targets = parseTargets([kind, ...names])
      const { state, limit = SHOWN } = options
      const other = targets.find(({ row }) => row.kind !== 'Rollout')
      if (other && (state !== undefined || options.limit !== undefined))
        throw new UsageError(
          `--state and --limit choose among the clusters of a rollout: ${other.row.plural} have none`,
        )
      const choice = { limit, ...(state ? { states: state } : {}) }
      await withHub(command, shell, async ({ client, namespace }) => {
        const texts: string[] = []
        for (const { row, name } of targets) {
          const objects = name
            ? [await locate(client, row, name, options, namespace)]
            : await listObjects(client, row, { namespace: namespaceFor(row, options, namespace) })
          for (const object of objects)
            texts.push(formatEntries(await describe(client, row, object, choice, shell.now)))
        }
        if (texts.length === 0) say(shell, 'No resources found')
        shell.out(texts.join('\n\n'))
      })
    })
}

async function describe(
  client: Client,
  row: KindRow,
  object: SkerryObject,
  choice: ClusterChoice,
  now: () => number,
): Promise<Entry[]> {
  const { metadata } = object
  return [
    ...metadataEntries(metadata),
    { label: 'Kind', value: `${row.kind} (${row.group}/${row.version})` },
    ...(await middle(client, object, choice, now)),
    eventTable(row.kind, await eventsOf(client, row.kind, object), now()),
  ]
}

/** The events of an object; a cluster's are all in the namespace of its name. */
async function eventsOf(client: Client, kind: KindName, { metadata }: SkerryObject): Promise<ObjectOf<'Event'>[]> {
  if (kind === 'ManagedCluster') return client.list('Event', { namespace: metadata.name })
  const events = await client.list('Event', { namespace: metadata.namespace })
  return events.filter((event) => regards(event, kind, metadata))
}

// What is told is as old as it is when all of it is here: a node may be heard while the hub is asked.
async function middle(
  client: Client,
  object: SkerryObject,
  choice: ClusterChoice,
  now: () => number,
): Promise<Entry[]> {
  switch (object.kind) {
    case 'Rollout':
      return describeRollout(object, choice, now())
    case 'EdgeNode':
      return describeNode(object, await lastHeard(client, object.metadata), now())
    case 'ManagedCluster':
      return describeCluster(object, await surroundings(client, object.metadata.name), now())
    case 'Placement': {
      const { namespace = '', name } = object.metadata
      return describePlacement(object, await client.why(namespace, name), now())
    }
    default:
      return describeAny(object, now())
  }
}

async function surroundings(client: Client, cluster: string): Promise<ClusterSurroundings> {
  const [heard, nodes, registrations, slices] = await Promise.all([
    client.heard(cluster),
    client.list('EdgeNode', { namespace: cluster }),
    client.list('Registration', { namespace: cluster }),
    client.list('PlacementDecision'),
  ])
  const chosenBy = slices
    .filter(({ status }) => status?.decisions?.some(({ clusterName }) => clusterName === cluster))
    .map(({ metadata }) => `${metadata.namespace}/${metadata.labels?.[PLACEMENT_LABEL] ?? metadata.name}`)
  return { heard, nodes, registrations, chosenBy: [...new Set(chosenBy)] }
}

async function lastHeard(
  client: Client,
  { namespace = '', name }: SkerryObject['metadata'],
): Promise<string | undefined> {
  const heard = await client.heard(namespace).catch((error: unknown) => {
    // A node may outlive its cluster: of one that is gone nothing was heard, and the node is told of all the same.
    if (error instanceof ApiError && error.code === 404) return []
    throw error
  })
  return heard.find(({ node }) => node === name)?.lastHeardAt
}
