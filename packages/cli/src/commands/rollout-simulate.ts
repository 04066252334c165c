import { isDeepStrictEqual } from 'node:util'
import { causes, kindRow, type ObjectOf, objectSchema, soundPart } from '@skerry/api'
import {
  admitRollout,
  counted,
  firstOf,
  type Simulation,
  type SimulationInput,
  simulate,
  type TimelineEntry,
} from '@skerry/policy'
import type { Command } from 'commander'
import { cutAt, parseLimit } from '../cluster-choice.ts'
import { Faults, UsageError } from '../errors.ts'
import type { Manifest } from '../objects/documents.ts'
import { readFiles } from '../objects/files.ts'
import { findStanding, fleetIn } from '../objects/fleet.ts'
import { locate } from '../objects/locate.ts'
import { only } from '../objects/only.ts'
import {
  contradictions,
  EXAMPLE,
  groupsIn,
  misfits,
  playedBy,
  type ReadOutages,
  readOutages,
  type Sound,
} from '../objects/outages.ts'
import { formatColumns } from '../output/columns.ts'
import { formOption, toJson } from '../output/forms.ts'
import { type Shell, say, withHub } from '../shell.ts'
import { DEFAULT_NAMESPACE } from './apply.ts'

type Options = {
  filename?: string[]
  fromHub?: string | true
  fromStart?: boolean
  outages: string
  namespace?: string
  limit?: number
  output: 'table' | 'json'
}
type Played = Simulation & { kind: 'Played' }
type Rollout = ObjectOf<'Rollout'>
type SoundSpec = Sound<Rollout['spec']>
/** What is to be played. `from`: whether all of it, or on from how it stands at a hub, and then by the file's spec or its own. */
type Given = Pick<SimulationInput, 'rollout' | 'image' | 'done' | 'gone' | 'changedBy'> & {
  readonly from: 'Start' | 'Standing' | 'StandingEdited'
  readonly fleet: Parameters<typeof playedBy>[1]
}

export function simulateCommand(rollout: Command, shell: Shell): void {
  rollout
    .command('simulate')
    .summary('plays a rollout over a month of outages')
    .description(
      'Plays a rollout in virtual time, by the plan that the hub makes: over outages, failures and people from a file. Nothing is sent or written. No hub is asked, but for --from-hub, which goes on from where a rollout stands at one, with its fleet.',
    )
    .option('-f, --filename <path...>', 'the Rollout, as apply takes it, or - for standard input')
    .option(
      '--from-hub [name]',
      'a rollout of the hub, on from where it stands; with -f by the spec of the file, and the name may be left out',
    )
    .option('--from-start', 'with --from-hub: from its beginning, as if nothing had happened')
    .requiredOption('--outages <file>', 'what happens to the fleet, YAML or JSON (packages/cli/README.md)')
    .option('-n, --namespace <name>', 'where the file names none; with --from-hub, the namespace it is in')
    .option(
      '--limit <count>',
      `in the table at most so many lines of the timeline, and of the batches, 0 for all (default: ${LINES})`,
      parseLimit,
    )
    .addOption(formOption('table', 'json'))
    .addHelpText(
      'after',
      '\nExample:\n  skerry rollout simulate -f rollout.yaml --outages bad-month.yaml\n  skerry rollout simulate --from-hub edge-os-43 --outages storm.yaml',
    )
    .action(async (options: Options, command: Command) => {
      if (options.output !== 'table' && options.limit !== undefined)
        throw new UsageError(`--limit chooses what the table shows: -o ${options.output} tells of everything`)
      const file = readOutages(options.outages)
      if (options.fromStart && options.fromHub === undefined)
        throw new UsageError('--from-start is said of a rollout of the hub: name it with --from-hub')
      const faults = [...file.faults, ...contradictions(file)]
      const hint = file.whole ? [] : [EXAMPLE]
      const written = await besides(
        faults,
        async () => (options.filename ? only('Rollout', await readFiles(options.filename, shell.stdin)) : undefined),
        hint,
      )
      const judged = written && judge(written, shell.now())
      if (judged) faults.push(...judged.faults)
      const { from, fleet, ...given } = await besides(
        faults,
        () =>
          options.fromHub === undefined
            ? fromFiles(written, options, file, faults)
            : fromHub(written, judged?.spec, options, file, faults, command, shell),
        hint,
      )
      if (!file.whole) throw new Faults(faults)
      const outcome = simulate({ ...given, ...playedBy(file.whole, fleet) })
      if (outcome.kind === 'Refused')
        throw new Faults(outcome.faults.flatMap(({ field, message }) => file.told(field, message)))
      const { rollout } = given
      shell.out(
        options.output === 'json'
          ? toJson({ ...toldOf(rollout), from: fromOf(rollout, from, fleet.startMs), ...timed(outcome) })
          : `${headline(rollout, from, fleet.startMs)}\n\n${textOf(outcome, options.limit ?? LINES, options.fromHub === undefined)}`,
      )
    })
}

