import type { Command } from 'commander'
import { writeOut } from '../output/files.ts'
import { toYaml } from '../output/forms.ts'
import { type Shell, say, withHub } from '../shell.ts'

export function kubeconfigCommand(program: Command, shell: Shell): void {
  program
    .command('kubeconfig')
    .description('Prints a kubeconfig for this hub, with CA and token in it: kubectl and every client library take it.')
    .option('--out <file>', 'write it there, readable by you alone')
    .addHelpText(
      'after',
      '\nExample:\n  skerry kubeconfig --out skerry.kubeconfig\n  KUBECONFIG=skerry.kubeconfig kubectl get rollouts -A',
    )
    .action((options: { out?: string }, command: Command) =>
      withHub(command, shell, async ({ server: { server, caPem, token }, namespace }) => {
        const name = 'skerry'
        const ca = caPem === undefined ? {} : { 'certificate-authority-data': Buffer.from(caPem).toString('base64') }
        const text = toYaml({
          apiVersion: 'v1',
          kind: 'Config',
          'current-context': name,
          clusters: [{ name, cluster: { server, ...ca } }],
          users: [{ name, user: { token } }],
          contexts: [{ name, context: { cluster: name, user: name, ...(namespace ? { namespace } : {}) } }],
        })
        if (options.out === undefined) return shell.out(text)
        writeOut(options.out, text, { secret: true })
        say(shell, `${options.out} holds a token: it is readable by you alone`)
      }),
    )
}
