import { execFile } from 'node:child_process'
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { testFolder } from '@skerry/supervise/testing'
import pino from 'pino'
import { describe, expect, test } from 'vitest'
import { openSlots } from './drivers/slots.ts'
import { ukiMachine } from './drivers/uki/testing.ts'
import { keepSlots } from './node/slots.ts'
import { openDatabase } from './store/database.ts'
import { enrollment } from './testing.ts'
import { openHardware, type TpmTrouble } from './tpm/index.ts'

// The program from outside: what a technician types, and what it answers.

const MAIN = fileURLToPath(new URL('./main.ts', import.meta.url))

function run(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  return runIn({}, ...args)
}

function runIn(env: NodeJS.ProcessEnv, ...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  return new Promise((done) => {
    execFile(process.execPath, [MAIN, ...args], { env: { ...process.env, ...env } }, (error, stdout, stderr) =>
      done({ code: error ? Number(error.code) : 0, stdout, stderr }),
    )
  })
}

describe('status', () => {
  test('on a folder where no agent has run: one sentence, exit code 1, and the folder stays empty', async () => {
    const dir = testFolder()
    const { code, stdout, stderr } = await run('status', '--data', dir)
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
    expect(stderr).toBe(`skerry-agent: no agent has run on ${dir}: name its data folder with --data\n`)
    expect(readdirSync(dir)).toEqual([])
  })

  test('shows a node that waits: fingerprint, what the hub says, and what to do next', async () => {
    const dir = testFolder()
    const database = openDatabase(dir)
    const word = { state: 'Pending', reason: 'AwaitingDecision', message: 'a rule or a person decides' }
    database.save('registration', { ...word, fingerprint: '786e-253d-ba32-bcd2' })
    database.close()
    const { code, stdout } = await run('status', '--data', dir)
    expect(code).toBe(0)
    expect(JSON.parse(stdout)).toMatchObject({
      registration: { ...word, fingerprint: '786e-253d-ba32-bcd2', next: expect.stringContaining('cluster accept') },
      cluster: null,
      phase: 'Idle',
    })
  })

  test('shows a node that has no room for what it would have to prove, why, and what to do next', async () => {
    const dir = testFolder()
    const database = openDatabase(dir)
    database.save('outbox_bound', 1)
    database.close()
    const { stdout } = await run('status', '--data', dir)
    expect(JSON.parse(stdout)).toMatchObject({
      outbox: {
        ...{ boundBytes: 1, room: 'none', leftOut: null },
        message: expect.stringContaining('nothing new is accepted or activated'),
        next: expect.stringContaining('--outbox-mib'),
      },
    })
  })

  test('shows a node that cannot sign, because its TPM does not answer: since when, and what to do next', async () => {
    const dir = testFolder()
    const database = openDatabase(dir)
    database.save('enrollment', { ...enrollment, class: 'tpm' })
    mkdirSync(join(dir, 'keys'))
    writeFileSync(join(dir, 'keys', 'node.tpm.json'), '{}')
    const path = join(dir, 'none')
    const at = '2026-06-01T00:00:00.000Z'
    const over = new AbortController()
    const onTrouble = (trouble: TpmTrouble | undefined) => database.save('tpm', { path, since: at, trouble })
    const asked = { path, eventLog: path, now: () => Date.parse(at), signal: over.signal, onTrouble }
    await openHardware(asked).look()
    database.close()
    const { stdout } = await run('status', '--data', dir)
    expect(JSON.parse(stdout)).toMatchObject({
      tpm: { trouble: { code: 'NoTpm', tried: 'signature' } },
      troubles: [
        {
          ...{ of: 'tpm', reason: 'NoTpm', since: at },
          message: expect.stringMatching(
            /^this node cannot sign, .*there is no TPM here\. Switch the TPM on in the firmware/,
          ),
        },
      ],
    })
  })

  test('shows each slot of a machine with UKIs: what lies in it, which booted, which is armed, which is confirmed', async () => {
    const [dir, machine] = [testFolder(), ukiMachine(testFolder())]
    const driver = await machine.on()
    const next = machine.image('2')
    await driver.stage(next.target, next.file)
    await driver.activate(next.target)
    const database = openDatabase(dir)
    const over = new AbortController()
    await keepSlots({ driver, database, log: pino({ level: 'silent' }), signal: over.signal })
    database.close()
    const { stdout } = await run('status', '--data', dir)
    expect(JSON.parse(stdout)).toMatchObject({
      slots: [
        {
          ...{ slot: 'edge_1', version: '1', booted: false, state: 'confirmed' },
          imageSha256: machine.factory.target.imageSha256,
        },
        {
          ...{ slot: 'edge_2', version: '2', booted: true, state: 'armed', triesLeft: 2 },
          imageSha256: next.target.imageSha256,
        },
      ],
    })
  })

  test('looks at a database that an agent has open, and changes nothing in it', async () => {
    const dir = testFolder()
    const database = openDatabase(dir)
    database.save('edge_node', {
      state: { stage: { phase: 'Idle' }, memory: { failures: [] }, reason: 'Idle', message: 'nothing to do' },
    })
    const before = database.sql.prepare('pragma data_version').get()
    const { code, stdout } = await run('status', '--data', dir)
    expect(code).toBe(0)
    expect(JSON.parse(stdout)).toMatchObject({ phase: 'Idle', desired: null, statementsWaiting: 0, nodeKey: null })
    expect(database.sql.prepare('pragma data_version').get()).toEqual(before)
    database.close()
  })
})

