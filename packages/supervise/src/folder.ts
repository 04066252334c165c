import { closeSync, existsSync, mkdirSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { isAlive } from './child.ts'

/** This folder while it is ours alone. */
export type HeldFolder = { release(): void }

/**
 * Takes a data folder for this process, so that no second one writes to it or ends what the first one runs. A lock that
 * a killed process left behind is taken over. Throws an error that names who has it.
 */
export function holdFolder(dir: string, what: string): HeldFolder {
  mkdirSync(dir, { recursive: true, mode: 0o700 })
  const file = join(dir, 'lock')
  const mine = `${process.pid} ${startOf(process.pid)}`
  if (existsSync(file)) {
    const holder = readFileSync(file, 'utf8')
    const [pid = 0] = holder.split(' ').map(Number)
    // The start time tells a process from a later one that got its id.
    if (pid > 0 && pid !== process.pid && isAlive(pid) && holder === `${pid} ${startOf(pid)}`)
      throw new Error(`${what} already runs on ${dir} (process ${pid}); end that one, or name another folder`)
    rmSync(file, { force: true })
  }
  let handle: number
  try {
    handle = openSync(file, 'wx', 0o600)
  } catch (cause) {
    throw new Error(`${what} is being started on ${dir} by somebody else at this moment`, { cause })
  }
  writeSync(handle, mine)
  closeSync(handle)
  return { release: () => rmSync(file, { force: true }) }
}

// Field 22 of /proc/<pid>/stat; the name before it may hold blanks and brackets. '' where the system does not tell.
function startOf(pid: number): string {
  const file = `/proc/${pid}/stat`
  if (!existsSync(file)) return ''
  const text = readFileSync(file, 'utf8')
  return text.slice(text.lastIndexOf(')') + 2).split(' ')[19] ?? ''
}
