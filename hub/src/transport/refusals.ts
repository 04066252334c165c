import { REFUSALS, type Refusal, type RefusedBody } from '@skerry/api'
import type { Logger } from 'pino'
import { makeQuiet, moreSince } from '../quiet.ts'
import { recordEvent } from '../store/events.ts'
import { suspendForked } from '../store/heads.ts'
import type { NewStatement } from '../store/statements.ts'
import { type Store, write } from '../store/store.ts'
import { wake } from '../store/wake.ts'
import type { Directory } from './reports.ts'

export type RefuserOptions = {
  readonly store: Store
  readonly directory: Directory
  readonly log: Logger
  readonly onRefused: (document: string, refusal: Refusal) => void
  readonly now: () => number
}

/**
 * Takes note of reports and heartbeats that were not believed: each is counted; each node's first of a code in a minute is an event, with
 * how many were kept quiet before it. A forked chain suspends the node, because two machines speak with one key.
 */
export function makeRefuser({ store, directory, log, onRefused, now }: RefuserOptions) {
  const turn = makeQuiet()

  async function refuse(document: 'report' | 'heartbeat', subject: string, refusal: Refusal): Promise<void> {
    onRefused(document, refusal)
    const [, cluster = 'unknown', node = 'unknown'] = subject.split('.')
    const since = turn(`${cluster}/${node}/${refusal.code}`, now())
    if (since === undefined && refusal.code !== 'ForkedChain') return
    log.warn({ document, subject, code: refusal.code, reason: refusal.message, since }, 'refused')
    await write(store, async (tx) => {
      if (refusal.code === 'ForkedChain' && (await suspendForked(tx, { cluster, node }))) await wake(tx, 'identity')
      if (since === undefined) return
      await recordEvent(tx, {
        type: 'Warning',
        reason: refusal.code,
        message: `${refusal.message.slice(0, 1_000)}${moreSince(since)}`,
        component: 'ingest',
        regarding: { kind: 'EdgeNode', namespace: cluster, name: node },
      })
    })
    if (refusal.code === 'ForkedChain') directory.forget()
  }

  // What a site has refused stands in its chain; this is for whoever looks at events. Its code is the site's word and no
  // more: those that it makes up share one turn.
  async function tellOfSite({ cluster, node, text }: NewStatement): Promise<void> {
    const { body } = JSON.parse(text) as { body: RefusedBody }
    const code = Object.hasOwn(REFUSALS, body.code) ? body.code : 'unknown'
    const since = turn(`${cluster}/${node}/site/${code}`, now())
    if (since === undefined) return
    log.warn(
      { cluster, node, document: body.document, code: body.code, reason: body.message, since },
      'refused by a site',
    )
    await write(store, (tx) =>
      recordEvent(tx, {
        type: 'Warning',
        reason: `SiteRefused${body.document}`,
        message: `${body.code}: ${body.message.slice(0, 1_000)}${moreSince(since)}`,
        component: 'ingest',
        regarding: { kind: 'EdgeNode', namespace: cluster, name: node },
      }),
    )
  }

  return { refuse, tellOfSite }
}
export type Refuser = ReturnType<typeof makeRefuser>
