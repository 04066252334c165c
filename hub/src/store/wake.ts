import type { Sql, TransactionSql } from 'postgres'

// A hint that rows of a topic changed, so that whoever derives something from them looks sooner. Losing one costs the
// time until the next look, nothing else: no reader may rely on it.

const CHANNEL = 'skerry_wake'
const TOPICS = ['statement', 'assignment', 'desired-state', 'attestation', 'identity', 'rollout-act'] as const
export type Topic = (typeof TOPICS)[number]

/** Sent when the transaction commits; PostgreSQL folds equal hints of one transaction into one. */
export async function wake(tx: TransactionSql, topic: Topic): Promise<void> {
  await tx`select pg_notify(${CHANNEL}, ${topic})`
}

/** Calls `listener` for every hint until `stop()`. Survives lost connections; after a reconnect it hints at everything. */
export async function onWake(sql: Sql, listener: (topic: Topic) => void): Promise<{ stop(): Promise<void> }> {
  const listening = await sql.listen(
    CHANNEL,
    (text) => {
      const topic = TOPICS.find((known) => known === text)
      if (topic) listener(topic)
    },
    () => {
      for (const topic of TOPICS) listener(topic)
    },
  )
  return { stop: () => listening.unlisten() }
}
