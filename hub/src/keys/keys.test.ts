import { createPrivateKey, X509Certificate } from 'node:crypto'
import { chmodSync, existsSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { testFolder } from '@skerry/supervise/testing'
import { describe, expect, test } from 'vitest'
import { openCertificates } from './certificates.ts'
import { openKeys } from './keys.ts'

/** What identifies a set of keys from outside. */
function shown(dir: string) {
  const { desiredState, ack, acceptance, result, snapshot, timestamp, nats, adminToken, continueSecret } = openKeys(dir)
  return {
    jwks: [desiredState, ack, acceptance, result, snapshot, timestamp].map(({ jwk }) => jwk),
    nats: [nats.operator, nats.system, nats.hub, nats.sites, nats.scoped].map(({ seed }) => seed),
    secrets: [adminToken, continueSecret],
  }
}

describe('the keys of a hub', () => {
  test('are made once, each its own, in files that nobody else can read, and are the same at every start', () => {
    const dir = testFolder()
    const first = shown(dir)
    expect(shown(dir)).toEqual(first)
    const all = [...first.jwks.map((jwk) => JSON.stringify(jwk)), ...first.nats, ...first.secrets]
    expect(new Set(all).size).toBe(all.length)
    const files = readdirSync(dir)
    expect(files).toHaveLength(all.length)
    for (const file of files) expect(statSync(join(dir, file)).mode & 0o777).toBe(0o600)
  })

  test('whichever files a power cut left out are made at the next start; the others stay what they were', () => {
    const dir = testFolder()
    shown(dir)
    for (const lost of readdirSync(dir)) {
      const before = new Map(readdirSync(dir).map((file) => [file, readFileSync(join(dir, file), 'utf8')]))
      rmSync(join(dir, lost))
      shown(dir)
      for (const [file, text] of before)
        expect({ file, same: readFileSync(join(dir, file), 'utf8') === text }).toEqual({ file, same: file !== lost })
    }
  })

  test('a missing file, or one that others can read, is a fault with its name', () => {
    const dir = testFolder()
    const keys = openKeys(dir)
    expect(keys.fault()).toBeUndefined()
    chmodSync(join(dir, 'ack.pem'), 0o644)
    expect(keys.fault()).toBe('readable by others: ack.pem')
    rmSync(join(dir, 'ack.pem'))
    expect(keys.fault()).toBe('missing: ack.pem')
  })
})

describe('the certificates of a hub', () => {
  test('the CA vouches for a certificate that names every name, valid on a machine whose clock stands in 1970', async () => {
    const dir = testFolder()
    const names = ['127.0.0.1', '::1', 'hub.example']
    const { caPem, certPem } = await openCertificates(dir, names)
    const [ca, cert] = [new X509Certificate(caPem), new X509Certificate(certPem)]
    expect(cert.verify(ca.publicKey)).toBe(true)
    expect(cert.ca).toBe(false)
    expect(ca.ca).toBe(true)
    for (const address of ['127.0.0.1', '::1']) expect(cert.checkIP(address)).toBe(address)
    expect(cert.checkHost('hub.example')).toBe('hub.example')
    expect(cert.checkHost('other.example')).toBeUndefined()
    for (const { validFrom, validTo } of [ca, cert]) {
      expect(Date.parse(validFrom)).toBe(0)
      expect(Date.parse(validTo)).toBeGreaterThan(Date.parse('2100-01-01'))
    }
  })

  test('a start with the same names keeps both; one with more names makes a certificate under the same CA', async () => {
    const dir = testFolder()
    const first = await openCertificates(dir, ['127.0.0.1'])
    expect(await openCertificates(dir, ['127.0.0.1'])).toEqual(first)
    const wider = await openCertificates(dir, ['127.0.0.1', 'hub.example'])
    expect(wider.caPem).toBe(first.caPem)
    expect(wider.certPem).not.toBe(first.certPem)
    expect(new X509Certificate(wider.certPem).checkPrivateKey(createPrivateKey(wider.keyPem))).toBe(true)
  })

  test('a certificate that a power cut left out is made again', async () => {
    const dir = testFolder()
    await openCertificates(dir, ['127.0.0.1'])
    rmSync(join(dir, 'server.crt.pem'))
    expect(existsSync(join(dir, 'server.key.pem'))).toBe(true)
    const { certPem, caPem } = await openCertificates(dir, ['127.0.0.1'])
    expect(new X509Certificate(certPem).verify(new X509Certificate(caPem).publicKey)).toBe(true)
  })
})
