import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { connect, credsAuthenticator, type NatsConnection } from '@nats-io/transport-node'
import { type EventSpec, type RefusalCode, type Statement, subjects } from '@skerry/api'
import { hang, testFolder, testNatsServer, testNatsServerAgain } from '@skerry/supervise/testing'
import { createKey, type Signer, sha256Hex, signDocument } from '@skerry/trust'
import pino from 'pino'
import { saveIdentities } from '../store/identities.ts'
import { listObjects } from '../store/resources.ts'
import { openStore } from '../store/store.ts'
import { migratedDatabase } from '../store/testing.ts'
import { makeAcknowledger } from './acknowledger.ts'
import { connectHub } from './connection.ts'
import { runIngest } from './ingest.ts'
import { credsText, mintUser, type NatsKeys, newRoutingToken, serverConfig } from './layout.ts'
import { createNkey, type Nkey } from './nkeys.ts'
import { nodeDirectory } from './reports.ts'
import { ensureStreams } from './streams.ts'

// What the tests of this room play on: a real PostgreSQL, a real nats-server with the product's accounts, the hub's own
// connection, and nodes that are registered without the door.

export const silent = pino({ level: 'silent' })

/** For what is asked of NATS: the client's own deadline is a second or five, which a busy machine takes. */
export const IN_TIME = { timeout: 30_000 }

export function newNatsKeys(): NatsKeys {
  return {
    operator: createNkey('operator'),
    system: createNkey('account'),
    hub: createNkey('account'),
    sites: createNkey('account'),
    scoped: createNkey('account'),
  }
}

export type TestNode = {
  readonly cluster: string
  readonly node: string
  readonly incarnation: number
  readonly signer: Signer
  readonly user: Nkey
  /** What its first statement follows from. */
  readonly transcript: string
  readonly routingToken: string
  readonly jwt: string
  readonly creds: string
}

