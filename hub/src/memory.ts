// How much memory a hub's process may hold beyond what it needs. Node's own bounds suit a program that has a machine to
// itself: garbage until a collection is cheap by its own measure, and a C heap that is given back at its end alone. What a
// collection freed is given back when nothing happened for 8 s, and with sites something always does: the highest peak of
// garbage is what stays resident. DESIGN.md has the figures.

const V8_FLAGS = ['--heap-growing-percent=50']
/** Of glibc, in bytes; others pass them over. What is larger than the first is given back as soon as it is free. */
const MALLOC = { MALLOC_MMAP_THRESHOLD_: '131072', MALLOC_TRIM_THRESHOLD_: '4194304' }

type Start = { readonly execArgv: readonly string[]; readonly env: NodeJS.ProcessEnv }

/** How a program that was started so is to be started again to be bounded; undefined when it is. What an operator says of any of it stands. */
export function boundedStart({ execArgv, env }: Start): Start | undefined {
  const said = [...execArgv, ...(env['NODE_OPTIONS'] ?? '').split(/\s+/)].map(nameOf)
  const flags = V8_FLAGS.filter((flag) => !said.includes(nameOf(flag)))
  if (flags.length === 0 && Object.keys(MALLOC).every((name) => env[name] !== undefined)) return undefined
  return { execArgv: [...flags, ...execArgv], env: { ...MALLOC, ...env } }
}

/** Starts this program again in this very process, unless it is bounded. The bounds are not for what it starts itself. */
export function boundMemory(): void {
  const start = boundedStart({ execArgv: process.execArgv, env: process.env })
  if (start && process.platform !== 'win32')
    process.execve?.(
      process.execPath,
      [process.execPath, ...start.execArgv, ...process.argv.slice(1)],
      // What the environment does not have has no value.
      Object.fromEntries(Object.entries(start.env).map(([name, value = '']) => [name, value])),
    )
  for (const name of Object.keys(MALLOC)) delete process.env[name]
}

function nameOf(flag: string): string {
  return (flag.split('=')[0] ?? '').replaceAll('_', '-')
}
