import { readFileSync } from 'node:fs'
import type { Command } from 'commander'
import { describe, expect, test } from 'vitest'
import { buildProgram } from './program.ts'

const shell = (out: string[]) => ({
  out: (text: string) => void out.push(text),
  err: () => {},
  now: () => 0,
  env: {},
  signal: new AbortController().signal,
  stdin: async () => '',
})

function leaves(command: Command): Command[] {
  return command.commands.length === 0 ? [command] : command.commands.flatMap((one) => leaves(one))
}
function nameOf(command: Command): string {
  return command.parent ? `${nameOf(command.parent)} ${command.name()}` : command.name()
}

describe('the commands', () => {
  const all = leaves(buildProgram(shell([])))

  test.each(all.map((command) => [nameOf(command), command] as const))(
    '%s tells what it does, with an example',
    (_, command) => {
      const out: string[] = []
      command.configureOutput({ writeOut: (text) => void out.push(text) }).outputHelp()
      expect(command.description()).toMatch(/[.]$/)
      expect(out.join('')).toContain(`Example:\n  ${nameOf(command)}`)
    },
  )

  test('a flag means the same thing wherever it stands', () => {
    const kinds = new Map<string, Set<string>>()
    for (const command of all)
      for (const option of command.options) {
        const takes = option.required || option.optional ? 'a value' : 'nothing'
        const known = kinds.get(option.short ?? '') ?? new Set()
        if (option.short) kinds.set(option.short, known.add(`${option.long} takes ${takes}`))
      }
    expect(Object.fromEntries([...kinds].map(([short, meanings]) => [short, [...meanings]]))).toEqual({
      '-n': ['--namespace takes a value'],
      '-A': ['--all-namespaces takes nothing'],
      '-l': ['--selector takes a value'],
      '-w': ['--watch takes nothing'],
      '-o': ['--output takes a value'],
      '-f': ['--filename takes a value'],
    })
  })

  const readme = readFileSync(new URL('../../../README.md', import.meta.url), 'utf8')
  const printed = [...readme.matchAll(/^(?:npx )?skerry +([^#<\n]+)|`(?:npx )?skerry ([^`]+)`/gm)].map(
    ([, line, inline]) => (line ?? inline ?? '').trim(),
  )
  test('the README prints some', () => expect(printed.length).toBeGreaterThan(12))
  test.each(printed)('the README’s "skerry %s" makes sense', async (text) => {
    const program = buildProgram(shell([]))
    const ran: string[] = []
    for (const leaf of leaves(program)) leaf.action(() => void ran.push(nameOf(leaf)))
    await program.parseAsync(text.split(/\s+/), { from: 'user' })
    expect(ran).toHaveLength(1)
  })

  test('help is an answer: it goes to standard output', async () => {
    const out: string[] = []
    await expect(buildProgram(shell(out)).parseAsync(['get', '--help'], { from: 'user' })).rejects.toMatchObject({
      exitCode: 0,
    })
    expect(out.join('')).toContain('Usage: skerry get')
  })
})
