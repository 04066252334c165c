import type { NatsConnection } from '@nats-io/transport-node'
import type { Logger } from 'pino'

// nats-server counts connections of an account and never of one user: with one credential a site, or whoever stole it,
// could take every place. The system account hears of each connection, so the hub counts.

/** A node needs one; a second while it takes up a new credential, and a few that died and are not missed yet. */
export const MAX_CONNECTIONS = 8
const KICK_MS = 5_000
const QUIET_MS = 60_000
const REMEMBERED = 10_000

type Told = {
  readonly server: { readonly id: string }
  readonly client: { readonly id: number; readonly user: string }
}

/** Ends every connection of a user of this account beyond the eighth. Counts from now on, and anew after a reconnect: what was there before is not ended. */
export function endCrowds({
  system,
  account,
  log,
  now,
}: {
  system: NatsConnection
  account: string
  log: Logger
  now: () => number
}): void {
  const open = new Map<string, Set<string>>()
  const warnedAtMs = new Map<string, number>()
  const hear = (what: 'CONNECT' | 'DISCONNECT', act: (told: Told, place: string) => void) =>
    system.subscribe(`$SYS.ACCOUNT.${account}.${what}`, {
      callback(error, message) {
        if (error) return log.error({ err: error }, 'connections of nodes are not counted')
        const told = message.json<Told>()
        act(told, `${told.server.id}/${told.client.id}`)
      },
    })
  hear('CONNECT', ({ server, client }, place) => {
    const mine = open.get(client.user) ?? new Set()
    open.set(client.user, mine.add(place))
    if (mine.size <= MAX_CONNECTIONS) return
    // A request and no message: without a place to answer to, the server does nothing.
    void system
      .request(`$SYS.REQ.SERVER.${server.id}.KICK`, JSON.stringify({ cid: client.id }), { timeout: KICK_MS })
      .catch((error: unknown) => log.warn({ err: error, natsKey: client.user }, 'a connection too many was not ended'))
    if (now() - (warnedAtMs.get(client.user) ?? Number.NEGATIVE_INFINITY) < QUIET_MS) return
    warnedAtMs.set(client.user, now())
    const [oldest] = warnedAtMs.keys()
    if (warnedAtMs.size > REMEMBERED && oldest !== undefined) warnedAtMs.delete(oldest)
    log.warn(
      { natsKey: client.user, most: MAX_CONNECTIONS },
      'a node has more connections than it may; the newest are ended. Whose natsKey it is says "skerry get registrations -o json"; "skerry node rotate" ends a stolen one',
    )
  })
  hear('DISCONNECT', ({ client }, place) => {
    const mine = open.get(client.user)
    mine?.delete(place)
    if (mine?.size === 0) open.delete(client.user)
  })
  void (async () => {
    for await (const { type } of system.status()) if (type === 'reconnect') open.clear()
  })()
}
