import type { ObjectOf, RolloutCluster, SkerryObject } from '@skerry/api'
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
import { waveText, windowText } from '../describe/rollout.ts'
import { exitCodeOf, Faults } from '../errors.ts'
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
type Options = { filename: string[]; namespace?: string; output: 'table' | 'json' | 'yaml' }

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
    .addOption(formOption('table', 'json', 'yaml'))
    .addHelpText(
      'after',
      '\nExample:\n  skerry rollout preview -f rollout.yaml\n\nWhat comes after the first look, "skerry rollout simulate" plays.',
    )
    .action(async ({ filename, output, ...options }: Options, command: Command) => {
      const manifest = only('Rollout', await readFiles(filename, shell.stdin))
      const foreseen = await withHub(command, shell, ({ client, namespace }) =>
        foresee(client, manifest, options.namespace ?? namespace ?? DEFAULT_NAMESPACE),
      )
      shell.out(output === 'table' ? textOf(foreseen, shell.now()) : toText(toldOf(foreseen), output))
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

function textOf({ outcome, rollout, without }: Foreseen, nowMs: number): string {
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
    ...clustersText(preview, status?.clusters ?? [], nowMs),
    ...backText(preview),
    ...(without ? [editText(previewChanges(without.status, status))] : []),
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
  clusters: readonly RolloutCluster[],
  nowMs: number,
): string[] {
  const minuteOf = new Map(minutes?.map(({ cluster, waveAt }) => [cluster, when(waveAt, nowMs)]))
  const told = new Map(clusters.map((row) => [row.name, row]))
  const rows = stages.flatMap(({ sentNow, underWay, later }, index) =>
    [...sentNow, ...underWay, ...later].map((name) => {
      const { state = '', reason = '', message = '', recheckAt } = told.get(name) ?? {}
      const times = [recheckAt ? when(recheckAt, nowMs) : '', ...(minutes ? [minuteOf.get(name) ?? ''] : [])]
      return [String(index + 1), name, state, reason, ...times, message]
    }),
  )
  if (rows.length === 0)
    return stages.length === 0 ? [] : ['\nNobody is sent the image now, and nobody waits for it.\n']
  const times = ['LOOKED AT AGAIN', ...(minutes ? ['ITS MINUTE'] : [])]
  return ['\n', formatColumns([['STAGE', 'CLUSTER', 'STATE', 'REASON', ...times, 'MESSAGE'], ...rows])]
}

function backText({ orderedBack }: RolloutPreview): string[] {
  if (orderedBack.length === 0) return []
  const rows = orderedBack.map(({ cluster, target, state, message }) => [cluster, target, state, message])
  return ['\n', formatColumns([['ORDERED BACK', 'TO', 'STATE', 'MESSAGE'], ...rows])]
}

function editText(changes: readonly PreviewChange[]): string {
  if (changes.length === 0) return '\nFor no cluster does the edit change what happens next.\n'
  const told = (of: PreviewChange['is']) => (of ? `${of.state} (${of.reason})` : 'not in it')
  const rows = changes.map(({ cluster, was, is }) => [cluster, told(was), told(is)])
  return `\n${formatColumns([['WHAT CHANGES FOR', 'WITHOUT THE EDIT', 'WITH IT'], ...rows])}`
}
