import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { EfiVars } from './efivars.ts'
import { isArmed, parseEntryName } from './entry-name.ts'
import { fault } from './faults.ts'

// What systemd-boot goes by, besides the names of the entries.

/** What names the entry to boot, whatever tries it has left. */
const DEFAULT_KEYS = ['default', 'preferred']
const DEFAULT_VARIABLES = ['LoaderEntryDefault', 'LoaderEntryPreferred', 'LoaderEntryOneShot']

/** Faults: LoaderMissing, LoaderDefaultSet. */
export function requireCountingLoader(esp: string, vars: EfiVars): void {
  const loader = vars.loader('LoaderInfo')
  if (!loader?.startsWith('systemd-boot'))
    throw fault('LoaderMissing', loader ? `this machine was started by ${loader}` : 'there is no variable LoaderInfo')
  const file = join(esp, 'loader', 'loader.conf')
  const named = existsSync(file) ? defaultIn(readFileSync(file, 'utf8')) : undefined
  if (named !== undefined) throw fault('LoaderDefaultSet', `${file} has the line "${named}"`)
  for (const variable of DEFAULT_VARIABLES) {
    const value = vars.loader(variable)
    if (value !== undefined) throw fault('LoaderDefaultSet', `the variable ${variable} is "${value}"`)
  }
}

/** An entry of the other kind (a text in loader/entries, counted by its name in the same way) that is armed. */
export function armedText(esp: string): string | undefined {
  const folder = join(esp, 'loader', 'entries')
  if (!existsSync(folder)) return undefined
  return readdirSync(folder).find((file) => {
    const name = parseEntryName(file.replace(/\.conf$/i, '.efi'))
    return name !== undefined && isArmed(name)
  })
}

/** The line of a loader.conf that names an entry. */
export function defaultIn(loaderConf: string): string | undefined {
  return loaderConf
    .split('\n')
    .map((line) => line.trim())
    .find((line) => DEFAULT_KEYS.some((key) => new RegExp(`^${key}[ \\t]+\\S`).test(line)))
}

/**
 * The slot whose image was started last, as far as anybody says. systemd-boot sets its variable at every start, to the
 * name before the count (until release 256; then without one). A stub's may be of an image before, in the same power-on:
 * it is asked only where no systemd-boot was. LoaderBootCountPath is not: it stays when what it names did not start.
 */
export function startedName(vars: EfiVars): string | undefined {
  return vars.loader('LoaderEntrySelected') ?? vars.loader('StubImageIdentifier')?.split('\\').at(-1)
}

/**
 * Whether systemd-boot counts this boot, as its variables say without the ESP; undefined where they are not to be had. A
 * name with tries left was on trial; without a counter (from release 257 on) it was if what was counted is the same slot.
 */
export function startedOnTrial(vars: EfiVars): boolean | undefined {
  const selected = vars.loader('LoaderEntrySelected')
  if (selected === undefined) return undefined
  const started = parseEntryName(selected)
  if (started?.left !== undefined) return isArmed(started)
  const counted = parseEntryName(vars.loader('LoaderBootCountPath')?.split('\\').at(-1) ?? '')
  return counted !== undefined && counted.slot === (started?.slot ?? selected.toLowerCase())
}
