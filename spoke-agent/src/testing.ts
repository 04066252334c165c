import type { Enrollment } from './registration/enrollment.ts'

/** An enrollment for tests: who the node is when it is beside the point. */
export const enrollment: Enrollment = {
  cluster: 'shop-1',
  node: 'n1',
  incarnation: 1,
  class: 'software-key',
  routingToken: 'a'.repeat(26),
  acceptance: 'a.b.c',
  transcript: '0'.repeat(64),
  nodeKeyThumbprint: 't',
  natsKey: 'U',
  acceptedAt: '2026-06-01T12:00:00Z',
  credentialLifeMs: 90 * 86_400_000,
}

/** For what a test asks of NATS: the client's own deadline is a second, which a busy machine takes. */
export const IN_TIME = { timeout: 30_000 }

/** Of an agent's database: it has room for everything but the view of the slots. */
export const NO_ROOM = `create trigger no_room before insert on kept when new.name = 'slots'
  begin select raise(abort, 'database or disk is full'); end`
