import { causes, kindRow, type ObjectOf, objectSchema } from '@skerry/api'
import { admitRollout, type Simulation, type SimulationInput, simulate, type TimelineEntry } from '@skerry/policy'
import { type Command, Option } from 'commander'
import { Faults, UsageError } from '../errors.ts'
import type { Manifest } from '../objects/documents.ts'
import { readFiles } from '../objects/files.ts'
import { type FoundFleet, findFleet } from '../objects/fleet.ts'
import { locate } from '../objects/locate.ts'
import { groupsIn, playedBy, type ReadOutages, readOutages } from '../objects/outages.ts'
import { onlyRollout } from '../objects/rollouts.ts'
import { formatColumns } from '../output/columns.ts'
import { formOption, toJson } from '../output/forms.ts'
import { type Shell, say, withHub } from '../shell.ts'
import { DEFAULT_NAMESPACE } from './apply.ts'

type Options = {
  filename?: string[]
  fromHub?: string
  outages: string
  namespace?: string
  output: 'table' | 'json'
}
type Played = Simulation & { kind: 'Played' }
type Rollout = ObjectOf<'Rollout'>
/** What is to be played: of a fleet that no hub was asked for nobody is known to be out of reach. */
type Given = {
  readonly rollout: Rollout
  readonly image: SimulationInput['image']
  readonly groups: SimulationInput['groups']
  readonly found: FoundFleet['found']
}

export function simulateCommand(rollout: Command, shell: Shell): void {
  rollout
    .command('simulate')
    .summary('plays a rollout over a month of outages')
    .description(
      'Plays a rollout in virtual time, by the plan that the hub makes: over outages, failures and people from a file. Nothing is sent or written. No hub is asked, but for --from-hub, which takes the rollout and its fleet from one.',
    )
    .option('-f, --filename <path...>', 'the Rollout, as apply takes it, or - for standard input')
    .addOption(
      new Option('--from-hub <name>', 'a rollout of the hub, with the clusters that its placement selects').conflicts(
        'filename',
      ),
    )
    .requiredOption('--outages <file>', 'what happens to the fleet, YAML or JSON (packages/cli/README.md)')
    .option('-n, --namespace <name>', 'where the file names none; with --from-hub, the namespace it is in')
    .addOption(formOption('table', 'json'))
    .addHelpText(
      'after',
      '\nExample:\n  skerry rollout simulate -f rollout.yaml --outages bad-month.yaml\n  skerry rollout simulate --from-hub edge-os-43 --outages storm.yaml',
    )
    .action(async (options: Options, command: Command) => {
      const file = readOutages(options.outages)
      const { rollout, image, groups, found } =
        options.fromHub === undefined
          ? await fromFiles(options, file, shell)
          : await fromHub(options.fromHub, options, file, command, shell)
      const outcome = simulate({ rollout, image, ...playedBy(file, groups, found) })
      if (outcome.kind === 'Refused')
        throw new Faults(
          outcome.faults.map(({ field, message }) => `${file.place(field)}: ${field ? `${field}: ` : ''}${message}`),
        )
      shell.out(
        options.output === 'json' ? toJson({ ...toldOf(rollout), ...timed(outcome) }) : textOf(rollout, outcome),
      )
    })
}

async function fromFiles({ filename, namespace }: Options, { outages }: ReadOutages, shell: Shell): Promise<Given> {
  if (!filename) throw new UsageError('which rollout? -f names a file of it, --from-hub one of the hub')
  const { object } = judged(onlyRollout(await readFiles(filename, shell.stdin)), shell.now())
  const groups = groupsIn(outages)
  if (!groups)
    throw new UsageError(
      'the outages file names no groups of clusters: name them there, or take those of a rollout of the hub with --from-hub',
    )
  const rollout = begun(object as unknown as Rollout, namespace ?? DEFAULT_NAMESPACE, outages.start)
  return { rollout, image: unsigned(rollout.spec.image.name), groups, found: new Map() }
}

