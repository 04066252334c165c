import { existsSync, readFileSync } from 'node:fs'
import type { Context, Contexts, Server } from '@skerry/client'
import { UsageError } from './errors.ts'
import { didYouMean } from './nearby.ts'

/** The flags that every command knows: which hub, and as whom. */
export type ServerFlags = {
  readonly context?: string
  readonly server?: string
  readonly token?: string
  readonly ca?: string
}

/**
 * The hub to talk to. --server names one by itself: no context's token ever goes to an address that the context does not
 * name. Without it the context's token and CA may be replaced for this call.
 */
export function chooseServer(flags: ServerFlags, contexts: Contexts): Server & { readonly namespace?: string } {
  const caPem = flags.ca === undefined ? undefined : readCa(flags.ca)
  if (flags.server !== undefined) {
    if (flags.context !== undefined) throw new UsageError('--server and --context both say which hub: give one of them')
    if (flags.token === undefined)
      throw new UsageError('--server needs --token: no stored token is sent to another address')
    return { server: trimSlash(flags.server), token: flags.token, ...(caPem ? { caPem } : {}) }
  }
  const context = findContext(flags.context, contexts)
  return { ...context, ...(caPem ? { caPem } : {}), ...(flags.token ? { token: flags.token } : {}) }
}

/** The context of that name, or the current one. */
export function findContext(name: string | undefined, { current, contexts }: Contexts): Context {
  const wanted = name ?? current ?? (contexts.length === 1 ? contexts[0]?.name : undefined)
  if (wanted === undefined)
    throw new Error(
      contexts.length === 0
        ? 'no hub is known yet: "npm start" runs one here, "skerry login --server URL --ca FILE --token TOKEN" names one'
        : 'no context is chosen: "skerry context use NAME" chooses one, "skerry context list" lists them',
    )
  const found = contexts.find((context) => context.name === wanted)
  if (found) return found
  const names = contexts.map((context) => context.name)
  throw new UsageError(
    `there is no context "${wanted}"${didYouMean(wanted, names)}; there are: ${names.join(', ') || 'none'}`,
  )
}

export function readCa(file: string): string {
  if (!existsSync(file)) throw new UsageError(`--ca: there is no file ${file}`)
  const text = readFileSync(file, 'utf8')
  if (!text.includes('-----BEGIN CERTIFICATE-----')) throw new UsageError(`--ca: ${file} holds no certificate in PEM`)
  return text
}

export function trimSlash(url: string): string {
  try {
    const { protocol } = new URL(url)
    if (protocol === 'https:' || protocol === 'http:') return url.replace(/\/+$/, '')
  } catch {
    // Told below, as everything else that is no address.
  }
  throw new UsageError(`--server: "${url}" is no address; write https://HOST:PORT`)
}
