import { randomBytes, verify, X509Certificate } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import {
  akFaults,
  type Bank,
  checkQuote,
  command,
  type EkTemplateName,
  nameOf,
  parseCertify,
  parsePublic,
  publicKeyOf,
  verifyBy,
} from '@skerry/measured-boot'
import { type TestTpm, testFolder, testTpm } from '@skerry/supervise/testing'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { FOREVER, lacksTools, leaveInNv, leftInMemory, lockOut, tool, withSomebodyBetween } from './test-world.ts'
import { type Tpm, tpmAt } from './tpm.ts'

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex')
const PCRS = [0, 2, 4, 7, 9, 11, 12, 13, 14]

describe.skipIf(lacksTools)("the agent's TPM (needs swtpm and tpm2-tools)", () => {
  let emulated: TestTpm
  let tpm: Tpm
  beforeAll(async () => {
    emulated = await testTpm({ banks: ['sha256', 'sha384'] })
    tpm = tpmAt(emulated.socketPath, FOREVER)
  })
  afterEach(async () => expect(await leftInMemory(emulated)).toEqual([]))
  afterAll(() => emulated.stop())

  test('says what it is', async () => {
    expect(await tpm.state()).toEqual({
      manufacturer: 'IBM',
      banks: ['sha256', 'sha384'],
      inLockout: false,
      wrongPasswords: { remembered: 0, most: 3, forgivenAfterSeconds: 1000 },
    })
  })

  test('its endorsement keys are those that its maker certified, best first', async () => {
    const keys = await tpm.endorsementKeys()
    expect(keys.map(({ kind }) => kind)).toEqual(['H-3', 'L-1'])
    const issuer = new X509Certificate(emulated.ca.issuer)
    for (const { public: area, certificate } of keys) {
      const read = new X509Certificate(certificate ?? new Uint8Array())
      expect(read.verify(issuer.publicKey)).toBe(true)
      expect(read.publicKey.equals(publicKeyOf(parsePublic(area)))).toBe(true)
    }
  })

  test('the certificates that its maker left beside them come with those that they lead from, over the edges of indexes', async () => {
    const own = await testTpm()
    const [issuer, root] = [own.ca.issuer, own.ca.root].map((pem) => new X509Certificate(pem).raw)
    if (!issuer || !root) throw new Error('no CA')
    const stranger = await readFile(
      new URL('../../../packages/measured-boot/src/tpm/recorded/ek-rsa2048.der', import.meta.url),
    )
    const whole = Buffer.concat([stranger, root, issuer, Buffer.alloc(100)])
    await leaveInNv(own, 0x01c00100, whole.subarray(0, 1500))
    await leaveInNv(own, 0x01c00101, whole.subarray(1500))
    // Nobody but the owner may read this one.
    await leaveInNv(own, 0x01c001ff, issuer, 'ownerread|ownerwrite')
    const keys = await tpmAt(own.socketPath, FOREVER).endorsementKeys()
    expect(keys.map(({ kind }) => kind)).toEqual(['H-3', 'L-1'])
    for (const { chain } of keys) expect(chain.map(hex)).toEqual([issuer, root].map(hex))
    expect((await tpm.endorsementKeys()).map(({ chain }) => chain)).toEqual([[], []])
  })

  test('more than a hub takes is not sent, and does not keep the EK’s own from being', async () => {
    const own = await testTpm()
    const issuer = new X509Certificate(own.ca.issuer).raw
    for (let at = 0; at < 9; at += 1) await leaveInNv(own, 0x01c00100 + at, issuer)
    const [key] = await tpmAt(own.socketPath, FOREVER).endorsementKeys()
    expect(key?.certificate).toBeDefined()
    expect(key?.chain).toHaveLength(7)
  })

  test('a key that its maker left persistent is the one that its template makes', async () => {
    const before = await tpm.endorsementKeys()
    const blank = await testTpm({ copyOf: emulated })
    // The copy was taken from a TPM that ran, but what is persistent lies on the disk.
    await tool(blank, 'evictcontrol', '-C', 'o', '-c', '0x81010001')
    await tool(blank, 'evictcontrol', '-C', 'o', '-c', '0x81010016')
    const made = await tpmAt(blank.socketPath, FOREVER).endorsementKeys()
    expect(made.map((key) => hex(key.public))).toEqual(before.map((key) => hex(key.public)))
    expect(await leftInMemory(blank)).toEqual([])
  })

  test('its attestation key is one, and after a power cut the same one', async () => {
    const ak = await tpm.attestationKey()
    expect(akFaults(parsePublic(ak.public))).toEqual([])
    expect(hex(nameOf(parsePublic(ak.public)))).toBe(hex(ak.name))
    await emulated.powerCycle()
    expect(await tpm.attestationKey()).toEqual(ak)
    const other = await testTpm()
    expect((await tpmAt(other.socketPath, FOREVER).attestationKey()).name).not.toEqual(ak.name)
  })

  describe.each<EkTemplateName>(['L-1', 'H-3', 'L-2'])('a credential for its endorsement key %s', (kind) => {
    /** Made by tpm2_makecredential, with no TPM. Its file begins with a magic number and a version. */
    async function credentialFor(akName: Uint8Array, secret: Uint8Array) {
      const dir = testFolder()
      const at = (name: string) => join(dir, name)
      writeFileSync(at('ek.pub'), await endorsementPublic(kind))
      writeFileSync(at('secret'), secret)
      const files = ['-u', at('ek.pub'), '-s', at('secret'), '-o', at('credential')]
      await tool(emulated, 'makecredential', '-Q', '-T', 'none', '-n', hex(akName), ...files)
      const whole = new Uint8Array(readFileSync(at('credential'))).subarray(8)
      const length = 2 + Buffer.from(whole).readUInt16BE(0)
      return { ek: kind, idObject: whole.subarray(0, length), encryptedSecret: whole.subarray(length) }
    }

    test('is opened when it was made for its attestation key', async () => {
      const secret = randomBytes(32)
      const { name } = await tpm.attestationKey()
      expect(hex(await tpm.activate(await credentialFor(name, secret)))).toBe(hex(secret))
    })

    test('is refused by name when it was made for another', async () => {
      const { name } = await tpm.nodeKey('a')
      const opening = tpm.activate(await credentialFor(name, randomBytes(32)))
      await expect(opening).rejects.toMatchObject({ code: 'WrongCredential', response: { value: 0x1df } })
    })
  })

  async function endorsementPublic(kind: EkTemplateName): Promise<Uint8Array> {
    const known = (await tpm.endorsementKeys()).find((key) => key.kind === kind)
    if (known) return known.public
    // swtpm certifies none of this kind; tpm2-tools make it from the same profile.
    const dir = testFolder()
    await tool(emulated, 'createek', '-Q', '-G', 'ecc', '-c', join(dir, 'ek.ctx'), '-u', join(dir, 'ek.pub'))
    await tool(emulated, 'flushcontext', '-t')
    return new Uint8Array(readFileSync(join(dir, 'ek.pub')))
  }

  describe.each<Bank>(['sha256', 'sha384'])('a quote of bank %s', (bank) => {
    test('is good for whoever checks quotes, with more PCRs than one response holds', async () => {
      await tool(emulated, 'pcrextend', `11:sha256=${hex(randomBytes(32))},sha384=${hex(randomBytes(48))}`)
      const nonce = randomBytes(32)
      const { quote, signature, pcrs } = await tpm.quote({ nonce, bank, pcrs: PCRS })
      const { public: ak } = await tpm.attestationKey()
      const given = { ak, quote, signature, nonce, bank, selection: PCRS, pcrs: new Map([[bank, pcrs]]) }
      expect(checkQuote(given).checks.filter(({ ok }) => !ok)).toEqual([])
      expect(checkQuote({ ...given, nonce: randomBytes(32) }).ok).toBe(false)
    })
  })

  test('a quote is good for tpm2_checkquote, and one changed byte is not', async () => {
    const nonce = randomBytes(20)
    const { quote, signature } = await tpm.quote({ nonce, bank: 'sha256', pcrs: PCRS })
    const dir = testFolder()
    const file = (name: string, bytes: Uint8Array | string) => {
      writeFileSync(join(dir, name), bytes)
      return join(dir, name)
    }
    const ak = file(
      'ak.pem',
      publicKeyOf(parsePublic((await tpm.attestationKey()).public)).export({ type: 'spki', format: 'pem' }),
    )
    const check = (bytes: Uint8Array) =>
      tool(emulated, 'checkquote', '-u', ak, '-m', file('q', bytes), '-s', file('s', signature), '-q', hex(nonce))
    await check(quote)
    quote[40] = (quote[40] ?? 0) ^ 1
    await expect(check(quote)).rejects.toThrow('checkquote')
  })

  describe('PCRs that change between a quote and the reading of them', () => {
    const PCR_READ = 0x17e
    /** Extends PCR 12 before each of the first so many readings. */
    const extending = (times: number) => {
      let readings = 0
      return withSomebodyBetween(emulated, async (asked, transmit) => {
        if (asked.readUInt32BE(6) !== PCR_READ || ++readings > times) return
        await transmit(command.pcrExtend(12, 'sha256', randomBytes(32)).bytes)
      })
    }

    test('are quoted again, until both agree', async () => {
      const nonce = randomBytes(32)
      const between = tpmAt(await extending(3), FOREVER)
      const { quote, signature, pcrs } = await between.quote({ nonce, bank: 'sha256', pcrs: PCRS })
      const { public: ak } = await tpm.attestationKey()
      const given = { ak, quote, signature, nonce, bank: 'sha256', selection: PCRS } as const
      expect(checkQuote({ ...given, pcrs: new Map([['sha256', pcrs]]) }).ok).toBe(true)
    })

    test('and do so without end are told by name', async () => {
      const between = tpmAt(await extending(1000), FOREVER)
      const asked = between.quote({ nonce: randomBytes(32), bank: 'sha256', pcrs: PCRS })
      await expect(asked).rejects.toMatchObject({ code: 'Moving', canRetry: true })
    })
  })

  test('another program at work at the same time is waited for', async () => {
    const extend = async () => {
      for (let times = 0; times < 10; times++) await tool(emulated, 'pcrextend', `12:sha256=${hex(randomBytes(32))}`)
    }
    const quotes = async () => {
      for (let times = 0; times < 10; times++) await tpm.quote({ nonce: randomBytes(32), bank: 'sha256', pcrs: PCRS })
    }
    await Promise.all([extend(), quotes()])
  })

  test('a bank that it has not is refused', async () => {
    const asked = tpm.quote({ nonce: randomBytes(32), bank: 'sha512', pcrs: PCRS })
    await expect(asked).rejects.toMatchObject({ code: 'Unsupported', canRetry: false })
  })

  test('its node key signs as a JWS is signed, stays the same, and is certified to lie beside the attestation key', async () => {
    const own = await tpm.nodeKey('a')
    const area = parsePublic(own.public)
    const key = publicKeyOf(area)
    for (let times = 0; times < 40; times++) {
      const message = randomBytes(times)
      const signature = await tpm.sign({ unique: 'a', name: own.name }, message)
      expect(signature.length).toBe(64)
      expect(verify('sha256', message, { key, dsaEncoding: 'ieee-p1363' }, signature)).toBe(true)
    }
    const { attest, signature } = await tpm.certifyNodeKey('a', randomBytes(32))
    const { public: ak } = await tpm.attestationKey()
    expect(verifyBy(parsePublic(ak), attest, signature)).toBeUndefined()
    expect(hex(parseCertify(attest).name)).toBe(hex(own.name))
    expect(area.attributes).not.toContain('restricted')
    await emulated.powerCycle()
    expect(await tpm.nodeKey('a')).toEqual(own)
    // Another disk has another, and another TPM none of these.
    expect((await tpm.nodeKey('b')).name).not.toEqual(own.name)
    const other = tpmAt((await testTpm()).socketPath, FOREVER)
    await expect(other.sign({ unique: 'a', name: own.name }, randomBytes(8))).rejects.toMatchObject({
      code: 'OtherTpm',
    })
  })

  test('each start counts in its clock', async () => {
    const before = await tpm.clock()
    await emulated.powerCycle()
    const after = await tpm.clock()
    expect(after.resetCount).toBe(before.resetCount + 1)
  })

  test('it may be asked everything at once and in a row: nothing of it stays in the TPM', async () => {
    const own = { unique: 'a', ...(await tpm.nodeKey('a')) }
    for (let times = 0; times < 4; times++) {
      const quote = () => tpm.quote({ nonce: randomBytes(32), bank: 'sha256', pcrs: PCRS })
      const wrong = { ek: 'L-1', idObject: Uint8Array.of(0, 0), encryptedSecret: Uint8Array.of(0, 0) } as const
      const refused = expect(tpm.activate(wrong)).rejects.toMatchObject({ code: 'WrongCredential' })
      const signed = tpm.sign(own, randomBytes(8))
      await Promise.all([quote(), tpm.certifyNodeKey('a', randomBytes(32)), refused, signed, tpm.clock()])
      expect(await leftInMemory(emulated)).toEqual([])
    }
  })
})

