import type { ClusterState, ObjectOf, RolloutCluster, RolloutStatus, SkerryObject } from '@skerry/api'
import { ApiError, type Client } from '@skerry/client'
import {
  openingAt,
  type PreviewChange,
  type PreviewStage,
  previewChanges,
  previewOf,
  type RolloutPreview,
} from '@skerry/policy'
import type { Command } from 'commander'
import { type ClusterChoice, cutAt, LEFT_OUT, parseLimit, parseStates, SHOWN } from '../cluster-choice.ts'
import { waveText, windowText } from '../describe/rollout.ts'
import { exitCodeOf, Faults, UsageError } from '../errors.ts'
import { type Applied, applyManifest } from '../objects/apply.ts'
import type { Manifest } from '../objects/documents.ts'
import { readFiles } from '../objects/files.ts'
import { only } from '../objects/only.ts'
import { formatColumns } from '../output/columns.ts'
import { formOption, toText } from '../output/forms.ts'
import { when } from '../output/times.ts'
import { type Shell, withHub } from '../shell.ts'
import { DEFAULT_NAMESPACE, faultsOf } from './apply.ts'

type Rollout = ObjectOf<'Rollout'>
type Options = {
  filename: string[]
  namespace?: string
  state?: readonly ClusterState[]
  limit?: number
  output: 'table' | 'json' | 'yaml'
}

/** What the hub foresees of a rollout as the file has it, and of a stored one as it is without the file. */
type Foreseen = { readonly outcome: Applied['outcome']; readonly rollout: Rollout; readonly without?: Rollout }

export function previewCommand(rollout: Command, shell: Shell): void {
  rollout
    .command('preview')
    .summary('shows what a rollout would do, before anything happens')
    .description(
      'Shows what a rollout would do when it is applied, and what an edit of one would change: the stages, who is sent the image at once and who comes later, every cluster that is held with its reason and when it is looked at again, and the gates. The hub judges it in a dry run; nothing is written or sent.',
    )
    .requiredOption('-f, --filename <path...>', 'the Rollout, as apply takes it, or - for standard input')
    .option('-n, --namespace <name>', 'where the file names none')
    .option('--state <state,…>', 'in the table only the clusters in these states', parseStates)
    .option(
      '--limit <count>',
      `in the table at most so many clusters a list, 0 for all (default: ${SHOWN})`,
      parseLimit,
    )
    .addOption(formOption('table', 'json', 'yaml'))
    .addHelpText(
      'after',
      '\nExample:\n  skerry rollout preview -f rollout.yaml\n  skerry rollout preview -f rollout.yaml --state Offline --limit 0\n\nWhat comes after the first look, "skerry rollout simulate" plays.',
    )
    .action(async ({ filename, output, state, limit, ...options }: Options, command: Command) => {
      if (output !== 'table' && (state !== undefined || limit !== undefined))
        throw new UsageError(`--state and --limit choose what the table shows: -o ${output} tells of all clusters`)
      const choice = { limit: limit ?? SHOWN, ...(state ? { states: state } : {}) }
      const manifest = only('Rollout', await readFiles(filename, shell.stdin))
      const foreseen = await withHub(command, shell, ({ client, namespace }) =>
        foresee(client, manifest, options.namespace ?? namespace ?? DEFAULT_NAMESPACE),
      )
      shell.out(output === 'table' ? textOf(foreseen, choice, shell.now()) : toText(toldOf(foreseen), output))
    })
}

async function foresee(client: Client, manifest: Manifest, namespace: string): Promise<Foreseen> {
  // What it would be warned of without the edit is no fault of the edit.
  const asStored = ({ metadata }: SkerryObject, quiet: boolean) =>
    client.mergePatch('Rollout', metadata.namespace, metadata.name, {}, { dryRun: true, quiet })
  try {
    const { outcome, before, after } = await applyManifest(client, manifest, namespace, true)
    if (!before) return { outcome, rollout: after as unknown as Rollout }
    // Nothing would be written, so nothing was asked yet.
    if (outcome === 'unchanged') return { outcome, rollout: await asStored(before, false) }
    return { outcome, rollout: after as unknown as Rollout, without: await asStored(before, true) }
  } catch (error) {
    throw error instanceof ApiError ? new Faults(faultsOf(manifest, error), exitCodeOf(error)) : error
  }
}

