import { existsSync } from 'node:fs'
import type { BankName, Statement, TpmQuote } from '@skerry/api'
import { type ClockInfo, digest } from '@skerry/measured-boot'
import { QUOTED_PCRS, readMeasurements } from '@skerry/policy'
import { reasonOf } from '../reason.ts'
import { pause } from '../waits.ts'
import { DEVICE } from './door.ts'
import { TpmError } from './errors.ts'
import { EVENT_LOG, LARGEST_LOG, MEASUREMENT_LOG, readLog } from './logs.ts'
import { type Tpm, type TpmState, tpmAt } from './tpm.ts'

/** What a TPM adds to the time of a statement. */
type TpmTime = Omit<Statement['time'], 'wall'>

/** Why the TPM could not be asked, for what, and since when it cannot for this reason, for a person at the site. */
export type TpmTrouble = {
  readonly at: string
  readonly tried: Tried
  readonly code: string
  readonly message: string
}

/** What is kept of the TPM for whoever asks: where it is (null: nowhere), since when, and what troubles it. */
export type TpmView = { readonly path: string | null; readonly since: string; readonly trouble?: TpmTrouble }

/** The TPM of this machine, with the logs of what was measured into it. */
export type Hardware = {
  readonly tpm: Tpm
  /** Asks the TPM; what it answers with a TpmError is kept as its trouble. */
  ask<Value>(act: (tpm: Tpm) => Promise<Value>, tried?: 'entry' | 'signature'): Promise<Value>
  /**
   * A quote over the nonce, its values, and the logs as far as they can be read. Where the logs do not lead to the values it
   * is taken again, a few times, if that can help; what they never lead to is given as it is, and so is the last that was
   * taken before the TPM failed. Rejects with TpmError where there is none at all.
   */
  quote(nonce: Uint8Array, bank: BankName): Promise<TpmQuote>
  /** Its clock as it was read last, which is a minute ago at most; undefined before the first look, and after one that failed. */
  time(): TpmTime | undefined
  /** The release floor as it was read or raised last; undefined where the TPM holds none or could not be asked. */
  releaseFloor(): number | undefined
  /** Reads the floor. What the TPM answers with an error is its trouble, and the floor that was known stays. */
  readReleaseFloor(): Promise<void>
  /** Has the TPM hold that nothing below this counter comes here, where a minute has passed since it could not. Errors likewise. */
  raiseReleaseFloor(to: number): Promise<void>
  /** Reads the clock, and whether the TPM is locked, where a minute has passed. */
  look(): Promise<void>
}

/** So often the clock is read: between two readings statements carry the first. */
const LOOK_MS = 60_000
/** And so often while it cannot be. */
const LOOK_AGAIN_MS = 5_000
/**
 * So often a quote is taken while the logs may yet lead to it. The pauses between double, and are one and a half seconds in
 * all; what the TPM takes for its quotes comes on top.
 */
const MOST_QUOTES = 5
const QUOTE_AGAIN_MS = 100
/** Below it are the firmware's PCRs, of which no record of systemd's explains anything. */
const FIRST_PCR_OF_USERSPACE = 11
/** What of several troubles is told. */
const ORDER = ['signature', 'entry', 'quote', 'floor', 'look'] as const
type Tried = (typeof ORDER)[number]
type Reason = Pick<TpmTrouble, 'code' | 'message'>
/** A quote with its logs, and whether another may be better. */
type Taken = { readonly quoted: TpmQuote; readonly isBetween: boolean }

/**
 * Where the TPM is, from what `--tpm` says; undefined where the node shall have none. A node whose key lies in it has one,
 * though it may not be there: its device may come after the agent.
 */
export function tpmPath(asked: string, keyIn: 'tpm' | 'file' | undefined): string | undefined {
  if (asked === 'off') return undefined
  if (asked !== 'auto') return asked
  return keyIn === 'tpm' || existsSync(DEVICE) ? DEVICE : undefined
}