test.each([
  ['an empty database', '', /agent\.db: of form 0, .* start the agent on it first/],
  ['no database at all', 'garbage '.repeat(100), /agent\.db: file is not a database/],
])('status on %s: one sentence, exit code 1', async (_, bytes, says) => {
  const dir = testFolder()
  writeFileSync(join(dir, 'agent.db'), bytes)
  const { code, stderr } = await run('status', '--data', dir)
  expect(code).toBe(1)
  expect(stderr).toMatch(says)
  expect(stderr.trim().split('\n')).toHaveLength(1)
})

test.each([
  ['--frobnicate', /--frobnicate/],
  ['--driver=floppy', /floppy/],
  ['--log-level=loud', /loud/],
  ['--poll-seconds=-1', /above 0/],
  ['--outbox-mib=31', /32 or more/],
  ['--boot-tries=0', /from 1 to 9/],
  ['--claim=shop', /--claim .*'shop'.*name=value/],
])('%s ends with exit code 2 and a sentence that names it', async (flag, names) => {
  const { code, stderr } = await run(flag)
  expect(code).toBe(2)
  expect(stderr).toMatch(names)
  // A screen of help would hide it.
  expect(stderr.trim().split('\n')).toEqual([expect.anything(), '"skerry-agent run --help" shows what there is'])
})

test('its help says that run may be left out, and where its options are', async () => {
  const { code, stdout } = await run('--help')
  expect(code).toBe(0)
  expect(stdout).toMatch(/"run" may be left out; its options: skerry-agent run --help/)
})

/** Whatever is written in the background is late, as on a busy machine. */
const BUSY = {
  NODE_OPTIONS: `--import data:text/javascript,${encodeURIComponent(
    "import fs from 'node:fs'; const { write } = fs; fs.write = (...args) => void setTimeout(() => write(...args), 50)",
  )}`,
}

test.each([
  ['', {}],
  [', also on a busy machine', BUSY],
])('a bundle that is not there is named in the last line, with what makes one%s', async (_, env) => {
  const dir = testFolder()
  const { code, stderr } = await runIn(env, '--data', dir, '--bundle', join(dir, 'none.json'))
  expect(code).toBe(1)
  expect(stderr).toContain('the agent cannot go on')
  expect(stderr.trim().split('\n').at(-1)).toBe(
    `skerry-agent: there is no bundle ${join(dir, 'none.json')}: name with --bundle what "skerry join-token create --bundle FILE" wrote`,
  )
})

test('a bundle that is none is told by its name', async () => {
  const [dir, file] = [testFolder(), join(testFolder(), 'bundle.json')]
  writeFileSync(file, 'hello')
  const { code, stderr } = await run('--data', dir, '--bundle', file)
  expect(code).toBe(1)
  expect(stderr.trim().split('\n').at(-1)).toMatch(/^skerry-agent: .*bundle\.json is no bundle: .*not valid JSON/)
})

test('a factory image that is not there is told by its name', async () => {
  const [dir, none] = [testFolder(), join(testFolder(), 'none.img')]
  await expect(openSlots({ dir, factoryImage: none, log: pino({ level: 'silent' }) })).rejects.toThrow(
    `there is no image ${none}: name one with --factory-image FILE`,
  )
})

test('without a bundle it says what to name', async () => {
  const { code, stderr } = await run('run', '--data', join(testFolder(), 'agent'))
  expect(code).toBe(1)
  expect(stderr).toContain('name its bundle with --bundle FILE')
})
