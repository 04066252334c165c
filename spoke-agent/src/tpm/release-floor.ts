import { command } from '@skerry/measured-boot'
import type { Commander } from './commander.ts'
import { TpmError } from './errors.ts'

// The lowest release counter that this machine still takes, kept where a copied or restored disk cannot put it back.
// An NV counter only goes up, one at a time, and its first value is above that of any counter the TPM ever had: so a second
// index, written once and locked for good, says what is to be taken off it. The floor is the difference.
//
// Made in four steps, each of which a power cut may follow: the counter, its first value, the base, its lock. Each start
// goes on where it ended; until the base is locked there is no floor, and nothing was promised.
//
// TPM2_Clear removes both, and so can root while the owner hierarchy has no password: then there is no floor (`undefined`,
// not zero) until one is set again. That it is gone is seen by whoever knew it, for the hub knows what it was told.

export const FLOOR_INDEXES = { counter: 0x018053b0, base: 0x018053b1 } as const
const COUNTER = ['authWrite', 'authRead', 'counter', 'noDA'] as const
const BASE = ['authWrite', 'authRead', 'writeDefine', 'noDA'] as const
const SIZE = 8
/** Each step is a write to flash: a release counter that jumps further is no counter. */
const MOST_STEPS = 1000

/** The floor, or undefined when none was ever set or the TPM was cleared. */
export async function readReleaseFloor(tpm: Commander): Promise<number | undefined> {
  const counter = await findIndex(tpm, FLOOR_INDEXES.counter, COUNTER)
  const base = await findIndex(tpm, FLOOR_INDEXES.base, BASE)
  if (!counter?.has('written') || !base?.has('writeLocked')) return undefined
  return difference(tpm)
}

/** Raises the floor, or sets the first one. One that is lower changes nothing. Gives the floor in force. */
export async function raiseReleaseFloor(tpm: Commander, to: number): Promise<number> {
  if (!Number.isSafeInteger(to) || to < 0) throw new RangeError(`${to} is no release counter`)
  const floor = (await readReleaseFloor(tpm)) ?? (await setFirst(tpm, to))
  if (to - floor > MOST_STEPS)
    throw new TpmError('Unsupported', 'the release floor', `from ${floor} to ${to} is further than ${MOST_STEPS} steps`)
  for (let at = floor; at < to; at++) await tpm.run(command.nvIncrement(FLOOR_INDEXES.counter))
  return Math.max(floor, to)
}

async function setFirst(tpm: Commander, floor: number): Promise<number> {
  const { counter, base } = FLOOR_INDEXES
  const counts = await openIndex(tpm, counter, COUNTER)
  if (!counts.has('written')) await tpm.run(command.nvIncrement(counter))
  const count = await readCount(tpm, counter)
  const based = await openIndex(tpm, base, BASE)
  // Below zero it goes round in 64 bits, and comes back when it is taken off.
  if (!based.has('writeLocked')) {
    await tpm.run(command.nvWrite(base, bytesOf(BigInt.asUintN(64, count - BigInt(floor)))))
    await tpm.run(command.nvWriteLock(base))
  }
  return difference(tpm)
}

async function difference(tpm: Commander): Promise<number> {
  const { counter, base } = FLOOR_INDEXES
  return Number(BigInt.asIntN(64, (await readCount(tpm, counter)) - (await readCount(tpm, base))))
}

async function openIndex(
  tpm: Commander,
  index: number,
  attributes: typeof COUNTER | typeof BASE,
): Promise<ReadonlySet<command.NvAttribute>> {
  const found = await findIndex(tpm, index, attributes)
  if (found) return found
  await tpm.run(command.nvDefineSpace(index, attributes, SIZE))
  return new Set()
}

/** The attributes of an index of ours, or undefined when there is none. One that others made under its number is not used. */
async function findIndex(
  tpm: Commander,
  index: number,
  wanted: typeof COUNTER | typeof BASE,
): Promise<ReadonlySet<command.NvAttribute> | undefined> {
  const indexes = await tpm.run(command.getHandles(index))
  if (indexes[0] !== index) return undefined
  const { attributes, size } = await tpm.run(command.nvReadPublic(index))
  const missing = wanted.filter((name) => !attributes.has(name))
  if (missing.length > 0 || size !== SIZE)
    throw new TpmError('ForeignIndex', `NV index 0x${index.toString(16)}`, `it is none of this agent's`)
  return attributes
}

async function readCount(tpm: Commander, index: number): Promise<bigint> {
  return Buffer.from(await tpm.run(command.nvRead(index, SIZE, 0))).readBigUInt64BE()
}

function bytesOf(count: bigint): Uint8Array {
  const bytes = Buffer.alloc(SIZE)
  bytes.writeBigUInt64BE(count)
  return bytes
}
