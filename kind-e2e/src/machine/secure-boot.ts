import { execFileSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

// Secure Boot with keys of our own: a platform key, a key exchange key, and the signer of images (UEFI 2.10, 32.3). The
// boot loader enrols them at a machine's first start, while its firmware is in setup mode, and the firmware resets.

const NAMES = ['PK', 'KEK', 'db'] as const
const DAYS = '3650'

export type SecureBootKeys = {
  /** What goes onto the ESP beside the images: the keys, each signed by the one above, and a word to the boot loader. */
  readonly more: Readonly<Record<string, Uint8Array>>
  readonly loaderConf: string
  /** The signature lists as the firmware will hold them, for the prediction of PCR 7. */
  readonly lists: Readonly<Record<(typeof NAMES)[number], Uint8Array>>
  /** An EFI program signed for these machines. sbsign pads it, so what is measured is the signed file. */
  sign(program: Uint8Array): Uint8Array
}

/** Makes the keys in `dir`, whose certificates are `<called> PK` and so on. They are good for this story's machines and nothing else. */
export function makeSecureBootKeys(dir: string, called = 'Skerry story'): SecureBootKeys {
  mkdirSync(dir, { recursive: true, mode: 0o700 })
  const at = (name: string) => join(dir, name)
  const run = (file: string, args: readonly string[]) =>
    execFileSync(file, args, { stdio: ['ignore', 'ignore', 'pipe'] })
  const owner = randomUUID()
  for (const name of NAMES) {
    const [key, cert] = [at(`${name}.key`), at(`${name}.crt`)]
    const kind = ['-new', '-x509', '-newkey', 'rsa:2048', '-nodes', '-sha256', '-days', DAYS]
    run('openssl', ['req', ...kind, '-subj', `/CN=${called} ${name}/`, '-keyout', key, '-out', cert])
    run('cert-to-efi-sig-list', ['-g', owner, cert, at(`${name}.esl`)])
  }
  const above = { PK: 'PK', KEK: 'PK', db: 'KEK' } as const
  for (const name of NAMES) {
    const signer = ['-k', at(`${above[name]}.key`), '-c', at(`${above[name]}.crt`)]
    run('sign-efi-sig-list', ['-g', owner, ...signer, name, at(`${name}.esl`), at(`${name}.auth`)])
  }
  const list = (name: string): Uint8Array => readFileSync(at(`${name}.esl`))
  return {
    more: Object.fromEntries(NAMES.map((name) => [`/loader/keys/auto/${name}.auth`, readFileSync(at(`${name}.auth`))])),
    loaderConf: 'secure-boot-enroll force\n',
    lists: { PK: list('PK'), KEK: list('KEK'), db: list('db') },
    sign(program) {
      const [plain, signed] = [at('to-sign.efi'), at('signed.efi')]
      writeFileSync(plain, program)
      run('sbsign', ['--key', at('db.key'), '--cert', at('db.crt'), '--output', signed, plain])
      return readFileSync(signed)
    },
  }
}