/** What ends a look at the files, and the hub, is told after what was found by then. */
async function besides<T>(
  found: readonly string[],
  act: () => T | Promise<T>,
  hint: readonly string[] = [],
): Promise<T> {
  try {
    return await act()
  } catch (error) {
    if (found.length === 0 || !(error instanceof Error)) throw error
    throw new Faults([...found, ...(error instanceof Faults ? error.faults : [error.message]), ...hint])
  }
}

const NO_GROUPS =
  'the outages file names no groups of clusters: name them there, or take those of a rollout of the hub with --from-hub'

function fromFiles(
  written: Manifest | undefined,
  { namespace }: Options,
  file: ReadOutages,
  faults: readonly string[],
): Given {
  if (!written) throw new UsageError('which rollout? -f names a file of it, --from-hub one of the hub')
  const groups = groupsIn(file.outages)
  const startMs = startOf(file)
  const more = [
    ...misfits(file, { groups: file.isWhole('groups') ? groups : undefined, startMs }),
    ...startFaults(file),
  ]
  if (faults.length + more.length > 0)
    throw new Faults([...more, ...(groups || !file.isWhole('groups') ? [] : [NO_GROUPS])])
  if (!groups || startMs === undefined) throw new UsageError(NO_GROUPS)
  const rollout = begun(written.object as unknown as Rollout, namespace ?? DEFAULT_NAMESPACE, startMs)
  const fleet = { groups, startMs, goesOn: false }
  return { from: 'Start', rollout, image: unsigned(rollout.spec.image.name), fleet }
}

