import { BANKS, type Bank, extended } from '../banks.ts'
import { type Measured, ofPcr } from './measured.ts'
import type { LogEvent } from './parse.ts'

/** Values of all 24 PCRs in one bank. */
export type PcrValues = ReadonlyMap<number, Uint8Array>

/** What the PCRs hold if the TPM was extended as the log says, and by nobody else. Only this authenticates a log: compare it with a quote. */
export function replay(measured: Measured): PcrValues {
  const { bank } = measured
  const values = new Map<number, Uint8Array>()
  for (let pcr = 0; pcr < 24; pcr++) {
    const start = startOf(bank, pcr, pcr === 0 ? startupLocality(measured) : 0)
    const digests = ofPcr(measured, pcr).map(({ digest }) => digest)
    values.set(pcr, digests.length === 0 ? start : extended(bank, digests, start))
  }
  return values
}

/** What a PCR holds after TPM2_Startup: zeros, the locality in PCR 0, ones in the PCRs of a dynamic launch (TPM 2.0 Part 1, 17.1). */
export function startOf(bank: Bank, pcr: number, locality = 0): Uint8Array {
  const start = new Uint8Array(BANKS[bank].size)
  if (pcr >= 17 && pcr <= 22) start.fill(0xff)
  if (pcr === 0) start[start.length - 1] = locality
  return start
}

/** Startup from localities 0 and 3, and 4 for a measuring H-CRTM (Platform Firmware Profile, 10.4.5.3). */
const LOCALITIES: readonly (number | undefined)[] = [0, 3, 4]
const SIGNATURE = 'StartupLocality\0'

/** Why a StartupLocality event does not count; undefined if it does. */
export type LocalityFault = 'not-one-byte' | 'not-of-pcr-0' | 'no-such-locality' | 'not-first'

/** Each event that calls itself StartupLocality. At most the first one before anything was extended into PCR 0 counts. */
export function startupLocalities({ extends: extended, unmeasured }: Measured): readonly {
  readonly event: LogEvent
  readonly locality: number | undefined
  readonly fault: LocalityFault | undefined
}[] {
  const extendedAt = extended.find(({ event }) => event.pcr === 0)?.event.index ?? Number.POSITIVE_INFINITY
  let counted = false
  return unmeasured
    .filter(({ data }) => Buffer.from(data.subarray(0, SIGNATURE.length)).toString('latin1') === SIGNATURE)
    .map((event) => {
      const locality = event.data[SIGNATURE.length]
      const fault = faultOf(event, counted || event.index > extendedAt)
      if (fault === undefined) counted = true
      return { event, locality, fault }
    })
}

function faultOf({ data, pcr }: LogEvent, late: boolean): LocalityFault | undefined {
  if (data.length !== SIGNATURE.length + 1) return 'not-one-byte'
  if (pcr !== 0) return 'not-of-pcr-0'
  if (!LOCALITIES.includes(data[SIGNATURE.length])) return 'no-such-locality'
  return late ? 'not-first' : undefined
}

function startupLocality(measured: Measured): number {
  return startupLocalities(measured).find(({ fault }) => fault === undefined)?.locality ?? 0
}
