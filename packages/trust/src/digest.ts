import { hash } from 'node:crypto'

/** Lower-case hex SHA-256 of the exact bytes (of the UTF-8 of a string). */
export function sha256Hex(data: Uint8Array | string): string {
  return hash('sha256', data, 'hex')
}

/**
 * The digest that stands for a whole registration exchange: request and challenge exactly as they went over the wire,
 * so that every key in either is bound. Lengths are part of it, or the border between the two could be moved.
 */
export function transcriptDigest(requestJws: string, challenge: string): string {
  return sha256Hex(`${Buffer.byteLength(requestJws)}:${requestJws}${Buffer.byteLength(challenge)}:${challenge}`)
}

/** The nonce of evidence, online or dark: one rule. `marker` and `prev` are digests. */
export function evidenceNonce(marker: string, seq: number, prev: string): string {
  return sha256Hex(`${marker}:${seq}:${prev}`)
}