/** `sound`: what of the file's spec can be read; undefined where there is no file. */
async function fromHub(
  written: Manifest | undefined,
  sound: SoundSpec | undefined,
  { namespace, fromHub: named, fromStart = false }: Options,
  file: ReadOutages,
  found: readonly string[],
  command: Command,
  shell: Shell,
): Promise<Given> {
  const { outages, told } = file
  const faults = outages.groups
    ? told('groups', "with --from-hub they are the placement's of the hub: leave them out")
    : []
  const { metadata, spec: edited } = (written?.object ?? {}) as Partial<Rollout>
  const name = named === true ? metadata?.name : named
  return besides(faults, () => {
    if (name === undefined) throw new UsageError('which rollout? name it after --from-hub, or give its file with -f')
    if (metadata && metadata.name !== name)
      throw new UsageError(`the file has the rollout ${metadata.name}, and --from-hub names ${name}`)
    const asked = metadata?.namespace ?? namespace
    return withHub(command, shell, async ({ client, namespace: ofContext }) => {
      const row = kindRow('Rollout')
      const at = await locate(client, row, name, asked === undefined ? {} : { namespace: asked }, ofContext)
      const standing = await findStanding(client, at as Rollout, sound ?? {})
      const { rollout: stored, nowMs, acts = [], gone, changedBy, limits } = standing
      const { placementRef } = sound ?? stored.spec
      // Of a file whose placement cannot be read nobody knows whom it is about.
      const fleet = placementRef?.name === undefined ? undefined : fleetIn(standing, placementRef.name)
      const startMs = fromStart ? startOf(file) : nowMs
      const isLate = !fromStart && outages.start !== undefined && Date.parse(outages.start) > nowMs
      const more = [
        ...misfits(file, { limits, ...fleet, startMs }),
        ...(fromStart ? startFaults(file) : []),
        ...(isLate
          ? told(
              'start',
              `it is played on from where it stands at the hub, at ${iso(nowMs)}: leave it out, or say --from-start`,
            )
          : []),
      ]
      if (!fleet || startMs === undefined || found.length + faults.length + more.length > 0) throw new Faults(more)
      const spec = edited ?? stored.spec
      if (!standing.image)
        say(shell, `there is no OSImage ${spec.image.name} at the hub yet: this is played as if there were one`)
      const image = standing.image ?? unsigned(spec.image.name)
      if (fromStart) {
        const rollout = begun({ ...stored, spec }, '', startMs)
        return { from: 'Start', rollout, image, fleet: { ...fleet, startMs, goesOn: false } }
      }
      const late = (outages.people?.acts ?? []).filter(({ at = '' }) => Date.parse(at) < nowMs).length
      if (late > 0)
        say(
          shell,
          `it is played from ${iso(nowMs)} on: ${counted(late, 'act of the outages file is', 'acts of the outages file are')} before that and left out`,
        )
      const isEdited = !isDeepStrictEqual(spec, stored.spec)
      const { metadata: of } = stored
      return {
        ...{ image, done: acts, gone: new Map(Object.entries(gone)) },
        from: isEdited ? 'StandingEdited' : 'Standing',
        rollout: { ...stored, spec, metadata: { ...of, generation: of.generation + (isEdited ? 1 : 0) } },
        // Who would make the edit is nobody who approves.
        ...(isEdited || changedBy === undefined ? {} : { changedBy }),
        fleet: { ...fleet, startMs: nowMs, goesOn: true },
      }
    })
  })
}

function startOf({ outages: { start } }: ReadOutages): number | undefined {
  return start === undefined ? undefined : Date.parse(start)
}

function startFaults({ outages: { start }, told, isWhole }: ReadOutages): string[] {
  return start === undefined && isWhole('start') ? told('', 'start is wanted: when the rollout is applied') : []
}

/** What is wrong with a Rollout as the hub judges it when it is written, each fault with its place; and what is not. */
function judge({ row, object, place }: Manifest, nowMs: number): { faults: string[]; spec: SoundSpec } {
  const schema = objectSchema(row.kind)
  const wrong = causes(schema, object)
  const sound = soundPart(schema, object, row.judged)
  const { spec = {} } = (sound?.rest ?? {}) as { readonly spec?: SoundSpec }
  const others = admitRollout(spec as Partial<Rollout['spec']>, nowMs)
    .map(({ field, message }) => ({
      field: sound?.placeOf(field) ?? field,
      message,
      reason: 'FieldValueInvalid' as const,
    }))
    .filter(({ field }) => !sound?.isLeftOut(field))
  const faults = [...wrong, ...others].map((cause) => {
    return `${place(cause)}: rollout/${object.metadata.name}: ${cause.field} ${cause.message}`
  })
  return { faults, spec }
}