function toldOf({ outcome, rollout, without }: Foreseen): object {
  const { metadata, spec, status } = rollout
  const { phase, image, counts, byState, recheckAt, conditions } = status ?? {}
  // The README promises the stages by this name.
  const { stages: waves, ...preview } = previewOf(rollout)
  return {
    ...{ rollout: `${metadata.namespace}/${metadata.name}`, outcome, placement: spec.placementRef.name },
    ...{ image: image ?? { name: spec.image.name }, phase, counts, byState, recheckAt, conditions },
    ...{ waves, ...preview },
    ...(without
      ? { edit: { phase: { was: without.status?.phase, is: phase }, clusters: previewChanges(without.status, status) } }
      : {}),
  }
}

const OUTCOME = {
  created: 'would be created',
  configured: 'would be changed',
  unchanged: 'is stored as the file has it',
} as const

function textOf({ outcome, rollout, without }: Foreseen, choice: ClusterChoice, nowMs: number): string {
  const { metadata, spec, status } = rollout
  const { image, phase = 'Pending', conditions = [] } = status ?? {}
  const conditionOf = (wanted: string) => conditions.find(({ type }) => type === wanted)
  const [ready, breached, completed] = [conditionOf('Ready'), conditionOf('Breached'), conditionOf('Completed')]
  const preview = previewOf(rollout)
  const was = without?.status?.phase
  const rows = [
    ['Placement:', spec.placementRef.name],
    ['Image:', image ? `${spec.image.name}, manifest sha256 ${image.manifestSha256}` : spec.image.name],
    ...activationRows(rollout, nowMs),
    ['Phase:', `${phase}${was !== undefined && was !== phase ? `, where it is ${was} now` : ''}`],
    ...(ready?.status === 'False' ? [['Waits:', ready.message]] : completed ? [['', completed.message]] : []),
    ...(breached?.status === 'True' ? [['Breached:', breached.message]] : []),
  ]
  return [
    `Rollout ${metadata.namespace}/${metadata.name} ${OUTCOME[outcome]}; nothing is written by this.\n\n`,
    formatColumns(rows),
    ...stagesText(preview),
    ...clustersText(preview, status, choice, nowMs),
    ...backText(preview, status, choice),
    ...(without ? [editText(previewChanges(without.status, status), choice)] : []),
  ].join('')
}

// When the sites that are sent it activate it: that they work out themselves, each by its own clock.
function activationRows({ spec: { windows, waves } }: Rollout, nowMs: number): string[][] {
  const opening = windows && openingAt(windows.activation, nowMs)
  const next =
    opening?.open === false && opening.nextMs !== undefined ? new Date(opening.nextMs).toISOString() : undefined
  return [
    ...(windows
      ? [
          ['Windows:', `sites activate in their windows: ${windows.activation.map(windowText).join('; ')}`],
          [
            '',
            opening?.open
              ? 'open now'
              : next === undefined
                ? 'none of them opens again'
                : `the next opens ${when(next, nowMs)}`,
          ],
        ]
      : []),
    ...(waves
      ? [
          [
            'Activate:',
            `sites activate in waves, counted from when the image is first sent: ${waves.map(waveText).join('; ')}`,
          ],
        ]
      : []),
  ]
}

function stagesText({ stages, completion }: RolloutPreview): string[] {
  if (stages.length === 0) return []
  const rows = stages.map((stage, index) => {
    const { turn, gate, maxConcurrency, maxFailures, sentNow, underWay, later, finished } = stage
    const sizes = [sentNow, underWay, later, finished].map(({ length }) => String(length))
    // Where nobody is in reach there is nothing to work them out for.
    const limits =
      maxConcurrency === 0 ? ['-', '-'] : [`${maxConcurrency}`, maxFailures === undefined ? 'all' : `${maxFailures}`]
    return [String(index + 1), groupsText(stage), TURN[turn], gateText(gate), ...limits, ...sizes]
  })
  const columns = [
    'STAGE',
    'GROUPS',
    'TURN',
    'GATE',
    'AT ONCE',
    'MAY FAIL',
    'SENT NOW',
    'UNDER WAY',
    'LATER',
    'FINISHED',
  ]
  const end = completion ? [`At the end: ${gateText(completion)}\n`] : []
  return ['\n', formatColumns([columns, ...rows]), ...end]
}

const TURN = { Waits: 'waits', Open: 'now', Passed: 'through' } as const

function groupsText({ groups, isMandatory }: PreviewStage): string {
  const names = groups.map(({ index, name }) => (name === '' ? `${index}` : `${index} (${name})`)).join(', ')
  return `${names}${isMandatory ? ', mandatory' : ''}`
}