export function openHardware(options: {
  readonly path: string
  readonly eventLog: string
  /** systemd's log; where it writes it unless it is said. */
  readonly measurementLog?: string
  readonly now: () => number
  readonly signal: AbortSignal
  readonly lookMs?: number
  /** Told of each trouble, and of its end. */
  readonly onTrouble: (trouble: TpmTrouble | undefined) => void
}): Hardware {
  const { path, eventLog, measurementLog = MEASUREMENT_LOG, now, signal, onTrouble, lookMs = LOOK_MS } = options
  const tpm = tpmAt(path, signal)
  let floor: number | undefined
  let raiseAtMs = Number.NEGATIVE_INFINITY
  let read: { readonly time: TpmTime | undefined; readonly atMs: number } | undefined

  // What was tried last, each by itself: that the clock can be read does not end the trouble with a quote.
  const troubles = new Map<Tried, TpmTrouble>()
  function keep(tried: Tried, trouble: Reason | undefined): void {
    if (trouble) troubles.set(tried, { at: new Date(now()).toISOString(), tried, ...trouble })
    else troubles.delete(tried)
    onTrouble(ORDER.map((one) => troubles.get(one)).find(Boolean))
  }
  async function told<Value>(tried: Tried, act: () => Promise<Value>): Promise<Value> {
    try {
      const value = await act()
      keep(tried, undefined)
      return value
    } catch (error) {
      if (!signal.aborted) keep(tried, troubleOf(error))
      throw error
    }
  }

  // The logs last: of records that came after the quote it is known how many do not count, of missing ones nothing.
  async function quoteWithLogs(akPublic: Uint8Array, nonce: Uint8Array, bank: BankName): Promise<Taken> {
    const { quote, signature, pcrs } = await tpm.quote({ nonce, bank, pcrs: QUOTED_PCRS })
    const log = await readLog(eventLog, LARGEST_LOG[EVENT_LOG])
    const records = await readLog(measurementLog, LARGEST_LOG[MEASUREMENT_LOG])
    const bytes = 'bytes' in log ? log.bytes : new Uint8Array()
    const quoted = {
      akPublic: base64(akPublic),
      quote: base64(quote),
      signature: base64(signature),
      pcrs: { [bank]: Object.fromEntries([...pcrs].map(([pcr, value]) => [pcr, hex(value)])) },
      ...('bytes' in log ? { eventLog: base64(bytes) } : {}),
      eventLogSha256: hex(digest('sha256', bytes)),
      ...('bytes' in records ? { measurementLog: base64(records.bytes) } : {}),
    }
    // One that is not there yet may come with its first record; one that is too large or cannot be read stays so.
    const isReadable = 'bytes' in records || records.missing === 'NoLog'
    return { quoted, isBetween: isReadable && isBetween(quoted, bank) }
  }

  return {
    tpm,
    ask: (act, tried = 'entry') => told(tried, () => act(tpm)),
    quote: (nonce, bank) =>
      told('quote', async () => {
        const { public: akPublic } = await tpm.attestationKey()
        let taken = await quoteWithLogs(akPublic, nonce, bank)
        for (let quotes = 1; quotes < MOST_QUOTES && taken.isBetween; quotes += 1) {
          await pause(QUOTE_AGAIN_MS * 2 ** (quotes - 1), signal)
          try {
            taken = await quoteWithLogs(akPublic, nonce, bank)
          } catch (error) {
            // The one in hand is the TPM's word all the same.
            if (error instanceof TpmError) break
            throw error
          }
        }
        return taken.quoted
      }),
    releaseFloor: () => floor,
    async readReleaseFloor() {
      await told('floor', async () => {
        floor = (await tpm.releaseFloor.read()) ?? floor
      }).catch(() => undefined)
    },
    async raiseReleaseFloor(to) {
      const atMs = performance.now()
      if ((floor !== undefined && floor >= to) || atMs < raiseAtMs) return
      await told('floor', async () => {
        floor = await tpm.releaseFloor.raise(to)
      }).catch(() => {
        raiseAtMs = atMs + lookMs
      })
    },
    time: () => read?.time,
    async look() {
      const atMs = performance.now()
      if (read && atMs - read.atMs < (read.time ? lookMs : Math.min(lookMs, LOOK_AGAIN_MS))) return
      const wasAway = read !== undefined && read.time === undefined
      try {
        read = { time: timeOf(await tpm.clock()), atMs }
      } catch (error) {
        // A clock that cannot be read is left out of statements.
        read = { time: undefined, atMs }
        if (signal.aborted) return
        // What does not even tell the time signs nothing, also while nothing is to be signed. A signature says it better.
        if (!wasAway && !troubles.has('signature')) keep('signature', troubleOf(error))
        keep('look', troubleOf(error))
        return
      }
      // It was away and answers again: what could not be raised is raised now, and whether it signs the next signature says.
      if (wasAway) {
        raiseAtMs = Number.NEGATIVE_INFINITY
        troubles.delete('signature')
      }
      try {
        // Quotes go on in a lockout; an entry may not, and whoever guesses passwords is at the machine.
        const { inLockout, wrongPasswords } = await tpm.state()
        keep('look', inLockout ? lockoutTrouble(wrongPasswords) : undefined)
      } catch (error) {
        if (!signal.aborted) keep('look', troubleOf(error))
      }
    },
  }
}

/**
 * Whether the quote may have fallen between an extend and its record: whoever measures extends first, and writes that into
 * systemd's log a moment later. It is also how a machine looks that hides something; which of the two, the hub judges.
 */
function isBetween(quoted: TpmQuote, bank: BankName): boolean {
  const values = Object.entries(quoted.pcrs[bank] ?? {}).map(([pcr, value]) => [Number(pcr), unhex(value)] as const)
  const { findings } = readMeasurements(quoted, bank, new Map(values), undefined)
  return findings.some(({ code, pcr = 0 }) =>
    code === 'ReplayMismatch' ? pcr >= FIRST_PCR_OF_USERSPACE : code === 'MeasurementLogMalformed',
  )
}

function troubleOf(error: unknown): Reason {
  return { code: error instanceof TpmError ? error.code : 'Failed', message: reasonOf(error) }
}

function lockoutTrouble({ remembered, forgivenAfterSeconds }: TpmState['wrongPasswords']): Reason {
  const what = `${remembered} wrong passwords lock it; one is forgiven after ${forgivenAfterSeconds} s`
  return { code: 'Lockout', message: new TpmError('Lockout', 'the TPM', what).message }
}

function timeOf({ clockMs, resetCount, restartCount, safe }: ClockInfo): TpmTime {
  return { tpmClock: clockMs, resetCount, restartCount, safe }
}

const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64')
const unhex = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'hex'))
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')
