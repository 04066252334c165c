import { createHash, randomBytes } from 'node:crypto'
import type { KindName, SpecFor } from '@skerry/api'
import type { Client, NewObject } from '@skerry/client'
import { ApiError } from '@skerry/client'

/** Makes an object unless it is there. */
export async function ensure<K extends KindName>(client: Client, kind: K, object: NewObject<K>): Promise<boolean> {
  try {
    await client.create(kind, object)
    return true
  } catch (error) {
    if (error instanceof ApiError && error.reason === 'AlreadyExists') return false
    throw error
  }
}

/** A join token for software keys; returns `id.secret`. The hub learns the secret's hash alone. */
export async function createJoinToken(
  client: Client,
  name: string,
  spec: Partial<SpecFor<'JoinToken'>>,
  nowMs: number,
): Promise<string> {
  const secret = randomBytes(20).toString('hex')
  const full: SpecFor<'JoinToken'> = {
    secretSha256: createHash('sha256').update(secret).digest('hex'),
    expiresAt: new Date(nowMs + 86_400_000).toISOString(),
    maxUses: 10,
    classes: ['software-key'],
    acceptance: 'Automatic',
    ...spec,
  }
  await client.create('JoinToken', { metadata: { name }, spec: full })
  return `${name}.${secret}`
}

/** Looks every 100 ms until `find` gives something; an error that names what did not come after the deadline. */
export async function eventually<T>(
  find: () => Promise<T | undefined | false>,
  what: string,
  deadlineMs: number,
): Promise<T> {
  const end = performance.now() + deadlineMs
  for (;;) {
    const found = await find()
    if (found !== undefined && found !== false) return found
    if (performance.now() > end) throw new Error(`${what} did not come within ${deadlineMs / 1000} s`)
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
}
