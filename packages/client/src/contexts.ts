import { chmodSync, existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { dirname, join } from 'node:path'
import { parse, stringify } from 'yaml'
import type { Server } from './client.ts'

/** A hub under a name, and the namespace that is meant when none is given. */
export type Context = Server & { readonly name: string; readonly namespace?: string }
export type Contexts = { readonly current?: string; readonly contexts: readonly Context[] }

/** $SKERRY_CONFIG, else $XDG_CONFIG_HOME/skerry/config.yaml, else ~/.config/skerry/config.yaml. */
export function contextsFile(env: NodeJS.ProcessEnv = process.env): string {
  return env['SKERRY_CONFIG'] || join(env['XDG_CONFIG_HOME'] || join(homedir(), '.config'), 'skerry', 'config.yaml')
}

export function readContexts(file = contextsFile()): Contexts {
  if (!existsSync(file)) return { contexts: [] }
  const read: unknown = parse(readFileSync(file, 'utf8'))
  const contexts =
    typeof read === 'object' && read !== null && 'contexts' in read && Array.isArray(read.contexts) ? read.contexts : []
  const current =
    typeof read === 'object' && read !== null && 'current' in read && typeof read.current === 'string'
      ? read.current
      : undefined
  return {
    ...(current ? { current } : {}),
    contexts: contexts.map((context: Record<string, unknown>, index) => {
      const text = (name: string) => {
        const value = context?.[name]
        if (typeof value !== 'string') throw new Error(`${file}: contexts[${index}].${name} must be a string`)
        return value
      }
      return {
        name: text('name'),
        server: text('server'),
        token: text('token'),
        ...(context['caPem'] ? { caPem: text('caPem') } : {}),
        ...(context['namespace'] ? { namespace: text('namespace') } : {}),
      }
    }),
  }
}

/** Adds or replaces a context and makes it the current one. The file holds tokens: 0600, whole or not at all. */
export function saveContext(context: Context, file = contextsFile()): void {
  const { contexts } = readContexts(file)
  writeContexts(
    { current: context.name, contexts: [...contexts.filter(({ name }) => name !== context.name), context] },
    file,
  )
}

export function writeContexts(contexts: Contexts, file = contextsFile()): void {
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 })
  writeFileSync(`${file}.new`, stringify(contexts), { mode: 0o600 })
  chmodSync(`${file}.new`, 0o600)
  renameSync(`${file}.new`, file)
}
