// @peculiar/x509 asks for this polyfill before it is loaded.
import 'reflect-metadata'
import { webcrypto, X509Certificate } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { isIP } from 'node:net'
import { join } from 'node:path'
import * as x509 from '@peculiar/x509'
import { writeSecret } from '@skerry/trust'

// The hub's own CA and the certificate it serves. Valid from 1970 on, because a site's clock may stand anywhere; leaving
// a CA is a new hub.json, signed offline, not an expiry that nobody at a dark site would see.

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const
/** By these names a hub's own parts call each other. */
const HERE = ['localhost', '127.0.0.1', '::1']
const SINCE = new Date(0)
const UNTIL = new Date('2120-01-01T00:00:00Z')

export type Certificates = {
  readonly caPem: string
  readonly certPem: string
  readonly keyPem: string
  /** Where certificate and key lie, for a program that reads files. */
  readonly files: { readonly cert: string; readonly key: string }
}

/**
 * Loads or makes the CA and a server certificate that names every one of `wanted` (DNS names and addresses) and this
 * machine. Another `server` than the hub has a certificate of its own beside it.
 */
export async function openCertificates(
  dir: string,
  wanted: readonly string[],
  server: 'server' | 'nats' = 'server',
): Promise<Certificates> {
  const ca = await openCa(dir)
  const names = [...new Set([...wanted, ...HERE])]
  const [certPath, keyPath] = [join(dir, `${server}.crt.pem`), join(dir, `${server}.key.pem`)]
  const files = { cert: certPath, key: keyPath }
  if (existsSync(certPath) && existsSync(keyPath)) {
    const certPem = readFileSync(certPath, 'utf8')
    if (covers(new X509Certificate(certPem), names))
      return { caPem: ca.pem, certPem, keyPem: readFileSync(keyPath, 'utf8'), files }
  }
  const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify'])
  const cert = await x509.X509CertificateGenerator.create({
    subject: 'CN=skerry-hub',
    issuer: ca.cert.subject,
    notBefore: SINCE,
    notAfter: UNTIL,
    publicKey: keys.publicKey,
    signingKey: ca.key,
    signingAlgorithm: ALGORITHM,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
      new x509.SubjectAlternativeNameExtension(names.map((name) => ({ type: isIP(name) ? 'ip' : 'dns', value: name }))),
      await x509.AuthorityKeyIdentifierExtension.create(ca.cert.publicKey),
    ],
  })
  const keyPem = await privatePem(keys.privateKey)
  // The certificate goes last: a key without its certificate is made anew, a certificate without its key never exists.
  writeSecret(keyPath, keyPem)
  writeSecret(certPath, cert.toString('pem'))
  return { caPem: ca.pem, certPem: cert.toString('pem'), keyPem, files }
}

async function openCa(dir: string): Promise<{ cert: x509.X509Certificate; key: webcrypto.CryptoKey; pem: string }> {
  // Key and certificate in one file, so that half a CA cannot exist.
  const path = join(dir, 'ca.pem')
  if (!existsSync(path)) {
    const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify'])
    const cert = await x509.X509CertificateGenerator.createSelfSigned({
      name: 'CN=skerry-hub-ca',
      notBefore: SINCE,
      notAfter: UNTIL,
      keys,
      signingAlgorithm: ALGORITHM,
      extensions: [
        new x509.BasicConstraintsExtension(true, 0, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
        await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
      ],
    })
    writeSecret(path, `${await privatePem(keys.privateKey)}${cert.toString('pem')}\n`)
  }
  const [keyPem, certPem] = splitPem(readFileSync(path, 'utf8'))
  const key = await webcrypto.subtle.importKey('pkcs8', x509.PemConverter.decodeFirst(keyPem), ALGORITHM, false, [
    'sign',
  ])
  return { cert: new x509.X509Certificate(certPem), key, pem: certPem }
}

function splitPem(text: string): [keyPem: string, certPem: string] {
  const [keyPem, certPem] = text.match(/-----BEGIN [A-Z ]+-----[\s\S]*?-----END [A-Z ]+-----\n?/g) ?? []
  if (!keyPem || !certPem) throw new Error('the CA file does not hold a private key and a certificate')
  return [keyPem, certPem]
}

async function privatePem(key: webcrypto.CryptoKey): Promise<string> {
  return `${x509.PemConverter.encode(await webcrypto.subtle.exportKey('pkcs8', key), 'PRIVATE KEY')}\n`
}

function covers(cert: X509Certificate, names: readonly string[]): boolean {
  return names.every((name) => (isIP(name) ? cert.checkIP(name) : cert.checkHost(name)) !== undefined)
}
