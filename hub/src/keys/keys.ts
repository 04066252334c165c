import { randomBytes } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { openKeyFile, type Signer, writeSecret } from '@skerry/trust'
import { createNkey, type NatsKeys, type Nkey, parseSeed } from '../transport/index.ts'

// Every secret of a hub, in files that only it can read; none is ever in the database. On a hub of several machines the
// folder is mounted; operator and account identity keys may then be replaced by ones that a KMS holds.

export type HubKeys = {
  /** Online JWS keys, each named in hub.json for its documents alone. */
  readonly desiredState: Signer
  readonly ack: Signer
  readonly acceptance: Signer
  /** Online TUF keys, each named in the root. */
  readonly snapshot: Signer
  readonly timestamp: Signer
  readonly nats: NatsKeys
  /** The first platform-admin's token. */
  readonly adminToken: string
  /** Signs continue tokens. */
  readonly continueSecret: string
}

/** Loads or makes, once, what a hub signs with. A power cut leaves whole files or none, and the next start makes the rest. */
export function openKeys(dir: string): HubKeys {
  const jws = (name: string) => openKeyFile(join(dir, `${name}.pem`), 'EdDSA')
  const nkey = (kind: 'operator' | 'account', name: string): Nkey =>
    parseSeed(
      kind,
      openText(join(dir, `nats-${name}.seed`), () => createNkey(kind).seed),
    )
  return {
    desiredState: jws('desired-state'),
    ack: jws('ack'),
    acceptance: jws('acceptance'),
    snapshot: jws('tuf-snapshot'),
    timestamp: jws('tuf-timestamp'),
    nats: {
      operator: nkey('operator', 'operator'),
      system: nkey('account', 'system'),
      hub: nkey('account', 'hub'),
      sites: nkey('account', 'sites'),
      scoped: nkey('account', 'sites-scoped'),
    },
    adminToken: openText(join(dir, 'admin.token'), () => randomBytes(32).toString('base64url')),
    continueSecret: openText(join(dir, 'continue.secret'), () => randomBytes(32).toString('base64url')),
  }
}

function openText(path: string, make: () => string): string {
  if (!existsSync(path)) writeSecret(path, make())
  return readFileSync(path, 'utf8')
}
