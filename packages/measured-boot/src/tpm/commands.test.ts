import { randomBytes } from 'node:crypto'
import { connect } from 'node:net'
import { lacksTpm, type TestTpm, testTpm } from '@skerry/supervise/testing'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Malformed, toHex } from '../bytes.ts'
import { parseCertify, parseQuote } from './attest.ts'
import * as command from './commands.ts'
import { nameOf, type PublicArea, parsePublic, writePublic } from './public-area.ts'
import { fuzz } from './recorded/fixtures.ts'
import { verifyBy } from './signature.ts'

const key = (attributes: PublicArea['attributes']): Uint8Array =>
  writePublic({
    type: 'ecc',
    nameAlg: 'sha256',
    attributes: ['fixedTPM', 'fixedParent', 'sensitiveDataOrigin', 'userWithAuth', ...attributes],
    authPolicy: new Uint8Array(),
    symmetric: null,
    scheme: { algorithm: 'ecdsa', hash: 'sha256' },
    curve: 'P-256',
    kdf: null,
    x: new Uint8Array(),
    y: new Uint8Array(),
  })
const AK = key(['restricted', 'sign'])
const SIGNER = key(['sign'])
const ZEROS = new Uint8Array(32)

describe.skipIf(lacksTpm)('what an emulated TPM takes and answers', () => {
  let tpm: TestTpm
  const seen: { asked: command.Command<unknown>; answer: Uint8Array }[] = []
  beforeAll(async () => {
    tpm = await testTpm({ banks: ['sha256', 'sha384'] })
  })
  afterAll(() => tpm.stop())

  async function answerTo<Value>(asked: command.Command<Value>): Promise<command.Answer<Value>> {
    const answer = await transmit(tpm.socketPath, asked.bytes)
    seen.push({ asked, answer })
    return command.readAnswer(asked, answer)
  }
  async function ask<Value>(asked: command.Command<Value>): Promise<Value> {
    let answer = await answerTo(asked)
    // After a start, the first use of a key under dictionary attack protection is answered with RETRY.
    for (let tries = 0; !answer.ok && answer.code.name === 'RETRY' && tries < 5; tries++) answer = await answerTo(asked)
    if (!answer.ok) throw new Error(`${asked.name}: 0x${answer.code.value.toString(16)}`)
    return answer.value
  }

  test('properties, banks and handles', async () => {
    const { permanent, nvBufferMax } = command.PROPERTIES
    expect((await ask(command.getProperties(permanent, 1))).get(permanent)).toBe(0x400)
    expect((await ask(command.getProperties(nvBufferMax, 1))).get(nvBufferMax)).toBeGreaterThanOrEqual(512)
    expect(await ask(command.getBanks())).toContainEqual({
      bank: 'sha384',
      pcrs: Array.from({ length: 24 }, (_, n) => n),
    })
    expect(await ask(command.getHandles(0x81000000))).toEqual([0x81010001, 0x81010016])
    expect(await ask(command.getHandles(0x01000000))).toEqual([0x01c00002, 0x01c00016, 0x01c08000])
  })

  test('a persistent key has the name that follows from its public area', async () => {
    const answered = await ask(command.readPublic(0x81010001))
    expect(toHex(nameOf(parsePublic(answered.public)))).toBe(toHex(answered.name))
  })

  test('PCRs are extended and read, eight at a time', async () => {
    await ask(command.pcrExtend(11, 'sha256', ZEROS))
    const { values } = await ask(command.pcrRead('sha256', [0, 1, 2, 3, 4, 5, 6, 7, 11]))
    expect(values.size).toBe(8)
    const { values: more } = await ask(command.pcrRead('sha256', [11]))
    expect(toHex(more.get(11) ?? ZEROS)).not.toBe(toHex(ZEROS))
  })

  test('an attestation key quotes, and certifies a key that signs; both are flushed', async () => {
    const ak = await ask(command.createPrimary('endorsement', AK))
    const signer = await ask(command.createPrimary('endorsement', SIGNER))
    const nonce = randomBytes(32)
    const quoted = await ask(command.quote(ak.handle, nonce, [{ bank: 'sha384', pcrs: [0, 7] }]))
    expect(verifyBy(parsePublic(ak.public), quoted.attest, quoted.signature)).toBeUndefined()
    expect(parseQuote(quoted.attest)).toMatchObject({ selection: [{ bank: 'sha384', pcrs: [0, 7] }] })
    const certified = await ask(command.certify(signer.handle, ak.handle, nonce))
    expect(verifyBy(parsePublic(ak.public), certified.attest, certified.signature)).toBeUndefined()
    expect(toHex(parseCertify(certified.attest).name)).toBe(toHex(signer.name))
    const digest = randomBytes(32)
    expect((await ask(command.sign(signer.handle, digest))).length).toBe(72)
    const refused = await answerTo(command.sign(ak.handle, digest))
    expect(refused).toMatchObject({ ok: false, code: { name: 'TICKET' } })
    await ask(command.flushContext(ak.handle))
    await ask(command.flushContext(signer.handle))
    expect(await ask(command.getHandles(0x80000000))).toEqual([])
  })

  test('a credential that nobody made is refused, by a policy session and its secret', async () => {
    const ak = await ask(command.createPrimary('endorsement', AK))
    const session = await ask(command.startPolicySession(randomBytes(16), 'sha256'))
    await ask(command.policySecret('endorsement', session))
    const made = {
      ak: ak.handle,
      ek: 0x81010001,
      ekBy: { session },
      idObject: Uint8Array.of(0, 2, 0, 0),
      encryptedSecret: Uint8Array.of(0, 1, 0),
    }
    expect(await answerTo(command.activateCredential(made))).toMatchObject({ ok: false })
    await ask(command.flushContext(session))
    await ask(command.flushContext(ak.handle))
  })

  test('the clock', async () => {
    expect(await ask(command.readClock())).toMatchObject({ resetCount: expect.any(Number), safe: expect.any(Boolean) })
  })

  test('an index that counts, and one that is written once', async () => {
    await ask(command.nvDefineSpace(0x01800001, ['authWrite', 'authRead', 'counter', 'noDA'], 8))
    expect(await answerTo(command.nvRead(0x01800001, 8, 0))).toMatchObject({ code: { name: 'NV_UNINITIALIZED' } })
    await ask(command.nvIncrement(0x01800001))
    await ask(command.nvIncrement(0x01800001))
    expect(toHex(await ask(command.nvRead(0x01800001, 8, 0)))).toBe('0000000000000002')
    expect(await answerTo(command.nvWrite(0x01800001, ZEROS.subarray(0, 8)))).toMatchObject({
      code: { name: 'ATTRIBUTES' },
    })
    const { attributes, size } = await ask(command.nvReadPublic(0x01800001))
    expect([[...attributes], size]).toEqual([['authWrite', 'counter', 'authRead', 'noDA', 'written'], 8])

    await ask(command.nvDefineSpace(0x01800002, ['authWrite', 'authRead', 'writeDefine', 'noDA'], 4))
    await ask(command.nvWrite(0x01800002, Uint8Array.of(1, 2, 3, 4)))
    await ask(command.nvWriteLock(0x01800002))
    expect(await answerTo(command.nvWrite(0x01800002, ZEROS.subarray(0, 4)))).toMatchObject({
      code: { name: 'NV_LOCKED' },
    })
    expect(toHex(await ask(command.nvRead(0x01800002, 2, 1)))).toBe('0203')
  })

  test('what was answered, damaged, is a value, a code or Malformed', () => {
    const one = new Map(seen.filter(({ answer }) => answer.length > 10).map((each) => [each.asked.name, each]))
    expect(one.size).toBeGreaterThan(15)
    for (const { asked, answer } of one.values()) fuzz([answer], (bytes) => command.readAnswer(asked, bytes))
  })
})

