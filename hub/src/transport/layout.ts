import { randomBytes } from 'node:crypto'
import { subjects, wildcards } from '@skerry/api'
import { base32, createNkey, type Nkey } from './nkeys.ts'

// Two accounts: HUB has the streams, SITES imports only what a site needs. A flat account with perfect allow-lists is not
// safe: the server does not check where it sends its answers to, so a reply subject reaches what the asker may not.
// attacks.test.ts holds every line of this.

export type NatsKeys = {
  readonly operator: Nkey
  readonly system: Nkey
  readonly hub: Nkey
  readonly sites: Nkey
  readonly scoped: Nkey
}

/** nkey → Unix seconds: credentials issued at or before then are refused and cut off. */
export type Revocations = ReadonlyMap<string, number>

const UNLIMITED = { subs: -1, data: -1, payload: -1, imports: -1, exports: -1, wildcards: true, conn: -1, leaf: 0 }
const NO_JETSTREAM = { mem_storage: 0, disk_storage: 0, streams: 0, consumer: 0 }
const JETSTREAM = { mem_storage: -1, disk_storage: -1, streams: -1, consumer: -1 }

/** Rights of every node: name = cluster, tags node: and t:. One line a report kind, or a site could invent kinds. */
const NODE_TEMPLATE = {
  pub: {
    allow: [
      'report.{{name()}}.{{tag(node)}}.status',
      'report.{{name()}}.{{tag(node)}}.statements',
      'heartbeat.{{name()}}.{{tag(node)}}',
      'get.desired.{{name()}}.{{tag(t)}}',
    ],
  },
  sub: {
    allow: [
      '_INBOX.{{name()}}.{{tag(node)}}.{{tag(t)}}.>',
      'notify.{{name()}}.{{tag(t)}}',
      'ack.{{name()}}.{{tag(node)}}.{{tag(t)}}',
    ],
  },
  subs: 10,
  data: -1,
  payload: 262_144,
  allowed_connection_types: ['STANDARD', 'WEBSOCKET'],
}

const SECOND_NS = 1e9

// The server keeps a place for each answer that was asked for: 700 bytes, two minutes unless it is told. A heartbeat has no
// answer, and a site that asks for one with each of a million would take the server's memory.
const EXPORTS = [
  { name: 'report', subject: wildcards.report, type: 'service', response_threshold: 10 * SECOND_NS },
  { name: 'heartbeat', subject: wildcards.heartbeat, type: 'service', response_threshold: SECOND_NS },
  { name: 'get-desired', subject: wildcards.directGet, type: 'service', response_threshold: 10 * SECOND_NS },
  { name: 'notify', subject: wildcards.notify, type: 'stream' },
  { name: 'ack', subject: wildcards.ack, type: 'stream' },
] as const

/** Certificate and key files of a server that is reached over a network. */
export type TlsFiles = { readonly cert: string; readonly key: string }

/** The server's configuration without addresses and files, which whoever starts it adds. */
export function serverConfig(keys: NatsKeys, revocations: Revocations, dir: string, tls?: TlsFiles): string {
  const operator = jwt(
    { sub: keys.operator.pub, name: 'skerry', nats: { system_account: keys.system.pub, type: 'operator', version: 2 } },
    keys.operator,
  )
  const secured = tls ? `tls { cert_file: "${tls.cert}", key_file: "${tls.key}", timeout: 5 }\n` : ''
  return `${secured}max_connections: 65536
max_payload: 1048576
max_pending: 4MB
write_deadline: "2s"
ping_interval: "30s"
logfile_size_limit: 50MB
logfile_max_num: 5
lame_duck_grace_period: "1s"
lame_duck_duration: "30s"
jetstream { store_dir: "${dir}/jetstream", max_file_store: 5GB }
operator: ${operator}
system_account: ${keys.system.pub}
resolver { type: full, dir: "${dir}/jwt", allow_delete: true, interval: "2m", limit: 1000 }
resolver_preload {
 ${keys.system.pub}: ${account(keys, keys.system, 'SYS', { limits: { ...UNLIMITED, ...NO_JETSTREAM } })}
 ${keys.hub.pub}: ${account(keys, keys.hub, 'HUB', { limits: { ...UNLIMITED, ...JETSTREAM }, exports: EXPORTS })}
 ${keys.sites.pub}: ${sitesAccount(keys, revocations)}
}
`
}

/** The SITES account as it stands with these revocations. Pushing it cuts live connections off. */
export function sitesAccount(keys: NatsKeys, revocations: Revocations): string {
  const imports = EXPORTS.map(({ name, subject, type }) => ({
    name,
    subject,
    type,
    account: keys.hub.pub,
    ...(name === 'get-desired' ? { local_subject: wildcards.getDesired } : {}),
    // The server then vouches for who sent a heartbeat.
    ...(name === 'heartbeat' ? { share: true } : {}),
  }))
  return account(keys, keys.sites, 'SITES', {
    limits: { ...UNLIMITED, ...NO_JETSTREAM },
    signing_keys: [{ kind: 'user_scope', key: keys.scoped.pub, role: 'node', template: NODE_TEMPLATE }],
    imports,
    ...(revocations.size > 0 ? { revocations: Object.fromEntries(revocations) } : {}),
  })
}

export type NodeCredential = {
  readonly cluster: string
  readonly node: string
  readonly routingToken: string
  readonly natsKey: string
  readonly expiresAt: Date
}

/**
 * A node's user JWT. It carries no right of its own: all come from the scope, or the server refuses it. TypeError for names
 * that are not exactly one token: the server would expand `*`, `>` and dots into rights over others.
 */
export function mintUser(keys: NatsKeys, { cluster, node, routingToken, natsKey, expiresAt }: NodeCredential): string {
  subjects.ack(cluster, node, routingToken)
  return jwt(
    {
      sub: natsKey,
      name: cluster,
      exp: Math.floor(expiresAt.getTime() / 1000),
      nats: { issuer_account: keys.sites.pub, tags: [`node:${node}`, `t:${routingToken}`], type: 'user', version: 2 },
    },
    keys.scoped,
  )
}

/** Credentials of the hub itself in the HUB account, or of its keeper in the system account. Made at each start. */
export function ownCreds(account: Nkey, name: string): string {
  const user = createNkey('user')
  return credsText(
    jwt({ sub: user.pub, name, nats: { subs: -1, data: -1, payload: -1, type: 'user', version: 2 } }, account),
    user.seed,
  )
}

/** The standard `.creds` form that every NATS client reads. */
export function credsText(userJwt: string, seed: string): string {
  return `-----BEGIN NATS USER JWT-----\n${userJwt}\n------END NATS USER JWT------\n\n-----BEGIN USER NKEY SEED-----\n${seed}\n------END USER NKEY SEED------\n`
}

/** The secret last token of everything that goes down to a cluster: 26 characters, 130 bits. */
export function newRoutingToken(): string {
  return base32(randomBytes(16)).toLowerCase()
}

/** A NATS JWT by a signer. */
export function jwt(claims: Record<string, unknown>, signer: Nkey): string {
  const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url')
  const text = `${part({ typ: 'JWT', alg: 'ed25519-nkey' })}.${part({ jti: randomBytes(16).toString('hex'), iat: Math.floor(Date.now() / 1000), iss: signer.pub, ...claims })}`
  return `${text}.${signer.sign(text)}`
}

function account(keys: NatsKeys, key: Nkey, name: string, nats: Record<string, unknown>): string {
  return jwt(
    { sub: key.pub, name, nats: { default_permissions: { pub: {}, sub: {} }, type: 'account', version: 2, ...nats } },
    keys.operator,
  )
}
