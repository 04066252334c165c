import { existsSync } from 'node:fs'
import { basename, join } from 'node:path'
import type { BankName, OSImageManifest } from '@skerry/api'
import {
  type BootBlock,
  describeBoot,
  digestBootLoader,
  findings,
  imageSignatures,
  parseSignatureLists,
  parseUki,
  type SecureBootVariables,
  type UkiFinding,
} from '@skerry/measured-boot'
import { promiseOf } from '@skerry/policy'
import { UsageError } from '../errors.ts'
import { reading } from './evidence.ts'
import { bytesOf } from './read.ts'

// What an image's files promise of a boot, at a desk without a network.

type Given = { readonly bootLoader?: readonly string[]; readonly bank?: readonly BankName[] }

export type Promised = { readonly boot: OSImageManifest['boot']; readonly findings: readonly UkiFinding[] }

/**
 * What the manifest of this version says of a file's boot, and what its reviewers should look at. A file that is no EFI
 * program is measured by nothing; a UKI needs its boot loader, and to be the version by its own os-release: no machine
 * would take another.
 */
export function bootOf(file: string, version: string, { bootLoader = [], bank = ['sha256'] }: Given): Promised {
  if (!isEfi(file)) {
    if (bootLoader.length > 0)
      throw new UsageError(`--boot-loader: ${file} is no EFI program, so no firmware measures its boot`)
    return { boot: { kind: 'none' }, findings: [] }
  }
  if (bootLoader.length === 0)
    throw new UsageError(
      `${file} is an EFI program: what a machine measures depends on what starts it; name it with --boot-loader FILE`,
    )
  const bytes = bytesOf(file)
  const uki = reading(file, () => parseUki(bytes))
  const own = uki.osRelease.get('IMAGE_VERSION')
  if (own !== version)
    throw new UsageError(
      `--version ${version}: ${file} is ${own ?? 'no version'} by its own os-release (IMAGE_VERSION in .osrel), and no machine takes it as another; build it with the version it is published as`,
    )
  if (!uki.osRelease.has('IMAGE_ID'))
    throw new UsageError(`${file}: its .osrel has no IMAGE_ID, and no machine takes it; build it with one`)
  const loaders = loadersOf(bootLoader)
  return {
    boot: reading(file, () => promiseOf({ uki: bytes, loaders, banks: bank })),
    findings: reading(file, () => findings(uki)),
  }
}

export type Inspection = {
  readonly file: string
  readonly boot: BootBlock
  readonly signatures: readonly { readonly signer: string; readonly sha256: string; readonly verdict: string }[]
  readonly findings: readonly UkiFinding[]
}

/** A UKI for people who review it. Throws Unusable for what is none. */
export function inspect(
  file: string,
  { bootLoader = [], bank = ['sha256'], secureBootKeys }: Given & { readonly secureBootKeys?: string },
): Inspection {
  const uki = bytesOf(file)
  const loaders = loadersOf(bootLoader)
  const secureBoot = secureBootKeys === undefined ? undefined : keysOf(secureBootKeys)
  return reading(file, () => ({
    file,
    boot: describeBoot({
      path: `EFI/Linux/${basename(file)}`,
      uki,
      bootLoaders: loaders,
      banks: bank,
      ...(secureBoot ? { secureBoot } : {}),
    }),
    signatures: imageSignatures(uki).map(({ signer, verdict }) => ({
      signer: signer?.subject ?? 'nobody it names',
      sha256: signer?.sha256 ?? '',
      verdict,
    })),
    findings: findings(parseUki(uki)),
  }))
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
      ...(boot.bootLoaders.length === 0 ? [row('4', 'altogether', 'with --boot-loader: it is measured, too')] : []),
      ...boot.bootLoaders.flatMap(({ name }, at) => [
        row('4', `${name}`, four.bootLoaders[at] ?? ''),
        row('4', 'Secure Boot off', four.secureBootOff[at] ?? ''),
        row('4', 'Secure Boot on', four.secureBootOn[at] ?? ''),
      ]),
      row('7', 'Secure Boot off', seven.secureBootOff),
      ...(seven.secureBootOn ?? [noPcr7(boot)]).map((value) => row('7', 'Secure Boot on', value)),
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

/** Why there is no value for a machine with Secure Boot on. */
function noPcr7({ secureBoot, bootLoaders }: BootBlock): string {
  if (!secureBoot) return 'with --secure-boot-keys: whose keys a machine has is measured'
  if (bootLoaders.length === 0) return 'with --boot-loader: whose signature starts it is measured'
  return 'none: a machine with these keys does not start all of these files'
}

function loadersOf(files: readonly string[]): { name: string; file: Uint8Array }[] {
  return files.map((file) => {
    const bytes = bytesOf(file)
    reading(file, () => digestBootLoader(bytes, 'sha256'))
    return { name: basename(file), file: bytes }
  })
}

function keysOf(folder: string): SecureBootVariables {
  const list = (name: string, needed: boolean): Uint8Array => {
    const file = join(folder, name)
    if (existsSync(file)) {
      const bytes = bytesOf(file)
      reading(file, () => parseSignatureLists(bytes))
      return bytes
    }
    if (needed) throw new UsageError(`--secure-boot-keys: ${folder} has no ${name}`)
    return new Uint8Array()
  }
  return { pk: list('PK.esl', true), kek: list('KEK.esl', true), db: list('db.esl', true), dbx: list('dbx.esl', false) }
}

function isEfi(file: string): boolean {
  const [m, z] = bytesOf(file)
  return m === 0x4d && z === 0x5a
}
