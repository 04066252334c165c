import type { Client, Server } from '@skerry/client'
import { contextsFile, openClient, readContexts } from '@skerry/client'
import type { Command } from 'commander'
import { chooseServer, type ServerFlags } from './server.ts'

/** What a command may touch of the world around it. */
export type Shell = {
  out(text: string): void
  err(text: string): void
  readonly now: () => number
  readonly env: NodeJS.ProcessEnv
  readonly signal: AbortSignal
  readonly stdin: () => Promise<string>
}

/** A hub that is reached, and the namespace its context means. */
export type Hub = {
  readonly client: Client
  readonly server: Server
  readonly namespace: string | undefined
}

/** Runs `act` with the hub that flags, environment and config file name, and lets go of its connections afterwards. */
export async function withHub<T>(command: Command, shell: Shell, act: (hub: Hub) => Promise<T>): Promise<T> {
  const chosen = chooseServer(command.optsWithGlobals<ServerFlags>(), readContexts(contextsFile(shell.env)))
  const told = new Set<string>()
  // As kubectl shows them: once each, beside the answer.
  const onWarning = (text: string) => {
    if (!told.has(text)) say(shell, `Warning: ${text}`)
    told.add(text)
  }
  const client = openClient(chosen, { onWarning })
  try {
    return await act({ client, server: chosen, namespace: chosen.namespace })
  } finally {
    await client.close()
  }
}

export function line(shell: Shell, text: string): void {
  shell.out(`${text}\n`)
}

/** Says that a watch was lost and goes on: a screen on which nothing changes must not look like a fleet at rest. */
export function lost(shell: Shell): (error: unknown) => void {
  return (error) =>
    say(shell, `skerry: ${error instanceof Error ? error.message : String(error)}. The watch goes on when it answers`)
}

/** A sentence for the person at the terminal that is no part of the answer. */
export function say(shell: Shell, text: string): void {
  shell.err(`${text}\n`)
}
