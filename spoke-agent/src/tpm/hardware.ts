import { existsSync } from 'node:fs'
import type { BankName, Statement, TpmQuote } from '@skerry/api'
import { type ClockInfo, digest } from '@skerry/measured-boot'
import { QUOTED_PCRS } from '@skerry/policy'
import { reasonOf } from '../reason.ts'
import { DEVICE } from './door.ts'
import { TpmError } from './errors.ts'
import { EVENT_LOG, LARGEST_LOG, MEASUREMENT_LOG, readLog } from './logs.ts'
import { type Tpm, tpmAt } from './tpm.ts'

/** What a TPM adds to the time of a statement. */
type TpmTime = Omit<Statement['time'], 'wall'>

/** Why the TPM could not be asked, and since when it cannot for this reason, for a person at the site. */
export type TpmTrouble = { readonly at: string; readonly code: string; readonly message: string }

/** What is kept of the TPM for whoever asks: where it is (null: nowhere), since when, and what troubles it. */
export type TpmView = { readonly path: string | null; readonly since: string; readonly trouble?: TpmTrouble }

/** The TPM of this machine, with the logs of what was measured into it. */
export type Hardware = {
  readonly tpm: Tpm
  /** Asks the TPM; what it answers with a TpmError is kept as its trouble. */
  ask<Value>(act: (tpm: Tpm) => Promise<Value>): Promise<Value>
  /** A quote over the nonce, its values, and the logs as far as they can be read. Rejects with TpmError. */
  quote(nonce: Uint8Array, bank: BankName): Promise<TpmQuote>
  /** Its clock as it was read last, which is a minute ago at most; undefined before the first look, and after one that failed. */
  time(): TpmTime | undefined
  /** Reads the clock, where a minute has passed. */
  look(): Promise<void>
}

/** So often the clock is read: between two readings statements carry the first. */
const LOOK_MS = 60_000

/** Where the TPM is, from what `--tpm` says; undefined where the node shall have none. */
export function tpmPath(asked: string): string | undefined {
  if (asked === 'off') return undefined
  if (asked !== 'auto') return asked
  return existsSync(DEVICE) ? DEVICE : undefined
}

export function openHardware(options: {
  readonly path: string
  readonly eventLog: string
  readonly now: () => number
  readonly signal: AbortSignal
  /** Told of each trouble, and of its end. */
  readonly onTrouble: (trouble: TpmTrouble | undefined) => void
}): Hardware {
  const { path, eventLog, now, signal, onTrouble } = options
  const tpm = tpmAt(path, signal)
  let read: { readonly time: TpmTime | undefined; readonly atMs: number } | undefined

  async function told<Value>(act: () => Promise<Value>): Promise<Value> {
    try {
      const value = await act()
      onTrouble(undefined)
      return value
    } catch (error) {
      const code = error instanceof TpmError ? error.code : 'Failed'
      if (!signal.aborted) onTrouble({ at: new Date(now()).toISOString(), code, message: reasonOf(error) })
      throw error
    }
  }

  return {
    tpm,
    ask: (act) => told(() => act(tpm)),
    quote: (nonce, bank) =>
      told(async () => {
        const [ak, { quote, signature, pcrs }] = [
          await tpm.attestationKey(),
          await tpm.quote({ nonce, bank, pcrs: QUOTED_PCRS }),
        ]
        const log = await readLog(eventLog, LARGEST_LOG[EVENT_LOG])
        const records = await readLog(MEASUREMENT_LOG, LARGEST_LOG[MEASUREMENT_LOG])
        const bytes = 'bytes' in log ? log.bytes : new Uint8Array()
        return {
          akPublic: base64(ak.public),
          quote: base64(quote),
          signature: base64(signature),
          pcrs: { [bank]: Object.fromEntries([...pcrs].map(([pcr, value]) => [pcr, hex(value)])) },
          ...('bytes' in log ? { eventLog: base64(bytes) } : {}),
          eventLogSha256: hex(digest('sha256', bytes)),
          ...('bytes' in records ? { measurementLog: base64(records.bytes) } : {}),
        }
      }),
    time: () => read?.time,
    async look() {
      const atMs = performance.now()
      if (read && atMs - read.atMs < LOOK_MS) return
      // Whatever is wrong is told by who asks for a quote; a clock that cannot be read is left out.
      const clock = await tpm.clock().catch(() => undefined)
      read = { time: clock && timeOf(clock), atMs }
    },
  }
}

function timeOf({ clockMs, resetCount, restartCount, safe }: ClockInfo): TpmTime {
  return { tpmClock: clockMs, resetCount, restartCount, safe }
}

const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64')
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')