// As it stands when the hub has just taken it.
function begun({ metadata, spec, apiVersion }: Rollout, namespace: string, startMs: number): Rollout {
  return {
    ...{ apiVersion, kind: 'Rollout', spec },
    metadata: {
      ...{ name: metadata.name, namespace: metadata.namespace ?? namespace, uid: 'simulated' },
      ...{ resourceVersion: '1', generation: 1, creationTimestamp: iso(startMs) },
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

/** From where it is played, as JSON tells it. */
function fromOf({ status }: Rollout, from: Given['from'], startMs: number): object {
  if (from === 'Start') return { kind: 'Start', at: iso(startMs) }
  const { phase = 'Pending', byState = {} } = status ?? {}
  return { kind: 'Standing', at: iso(startMs), isEdited: from === 'StandingEdited', phase, byState }
}

function headline({ metadata: { namespace, name }, status }: Rollout, from: Given['from'], startMs: number): string {
  const called = `Rollout ${namespace}/${name}`
  if (from === 'Start') return `${called}, from its beginning at ${iso(startMs)}`
  const states = Object.entries(status?.byState ?? {}).map(([state, count]) => `, ${count} ${state}`)
  const by = from === 'StandingEdited' ? ', by the spec of the file' : ''
  return `${called}, on from where it stands at the hub at ${iso(startMs)}${by}: ${status?.phase ?? 'Pending'}${states.join('')}`
}

/** Times as they are told: every `…Ms` that is an instant becomes text. */
function timed({ timeline, leftOut, batches, held, end, looks }: Played) {
  const at = <T extends { atMs: number }>({ atMs, ...rest }: T) => ({ at: iso(atMs), ...rest })
  const { completedAtMs, clusters, ...rest } = end
  return {
    timeline: timeline.map((entry) => {
      if (entry.kind !== 'Cluster' || entry.recheckAtMs === undefined) return at(entry)
      const { recheckAtMs, ...told } = entry
      return { ...at(told), recheckAt: iso(recheckAtMs) }
    }),
    leftOut,
    batches: batches.map(at),
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

/** So many lines of a table are shown where nobody says how many. */
const LINES = 1_000

// What a table that was cut short leaves out, and how to see it.
function moreText(left: readonly { readonly atMs: number }[], one: string, many?: string): string {
  const [first] = left
  return first
    ? `… and ${counted(left.length, `more ${one}`, many && `more ${many}`)}, from ${iso(first.atMs)} on: --limit 0 shows all\n`
    : ''
}

/** So many clusters are named in a line; of more it says how many. */
const NAMED = 4

/** `ownGroups`: the clusters are those of the file's groups, which whoever plays it may make fewer. */
function textOf({ timeline, leftOut, batches, held, end }: Played, limit: number, ownGroups: boolean): string {
  const changes = cutAt(folded(timeline), limit)
  const rows = changes.shown.map(({ atMs, text }) => [iso(atMs), text])
  const orders = cutAt(batches, limit)
  const sent = orders.shown.map(({ atMs, clusters, catchingUp }, index) => [
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
    formatColumns([['TIME', 'WHAT CHANGED'], ...rows]),
    moreText(changes.left, 'line'),
    leftOut === 0
      ? ''
      : `… and ${counted(leftOut, 'later change')} of single clusters, more than are kept${ownGroups ? "; fewer clusters in the file's groups show more of them" : ''}\n`,
    batches.length === 0
      ? '\nNobody was sent the image.\n'
      : `\n${formatColumns([['BATCH', 'TIME', 'SENT', 'TO'], ...sent])}${moreText(orders.left, 'batch', 'batches')}`,
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
  // Nobody is left out alone.
  return firstOf(clusters, clusters.length > NAMED + 1 ? NAMED : clusters.length)
}

function spanOf(ms: number): string {
  const minutes = Math.round(ms / 60_000)
  const [days, hours] = [Math.floor(minutes / 1_440), Math.floor(minutes / 60) % 24]
  return days > 0 ? `${days}d${hours}h` : hours > 0 ? `${hours}h${minutes % 60}m` : `${minutes}m`
}

function iso(ms: number): string {
  return new Date(ms).toISOString().replace('.000Z', 'Z')
}
