import { CommanderError } from 'commander'
import { EXIT, exitCodeOf, tellError } from './errors.ts'
import { visible } from './output/columns.ts'
import { buildProgram } from './program.ts'
import type { Shell } from './shell.ts'
import { usageError } from './usage.ts'

// skerry, also installed as kubectl-skerry. Answers go to standard output, everything else to standard error.

const over = new AbortController()
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  // `| head` has read enough.
  if (error.code === 'EPIPE') process.exit(EXIT.ok)
  throw error
})
const shell: Shell = {
  out: (text) => void process.stdout.write(visible(text)),
  err: (text) => void process.stderr.write(visible(text)),
  now: () => Date.now(),
  env: process.env,
  signal: over.signal,
  async stdin() {
    let text = ''
    for await (const chunk of process.stdin.setEncoding('utf8')) text += chunk
    return text
  },
}

const argv = process.argv.slice(2)
const program = buildProgram(shell)
try {
  await program.parseAsync(argv, { from: 'user' })
} catch (error) {
  const asked = error instanceof CommanderError && error.exitCode === 0
  if (!asked) {
    const told = error instanceof CommanderError ? usageError(error, program, argv) : error
    shell.err(tellError(told, wantsJson(argv)))
    process.exitCode = exitCodeOf(told)
  }
}

// Also of a command line that could not be read.
function wantsJson(words: readonly string[]): boolean {
  return words.some(
    (word, index) =>
      word === '-ojson' ||
      word === '--output=json' ||
      ((word === '-o' || word === '--output') && words[index + 1] === 'json'),
  )
}
