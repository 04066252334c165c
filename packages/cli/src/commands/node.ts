import type { Command } from 'commander'
import { findRegistration, registrationText } from '../objects/registrations.ts'
import { line, type Shell, withHub } from '../shell.ts'

type Options = { reason?: string; fingerprint?: string }
const DECISIONS = [
  [
    'accept',
    'Accepted',
    'Accepts a node, also one that was denied, revoked or suspended before. Its cluster must be accepted too.',
  ],
  ['deny', 'Denied', 'Denies a node: it may not belong until somebody accepts it.'],
  ['revoke', 'Revoked', 'Revokes a node: its credential ends now, and its keys may not come back by themselves.'],
] as const

export function nodeCommand(program: Command, shell: Shell): void {
  const node = program.command('node').description('Decides about single nodes.')
  for (const [verb, state, description] of DECISIONS) {
    node
      .command(verb)
      .description(description)
      .argument('<cluster/node>', 'the node; its name alone when no other cluster has one of that name')
      .option('--reason <sentence>', 'why, for those who look later')
      .option('--fingerprint <text>', 'only if its registration has this fingerprint')
      .addHelpText('after', `\nExample:\n  skerry node ${verb} shop-17/shop-17`)
      .action(async (name: string, { reason, fingerprint }: Options, command: Command) => {
        await withHub(command, shell, async ({ client }) => {
          const registration = await findRegistration(client, name)
          const { metadata, spec } = registration
          await client.approve(metadata.namespace ?? '', metadata.name, {
            state,
            reason,
            fingerprint: fingerprint ?? spec.fingerprint,
          })
          line(shell, `${registrationText(registration)}: ${state.toLowerCase()}`)
        })
      })
  }
  node
    .command('rotate')
    .description('Ends a stolen NATS credential: that key is revoked, and the node comes back with another by itself.')
    .argument('<cluster/node>', 'the node; its name alone when no other cluster has one of that name')
    .option('--reason <sentence>', 'why, for those who look later')
    .addHelpText('after', '\nExample:\n  skerry node rotate shop-17/shop-17')
    .action(async (name: string, { reason }: Options, command: Command) => {
      await withHub(command, shell, async ({ client }) => {
        const registration = await findRegistration(client, name)
        await client.rotate(registration.metadata.namespace ?? '', registration.metadata.name, { reason })
        line(shell, `${registrationText(registration)}: its NATS key is ended`)
      })
    })
}