describe('a response that is none', () => {
  const clock = command.readClock()
  const good = '8001 00000023 00000000 0000000000000001 0000000000000002 00000003 00000004 01'
  const read = (hex: string) => command.readAnswer(clock, Buffer.from(hex.replaceAll(' ', ''), 'hex'))

  test('the good one is read', () => {
    expect(read(good)).toEqual({ ok: true, value: { clockMs: 2, resetCount: 3, restartCount: 4, safe: true } })
    expect(read('8001 0000000a 00000922')).toMatchObject({ ok: false, code: { name: 'RETRY' } })
  })

  test.each([
    ['nothing', '', 'Truncated', 0],
    ['a size that is not its own', good.replace('23', '24'), 'Truncated', 2],
    ['bytes behind the end', `${good} 00`, 'TrailingBytes', 2],
    ['a code with parameters', '8001 0000000b 00000922 00', 'TrailingBytes', 10],
    ['the tag of sessions where there were none', good.replace('8001', '8002'), 'BadValue', 0],
    ['"safe" that is neither', good.replace(/01$/, '02'), 'BadValue', 34],
    ['more than a TPM may answer', '00'.repeat(4097), 'TooLarge', 0],
  ])('%s', (_, hex, code, offset) => {
    const reading = () => read(hex)
    expect(reading).toThrow(Malformed)
    expect(reading).toThrow(expect.objectContaining({ code, offset, what: 'response to TPM2_ReadClock' }))
  })
})

/** One command written, one response read. */
async function transmit(path: string, bytes: Uint8Array): Promise<Uint8Array> {
  const socket = connect(path)
  socket.write(bytes)
  let said = Buffer.alloc(0)
  for await (const data of socket) {
    said = Buffer.concat([said, data])
    if (said.length >= 10 && said.length >= said.readUInt32BE(2)) break
  }
  socket.destroy()
  return new Uint8Array(said)
}
