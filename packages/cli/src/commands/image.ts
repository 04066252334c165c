import { createReadStream, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { BANK_NAMES, type BankName, OSImageManifest, osImageName, parse } from '@skerry/api'
import { ApiError, publishReleases } from '@skerry/client'
import { counted } from '@skerry/policy'
import { openSigningFolder, openTrust, readManifest, rootThumbprint, type SigningFolder } from '@skerry/trust'
import { type Command, InvalidArgumentError, Option } from 'commander'
import { UsageError } from '../errors.ts'
import { bootOf, inspect, inspectionText } from '../offline/boot.ts'
import { type Bytes, digestOf } from '../offline/digest.ts'
import { readTargetFile, readTargetsKey } from '../offline/read.ts'
import { otherRoot, rootGiven } from '../offline/roots.ts'
import { addedText, expiry, releaseText } from '../offline/status.ts'
import { writeOut } from '../output/files.ts'
import { toJson } from '../output/forms.ts'
import { line, type Shell, say, withHub } from '../shell.ts'
import { collect, count } from '../values.ts'

export function imageCommand(program: Command, shell: Shell): void {
  const image = program
    .command('image')
    .description('OS images: their manifests, their signatures, and how they reach the hub.')
  manifestCommand(image, shell)
  signCommand(image, shell)
  publishCommand(image, shell)
  verifyCommand(image, shell)
  inspectCommand(image, shell)
}

type ManifestOptions = {
  family: string
  version: string
  releaseCounter: number
  hardwareId: string[]
  kubernetesVersion?: string
  mediaType: string
  bootLoader?: string[]
  bank?: BankName[]
  out?: string
}

function manifestCommand(image: Command, shell: Shell): void {
  image
    .command('manifest')
    .description('Writes the manifest of an image: the JSON that names its bytes and that signers sign.')
    .argument('<file>', 'the image')
    .requiredOption('--family <name>', 'the line of images it belongs to')
    .requiredOption('--version <version>', 'its version')
    .requiredOption('--release-counter <n>', 'rises with every release of the family; no site goes back', count)
    .requiredOption('--hardware-id <id>', 'hardware it is for; once for each', collect)
    .option('--kubernetes-version <version>', 'the Kubernetes in it')
    .option('--media-type <type>', 'what kind of bytes', 'application/octet-stream')
    .option('--boot-loader <file>', 'a boot loader that may start this UKI, as deployed; once for each', collect)
    .addOption(bankOption())
    .option('--out <file>', 'write it there')
    .addHelpText(
      'after',
      '\nExample:\n  skerry image manifest edge-os-43.img --family edge-os --version 43 --release-counter 43 --hardware-id shop-box --out 43.json\n  skerry image manifest edge-os-43.efi --boot-loader systemd-bootx64.efi --family edge-os --version 43 --release-counter 43 --hardware-id shop-box --out 43.json',
    )
    .action(async (file: string, options: ManifestOptions) => {
      const { sha256, length } = await digestOf(file)
      const { family, version, releaseCounter, kubernetesVersion } = options
      const { boot, findings } = bootOf(file, version, options)
      const manifest: OSImageManifest = {
        kind: 'OSImageManifest',
        family,
        version,
        releaseCounter,
        hardwareIds: options.hardwareId,
        ...(kubernetesVersion ? { kubernetesVersion } : {}),
        image: { sha256, length, mediaType: options.mediaType },
        boot,
      }
      const text = toJson(parse(OSImageManifest, manifest, 'the manifest'))
      for (const { code, message } of findings) say(shell, `${file}: look before you sign: ${code}: ${message}`)
      if (options.out === undefined) return shell.out(text)
      writeOut(options.out, text)
      const measured = boot.kind === 'none' ? '; nothing measures its boot' : ''
      say(shell, `${options.out}: ${osImageName(manifest)}, image sha256 ${sha256}${measured}`)
    })
}

function bankOption(): Option {
  const known: readonly string[] = BANK_NAMES
  return new Option(
    '--bank <name>',
    `a bank that machines quote: ${known.join(', ')}; once for each (default: sha256)`,
  ).argParser((value: string, before: string[] | undefined) => {
    if (!known.includes(value)) throw new InvalidArgumentError(`There are ${known.join(', ')}.`)
    return collect(value, before)
  })
}

type InspectOptions = { bootLoader?: string[]; bank?: BankName[]; secureBootKeys?: string; output: 'text' | 'json' }

function inspectCommand(image: Command, shell: Shell): void {
  image
    .command('inspect')
    .description(
      'Shows a UKI: its sections, signatures, command line, what a machine will measure, and what a reviewer should look at.',
    )
    .argument('<file>', 'the UKI')
    .option('--boot-loader <file>', 'a boot loader that may start it, as deployed; once for each', collect)
    .addOption(bankOption())
    .option('--secure-boot-keys <folder>', 'PK.esl, KEK.esl, db.esl and dbx.esl of a machine, for PCR 7')
    .addOption(new Option('-o, --output <form>', 'how to show it').choices(['text', 'json']).default('text'))
    .addHelpText(
      'after',
      '\nExample:\n  skerry image inspect edge-os-43.efi --boot-loader systemd-bootx64.efi --secure-boot-keys keys/',
    )
    .action((file: string, { output, ...options }: InspectOptions) => {
      const seen = inspect(file, options)
      shell.out(output === 'json' ? toJson(seen) : inspectionText(seen))
    })
}

function signCommand(image: Command, shell: Shell): void {
  image
    .command('sign')
    .description(
      'Puts manifests and hardware profiles into the next release and signs it, without a network. Others may sign after you, elsewhere.',
    )
    .argument('[file...]', 'manifests and hardware profiles to add; none to sign what the release holds already')
    .requiredOption('--trust <folder>', 'the signers’ folder')
    .requiredOption('--key <name>', 'a signer of the folder, or a PEM file; once for each', collect)
    .option('--expires-days <n>', 'a release that is begun expires after so many days', count, 365)
    .addHelpText('after', '\nExample:\n  skerry image sign 43.json --trust trust/ --key alice')
    .action((files: string[], { trust, key, expiresDays }: { trust: string; key: string[]; expiresDays: number }) => {
      const folder = openSigningFolder(trust)
      const keys = key.map((name) => readTargetsKey(trust, name))
      const before = folder.releases().at(-1)
      const begun = folder.add(files.map(readTargetFile), expiry(shell.now(), expiresDays))
      if (before && before.version === begun.version && before.signedBy.length > begun.signedBy.length)
        say(
          shell,
          `the release was changed: what ${before.signedBy.join(', ')} signed was less, and has to be signed again`,
        )
      const release = folder.sign(keys)
      shell.out(addedText(release))
      line(shell, releaseText(folder, release))
    })
}

function publishCommand(image: Command, shell: Shell): void {
  image
    .command('publish')
    .description(
      'Uploads root, image bytes, manifests and signed releases to the hub. Repeating it is harmless, and heals bytes that were damaged there.',
    )
    .requiredOption('--trust <folder>', 'the signers’ folder')
    .option('--image <file>', 'an image whose manifest is in a release; once for each', collect)
    .addHelpText('after', '\nExample:\n  skerry image publish --trust trust/ --image edge-os-43.img')
    .action(async ({ trust, image: files = [] }: { trust: string; image?: string[] }, command: Command) => {
      const folder = openSigningFolder(trust)
      const releases = folder.releases()
      const unready = releases.find(({ missing }) => missing > 0)
      if (unready) throw new Error(`nothing was published: ${releaseText(folder, unready)}`)
      const images = await Promise.all(files.map((file) => digestOf(file)))
      const manifests = manifestsOf(folder)
      for (const { file, sha256 } of images)
        if (!manifests.some((manifest) => manifest.image.sha256 === sha256))
          throw new UsageError(`--image ${file}: no signed manifest names its bytes (sha256 ${sha256})`)
      await withHub(command, shell, async ({ client }) => {
        const other = otherRoot(await client.file('/tuf/1.root.json'), folder.thumbprint)
        if (other !== undefined) throw new ApiError(409, 'Conflict', `nothing was published: ${other}`)
        const { versions, healed } = await publishReleases(client, {
          root: folder.root,
          releases: releases.map(({ version, bytes, added }) => ({
            version,
            bytes,
            added: added.map((file) => ({ path: file.path, bytes: folder.target(file) })),
          })),
          blobs: images.map(({ file, sha256, length }: Bytes) => ({
            sha256,
            length,
            open: () => createReadStream(file),
          })),
        })
        for (const { file, sha256 } of images.filter((one) => healed.includes(one.sha256)))
          line(shell, `the hub's copy of ${file} (sha256 ${sha256}) was damaged, and is whole again`)
        if (versions.length === 0 && healed.length > 0) return
        if (versions.length === 0) return line(shell, 'the hub has all of it already')
        for (const release of releases.filter(({ version }) => versions.includes(version)))
          shell.out(`published release ${release.version}\n${addedText(release)}`)
      })
    })
}

function manifestsOf(folder: SigningFolder): OSImageManifest[] {
  const files = folder.releases().at(-1)?.files ?? []
  return files
    .filter(({ path }) => path.startsWith('images/'))
    .map((file) => readManifest(folder.target(file), file.path))
}

function verifyCommand(image: Command, shell: Shell): void {
  image
    .command('verify')
    .description('Verifies an image of the hub as a site does: from root 1 to the manifest, and the bytes you have.')
    .argument('<image>', 'the OSImage')
    .option('--trust <folder>', 'the signers’ folder whose root is to be believed')
    .option('--root <file>', 'root 1, as a site has it')
    .option('--image <file>', 'bytes to compare with the manifest')
    .addHelpText('after', '\nExample:\n  skerry image verify edge-os-43 --trust trust/ --image edge-os-43.img')
    .action(async (name: string, options: { trust?: string; root?: string; image?: string }, command: Command) => {
      const root = rootOf(options)
      await withHub(command, shell, async ({ client }) => {
        const other = otherRoot(await client.file('/tuf/1.root.json'), rootThumbprint(root))
        if (other !== undefined) throw new Error(`nothing was verified: ${other}`)
        const dir = mkdtempSync(join(tmpdir(), 'skerry-verify-'))
        try {
          const source = (path: string) => client.file(`/tuf/${path}`)
          const site = openTrust({ dir, root, pinned: rootThumbprint(root), sources: () => [source] })
          await site.refresh(shell.now())
          const { spec } = await client.get('OSImage', undefined, name)
          const { image: named } = await site.manifest(spec.target, spec.manifestSha256, shell.now())
          line(shell, `${name}: ${spec.target} is signed by a threshold under root ${rootThumbprint(root)}`)
          line(shell, `image sha256 ${named.sha256}, ${counted(named.length, 'byte')}`)
          if (options.image === undefined) return
          const found = await digestOf(options.image)
          if (found.sha256 !== named.sha256)
            throw new Error(`${options.image} is another image: its sha256 is ${found.sha256}`)
          line(shell, `${options.image} is this image`)
        } finally {
          rmSync(dir, { recursive: true, force: true })
        }
      })
    })
}

/** The root to believe: a person's, never the hub's own. */
function rootOf(options: { trust?: string; root?: string }): Uint8Array {
  const root = options.trust === undefined || options.root === undefined ? rootGiven(options) : undefined
  if (!root) throw new UsageError('say whom to believe: --trust FOLDER or --root FILE')
  return root
}
