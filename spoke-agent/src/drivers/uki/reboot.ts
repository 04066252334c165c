import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { reasonOf } from '../../reason.ts'
import { fault } from './faults.ts'

const ANSWER_MS = 60_000

/** Runs what reboots this machine, such as `systemctl reboot`: words, no shell. It may return before the machine goes down. */
export function rebootBy(command: string): () => Promise<void> {
  return async () => {
    try {
      await run(command)
    } catch (cause) {
      throw fault('RebootFailed', `"${command}": ${reasonOf(cause)}`, cause)
    }
  }
}

/** Runs a command that says by its exit code whether this machine is well. */
export function healthBy(command: string): () => Promise<boolean> {
  return () =>
    run(command).then(
      () => true,
      () => false,
    )
}

async function run(command: string): Promise<void> {
  const [program = '', ...words] = command.split(/\s+/).filter(Boolean)
  await promisify(execFile)(program, words, { timeout: ANSWER_MS })
}
