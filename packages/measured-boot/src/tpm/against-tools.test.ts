import { execFile, spawnSync } from 'node:child_process'
import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { isDeepStrictEqual, promisify } from 'node:util'
import { lacksTpm, type TestTpm, testFolder, testTpm } from '@skerry/supervise/testing'
import { beforeAll, describe, expect, test } from 'vitest'
import { BANKS } from '../banks.ts'
import { concat, toHex } from '../bytes.ts'
import { type Credential, type CredentialRandomness, makeCredential } from './credential.ts'
import { nameOf, type PublicArea, parsePublic } from './public-area.ts'
import { checkQuote } from './quote.ts'
import { bytesOf } from './recorded/fixtures.ts'
import { tpmReader } from './wire.ts'

// tpm2-tools and a TPM that answers: what they make is good here, and what is made here is good there.

const lacksTools = lacksTpm || spawnSync('tpm2_checkquote', ['--version']).error !== undefined
const sentence =
  'against swtpm and tpm2-tools (skipped where they are not: apt-get install swtpm swtpm-tools tpm2-tools libtss2-tcti-swtpm0)'

describe.skipIf(lacksTools)(sentence, () => {
  let tpm: TestTpm
  let dir: string
  const at = (name: string) => join(dir, name)
  const read = (name: string) => new Uint8Array(readFileSync(at(name)))

  /** Runs one of tpm2-tools on the TPM; not in step with us, or swtpm, whose words nobody would read, would stand still. */
  const run = async (name: string, args: readonly string[]) => {
    try {
      const env = { ...process.env, TPM2TOOLS_TCTI: tpm.tcti }
      const { stdout, stderr } = await promisify(execFile)(`tpm2_${name}`, args, { env, cwd: dir, timeout: 120_000 })
      return { failed: false, said: stdout + stderr }
    } catch (error) {
      return { failed: true, said: error instanceof Error && 'stderr' in error ? String(error.stderr) : String(error) }
    }
  }
  /** The same, and no key stays loaded: without a resource manager there is room for three. */
  const tool = async (name: string, ...args: string[]) => {
    const ran = await run(name, args)
    await run('flushcontext', ['-t'])
    return ran
  }
  const must = async (name: string, ...args: string[]) => {
    const { failed, said } = await tool(name, ...args)
    if (failed) throw new Error(`tpm2_${name} ${args.join(' ')}: ${said}`)
  }
  const ATTRIBUTES = 'fixedtpm|fixedparent|sensitivedataorigin|userwithauth|restricted|sign'
  const makeAk = async (name: string, algorithm: string) => {
    await must(
      'createprimary',
      '-Q',
      '-C',
      'e',
      '-G',
      `${algorithm}:null`,
      '-g',
      'sha256',
      '-a',
      ATTRIBUTES,
      '-c',
      `${name}.ctx`,
    )
    await must('readpublic', '-Q', '-c', `${name}.ctx`, '-f', 'tss', '-o', `${name}.pub`)
    await must('readpublic', '-Q', '-c', `${name}.ctx`, '-f', 'pem', '-o', `${name}.pem`)
  }

  beforeAll(async () => {
    dir = testFolder()
    tpm = await testTpm()
    await makeAk('ecc', 'ecc256:ecdsa-sha256')
    await makeAk('rsa', 'rsa2048:rsassa-sha256')
    await must('createek', '-Q', '-c', 'ek-ecc256.ctx', '-G', 'ecc', '-u', 'unused')
    await must('readpublic', '-Q', '-c', 'ek-ecc256.ctx', '-f', 'tss', '-o', 'ek-ecc256.pub')
    for (const [name, handle] of [
      ['ek-rsa2048', '0x81010001'],
      ['ek-ecc384', '0x81010016'],
    ] as const)
      await must('readpublic', '-Q', '-c', handle, '-f', 'tss', '-o', `${name}.pub`)
  })

  const EKS = [
    { ek: 'ek-rsa2048', handle: '0x81010001', policy: true },
    { ek: 'ek-ecc256', handle: 'ek-ecc256.ctx', policy: true },
    { ek: 'ek-ecc384', handle: '0x81010016', policy: false },
  ]

  /** tpm2-tools' file: a magic, a version, then both structures. */
  const framed = ({ idObject, encryptedSecret }: Credential) =>
    concat(bytesOf('badcc0de 00000001'), idObject, encryptedSecret)

  const activate = async (file: string, ak: string, { handle, policy }: { handle: string; policy: boolean }) => {
    const common = ['-c', `${ak}.ctx`, '-C', handle, '-i', file, '-o', 'opened']
    if (!policy) return tool('activatecredential', '-Q', ...common)
    await must('startauthsession', '--policy-session', '-S', 'session')
    await must('policysecret', '-Q', '-S', 'session', '-c', 'e')
    const activated = await tool('activatecredential', '-Q', ...common, '-P', 'session:session')
    await must('flushcontext', 'session')
    return activated
  }

  describe.each(EKS)('a credential for $ek', (which) => {
    const area = () => parsePublic(read(`${which.ek}.pub`))
    const nameOfAk = (ak: string) => nameOf(parsePublic(read(`${ak}.pub`)))

    test.each(['ecc', 'rsa'])('made here is opened by the TPM that holds it and the %s AK', async (ak) => {
      const secret = new Uint8Array(randomBytes(32))
      writeFileSync(at('made'), framed(makeCredential(area(), nameOfAk(ak), secret, fresh(area()))))
      const { failed, said } = await activate('made', ak, which)
      expect(said).toBe('')
      expect(failed).toBe(false)
      expect(toHex(read('opened'))).toBe(toHex(secret))
    })

    test('made here for another AK is refused by the TPM with 0x1DF', async () => {
      writeFileSync(at('made'), framed(makeCredential(area(), nameOfAk('rsa'), randomBytes(32), fresh(area()))))
      const { failed, said } = await activate('made', 'ecc', which)
      expect(said).toContain('0x1DF')
      expect(failed).toBe(true)
    })

    test('made by tpm2_makecredential has the same parts of the same sizes, and the TPM opens it too', async () => {
      writeFileSync(at('secret'), randomBytes(32))
      const theirs = async () => {
        const key = ['-T', 'none', '-u', `${which.ek}.pub`, '-n', toHex(nameOfAk('ecc'))]
        await must('makecredential', '-Q', ...key, '-s', 'secret', '-o', 'theirs')
        const reader = tpmReader(read('theirs'), 'tpm2-tools', 0)
        expect([reader.u32(), reader.u32()]).toEqual([0xbadcc0de, 1])
        const sizes = [reader.raw(reader.u16()).length, reader.raw(reader.u16()).length]
        reader.end()
        return sizes
      }
      const { idObject, encryptedSecret } = makeCredential(area(), nameOfAk('ecc'), read('secret'), fresh(area()))
      const ours = [idObject.length - 2, encryptedSecret.length - 2]
      // The tool leaves out what a coordinate of its point begins with, where that is zero: one point in 128 is shorter.
      const made = [await theirs()]
      while (made.length < 10 && !isDeepStrictEqual(made.at(-1), ours)) made.push(await theirs())
      expect(made.at(-1)).toEqual(ours)
      expect((await activate('theirs', 'ecc', which)).failed).toBe(false)
      expect(toHex(read('opened'))).toBe(toHex(read('secret')))
    })
  })

  describe.each(['ecc', 'rsa'])('a fresh quote by the %s AK', (ak) => {
    const nonce = new Uint8Array(randomBytes(32))
    const PCRS = [0, 1, 2, 3, 4, 5, 6, 7, 9, 11, 12, 14]
    beforeAll(async () => {
      await must('pcrextend', `11:sha256=${toHex(randomBytes(32))}`)
      const files = ['-m', 'quote', '-s', 'sig', '-o', 'pcrs']
      const asked = ['-l', `sha256:${PCRS.join()}`, '-q', toHex(nonce), '-g', 'sha256']
      await must('quote', '-Q', '-c', `${ak}.ctx`, ...asked, ...files)
      await must('pcrread', '-Q', `sha256:${PCRS.slice(0, 8).join()}`, '-o', 'low')
      await must('pcrread', '-Q', `sha256:${PCRS.slice(8).join()}`, '-o', 'high')
    })
    const given = () => {
      const values = concat(read('low'), read('high'))
      const pcrs = new Map(PCRS.map((pcr, index) => [pcr, values.subarray(index * 32, index * 32 + 32)]))
      return {
        ak: read(`${ak}.pub`),
        quote: read('quote'),
        signature: read('sig'),
        nonce,
        bank: 'sha256' as const,
        selection: PCRS,
        pcrs: new Map([['sha256' as const, pcrs]]),
      }
    }
    const theirs = async (...changed: string[]) => {
      const files = ['-m', 'quote', '-s', 'sig', '-f', 'pcrs', '-q', toHex(nonce), '-g', 'sha256']
      return !(await tool('checkquote', '-Q', '-u', `${ak}.pem`, ...files, ...changed)).failed
    }

    test('is good here and for tpm2_checkquote', async () => {
      expect(checkQuote(given()).checks.filter(({ ok }) => !ok)).toEqual([])
      expect(await theirs()).toBe(true)
    })

    test.each(['quote', 'sig', 'nonce'])('with a changed %s is bad here and for tpm2_checkquote', async (what) => {
      const last = (bytes: Uint8Array) => Uint8Array.from([...bytes.subarray(0, -1), (bytes.at(-1) ?? 0) ^ 1])
      const good = given()
      if (what === 'nonce') {
        expect(checkQuote({ ...good, nonce: last(nonce) }).ok).toBe(false)
        expect(await theirs('-q', toHex(last(nonce)))).toBe(false)
        return
      }
      writeFileSync(at('changed'), last(read(what)))
      const bad = what === 'quote' ? { quote: read('changed') } : { signature: read('changed') }
      expect(checkQuote({ ...good, ...bad }).ok).toBe(false)
      expect(await theirs(what === 'quote' ? '-m' : '-s', 'changed')).toBe(false)
    })
  })
})

function fresh(ek: PublicArea): CredentialRandomness {
  if (ek.type === 'rsa') return { seed: randomBytes(BANKS[ek.nameAlg].size) }
  return { ephemeral: generateKeyPairSync('ec', { namedCurve: ek.curve }).privateKey }
}
