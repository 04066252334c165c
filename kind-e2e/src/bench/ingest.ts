import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { availableParallelism, loadavg, tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { connect, credsAuthenticator, type NatsConnection, nkeys } from '@nats-io/transport-node'
import {
  parse,
  RegistrationAnswer,
  RegistrationChallenge,
  type RegistrationRequest,
  STATEMENTS_PER_BATCH,
  type Statement,
  subjects,
} from '@skerry/api'
import type { Client } from '@skerry/client'
import { createJoinToken, eventually, startHub } from '@skerry/demo'
import { createDatabase, forgetPostgres, startPostgres, toOptions } from '@skerry/supervise'
import { createKey, type Signer, sha256Hex, signDocument, transcriptDigest } from '@skerry/trust'
import postgres from 'postgres'

// Statements into PostgreSQL: one hub process with its own nats-server, a PostgreSQL that syncs to disk, and this process,
// which registers nodes over HTTPS as agents do, signs everything beforehand and sends it with each node's own credential.

export type IngestBench = {
  readonly seconds: number
  readonly nodes: number
  /** A folder for the hub's CPU profile. */
  readonly profile?: string
  readonly say: (sentence: string) => void
}

/** The rate that is asked for; `seconds` of it are signed beforehand. */
const GOAL_PER_SECOND = 20_000
/** Batches that a node sends before it waits for the stream's word. */
const IN_FLIGHT = 4
const DEADLINE_MS = 300_000

export async function benchIngest({ seconds, nodes, profile, say }: IngestBench) {
  const dir = mkdtempSync(join(tmpdir(), 'skerry-bench-'))
  const data = join(dir, 'pg')
  const database = await startPostgres({ dataDir: data, durable: true, say })
  try {
    const connection = await createDatabase(database.connection, 'skerry')
    const hub = await startHub({
      dataDir: join(dir, 'hub'),
      args: ['--port', '0', '--log-level', 'warn'],
      logFile: join(dir, 'hub.log'),
      env: environment(connection, profile),
    })
    const sql = postgres(toOptions(connection, { max: 1, onnotice: () => {} }))
    const senders: Sender[] = []
    try {
      const token = await createJoinToken(hub.client, 'bench', { maxUses: nodes }, Date.now())
      for (let n = 1; n <= nodes; n += 1) senders.push(await enter(hub.client, hub.natsUrl, token, `bench-${n}`))
      const perNode = Math.ceil((seconds * GOAL_PER_SECOND) / nodes / STATEMENTS_PER_BATCH)
      say(`${nodes} nodes registered; signing ${perNode} batches of each`)
      const loads = await Promise.all(senders.map((sender) => signBatches(sender, perNode)))
      const total = perNode * STATEMENTS_PER_BATCH * nodes
      say(`sending ${total} statements`)

      const pids = { hub: hub.program.pid, nats: hub.pidOf('nats'), postgres: database.pid, sender: process.pid }
      const cpuBefore = cpuSeconds(pids)
      const startedAt = performance.now()
      let refusals = 0
      await Promise.all(
        senders.map(async (sender, index) => {
          refusals += await send(sender, loads[index] ?? [])
        }),
      )
      const sentAt = performance.now()
      await eventually(
        async () => {
          const [heads] = await sql<{ sum: string }[]>`select coalesce(sum(watermark), 0) as sum from cluster_head`
          return Number(heads?.sum) === total
        },
        'every statement being committed',
        DEADLINE_MS,
      )
      const elapsedS = (performance.now() - startedAt) / 1000
      const cpuAfter = cpuSeconds(pids)
      const [counted] = await sql<{ rows: string; bytes: string }[]>`
        select count(*) as rows, sum(octet_length(text)) as bytes from statement`
      if (Number(counted?.rows) !== total) throw new Error(`${counted?.rows} rows where ${total} were signed`)
      return {
        bench: 'ingest',
        statementsPerSecond: Math.round(total / elapsedS),
        statements: total,
        batches: perNode * nodes,
        bytes: loads.flat().reduce((sum, { length }) => sum + length, 0),
        bytesPerStatement: Math.round(Number(counted?.bytes) / total),
        seconds: round(elapsedS),
        sendingSeconds: round((sentAt - startedAt) / 1000),
        nodes,
        refusedAndSentAgain: refusals,
        rowsInPostgres: Number(counted?.rows),
        hubRssMB: peakMB(hub.program.pid),
        natsRssMB: peakMB(hub.pidOf('nats')),
        cores: availableParallelism(),
        // What the machine did beside this shows here: the sum over the cores is what the run alone took.
        cpuSeconds: Object.fromEntries(
          Object.keys(pids).map((name) => [name, round((cpuAfter[name] ?? Number.NaN) - (cpuBefore[name] ?? 0))]),
        ),
        loadAverage: loadavg()[0],
        node: process.version,
      }
    } finally {
      await Promise.allSettled(senders.map(({ nc }) => nc.close()))
      await sql.end({ timeout: 5 })
      await hub.client.close()
      await hub.program.stop(30_000)
    }
  } finally {
    await database.stop()
    forgetPostgres(data)
    rmSync(dir, { recursive: true, force: true })
  }
}

function environment(
  { host, username, password, database }: Awaited<ReturnType<typeof createDatabase>>,
  profile: string | undefined,
): NodeJS.ProcessEnv {
  return {
    DATABASE_URL: `postgres://${username}:${encodeURIComponent(password)}@${encodeURIComponent(dirname(host))}/${database}`,
    ...(profile ? { NODE_OPTIONS: `--cpu-prof --cpu-prof-dir=${profile}` } : {}),
  }
}

type Sender = {
  readonly cluster: string
  readonly node: string
  readonly signer: Signer
  readonly transcript: string
  readonly nc: NatsConnection
}

// The three calls of a registration, and a connection with what they gave.
async function enter(client: Client, natsUrl: string, token: string, name: string): Promise<Sender> {
  const signer = createKey('ES256')
  const user = nkeys.createUser()
  const request: RegistrationRequest = {
    kind: 'RegistrationRequest',
    token,
    cluster: name,
    nodeName: name,
    class: 'software-key',
    nodeKey: signer.jwk,
    natsKey: user.getPublicKey(),
    hardwareId: 'bench',
    claims: {},
    acceptHub: sha256Hex('bench'),
    agentVersion: 'bench',
  }
  const door = '/agent/v1/registrations'
  const post = (path: string, body: string) =>
    client.call(`${door}${path}`, { method: 'POST', body, headers: { 'content-type': 'application/jose' } })
  const text = await signDocument('RegistrationRequest', request, signer)
  const challenge = parse(RegistrationChallenge, await post('', text), 'challenge')
  const { id, nonce } = challenge
  const transcript = transcriptDigest(text, JSON.stringify(challenge))
  const proof = { kind: 'RegistrationProof' as const, id, nonce, transcript }
  await post(`/${id}/proof`, await signDocument('RegistrationProof', proof, signer))
  const natsJwt = await eventually(
    async () => parse(RegistrationAnswer, await client.call(`${door}/${id}`), 'answer').natsJwt,
    `${name} being accepted`,
    30_000,
  )
  const seed = Buffer.from(user.getSeed()).toString()
  const creds = `-----BEGIN NATS USER JWT-----\n${natsJwt}\n------END NATS USER JWT------\n\n-----BEGIN USER NKEY SEED-----\n${seed}\n------END USER NKEY SEED------\n`
  const { routingToken } = await routing(client, id)
  const nc = await connect({
    servers: natsUrl,
    authenticator: credsAuthenticator(Buffer.from(creds)),
    inboxPrefix: subjects.inbox(name, name, routingToken),
  })
  return { cluster: name, node: name, signer, transcript, nc }
}

// The token stands in the acceptance, whose signature a bench need not judge.
async function routing(client: Client, id: string): Promise<{ routingToken: string }> {
  const answer = parse(RegistrationAnswer, await client.call(`/agent/v1/registrations/${id}`), 'answer')
  const payload = Buffer.from(answer.acceptance?.split('.')[1] ?? '', 'base64url').toString('utf8')
  return JSON.parse(payload) as { routingToken: string }
}

// Transitions of an upgrade machine as agents word them, chained, in batches as the outbox makes them.
async function signBatches({ cluster, node, signer, transcript }: Sender, batches: number): Promise<string[]> {
  const id = { cluster, node, incarnation: 1 }
  const signed: string[] = []
  let prev = transcript
  let seq = 0
  for (let batch = 0; batch < batches; batch += 1) {
    const statements: string[] = []
    while (statements.length < STATEMENTS_PER_BATCH) {
      seq += 1
      const statement: Statement = {
        kind: 'transition',
        ...id,
        seq,
        prev,
        marker: sha256Hex('marker'),
        time: { wall: new Date(1_800_000_000_000 + seq * 1000).toISOString() },
        body: {
          from: seq % 2 ? 'Idle' : 'Preflight',
          to: seq % 2 ? 'Preflight' : 'Idle',
          reason: 'WaitingForDiskSpace',
          message: `image edge-os-${seq % 9} needs 812 MB and 411 MB are free; looked at again in 300 s`,
          position: { timeline: 0, generation: seq },
          manifestSha256: sha256Hex(`manifest ${seq}`),
          imageSha256: sha256Hex(`image ${seq}`),
          slot: 'a',
          bootId: '5c0d7a1e-6b3f-4f0e-9c55-0d8a2f3b9e71',
        },
      }
      const text = JSON.stringify(statement)
      prev = sha256Hex(text)
      statements.push(text)
    }
    signed.push(await signDocument('StatementBatch', { kind: 'StatementBatch', ...id, statements }, signer))
  }
  return signed
}

// In order within a node; a full stream refuses, and the batch is sent again, as the agent's pump does.
async function send({ cluster, node, nc }: Sender, batches: readonly string[]): Promise<number> {
  const subject = subjects.report(cluster, node, 'statements')
  let next = 0
  let refusals = 0
  await Promise.all(
    Array.from({ length: IN_FLIGHT }, async () => {
      for (let text = batches[next++]; text !== undefined; text = batches[next++]) {
        while (!(await stored(nc, subject, text))) {
          refusals += 1
          await new Promise((resolve) => setTimeout(resolve, 20))
        }
      }
    }),
  )
  return refusals
}

async function stored(nc: NatsConnection, subject: string, text: string): Promise<boolean> {
  const answer = await nc.request(subject, text, { timeout: 10_000 })
  return answer.json<{ error?: object }>().error === undefined
}

const TICKS_PER_SECOND = 100

// CPU time of these processes and their children, alive or ended; nothing where the system does not tell.
function cpuSeconds(pids: Readonly<Record<string, number>>): Record<string, number> {
  const spent: Record<string, number> = {}
  try {
    const all = readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name))
      .flatMap((name) => {
        try {
          const [, fields = ''] = readFileSync(`/proc/${name}/stat`, 'utf8').split(') ')
          const [, parent, ...rest] = fields.split(' ').map(Number)
          // utime, stime, cutime, cstime: fields 14 to 17.
          return [{ pid: Number(name), parent, ticks: rest.slice(9, 13).reduce((sum, n) => sum + n, 0) }]
        } catch {
          return []
        }
      })
    for (const [name, pid] of Object.entries(pids)) {
      const mine = all.filter((one) => one.pid === pid || (name === 'postgres' && one.parent === pid))
      spent[name] = mine.reduce((sum, { ticks }) => sum + ticks, 0) / TICKS_PER_SECOND
    }
  } catch {
    return {}
  }
  return spent
}

// The most memory a process has held; null where the system does not tell.
function peakMB(pid: number): number | null {
  try {
    const kB = /VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]
    return kB === undefined ? null : Math.round(Number(kB) / 1024)
  } catch {
    return null
  }
}

function round(seconds: number): number {
  return Math.round(seconds * 100) / 100
}