describe.skipIf(lacksTools)('a TPM that says no (needs swtpm and tpm2-tools)', () => {
  test('in lockout: quoting goes on, a key that is protected from guessing is refused by name with the way out', async () => {
    const emulated = await testTpm()
    const tpm = tpmAt(emulated.socketPath, FOREVER)
    await lockOut(emulated)
    expect(await tpm.state()).toMatchObject({ inLockout: true, wrongPasswords: { remembered: 3, most: 3 } })
    const credential = { idObject: Uint8Array.of(0, 0), encryptedSecret: Uint8Array.of(0, 0) }
    const error = await tpm.activate({ ek: 'H-3', ...credential }).catch((reason: unknown) => reason)
    expect(error).toMatchObject({
      code: 'Lockout',
      canRetry: true,
      message: expect.stringContaining('tpm2_dictionarylockout'),
    })
    await tpm.quote({ nonce: randomBytes(32), bank: 'sha256', pcrs: PCRS })
    await tpm.sign({ unique: 'a', ...(await tpm.nodeKey('a')) }, randomBytes(8))
    await tool(emulated, 'dictionarylockout', '-c')
    await expect(tpm.activate({ ek: 'H-3', ...credential })).rejects.toMatchObject({ code: 'WrongCredential' })
  })

  test('with a password on its endorsement hierarchy: nothing of ours can be made, and it says what to do', async () => {
    const emulated = await testTpm()
    await tool(emulated, 'changeauth', '-c', 'endorsement', 'secret')
    const asked = tpmAt(emulated.socketPath, FOREVER).attestationKey()
    await expect(asked).rejects.toMatchObject({ code: 'PasswordSet', canRetry: false })
  })

  test('full of what another program left: named, and over when that is gone', async () => {
    const emulated = await testTpm()
    const tpm = tpmAt(emulated.socketPath, FOREVER)
    const dir = testFolder()
    for (const name of ['a', 'b', 'c']) await tool(emulated, 'createprimary', '-Q', '-c', join(dir, name))
    await expect(tpm.attestationKey()).rejects.toMatchObject({ code: 'Full', canRetry: true })
    await tool(emulated, 'flushcontext', '-t')
    await tpm.attestationKey()
  })

  test('that is not there, or gone in the middle', async () => {
    const emulated = await testTpm()
    const tpm = tpmAt(emulated.socketPath, FOREVER)
    await tpm.clock()
    await emulated.stop()
    await expect(tpm.clock()).rejects.toMatchObject({ code: 'NoTpm', message: expect.stringContaining('--tpm off') })
  })
})
