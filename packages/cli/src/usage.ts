import type { Command, CommanderError } from 'commander'
import { UsageError } from './errors.ts'
import { parseTargets } from './objects/kinds.ts'

/** What the parser says of a command line that makes no sense, with where to look. */
export function usageError(error: CommanderError, program: Command, argv: readonly string[]): UsageError {
  const command = reached(program, argv)
  const help = `"${nameOf(command)} --help" shows what there is`
  if (error.code === 'commander.help') return new UsageError(`which command? ${help}`)
  const sentence = error.message.replace(/^error: /, '').replaceAll('\n', ' ')
  const [, word = ''] = /^unknown command '([^']+)'/.exec(sentence) ?? []
  if (command === program && isKind(word))
    return new UsageError(`unknown command '${word}': "skerry get ${word}" lists them`)
  return new UsageError(`${sentence}; ${help}`)
}

/** The command that the words lead to, as far as they lead. */
function reached(program: Command, argv: readonly string[]): Command {
  let command = program
  for (const word of argv.filter((one) => !one.startsWith('-'))) {
    const next = command.commands.find((one) => one.name() === word)
    if (!next) break
    command = next
  }
  return command
}

function nameOf(command: Command): string {
  return command.parent ? `${nameOf(command.parent)} ${command.name()}` : command.name()
}

function isKind(word: string): boolean {
  if (word === '') return false
  try {
    return parseTargets([word]).length > 0
  } catch {
    return false
  }
}
