import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { dirname, join } from 'node:path'
import { parse, Statement } from '@skerry/api'
import {
  buildImage,
  type Ceremony,
  createJoinToken,
  ensure,
  eventually,
  FAMILY,
  HARDWARE_ID,
  type HubProcess,
  type Image,
  type Program,
  releaseOf,
  startAgent,
} from '@skerry/demo'
import { command, measuredIn, parseEventLog } from '@skerry/measured-boot'
import { logOf, makeTpm, referenceOf } from '@skerry/policy/testing'
import { lacksTpm, type TestTpm, testFolder, testTpm } from '@skerry/supervise/testing'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { type Ground, hubGround, siteStatus } from './testing.ts'

// Registration by hardware with real processes and emulated TPMs, in whose PCRs stands what a real machine's firmware
// measured (packages/measured-boot, recordings): the emulator has no firmware of its own.

const WAIT_MS = 120_000
let dir: string
let ground: Ground
let hub: HubProcess
let ceremony: Ceremony
let image: Image
let eventLog: string

async function measure(tpm: TestTpm): Promise<void> {
  const socket = connect(tpm.socketPath)
  try {
    for (const { event, digest } of measuredIn(parseEventLog(logOf('secure-boot-off')), 'sha256').extends) {
      const asked = command.pcrExtend(event.pcr, 'sha256', digest)
      socket.write(asked.bytes)
      const [answer] = (await once(socket, 'data')) as [Buffer]
      if (!command.readAnswer(asked, new Uint8Array(answer)).ok) throw new Error('the TPM did not extend')
    }
  } finally {
    socket.destroy()
  }
}

/** Runs one of tpm2-tools on it. */
function tool({ tcti }: TestTpm, name: string, ...args: readonly string[]) {
  return spawnSync(`tpm2_${name}`, args, { env: { ...process.env, TPM2TOOLS_TCTI: tcti } })
}

/** Guesses a password until the TPM locks. */
function lockOut(tpm: TestTpm): void {
  tool(tpm, 'nvdefine', '-Q', '-s', '8', '-p', 'secret', '-a', 'authread|authwrite', '0x1500001')
  for (let guesses = 0; guesses < 10; guesses += 1)
    if (/lockout/i.test(tool(tpm, 'nvread', '-P', 'wrong', '0x1500001').stderr.toString())) return
  throw new Error('ten wrong passwords did not lock the TPM')
}

type Site = { readonly name: string; readonly dir: string; start(more?: readonly string[]): Program }

/** A site whose agent uses this TPM. */
function siteOf(
  tpm: TestTpm,
  name: string,
  secret: string,
  data = join(dir, `${name}-${Math.trunc(performance.now())}`),
): Site {
  return {
    name,
    dir: data,
    start(more = []) {
      const program = startAgent({
        ...{ name, dir: data, bundle: ceremony.bundle([hub.apiUrl], hub.caPem, secret), factoryImage: image.file },
        args: ['--tpm', tpm.socketPath, '--event-log', eventLog, '--heartbeat-seconds', '1', ...more],
      })
      onTestFinished(() => program.kill())
      return program
    },
  }
}

const lacksTools = lacksTpm || spawnSync('tpm2_nvread', ['--version']).error !== undefined

let made = 0
const fresh = (what: string) => `${what}-${++made}`

const token = (more: Parameters<typeof createJoinToken>[2] = {}) =>
  createJoinToken(hub.client, fresh('token'), { maxUses: 1, classes: ['tpm'], ...more }, Date.now())

async function manufactured(options: Parameters<typeof testTpm>[0] = {}): Promise<TestTpm> {
  const tpm = await testTpm(options)
  await measure(tpm)
  return tpm
}

type View = {
  readonly class: string | null
  readonly tpm: { readonly path: string; readonly trouble?: { readonly code: string; readonly message: string } }
  readonly troubles: readonly Record<'of' | 'reason' | 'message', string>[]
  readonly registration?: Record<'state' | 'reason' | 'message' | 'next', string>
}

const viewOf = ({ dir: data }: Site) => siteStatus<View>(data)

/** The evidence that the hub holds of a node, oldest first. */
async function evidenceOf(name: string, incarnation: number) {
  const rows = await ground.query<{ text: string }>(
    `select text from statement where cluster = $1 and incarnation = ${incarnation} and kind = 'evidence' order by seq`,
    [name],
  )
  return rows.flatMap(({ text }) => {
    const statement = parse(Statement, JSON.parse(text), 'statement')
    return statement.kind === 'evidence' ? [statement] : []
  })
}

const told = (name: string, incarnation = 1, boots = 1) =>
  eventually(
    async () => {
      const evidence = await evidenceOf(name, incarnation)
      return evidence.length >= boots ? evidence : undefined
    },
    `${name} telling of boot ${boots} in life ${incarnation}`,
    WAIT_MS,
  )

const registration = (name: string) => hub.client.get('Registration', name, name)
const record = async (name: string) =>
  (
    await ground.query<{ state: string; incarnation: number; akName: string | null }>(
      `select state, incarnation, ak_name as "akName" from node_identity where cluster = $1`,
      [name],
    )
  )[0]