export async function openWorld() {
  const database = await migratedDatabase()
  const store = openStore(database.connection)
  const keys = newNatsKeys()
  const dir = testFolder()
  const config = serverConfig(keys, new Map(), dir)
  let server = await testNatsServer(config, { dir })
  const { port } = server
  const hub = await connectHub({ url: server.url, caPem: '', keys, log: silent, name: 'test' })
  await ensureStreams(hub.nc, 1)
  const ackSigner = createKey('EdDSA')
  const opened: NatsConnection[] = []

  return {
    store,
    hub,
    keys,
    config,
    ackSigner,
    url: server.url,

    /** A node that is registered and accepted. */
    async addNode(cluster: string, node = 'n1', incarnation = 1): Promise<TestNode> {
      const signer = createKey('ES256')
      const user = createNkey('user')
      const transcript = sha256Hex(`registration of ${cluster}/${node}`)
      const fresh = newRoutingToken()
      await store.sql`insert into cluster_routing (cluster, token, created_at) values (${cluster}, ${fresh}, now()) on conflict do nothing`
      const [row] = await store.sql<{ token: string }[]>`select token from cluster_routing where cluster = ${cluster}`
      const routingToken = row?.token ?? fresh
      const expiresAt = new Date(Date.now() + 3_600_000)
      const jwt = mintUser(keys, { cluster, node, routingToken, natsKey: user.pub, expiresAt })
      await store.sql.begin((tx) =>
        saveIdentities(tx, [
          {
            cluster,
            node,
            state: 'Accepted',
            class: 'software-key',
            nodeKey: signer.jwk,
            nodeKeyThumbprint: signer.thumbprint,
            natsKey: user.pub,
            incarnation,
            requestId: sha256Hex(`request of ${cluster}/${node}`),
            transcript,
            acceptance: 'a.b.c',
            natsJwt: jwt,
            credentialIssuedAt: new Date(),
            credentialExpiresAt: expiresAt,
            decidedBy: 'test',
            decidedAt: new Date(),
          },
        ]),
      )
      const creds = credsText(jwt, user.seed)
      return { cluster, node, incarnation, signer, user, transcript, routingToken, creds, jwt }
    },

    /** A connection of a node, with its own credential. */
    async connectNode({ cluster, node, routingToken, creds }: TestNode): Promise<NatsConnection> {
      const nc = await connect({
        servers: server.url,
        authenticator: credsAuthenticator(Buffer.from(creds)),
        inboxPrefix: subjects.inbox(cluster, node, routingToken),
        maxReconnectAttempts: -1,
        reconnectTimeWait: 50,
      })
      opened.push(nc)
      return nc
    },

    /** Ingest as a hub runs it, until `stop()`. */
    ingest() {
      const over = new AbortController()
      const refused: { document: string; code: RefusalCode }[] = []
      const directory = nodeDirectory(store)
      const acknowledger = makeAcknowledger({ store, nc: hub.nc, signer: ackSigner, now: Date.now })
      let committed = 0
      const done = runIngest({
        store,
        hub,
        directory,
        acknowledger,
        log: silent,
        onRefused: (document, { code }) => refused.push({ document, code }),
        onCommitted: (count) => {
          committed += count
        },
        now: Date.now,
        signal: over.signal,
      })
      return {
        refused,
        directory,
        acknowledger,
        committed: () => committed,
        async stop() {
          over.abort()
          await done
        },
      }
    },

    async rows({ cluster, node }: Pick<TestNode, 'cluster' | 'node'>): Promise<{ seq: number; text: string }[]> {
      const rows = await store.sql<{ seq: string; text: string }[]>`
        select seq, text from statement where cluster = ${cluster} and node = ${node} order by incarnation, seq`
      return rows.map(({ seq, text }) => ({ seq: Number(seq), text }))
    },

    async head({ cluster, node }: Pick<TestNode, 'cluster' | 'node'>) {
      const [row] = await store.sql<{ watermark: string; newest_seq: string; incarnation: number }[]>`
        select watermark, newest_seq, incarnation from cluster_head where cluster = ${cluster} and node = ${node}`
      return (
        row && { watermark: Number(row.watermark), newestSeq: Number(row.newest_seq), incarnation: row.incarnation }
      )
    },

    async events(cluster: string): Promise<EventSpec[]> {
      return (await listObjects(store.sql, 'Event', { namespace: cluster })).map(({ spec }) => spec)
    },

    /** Stops nats-server without ending it: connections stay open and nothing answers. The test calls `goOn`. */
    hangNats: () => hang(server.pid),

    /** SIGKILLs nats-server and starts it on the same port, with its store or without. */
    async restartNats({
      loseStore = false,
      meanwhile = async () => {},
    }: {
      loseStore?: boolean
      meanwhile?: () => Promise<void>
    }): Promise<void> {
      process.kill(server.pid, 'SIGKILL')
      await server.exited
      await meanwhile()
      if (loseStore) rmSync(join(dir, 'jetstream'), { recursive: true, force: true })
      server = await testNatsServerAgain(config, { dir, port })
    },

    async close(): Promise<void> {
      await Promise.allSettled(opened.map((nc) => nc.close()))
      await hub.close()
      await server.stop()
      await store.close()
      await database.drop()
    },
  }
}

type Speaker = Pick<TestNode, 'cluster' | 'node' | 'incarnation' | 'transcript'>

/** A node's chain from its registration on: the exact texts of statements 1 to `count`, each of a refusal. */
export function chainOf(
  { cluster, node, incarnation, transcript }: Speaker,
  count: number,
  word = 'said',
  codeOf: (seq: number) => string = () => 'BadSignature',
): string[] {
  const texts: string[] = []
  let prev = transcript
  for (let seq = 1; seq <= count; seq += 1) {
    const statement: Statement = {
      kind: 'refused',
      cluster,
      node,
      incarnation,
      seq,
      prev,
      marker: sha256Hex('marker'),
      time: { wall: '2026-01-01T00:00:00Z' },
      body: { document: 'DesiredState', code: codeOf(seq), message: `${word} ${seq}`, digest: sha256Hex(`${seq}`) },
    }
    const text = JSON.stringify(statement)
    prev = sha256Hex(text)
    texts.push(text)
  }
  return texts
}

/** These texts as the node signs them. */
export function batchOf(
  { cluster, node, incarnation, signer }: Pick<TestNode, 'cluster' | 'node' | 'incarnation' | 'signer'>,
  statements: readonly string[],
  by: Signer = signer,
): Promise<string> {
  return signDocument(
    'StatementBatch',
    { kind: 'StatementBatch', cluster, node, incarnation, statements: [...statements] },
    by,
  )
}
