import { randomBytes } from 'node:crypto'
import { command, type ResponseCodeName } from '@skerry/measured-boot'
import { pause } from '../waits.ts'
import { type Connection, openDoor } from './door.ts'
import { faultOfResponse, notUnderstood, TpmError } from './errors.ts'

/** A TPM while it is ours: what is begun here is taken out of it again here. */
export type Commander = {
  /** The response's value, or TpmError. Codes that mean "again" are tried again, a bounded number of times. */
  run<Value>(asked: command.Command<Value>): Promise<Value>
  /** The same; undefined when the TPM answers with this code. */
  runUnless<Value>(code: ResponseCodeName, asked: command.Command<Value>): Promise<Value | undefined>
  /** Loads a primary key of the endorsement hierarchy for as long as `use` takes. */
  withPrimary<Value>(template: Uint8Array, use: (key: command.Loaded) => Promise<Value>): Promise<Value>
  /** A policy session in which the endorsement hierarchy's empty password was shown. */
  withEndorsementPolicy<Value>(use: (session: number) => Promise<Value>): Promise<Value>
}

/** TPM 2.0 Part 2: warnings after which the same command is to be sent again. */
const AGAIN: ReadonlySet<ResponseCodeName | undefined> = new Set(['RETRY', 'YIELDED', 'TESTING', 'NV_RATE'] as const)
const MOST_TRIES = 30
/** 30 tries take 4.4 s at most. */
const pauseMs = (tries: number) => Math.min(200, 10 * tries)
/** A command takes milliseconds; one that makes an RSA key may take half a minute on a small chip. */
const DEADLINE_MS = 20_000
const MAKING_A_KEY_MS = 120_000

/**
 * Who has the TPM: one caller at a time opens it, does one whole thing, and closes it. `signal` ends the pauses between
 * tries; a command under way is waited for, for a TPM cannot be left in the middle of one.
 */
export function makeTurns(
  path: string,
  signal: AbortSignal,
): <Value>(use: (tpm: Commander) => Promise<Value>) => Promise<Value> {
  let last: Promise<unknown> = Promise.resolve()
  return (use) => {
    const mine = last.then(async () => {
      signal.throwIfAborted()
      const connection = await openPatiently(path, signal)
      try {
        return await use(commanderOn(connection, signal))
      } finally {
        await connection.close()
      }
    })
    last = mine.catch(() => {})
    return mine
  }
}

/** Whoever holds the TPM has it for milliseconds, most times. */
async function openPatiently(path: string, signal: AbortSignal): Promise<Connection> {
  for (let tries = 1; ; tries++) {
    try {
      return await openDoor(path)
    } catch (error) {
      if (!(error instanceof TpmError) || error.code !== 'DeviceBusy' || tries === MOST_TRIES) throw error
      await pause(pauseMs(tries), signal)
    }
  }
}

function commanderOn(connection: Connection, signal: AbortSignal): Commander {
  async function answer<Value>(asked: command.Command<Value>): Promise<command.Answer<Value>> {
    const deadlineMs = asked.name === 'CreatePrimary' ? MAKING_A_KEY_MS : DEADLINE_MS
    for (let tries = 1; ; tries++) {
      const bytes = await connection.transmit(asked.bytes, deadlineMs)
      const answered = read(asked, bytes)
      if (answered.ok || !AGAIN.has(answered.code.name) || tries === MOST_TRIES) return answered
      await pause(pauseMs(tries), signal)
    }
  }

  async function run<Value>(asked: command.Command<Value>): Promise<Value> {
    const answered = await answer(asked)
    if (!answered.ok) throw faultOfResponse(asked.name, answered.code)
    return answered.value
  }

  /** What was begun ends, whatever happened; that it could not be ended is told only where nothing else went wrong. */
  async function until<Value>(handle: number, use: () => Promise<Value>): Promise<Value> {
    let value: Value
    try {
      value = await use()
    } catch (error) {
      await run(command.flushContext(handle)).catch(() => {})
      throw error
    }
    await run(command.flushContext(handle))
    return value
  }

  return {
    run,
    async runUnless(code, asked) {
      const answered = await answer(asked)
      if (answered.ok) return answered.value
      if (answered.code.name === code) return undefined
      throw faultOfResponse(asked.name, answered.code)
    },
    async withPrimary(template, use) {
      const key = await run(command.createPrimary('endorsement', template))
      return until(key.handle, () => use(key))
    },
    async withEndorsementPolicy(use) {
      const session = await run(command.startPolicySession(randomBytes(16), 'sha256'))
      return until(session, async () => {
        await run(command.policySecret('endorsement', session))
        return use(session)
      })
    },
  }
}

function read<Value>(asked: command.Command<Value>, bytes: Uint8Array): command.Answer<Value> {
  try {
    return command.readAnswer(asked, bytes)
  } catch (error) {
    throw notUnderstood(asked.name, error)
  }
}
