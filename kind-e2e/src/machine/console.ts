import { createWriteStream } from 'node:fs'

// What a machine says on its serial console, line by line, over all its boots: kept in a file, and waited for.

/** What the init says of each boot. */
export type MachineBoot = {
  readonly bootId: string
  readonly image: string
  readonly version: string
  /** The file that the boot loader chose, by its name at that moment. */
  readonly entry: string
  /** Seconds since its kernel began. */
  readonly upS: number
}

export type Console = ReturnType<typeof openConsole>

/** The console of a machine that is off. Lines are appended to `file`. */
export function openConsole(name: string, file: string) {
  const log = createWriteStream(file, { flags: 'a', mode: 0o600 })
  const boots: MachineBoot[] = []
  const listeners = new Set<{ hear(line: string): void; ended(): void }>()
  let present: string[] = []
  let isOn = false

  return {
    boots: (): readonly MachineBoot[] => boots,
    /** What was said since the power came or the last boot was up. */
    present: (): readonly string[] => present,

    powerOn() {
      isOn = true
      present = []
    },

    hear(line: string): void {
      log.write(`${line}\n`)
      const boot = bootOf(line)
      if (boot) {
        boots.push(boot)
        present = []
      }
      present.push(line)
      for (const listener of listeners) listener.hear(line)
    },

    powerOff() {
      isOn = false
      for (const listener of listeners) listener.ended()
    },

    /**
     * The first line that `pick` makes something of, of the present boot or later. An error that names `what` and shows
     * the console's end after the deadline, or when the machine is off before.
     */
    line<T>(pick: (line: string) => T | undefined, what: string, deadlineMs: number): Promise<T> {
      return new Promise((resolve, reject) => {
        const finish = (act: () => void) => {
          listeners.delete(listener)
          clearTimeout(timer)
          act()
        }
        const fail = (how: string) =>
          finish(() =>
            reject(new Error(`${name}: ${what} ${how}; its console is in ${file}:\n${present.slice(-20).join('\n')}`)),
          )
        const listener = {
          hear(line: string) {
            const found = pick(line)
            if (found !== undefined) finish(() => resolve(found))
          },
          ended: () => fail('did not come before it was off'),
        }
        const timer = setTimeout(() => fail(`did not come within ${deadlineMs / 1000} s`), deadlineMs)
        listeners.add(listener)
        for (const line of present) listener.hear(line)
        if (!isOn) listener.ended()
      })
    },

    close: () => new Promise<void>((resolve) => log.end(() => resolve())),
  }
}

/** Whether the init says here that a boot is up. */
export const isBootLine = (line: string) => line.startsWith('{"machine":"boot"')

function bootOf(line: string): MachineBoot | undefined {
  if (!isBootLine(line)) return undefined
  const { bootId, image, version, entry, upS } = JSON.parse(line) as MachineBoot
  return { bootId, image, version, entry, upS }
}