function gateText(gate: PreviewStage['gate']): string {
  if (!gate) return '-'
  const { name, approvals, isPassed } = gate
  return `${name}: ${approvals} ${approvals === 1 ? 'approval' : 'approvals'}${isPassed ? ', passed' : ''}`
}

function clustersText(
  { stages, minutes }: RolloutPreview,
  status: RolloutStatus | undefined,
  { states, limit }: ClusterChoice,
  nowMs: number,
): string[] {
  const minuteOf = new Map(minutes?.map(({ cluster, waveAt }) => [cluster, when(waveAt, nowMs)]))
  const told = rowsOf(status)
  const open = stages.flatMap(({ sentNow, underWay, later }, index) =>
    [...sentNow, ...underWay, ...later].flatMap((name) => {
      const row = told.get(name)
      return row ? [{ stage: index + 1, row }] : []
    }),
  )
  const chosen = open.filter(({ row }) => states?.includes(row.state) ?? true)
  if (chosen.length === 0) {
    if (stages.length === 0) return []
    return [`\nNobody${states ? ` in ${states.join(' or ')}` : ''} is sent the image now, and nobody waits for it.\n`]
  }
  const { shown, left } = cutAt(chosen, limit)
  const times = ['LOOKED AT AGAIN', ...(minutes ? ['ITS MINUTE'] : [])]
  const rows = shown.map(({ stage, row: { name, state, reason, message, recheckAt } }) => {
    const at = [recheckAt ? when(recheckAt, nowMs) : '', ...(minutes ? [minuteOf.get(name) ?? ''] : [])]
    return [String(stage), name, state, reason, ...at, message]
  })
  return [
    '\n',
    formatColumns([['STAGE', 'CLUSTER', 'STATE', 'REASON', ...times, 'MESSAGE'], ...rows]),
    moreText(left.map(({ row }) => stateText(row))),
  ]
}

function rowsOf(status: RolloutStatus | undefined): ReadonlyMap<string, RolloutCluster> {
  return new Map(status?.clusters?.map((row) => [row.name, row]))
}

function stateText({ state, reason }: Pick<RolloutCluster, 'state' | 'reason'>): string {
  return `${state} (${reason})`
}

/** So many kinds of what is left out are named. */
const KINDS = 8

// What a list that was cut short leaves out: how many, and how many of each kind, those of which there are most first.
function moreText(left: readonly string[]): string {
  if (left.length === 0) return ''
  const counts = [...Map.groupBy(left, (kind) => kind)]
    .map(([kind, all]) => ({ kind, count: all.length }))
    .toSorted((a, b) => b.count - a.count)
  const others = counts.slice(KINDS).reduce((sum, { count }) => sum + count, 0)
  const told = counts.slice(0, KINDS).map(({ kind, count }) => `${count} ${kind}`)
  return `… and ${left.length} more, ${[...told, ...(others > 0 ? [`${others} others`] : [])].join(', ')}: ${LEFT_OUT}\n`
}

function backText(
  { orderedBack }: RolloutPreview,
  status: RolloutStatus | undefined,
  { states, limit }: ClusterChoice,
): string[] {
  const told = rowsOf(status)
  const chosen = orderedBack.filter(({ cluster }) => {
    const row = told.get(cluster)
    return !states || (row && states.includes(row.state))
  })
  if (chosen.length === 0) return []
  const { shown, left } = cutAt(chosen, limit)
  const rows = shown.map(({ cluster, target, state, message }) => [cluster, target, state, message])
  const columns = ['ORDERED BACK', 'TO', 'STATE', 'MESSAGE']
  return ['\n', formatColumns([columns, ...rows]), moreText(left.map(({ state }) => state))]
}

function editText(changes: readonly PreviewChange[], { states, limit }: ClusterChoice): string {
  if (changes.length === 0) return '\nFor no cluster does the edit change what happens next.\n'
  const isChosen = (of: PreviewChange['is']) => of && states?.includes(of.state)
  const chosen = states ? changes.filter(({ was, is }) => isChosen(was) || isChosen(is)) : changes
  if (chosen.length === 0)
    return `\nFor no cluster in ${states?.join(' or ')} does the edit change what happens next.\n`
  const told = (of: PreviewChange['is']) => (of ? stateText(of) : 'not in it')
  const { shown, left } = cutAt(chosen, limit)
  const rows = shown.map(({ cluster, was, is }) => [cluster, told(was), told(is)])
  const columns = ['WHAT CHANGES FOR', 'WITHOUT THE EDIT', 'WITH IT']
  return `\n${formatColumns([columns, ...rows])}${moreText(left.map(({ is }) => told(is)))}`
}
