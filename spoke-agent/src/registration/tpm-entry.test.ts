import { createHash, generateKeyPairSync, randomBytes, X509Certificate } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { RegistrationChallenge } from '@skerry/api'
import { checkQuote, makeCredential, type PublicArea, parsePublic } from '@skerry/measured-boot'
import { judgeHardware, namedTpm, QUOTED_PCRS } from '@skerry/policy'
import { makeTpm, referenceOf } from '@skerry/policy/testing'
import { type TestTpm, testFolder, testTpm } from '@skerry/supervise/testing'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Hardware, openHardware, type TpmTrouble, tpmPath } from '../tpm/index.ts'
import { lacksTools, leaveInNv } from '../tpm/test-world.ts'
import { tpmEntry } from './tpm-entry.ts'

const bytes = (base64 = '') => new Uint8Array(Buffer.from(base64, 'base64'))
const hex = (text: string) => new Uint8Array(Buffer.from(text, 'hex'))
const TRANSCRIPT = 'c'.repeat(64)

describe.skipIf(lacksTools)('what a TPM adds to an entry (needs swtpm and tpm2-tools)', () => {
  let emulated: TestTpm
  let log: string
  const troubles: (TpmTrouble | undefined)[] = []
  const open = (path = emulated.socketPath): Hardware =>
    openHardware({
      ...{ path, eventLog: log, now: () => 0, signal: new AbortController().signal },
      onTrouble: (trouble) => void troubles.push(trouble),
    })
  beforeAll(async () => {
    emulated = await testTpm()
    log = join(testFolder(), 'log')
    writeFileSync(log, 'a log')
  })
  afterAll(() => emulated.stop())

  function challengeFor(ek: PublicArea, akName: string, secret: Uint8Array): RegistrationChallenge {
    const fresh =
      ek.type === 'ecc'
        ? { ephemeral: generateKeyPairSync('ec', { namedCurve: ek.curve }).privateKey }
        : { seed: new Uint8Array(randomBytes(32)) }
    const { idObject, encryptedSecret } = makeCredential(ek, hex(akName), secret, fresh)
    const [one, other] = [idObject, encryptedSecret].map((part) => Buffer.from(part).toString('base64'))
    return {
      ...{ kind: 'RegistrationChallenge', id: TRANSCRIPT, nonce: TRANSCRIPT, expiresAt: '2026-06-01T00:00:00Z' },
      tpm: { idObject: one ?? '', encryptedSecret: other ?? '', bank: 'sha256', pcrs: [...QUOTED_PCRS] },
    }
  }

  test('is what was sealed to it, and a quote over the exchange with the firmware’s log', async () => {
    const entry = await tpmEntry(open(), undefined)
    const secret = randomBytes(32)
    const { ek, ak, ekCertificates } = entry.members
    expect(ekCertificates).toHaveLength(1)
    const { tpm, bank } = await entry.answer(challengeFor(parsePublic(bytes(ek)), entry.akName, secret), TRANSCRIPT)
    expect(tpm.secret).toBe(secret.toString('hex'))
    expect(tpm.quote.akPublic).toBe(ak)
    expect(Buffer.from(tpm.quote.eventLog ?? '', 'base64').toString()).toBe('a log')
    const values = Object.entries(tpm.quote.pcrs[bank] ?? {}).map(([pcr, value]) => [Number(pcr), hex(value)] as const)
    const checked = checkQuote({
      ...{ ak: bytes(ak), quote: bytes(tpm.quote.quote), signature: bytes(tpm.quote.signature) },
      ...{ nonce: hex(TRANSCRIPT), bank, selection: QUOTED_PCRS, pcrs: new Map([[bank, new Map(values)]]) },
    })
    expect(checked.checks.filter(({ ok }) => !ok)).toEqual([])
  })

  test('is the way from its maker’s root, where the maker left it in NV; the hub needs the root alone', async () => {
    const own = await testTpm()
    const judged = async () => {
      const { members } = await tpmEntry(open(own.socketPath), undefined)
      const named = namedTpm({ class: 'tpm', ...members })
      if (!named) throw new Error('no TPM is named')
      const profile = referenceOf(makeTpm()).profile
      return judgeHardware(named, members, { ...profile, tpm: { roots: [own.ca.root], inventory: [] } }, Date.now())
    }
    await expect(judged()).rejects.toThrow(/neither pinned nor sent along/)
    await leaveInNv(own, 0x01c00100, new X509Certificate(own.ca.issuer).raw)
    expect(await judged()).toContain('swtpm-localca-rootca')
  })

  test('is nothing for the AK of another TPM: it refuses the credential, and no proof is made', async () => {
    const other = await testTpm()
    const [entry, foreign] = [await tpmEntry(open(), undefined), await tpmEntry(open(other.socketPath), undefined)]
    const challenge = challengeFor(parsePublic(bytes(entry.members.ek)), foreign.akName, randomBytes(32))
    for (const one of [entry, foreign])
      await expect(one.answer(challenge, TRANSCRIPT)).rejects.toMatchObject({
        code: 'WrongCredential',
        response: { value: 0x1df },
      })
    expect(troubles.at(-1)).toMatchObject({ code: 'WrongCredential' })
    await expect(tpmEntry(open('/nowhere'), undefined)).rejects.toMatchObject({ code: 'NoTpm' })
    expect(troubles.at(-1)).toMatchObject({ code: 'NoTpm' })
  })

  test('is the EK that the node is registered with, of those that it has', async () => {
    const keys = await open().tpm.endorsementKeys()
    expect(keys.length).toBeGreaterThan(1)
    const first = await tpmEntry(open(), undefined)
    const last = keys.at(-1)
    const again = await tpmEntry(open(), first.ekSha256)
    expect(again.members).toEqual(first.members)
    const registered = createHash('sha256')
      .update(last?.public ?? new Uint8Array())
      .digest('hex')
    expect((await tpmEntry(open(), registered)).ekSha256).toBe(registered)
    expect(first.ekSha256).not.toBe(registered)
  })

  test('and its clock stands in statements from the first look on; one that cannot be read is left out, with the reason told', async () => {
    const own = await testTpm()
    const hardware = open(own.socketPath)
    expect(hardware.time()).toBeUndefined()
    await hardware.look()
    expect(hardware.time()).toMatchObject({ tpmClock: expect.any(Number), resetCount: expect.any(Number), safe: true })
    await own.stop()
    const gone = open(own.socketPath)
    await gone.look()
    expect(gone.time()).toBeUndefined()
    await expect(gone.quote(hex(TRANSCRIPT), 'sha256')).rejects.toMatchObject({ code: 'NoTpm' })
    expect(troubles.at(-1)).toMatchObject({ code: 'NoTpm', message: expect.stringContaining('firmware') })
  })
})

test.each([
  ['off', 'file', undefined],
  ['off', 'tpm', undefined],
  ['/run/other', undefined, '/run/other'],
  // Whether its device is there or not yet.
  ['auto', 'tpm', '/dev/tpmrm0'],
] as const)('--tpm %s, and the node’s key in %s: %s', (asked, keyIn, path) => {
  expect(tpmPath(asked, keyIn)).toBe(path)
})
