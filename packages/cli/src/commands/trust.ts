import { existsSync } from 'node:fs'
import { HUB_TARGET } from '@skerry/api'
import { counted } from '@skerry/policy'
import { hubTarget, initSigningFolder, openSigningFolder, readRoot, signerKeyFile } from '@skerry/trust'
import type { Command } from 'commander'
import { UsageError } from '../errors.ts'
import { readIntroduction } from '../offline/read.ts'
import { addedText, expiry, releaseText } from '../offline/status.ts'
import { formatEntries } from '../output/sections.ts'
import { line, type Shell } from '../shell.ts'
import { collect, count } from '../values.ts'

const YEAR_DAYS = 365
type InitOptions = {
  introduction: string
  out: string
  threshold: number
  keys?: number
  name?: string[]
  expiresDays: number
}

export function trustCommand(program: Command, shell: Shell): void {
  const trust = program
    .command('trust')
    .description('The signers’ folder: offline keys and what they sign. Opens no socket.')
  initCommand(trust, shell)
  hubCommand(trust, shell)
  statusCommand(trust, shell)
}

function initCommand(trust: Command, shell: Shell): void {
  trust
    .command('init')
    .description(
      'Makes a root key and a targets key for each signer, root 1, and a first release with hub.json to be signed.',
    )
    .requiredOption('--introduction <file>', 'what "skerry-hub init" printed')
    .requiredOption('--out <folder>', 'the signers’ folder to make')
    .option('--threshold <n>', 'how many signers it takes', count, 2)
    .option(
      '--keys <n>',
      'how many signers there are, where no names are given: signer-1, signer-2, … (default: 3)',
      count,
    )
    .option('--name <name>', 'a signer; once for each', collect)
    .option('--expires-days <n>', 'root and release expire after so many days', count, YEAR_DAYS)
    .addHelpText(
      'after',
      '\nExample:\n  skerry trust init --introduction introduction.json --out trust/ --name alice --name bert --name carla',
    )
    .action((options: InitOptions) => {
      const { introduction, out, threshold, name } = options
      if (name && options.keys !== undefined && options.keys !== name.length)
        throw new UsageError(`--keys ${options.keys} and ${counted(name.length, 'name')}: give one of them`)
      const names = name ?? Array.from({ length: options.keys ?? 3 }, (_, index) => `signer-${index + 1}`)
      if (threshold > names.length)
        throw new UsageError(`--threshold ${threshold} asks for more signers than there are (${names.length})`)
      const expires = expiry(shell.now(), options.expiresDays)
      const folder = initSigningFolder(out, { introduction: readIntroduction(introduction), names, threshold, expires })
      line(shell, `root 1: ${threshold} of ${names.join(', ')}; expires ${expires}`)
      line(shell, `thumbprint: ${folder.thumbprint}`)
      line(shell, 'Sites pin this thumbprint for ever: keep it where it can be compared.')
      line(shell, `Each keys/NAME.*.pem in ${out} now belongs on the machine of that person alone, and nowhere else.`)
    })
}

function hubCommand(trust: Command, shell: Shell): void {
  trust
    .command('hub')
    .description(
      'Puts a new hub.json into the next release: when the hub has other keys, another CA or other addresses.',
    )
    .requiredOption('--introduction <file>', 'what "skerry-hub init" prints now')
    .requiredOption('--trust <folder>', 'the signers’ folder')
    .option('--expires-days <n>', 'the release expires after so many days', count, YEAR_DAYS)
    .addHelpText('after', '\nExample:\n  skerry trust hub --introduction introduction.json --trust trust/')
    .action(
      ({ introduction, trust: dir, expiresDays }: { introduction: string; trust: string; expiresDays: number }) => {
        const folder = openSigningFolder(dir)
        const release = folder.add([hubTarget(readIntroduction(introduction))], expiry(shell.now(), expiresDays))
        const changed = release.added.some(({ path }) => path === HUB_TARGET)
        line(shell, changed ? releaseText(folder, release) : 'hub.json says this already; nothing is to be signed')
      },
    )
}

function statusCommand(trust: Command, shell: Shell): void {
  trust
    .command('status')
    .description('Shows who may sign, what is signed, and how many signatures are missing.')
    .requiredOption('--trust <folder>', 'the signers’ folder')
    .addHelpText('after', '\nExample:\n  skerry trust status --trust trust/')
    .action(({ trust: dir }: { trust: string }) => {
      const folder = openSigningFolder(dir)
      const here = (name: string) =>
        (['root', 'targets'] as const).filter((role) => existsSync(signerKeyFile(dir, name, role)))
      shell.out(
        formatEntries([
          { label: 'Thumbprint', value: folder.thumbprint },
          {
            label: 'Root',
            value: `version 1, ${folder.threshold} of ${counted(folder.names.length, 'signer')}, expires ${readRoot(folder.root).signed.expires}`,
          },
          { label: 'Hub', value: folder.introduction.hub.apiUrls.join(', ') },
          {
            label: 'Signers',
            rows: [
              ['NAME', 'KEYS IN THIS FOLDER'],
              ...folder.names.map((name) => [name, here(name).join(', ') || 'none']),
            ],
          },
        ]),
      )
      for (const release of folder.releases()) {
        line(shell, `\n${releaseText(folder, release)}; expires ${release.expires}`)
        shell.out(addedText(release))
      }
    })
}
