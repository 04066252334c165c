import { randomBytes } from 'node:crypto'
import { existsSync, readFileSync, statSync } from 'node:fs'
import { basename, join } from 'node:path'
import { openKeyFile, type Signer, writeSecret } from '@skerry/trust'
import { createNkey, type NatsKeys, type Nkey, parseSeed } from '../transport/index.ts'

// Every secret of a hub, in files that only it can read; none is ever in the database. On a hub of several machines the
// folder is mounted; operator and account identity keys may then be replaced by ones that a KMS holds.

export type HubKeys = {
  /** Online JWS keys, each named in hub.json for its documents alone. */
  readonly desiredState: Signer
  readonly ack: Signer
  readonly acceptance: Signer
  /** Signs attestation results. */
  readonly result: Signer
  /** Online TUF keys, each named in the root. */
  readonly snapshot: Signer
  readonly timestamp: Signer
  readonly nats: NatsKeys
  /** The first platform-admin's token. */
  readonly adminToken: string
  /** Signs continue tokens. */
  readonly continueSecret: string
  /** What is wrong with the files by now, in a sentence: the next start could not read them. */
  fault(): string | undefined
}

/** Loads or makes, once, what a hub signs with. A power cut leaves whole files or none, and the next start makes the rest. */
export function openKeys(dir: string): HubKeys {
  const files: string[] = []
  const file = (name: string) => {
    files.push(join(dir, name))
    return join(dir, name)
  }
  const jws = (name: string) => openKeyFile(file(`${name}.pem`), 'EdDSA')
  const nkey = (kind: 'operator' | 'account', name: string): Nkey =>
    parseSeed(
      kind,
      openText(file(`nats-${name}.seed`), () => createNkey(kind).seed),
    )
  return {
    desiredState: jws('desired-state'),
    ack: jws('ack'),
    acceptance: jws('acceptance'),
    result: jws('result'),
    snapshot: jws('tuf-snapshot'),
    timestamp: jws('tuf-timestamp'),
    nats: {
      operator: nkey('operator', 'operator'),
      system: nkey('account', 'system'),
      hub: nkey('account', 'hub'),
      sites: nkey('account', 'sites'),
      scoped: nkey('account', 'sites-scoped'),
    },
    adminToken: openText(file('admin.token'), () => randomBytes(32).toString('base64url')),
    continueSecret: openText(file('continue.secret'), () => randomBytes(32).toString('base64url')),
    fault() {
      const missing = files.filter((path) => !existsSync(path))
      if (missing.length > 0) return `missing: ${missing.map((path) => basename(path)).join(', ')}`
      const open = files.filter((path) => (statSync(path).mode & 0o077) !== 0)
      return open.length > 0 ? `readable by others: ${open.map((path) => basename(path)).join(', ')}` : undefined
    },
  }
}

function openText(path: string, make: () => string): string {
  if (!existsSync(path)) writeSecret(path, make())
  return readFileSync(path, 'utf8')
}