async function fromHub(
  name: string,
  { namespace }: Options,
  { outages, place }: ReadOutages,
  command: Command,
  shell: Shell,
): Promise<Given> {
  if (outages.groups)
    throw new Faults([
      `${place('groups')}: groups: with --from-hub they are the placement's of the hub: leave them out`,
    ])
  return withHub(command, shell, async ({ client, namespace: ofContext }) => {
    const asked = namespace === undefined ? {} : { namespace }
    const stored = (await locate(client, kindRow('Rollout'), name, asked, ofContext)) as Rollout
    const { image, ...fleet } = await findFleet(client, stored)
    if (!image)
      say(shell, `there is no OSImage ${stored.spec.image.name} at the hub yet: this is played as if there were one`)
    const rollout = begun(stored, stored.metadata.namespace ?? '', outages.start)
    return { rollout, image: image ?? unsigned(stored.spec.image.name), ...fleet }
  })
}

/** A Rollout judged as the hub judges it when it is written. */
function judged(manifest: Manifest, nowMs: number): Manifest {
  const { row, object, place } = manifest
  const wrong = causes(objectSchema(row.kind), object).map(
    (cause) => `${place(cause)}: rollout/${object.metadata.name}: ${cause.field} ${cause.message}`,
  )
  if (wrong.length > 0) throw new Faults(wrong)
  const { spec } = object as unknown as Rollout
  const faults = admitRollout(spec, nowMs).map(({ field, message }) => {
    const at = place({ field, reason: 'FieldValueInvalid' })
    return `${at}: rollout/${object.metadata.name}: ${field} ${message}`
  })
  if (faults.length > 0) throw new Faults(faults)
  return manifest
}

// As it stands when the hub has just taken it.
function begun({ metadata, spec, apiVersion }: Rollout, namespace: string, start: string): Rollout {
  return {
    ...{ apiVersion, kind: 'Rollout', spec },
    metadata: {
      ...{ name: metadata.name, namespace: metadata.namespace ?? namespace, uid: 'simulated' },
      ...{ resourceVersion: '1', generation: 1, creationTimestamp: start },
    },
  }
}

/** Of an image that no hub was asked for nothing counts but that it is another one. */
function unsigned(name: string): SimulationInput['image'] {
  const none = 'f'.repeat(64)
  return { target: name, manifestSha256: none, imageSha256: none, releaseCounter: 1, version: name }
}

function toldOf({ metadata: { namespace, name } }: Rollout) {
  return { rollout: `${namespace}/${name}` }
}

/** Times as they are told: every `…Ms` that is an instant becomes text. */
function timed({ timeline, waves, held, end, looks }: Played) {
  const at = <T extends { atMs: number }>({ atMs, ...rest }: T) => ({ at: iso(atMs), ...rest })
  const { completedAtMs, clusters, ...rest } = end
  return {
    timeline: timeline.map((entry) => {
      if (entry.kind !== 'Cluster' || entry.recheckAtMs === undefined) return at(entry)
      const { recheckAtMs, ...told } = entry
      return { ...at(told), recheckAt: iso(recheckAtMs) }
    }),
    waves: waves.map(at),
    held: held.map(({ reason, totalMs, clusters: by }) => ({
      ...{ reason, totalSeconds: totalMs / 1000 },
      clusters: by.map(({ cluster, ms }) => ({ cluster, seconds: ms / 1000 })),
    })),
    end: {
      ...at(rest),
      ...(completedAtMs === undefined ? {} : { completedAt: iso(completedAtMs) }),
      clusters: clusters.map(({ sinceMs, ...cluster }) => ({ ...cluster, since: iso(sinceMs) })),
    },
    looks,
  }
}

/** So many clusters are named in a line; of more it says how many. */
const NAMED = 4

