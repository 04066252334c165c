import { setTimeout as sleep } from 'node:timers/promises'
import type { KindRow, SkerryObject } from '@skerry/api'
import { ApiError, type Client, Unreachable } from '@skerry/client'
import { type Command, InvalidArgumentError } from 'commander'
import { NotFound, UsageError } from '../errors.ts'
import { nameOf, parseTargets } from '../objects/kinds.ts'
import { getObject, locate, told } from '../objects/locate.ts'
import { line, type Shell, withHub } from '../shell.ts'
import { duration } from '../values.ts'

/** What to wait for. */
type Wanted =
  | { readonly kind: 'condition'; readonly type: string; readonly status: string }
  | { readonly kind: 'phase'; readonly phase: string }
  | { readonly kind: 'delete' }

const LOOK_MS = 300

export function waitCommand(program: Command, shell: Shell): void {
  program
    .command('wait')
    .description('Waits until objects are as they should be, or are gone.')
    .argument('<kind>', 'a kind, or KIND/NAME')
    .argument('[name...]', 'which ones')
    .requiredOption('--for <what>', 'condition=TYPE[=STATUS], phase=PHASE or delete', parseWanted)
    .option('--timeout <duration>', 'give up after so long: 90s, 10m, 1h', duration, 60_000)
    .option('-n, --namespace <name>', 'the namespace they are in')
    .addHelpText('after', '\nExample:\n  skerry wait rollout edge-os-43 --for=phase=Completed --timeout 30m')
    .action(
      async (
        kind: string,
        names: string[],
        options: { for: Wanted; timeout: number; namespace?: string },
        command: Command,
      ) => {
        const targets = parseTargets([kind, ...names])
        await withHub(command, shell, async ({ client, namespace }) => {
          const endMs = shell.now() + options.timeout
          for (const { row, name } of targets) {
            if (name === undefined) throw new UsageError(`which ${row.plural}? say their names`)
            const found = await locate(client, row, name, options, namespace).catch((error: unknown) => {
              if (options.for.kind === 'delete' && isMissing(error)) return undefined
              throw error
            })
            if (found) await untilSo(client, row, found, options.for, endMs, shell)
            line(shell, `${nameOf(row, name)} ${options.for.kind === 'delete' ? 'deleted' : 'condition met'}`)
          }
        })
      },
    )
}

// The state is looked at again and again: nothing that a lost connection hides can be missed.
async function untilSo(
  client: Client,
  row: KindRow,
  first: SkerryObject,
  wanted: Wanted,
  endMs: number,
  shell: Shell,
): Promise<void> {
  const { namespace, name, uid } = first.metadata
  let away: Unreachable | undefined
  for (let object: SkerryObject | undefined = first; ; ) {
    if (isSo(object, wanted, uid)) return
    if (!object) throw new NotFound(`${nameOf(row, name)} was deleted while it was waited for`)
    if (shell.now() >= endMs)
      throw new Error(
        `timed out waiting for ${describeWanted(wanted)} on ${nameOf(row, name)}; ${away ? away.message : lastSeen(object, wanted)}`,
      )
    await sleep(LOOK_MS, undefined, { signal: shell.signal })
    away = undefined
    const before: SkerryObject = object
    object = await getObject(client, row, namespace, name).catch((error: unknown) => {
      if (isMissing(error)) return undefined
      if (!(error instanceof Unreachable)) throw error
      // A hub that is started again meanwhile ends no waiting.
      away = error
      return before
    })
  }
}

/** Whether an object is as it is wanted; undefined is one that is gone. One of another uid is another object. */
export function isSo(object: SkerryObject | undefined, wanted: Wanted, uid: string): boolean {
  if (wanted.kind === 'delete') return object === undefined || object.metadata.uid !== uid
  if (!object) return false
  if (wanted.kind === 'phase') return phaseOf(object) === wanted.phase
  return conditionOf(object, wanted.type)?.status === wanted.status
}

function lastSeen(object: SkerryObject, wanted: Wanted): string {
  if (wanted.kind === 'delete') return 'it is still there'
  if (wanted.kind === 'phase') return `its phase is ${phaseOf(object) ?? 'not known yet'}`
  const condition = conditionOf(object, wanted.type)
  return condition ? `it is ${condition.status}: ${condition.reason}: ${condition.message}` : 'it has no such condition'
}

function phaseOf(object: SkerryObject): string | undefined {
  return told(object).phase
}

function conditionOf(object: SkerryObject, type: string) {
  return told(object).conditions?.find((condition) => condition.type.toLowerCase() === type.toLowerCase())
}

function isMissing(error: unknown): boolean {
  return error instanceof NotFound || (error instanceof ApiError && error.code === 404)
}

function describeWanted(wanted: Wanted): string {
  if (wanted.kind === 'delete') return 'deletion'
  return wanted.kind === 'phase' ? `phase ${wanted.phase}` : `condition ${wanted.type}=${wanted.status}`
}

/** `condition=Breached`, `condition=Breached=False`, `phase=Completed`, `delete`. */
export function parseWanted(text: string): Wanted {
  const [kind, name, status = 'True', ...more] = text.split('=')
  if (text === 'delete') return { kind: 'delete' }
  if (kind === 'condition' && name && more.length === 0)
    return { kind: 'condition', type: name, status: capital(status) }
  if (kind === 'phase' && name && text.split('=').length === 2) return { kind: 'phase', phase: capital(name) }
  throw new InvalidArgumentError('Write condition=TYPE, condition=TYPE=STATUS, phase=PHASE or delete.')
}

function capital(word: string): string {
  return word.charAt(0).toUpperCase() + word.slice(1)
}