describe.skipIf(lacksTools)('a node with a TPM (needs swtpm and tpm2-tools)', () => {
  beforeAll(async () => {
    dir = testFolder()
    ground = await hubGround(dir)
    hub = await ground.serve()
    ceremony = ground.ceremony()
    image = buildImage(join(dir, 'images'), '1', { healthy: true })
    eventLog = join(dir, 'event-log')
    writeFileSync(eventLog, logOf('secure-boot-off'))
    const { ca, stop } = await testTpm()
    await stop()
    await ceremony.publish(
      hub.client,
      [releaseOf(image, 1)],
      [
        {
          ...referenceOf(makeTpm()).profile,
          ...{ hardwareIds: [HARDWARE_ID], tpm: { roots: [ca.root, ca.issuer], inventory: [] }, learn: 'tofu' },
          firmware: [],
        },
      ],
    )
  })
  afterAll(async () => {
    await hub?.program.stop(20_000)
    await hub?.client.close()
    await ground?.drop()
  })

  test('registers by its maker’s certificate, is accepted by a rule for what its first quote shows, and gives a quote of its boot', async () => {
    const tpm = await manufactured()
    const site = siteOf(tpm, fresh('shop'), await token())
    site.start()
    const [evidence] = await told(site.name)
    const { spec, status } = await registration(site.name)
    expect(spec).toMatchObject({ class: 'tpm', tpm: { firstBoot: { verdict: 'warning', reason: 'NoReference' } } })
    expect(spec.tpm?.endorsedBy).toContain('swtpm-localca')
    // The node key is in the TPM too, by its AK's word, and the disk holds nothing that signs.
    expect(spec.tpm?.nodeKeyIn).toBe('tpm')
    expect(readdirSync(join(site.dir, 'keys'))).toEqual(['node.tpm.json'])
    expect(status?.state).toBe('Accepted')
    expect(await record(site.name)).toEqual({ state: 'Accepted', incarnation: 1, akName: spec.tpm?.akName })
    expect(evidence?.body).toMatchObject({ class: 'tpm', quote: expect.any(String), eventLog: expect.any(String) })
    expect(evidence?.time).toMatchObject({ tpmClock: expect.any(Number), resetCount: expect.any(Number) })
    expect(viewOf(site)).toMatchObject({ class: 'tpm', tpm: { path: tpm.socketPath } })
    expect(viewOf(site)?.tpm.trouble).toBeUndefined()
  })

  test('whose disk was wiped returns by its TPM, with no token, into the next life; the copy of both is a fork', async () => {
    const tpm = await manufactured()
    const name = fresh('shop')
    const first = siteOf(tpm, name, await token())
    const program = first.start()
    await told(name)
    await program.stop(20_000)
    // The token was good for one node, and is spent.
    const wiped = siteOf(tpm, name, '')
    const again = wiped.start()
    await told(name, 2)
    expect(await record(name)).toMatchObject({ state: 'Accepted', incarnation: 2 })
    // The old disk is alive after all, with a copy of the TPM's state: one `cp` with an emulated one.
    await again.stop(20_000)
    const copy = await testTpm({ copyOf: tpm })
    await measure(copy)
    siteOf(copy, name, '', first.dir).start()
    await eventually(async () => (await record(name))?.state === 'Suspended', `${name} being suspended`, WAIT_MS)
    const events = await hub.client.list('Event', { namespace: name })
    expect(events.map(({ spec }) => spec.message).join()).toContain("two machines hold this TPM's identity")
  })

  test('of an unknown maker is refused, and the site reads why and what to do', async () => {
    const site = siteOf(await manufactured({ ca: 'own' }), fresh('shop'), await token())
    site.start()
    const word = await eventually(
      async () => [viewOf(site)?.registration].find((one) => one?.state === 'Refused'),
      'the refusal',
      WAIT_MS,
    )
    expect(word).toMatchObject({ reason: 'EkUntrusted', message: expect.stringContaining('inventory') })
  })

  test('keeps its name against a machine with another TPM', async () => {
    const name = fresh('shop')
    const program = siteOf(await manufactured(), name, await token()).start()
    await told(name)
    await program.stop(20_000)
    const other = siteOf(await manufactured(), name, await token({ cluster: name }))
    other.start()
    await eventually(async () => viewOf(other)?.registration?.reason === 'NodeTaken', 'the refusal', WAIT_MS)
    expect(await record(name)).toMatchObject({ state: 'Accepted', incarnation: 1 })
  })

  test('whose firmware kept no log waits for a person, who reads why', async () => {
    const site = siteOf(await manufactured(), fresh('shop'), await token())
    site.start(['--event-log', join(dir, 'none')])
    const status = await eventually(
      async () => (await registration(site.name).catch(() => undefined))?.status,
      'the registration',
      WAIT_MS,
    )
    expect(status).toMatchObject({ state: 'Pending' })
    await eventually(
      async () => viewOf(site)?.registration?.message.includes('the first boot is none (EventLogMissing'),
      'the site reading why it waits',
      WAIT_MS,
    )
  })

  test('whose TPM went can sign nothing, and its status says why; when it is back, the boot is told of, and told of again with a quote', async () => {
    const tpm = await manufactured()
    const site = siteOf(tpm, fresh('shop'), await token())
    const program = site.start()
    await told(site.name)
    await program.stop(20_000)
    await tpm.stop()
    site.start()
    // Whoever finds it first, the clock or the key, tells of it first; what stands is that nothing can be signed.
    const trouble = await eventually(
      async () => viewOf(site)?.troubles.find(({ message }) => /^this node cannot sign, .*firmware/.test(message)),
      'the trouble',
      WAIT_MS,
    )
    expect(trouble).toMatchObject({ of: 'tpm', reason: 'NoTpm' })
    expect(await evidenceOf(site.name, 1)).toHaveLength(1)
    const again = await testTpm({ copyOf: tpm })
    await measure(again)
    // Its folder went with it.
    mkdirSync(dirname(tpm.socketPath), { recursive: true })
    onTestFinished(() => rmSync(dirname(tpm.socketPath), { recursive: true, force: true }))
    symlinkSync(again.socketPath, tpm.socketPath)
    const [, second, third] = await told(site.name, 1, 3)
    expect(second?.body).not.toHaveProperty('quote')
    expect(third?.body).toMatchObject({ bootId: second?.body.bootId, quote: expect.any(String) })
    await eventually(async () => viewOf(site)?.troubles.length === 0, 'the end of the trouble', WAIT_MS)
  })

  test('whose TPM is locked by wrong passwords is Degraded with that reason, at the hub and at the site', async () => {
    const tpm = await manufactured()
    const site = siteOf(tpm, fresh('shop'), await token())
    const program = site.start()
    await told(site.name)
    await program.stop(20_000)
    lockOut(tpm)
    site.start()
    const degraded = await eventually(
      async () => (await hub.client.get('EdgeNode', site.name, site.name)).status?.conditions?.[0],
      'the condition',
      WAIT_MS,
    )
    expect(degraded).toMatchObject({ type: 'Degraded', status: 'True', reason: 'Lockout' })
    expect(viewOf(site)?.troubles).toMatchObject([{ of: 'tpm', reason: 'Lockout' }])
    // Quotes go on.
    const [, second] = await told(site.name, 1, 2)
    expect(second?.body).toHaveProperty('quote')
  })

  test('whose disk was wiped takes no release below what its TPM holds', async () => {
    const tpm = await manufactured()
    const name = fresh('shop')
    const program = siteOf(tpm, name, await token()).start()
    await told(name)
    // What the factory's image raised is there; the rest is what later releases would have counted.
    const floor = await eventually(async () => floorOf(tpm), 'the floor of the first image', WAIT_MS)
    await program.stop(20_000)
    for (let at = floor; at < 3; at += 1) tool(tpm, 'nvincrement', '-Q', '-C', FLOOR_COUNTER, FLOOR_COUNTER)
    siteOf(tpm, name, '').start()
    await told(name, 2)
    const older = buildImage(join(dir, 'images'), '2', { healthy: true })
    await ceremony.publish(hub.client, [releaseOf(older, 2)])
    const namespace = 'default'
    await ensure(hub.client, 'ManagedClusterSetBinding', {
      metadata: { name: 'default', namespace },
      spec: { clusterSet: 'default' },
    })
    await ensure(hub.client, 'Placement', { metadata: { name: 'all', namespace }, spec: { clusterSets: ['default'] } })
    await hub.client.create('Rollout', {
      metadata: { name: 'older', namespace },
      spec: {
        placementRef: { name: 'all' },
        image: { name: `${FAMILY}-2` },
        strategy: { type: 'All' },
        attestation: 'warning',
      },
    })
    const refused = await eventually(
      async () => {
        const rows = await ground.query<{ text: string }>(
          `select text from statement where cluster = $1 and incarnation = 2 and kind = 'refused'`,
          [name],
        )
        return rows[0]?.text
      },
      'the refusal',
      WAIT_MS,
    )
    expect(refused).toContain('ReleaseCounterTooLow')
    expect(refused).toContain("below 3, which this machine's TPM holds")
  })
})

/** The NV indexes of the release floor: spoke-agent/src/tpm/release-floor.ts. */
const [FLOOR_COUNTER, FLOOR_BASE] = ['0x018053b0', '0x018053b1']

/** The floor that a TPM holds, read by another's program; undefined while there is none. */
function floorOf(tpm: TestTpm): number | undefined {
  const [count, base] = [FLOOR_COUNTER, FLOOR_BASE].map((index) => {
    const { status, stdout } = tool(tpm, 'nvread', '-C', index, index)
    return status === 0 && stdout.length === 8 ? stdout.readBigUInt64BE() : undefined
  })
  return count === undefined || base === undefined ? undefined : Number(BigInt.asIntN(64, count - base))
}