function textOf({ metadata: { namespace, name } }: Rollout, { timeline, waves, held, end }: Played): string {
  const rows = folded(timeline).map(({ atMs, text }) => [iso(atMs), text])
  const sent = waves.map(({ atMs, clusters, catchingUp }, index) => [
    ...[String(index + 1), iso(atMs), String(clusters.length)],
    `${some(clusters)}${catchingUp ? ' (catching up)' : ''}`,
  ])
  const waits = held.map(({ reason, totalMs, clusters }) => [
    ...[reason, String(clusters.length), spanOf(totalMs)],
    clusters[0] ? `${clusters[0].cluster}: ${spanOf(clusters[0].ms)}` : '',
  ])
  const states = Object.entries(end.byState).map(([state, count]) => `${count} ${state}`)
  const over = end.why === 'Settled' ? 'nothing more is to come' : 'the time is over'
  return [
    `Rollout ${namespace}/${name}\n\n`,
    formatColumns([['TIME', 'WHAT CHANGED'], ...rows]),
    waves.length === 0
      ? '\nNobody was sent the image.\n'
      : `\n${formatColumns([['WAVE', 'TIME', 'SENT', 'TO'], ...sent])}`,
    held.length === 0 ? '' : `\n${formatColumns([['HELD BY', 'CLUSTERS', 'IN ALL', 'LONGEST'], ...waits])}`,
    `\n${iso(end.atMs)}: ${end.phase}, ${over}: ${states.join(', ')}. ${end.message}\n`,
  ].join('')
}

// Clusters of which the same is told at one instant share a line.
function folded(timeline: readonly TimelineEntry[]): { atMs: number; text: string }[] {
  const lines: { atMs: number; text: string; clusters?: string[] }[] = []
  for (const entry of timeline) {
    if (entry.kind !== 'Cluster') {
      lines.push({ atMs: entry.atMs, text: textOfEntry(entry) })
      continue
    }
    const { atMs, state, reason, cluster, recheckAtMs } = entry
    const text = `${state} (${reason})${recheckAtMs === undefined ? '' : `; looked at again ${iso(recheckAtMs)}`}`
    const same = lines.findLast((line) => line.atMs !== atMs || (line.clusters && line.text === text))
    if (same?.atMs === atMs) same.clusters?.push(cluster)
    else lines.push({ atMs, text, clusters: [cluster] })
  }
  return lines.map(({ atMs, text, clusters }) => ({ atMs, text: clusters ? `${some(clusters)}: ${text}` : text }))
}

function textOfEntry(entry: Exclude<TimelineEntry, { kind: 'Cluster' }>): string {
  switch (entry.kind) {
    case 'Rollout':
      return `${entry.phase}: ${entry.message}`
    case 'Breach':
      return entry.breached ? `Breached: ${entry.message}` : `within the budget again: ${entry.message}`
    case 'Group':
      return `group ${entry.index}${entry.name ? ` (${entry.name})` : ''} ${entry.turn === 'Opened' ? 'has its turn' : 'is through'}`
    case 'Sent':
      return `sent to ${some(entry.clusters)}`
    case 'OrderedBack':
      return `ordered back: ${some(entry.clusters)}`
    case 'Act':
      return `${entry.by}: ${entry.verb}${entry.outcome === 'Refused' ? ' was refused' : entry.outcome === 'Stands' ? ' stands already' : ''}: ${entry.message}`
    default: {
      const never: never = entry
      return never
    }
  }
}

function some(clusters: readonly string[]): string {
  return clusters.length > NAMED + 1
    ? `${clusters.slice(0, NAMED).join(', ')} and ${clusters.length - NAMED} more`
    : clusters.join(', ')
}

function spanOf(ms: number): string {
  const minutes = Math.round(ms / 60_000)
  const [days, hours] = [Math.floor(minutes / 1_440), Math.floor(minutes / 60) % 24]
  return days > 0 ? `${days}d${hours}h` : hours > 0 ? `${hours}h${minutes % 60}m` : `${minutes}m`
}

function iso(ms: number): string {
  return new Date(ms).toISOString().replace('.000Z', 'Z')
}
