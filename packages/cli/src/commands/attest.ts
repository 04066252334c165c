import { describeLog, parseEventLog } from '@skerry/measured-boot'
import { appraise } from '@skerry/policy'
import { type Command, Option } from 'commander'
import { Answered, EXIT } from '../errors.ts'
import { LOG_BYTES, readBounded, readEvidenceFile, reading, readReferenceFile, Unusable } from '../offline/evidence.ts'
import { toJson } from '../output/forms.ts'
import { line, type Shell } from '../shell.ts'
import { statusCommand } from './attest-status.ts'

export function attestCommand(program: Command, shell: Shell): void {
  const attest = program.command('attest').description('What machines measured when they booted, and what it is worth.')
  statusCommand(attest, shell)
  verifyCommand(attest, shell)
  eventlogCommand(attest, shell)
}

const CONTRAINDICATED = 2

type VerifyOptions = { evidence: string; reference?: string; nonce?: string }

function verifyCommand(attest: Command, shell: Shell): void {
  attest
    .command('verify')
    .description(
      'Judges evidence as the hub does, without one. Exit code 0: affirming or warning; 2: contraindicated; 1: there is nothing to judge.',
    )
    .requiredOption('--evidence <file>', 'the evidence: JSON with akPublic, quote, signature, pcrs, eventLog and nonce')
    .option(
      '--reference <file>',
      'what it is held against: a manifest, a profile, or {manifest, profile, akName, firmware, others}',
    )
    .option('--nonce <hex>', 'what the quote must answer; otherwise what the evidence itself says')
    .addHelpText('after', '\nExample:\n  skerry attest verify --evidence evidence.json --reference reference.json')
    .action(({ evidence: file, reference, nonce }: VerifyOptions) => {
      told(shell, true, () => {
        if (nonce !== undefined && !/^([0-9a-fA-F]{2}){1,64}$/.test(nonce))
          throw new Unusable('InvalidField', `--nonce ${nonce}: 1 to 64 bytes in hex are wanted`)
        const evidence = readEvidenceFile(file)
        const tpm = reference === undefined ? undefined : readReferenceFile(reference)
        const quoted = Object.values(evidence.pcrs ?? {}).flatMap((values) => Object.keys(values).map(Number))
        const { verdict, checks, findings, pcrs, bank } = appraise(evidence, {
          nonce: (nonce ?? evidence.nonce).toLowerCase(),
          selection: [...new Set(quoted)],
          ...(tpm ? { tpm } : {}),
        })
        shell.out(toJson({ verdict, bank, checks, findings, pcrs }))
        if (verdict === 'contraindicated') throw new Answered(CONTRAINDICATED)
        if (verdict === 'none') throw new Answered(EXIT.error)
      })
    })
}

function eventlogCommand(attest: Command, shell: Shell): void {
  attest
    .command('eventlog')
    .description('Shows a firmware’s event log: what it leads to, event by event, and what is not as it should be.')
    .argument('<file>', 'binary_bios_measurements')
    .option('--bank <name>', 'the bank to read: sha256, sha384 or sha512; otherwise the best there is')
    .addOption(new Option('-o, --output <form>', 'how to show it').choices(['text', 'json']).default('text'))
    .addHelpText(
      'after',
      '\nExample:\n  skerry attest eventlog /sys/kernel/security/tpm0/binary_bios_measurements --bank sha256',
    )
    .action((file: string, { bank, output }: { bank?: string; output: 'text' | 'json' }) => {
      told(shell, output === 'json', () => {
        const log = reading(file, () => describeLog(parseEventLog(readBounded(file, LOG_BYTES)), bank))
        if (output === 'json') return shell.out(toJson(log))
        for (const { index, pcr, type, digest, covered, says } of log.events)
          line(
            shell,
            `${String(index).padStart(3)}  PCR ${String(pcr ?? '-').padStart(2)}  ${digest.slice(0, 16).padEnd(16)}  ${type}${says === null ? '' : `  ${covered === 'yes' ? says : `(unproven) ${says}`}`}`,
          )
        for (const [name, values] of Object.entries(log.pcrs))
          for (const [pcr, value] of Object.entries(values)) line(shell, `${name}:${pcr.padEnd(2)} ${value}`)
        line(shell, `Secure Boot: ${log.secureBoot === null ? 'not proven' : log.secureBoot ? 'on' : 'off'}`)
        for (const { code, message } of log.findings) line(shell, `${code}: ${message}`)
      })
    })
}

/** Runs a reading; bytes that cannot be read are told by their code, in JSON where JSON was asked for and in a sentence elsewhere. */
function told(shell: Shell, asJson: boolean, act: () => void): void {
  try {
    act()
  } catch (error) {
    if (!(error instanceof Unusable)) throw error
    const { code, message, offset } = error
    if (!asJson) throw new Unusable(code, `${code}: ${message}`, offset)
    shell.out(toJson({ error: { code, message, ...(offset === undefined ? {} : { offset }) } }))
    throw new Answered(EXIT.error)
  }
}
