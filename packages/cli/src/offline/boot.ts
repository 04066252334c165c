import { existsSync } from 'node:fs'
import { basename, join } from 'node:path'
import type { BankName, OSImageManifest } from '@skerry/api'
import {
  type BootBlock,
  describeBoot,
  findings,
  imageSignatures,
  parseUki,
  type SecureBootVariables,
  type UkiFinding,
} from '@skerry/measured-boot'
import { promiseOf } from '@skerry/policy'
import { UsageError } from '../errors.ts'
import { bytesOf } from './read.ts'

// What an image's files promise of a boot, at a desk without a network.

type Given = { readonly bootLoader?: readonly string[]; readonly bank?: readonly BankName[] }

/** The manifest's boot block of a file. One that is no EFI program is measured by nothing; a UKI needs its boot loader. */
export function bootOf(file: string, { bootLoader = [], bank = ['sha256'] }: Given): OSImageManifest['boot'] {
  if (!isEfi(file)) {
    if (bootLoader.length > 0)
      throw new UsageError(`--boot-loader: ${file} is no EFI program, so no firmware measures its boot`)
    return { kind: 'none' }
  }
  if (bootLoader.length === 0)
    throw new UsageError(
      `${file} is an EFI program: what a machine measures depends on what starts it; name it with --boot-loader FILE`,
    )
  return promiseOf({ uki: bytesOf(file), loaders: loadersOf(bootLoader), banks: bank })
}

export type Inspection = {
  readonly file: string
  readonly boot: BootBlock
  readonly signatures: readonly { readonly signer: string; readonly sha256: string; readonly verdict: string }[]
  readonly findings: readonly UkiFinding[]
}

/** A UKI for people who review it. Throws Malformed for what is none. */
export function inspect(
  file: string,
  { bootLoader = [], bank = ['sha256'], secureBootKeys }: Given & { readonly secureBootKeys?: string },
): Inspection {
  const uki = bytesOf(file)
  return {
    file,
    boot: describeBoot({
      path: `EFI/Linux/${basename(file)}`,
      uki,
      bootLoaders: loadersOf(bootLoader),
      banks: bank,
      ...(secureBootKeys === undefined ? {} : { secureBoot: keysOf(secureBootKeys) }),
    }),
    signatures: imageSignatures(uki).map(({ signer, verdict }) => ({
      signer: signer?.subject ?? 'nobody it names',
      sha256: signer?.sha256 ?? '',
      verdict,
    })),
    findings: findings(parseUki(uki)),
  }
}

export function inspectionText({ file, boot, signatures, findings: found }: Inspection): string {
  const lines = [
    `${file}: ${boot.osRelease.imageId ?? '(no IMAGE_ID)'} ${boot.osRelease.imageVersion ?? '(no IMAGE_VERSION)'}, ${boot.uki.length} bytes`,
    `sha256        ${boot.uki.sha256}`,
    `stub          ${boot.stub.name} ${boot.stub.version}`,
    `command line  ${boot.commandLine.text}`,
    ...signatures.map(({ signer, sha256, verdict }) => `signature     ${verdict}: ${signer} (${sha256.slice(0, 16)})`),
    'sections',
    ...boot.uki.sections.map(
      ({ name, length, sha256 }) => `  ${name.padEnd(10)} ${String(length).padStart(10)}  ${sha256}`,
    ),
  ]
  for (const [bank, predicted] of Object.entries(boot.pcr.predicted)) {
    if (!predicted) continue
    const { '4': four, '7': seven, '9': nine, '11': eleven, '12': twelve } = predicted
    const row = (pcr: string, what: string, value: string) => `  PCR ${pcr.padEnd(3)} ${what.padEnd(22)} ${value}`
    lines.push(
      `what a machine will measure, bank ${bank}`,
      row('4', 'image', four.uki),
      row('4', 'kernel', four.kernel),
      ...boot.bootLoaders.flatMap(({ name }, at) => [
        row('4', `${name}`, four.bootLoaders[at] ?? ''),
        row('4', 'Secure Boot off', four.secureBootOff[at] ?? ''),
        row('4', 'Secure Boot on', four.secureBootOn[at] ?? ''),
      ]),
      row('7', 'Secure Boot off', seven.secureBootOff),
      ...(seven.secureBootOn ?? []).map((value) => row('7', 'Secure Boot on', value)),
      row('9', '', nine),
      ...Object.entries(eleven.phases).map(([phase, value]) =>
        row('11', phase.split(':').at(-1) || '(the image)', value),
      ),
      row('12', 'Secure Boot off', twelve.secureBootOff),
      row('12', 'Secure Boot on', twelve.secureBootOn),
    )
  }
  lines.push(found.length === 0 ? 'nothing that a reviewer should look at' : 'a reviewer should look at')
  lines.push(...found.map(({ code, message }) => `  ${code}: ${message}`))
  return `${lines.join('\n')}\n`
}

function loadersOf(files: readonly string[]): { name: string; file: Uint8Array }[] {
  return files.map((file) => ({ name: basename(file), file: bytesOf(file) }))
}

function keysOf(folder: string): SecureBootVariables {
  const list = (name: string, needed: boolean): Uint8Array => {
    const file = join(folder, name)
    if (existsSync(file)) return bytesOf(file)
    if (needed) throw new UsageError(`--secure-boot-keys: ${folder} has no ${name}`)
    return new Uint8Array()
  }
  return { pk: list('PK.esl', true), kek: list('KEK.esl', true), db: list('db.esl', true), dbx: list('dbx.esl', false) }
}

function isEfi(file: string): boolean {
  const [m, z] = bytesOf(file)
  return m === 0x4d && z === 0x5a
}
