import { createUser, fromSeed } from '@nats-io/nkeys'

/** A new NATS user key's seed. It never leaves this machine; the hub learns the public half. */
export function createUserKey(): string {
  return Buffer.from(createUser().getSeed()).toString('utf8')
}

/** `U…`, the public half of a seed. */
export function publicUserKey(seed: string): string {
  return fromSeed(new TextEncoder().encode(seed)).getPublicKey()
}
