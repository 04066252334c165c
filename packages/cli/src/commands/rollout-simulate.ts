import { causes, type ObjectOf, objectSchema } from '@skerry/api'
import { admitRollout, type Simulation, type SimulationInput, simulate, type TimelineEntry } from '@skerry/policy'
import type { Command } from 'commander'
import { Faults, UsageError } from '../errors.ts'
import type { Manifest } from '../objects/documents.ts'
import { readFiles } from '../objects/files.ts'
import { groupsIn, playedBy, readOutages } from '../objects/outages.ts'
import { formatColumns } from '../output/columns.ts'
import { formOption, toJson } from '../output/forms.ts'
import type { Shell } from '../shell.ts'
import { DEFAULT_NAMESPACE } from './apply.ts'

type Options = {
  filename: string[]
  outages: string
  namespace?: string
  output: 'table' | 'json'
}
type Played = Simulation & { kind: 'Played' }
type Image = SimulationInput['image']

export function simulateCommand(rollout: Command, shell: Shell): void {
  rollout
    .command('simulate')
    .summary('plays a rollout over a month of outages')
    .description(
      'Plays a rollout in virtual time, by the plan that the hub makes: over outages, failures and people from a file. Nothing is sent or written, and no hub is asked.',
    )
    .requiredOption('-f, --filename <path...>', 'the Rollout, as apply takes it, or - for standard input')
    .requiredOption('--outages <file>', 'what happens to the fleet, YAML or JSON (packages/cli/README.md)')
    .option('-n, --namespace <name>', 'where the file names none')
    .addOption(formOption('table', 'json'))
    .addHelpText('after', '\nExample:\n  skerry rollout simulate -f rollout.yaml --outages bad-month.yaml')
    .action(async (options: Options) => {
      const manifest = onlyRollout(await readFiles(options.filename, shell.stdin), shell.now())
      const file = readOutages(options.outages)
      const named = groupsIn(file.outages)
      if (!named) throw new UsageError('the outages file names no groups of clusters: name them there')
      const rollout = rolloutOf(manifest, options.namespace ?? DEFAULT_NAMESPACE, file.outages.start)
      const image = unsigned(rollout.spec.image.name)
      const outcome = simulate({ rollout, image, ...playedBy(file, named) })
      if (outcome.kind === 'Refused')
        throw new Faults(
          outcome.faults.map(({ field, message }) => `${file.place(field)}: ${field ? `${field}: ` : ''}${message}`),
        )
      shell.out(
        options.output === 'json' ? toJson({ ...toldOf(rollout), ...timed(outcome) }) : textOf(rollout, outcome),
      )
    })
}

/** The one Rollout of some files, judged as the hub judges it when it is written. */
function onlyRollout(manifests: readonly Manifest[], nowMs: number): Manifest {
  const [first, ...more] = manifests
  if (!first || more.length > 0 || first.row.kind !== 'Rollout')
    throw new UsageError(
      `-f: one Rollout is wanted, and ${manifests.length} ${manifests.length === 1 ? 'object is' : 'objects are'} there: ${manifests.map(({ row, object }) => `${row.kind} ${object.metadata.name}`).join(', ')}`,
    )
  const { row, object, place } = first
  const wrong = causes(objectSchema(row.kind), object).map(
    (cause) => `${place(cause)}: rollout/${object.metadata.name}: ${cause.field} ${cause.message}`,
  )
  if (wrong.length > 0) throw new Faults(wrong)
  const { spec } = object as unknown as ObjectOf<'Rollout'>
  const faults = admitRollout(spec, nowMs).map(({ field, message }) => {
    const at = place({ field, reason: 'FieldValueInvalid' })
    return `${at}: rollout/${object.metadata.name}: ${field} ${message}`
  })
  if (faults.length > 0) throw new Faults(faults)
  return first
}

// As it stands when the hub has just taken it.
function rolloutOf({ object }: Manifest, namespace: string, start: string): ObjectOf<'Rollout'> {
  const { metadata, spec, apiVersion } = object as unknown as ObjectOf<'Rollout'>
  return {
    ...{ apiVersion, kind: 'Rollout', spec },
    metadata: {
      ...{ name: metadata.name, namespace: metadata.namespace ?? namespace, uid: 'simulated' },
      ...{ resourceVersion: '1', generation: 1, creationTimestamp: start },
    },
  }
}

/** Of an image that no hub was asked for nothing counts but that it is another one. */
function unsigned(name: string): Image {
  const none = 'f'.repeat(64)
  return { target: name, manifestSha256: none, imageSha256: none, releaseCounter: 1, version: name }
}

function toldOf({ metadata: { namespace, name } }: ObjectOf<'Rollout'>) {
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

function textOf(
  { metadata: { namespace, name } }: ObjectOf<'Rollout'>,
  { timeline, waves, held, end }: Played,
): string {
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
