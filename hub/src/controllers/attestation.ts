import { parse, Statement, type StatementRef } from '@skerry/api'
import { appraise } from '@skerry/policy'
import { evidenceNonce } from '@skerry/trust'
import { appendResults, type NewResult, unjudgedEvidence } from '../store/attestations.ts'
import { type NewEvent, recordEvents } from '../store/events.ts'
import { writeFenced } from '../store/leases.ts'
import { wake } from '../store/wake.ts'
import type { Controller } from './run.ts'

const BATCH = 500

/**
 * Judges every boot's evidence once. An exception leaves no verdict: nothing good is kept from before, what stands behind
 * is judged all the same, and the evidence is set aside: told once, in the log and as an event of its node, and left in the
 * queue for a hub that starts later and may know how.
 */
export function attestationController(): Controller {
  const aside = new Set<string>()
  return {
    name: 'attestation',
    async reconcile({ store, lease, log }) {
      let after: StatementRef | undefined
      for (;;) {
        const found = await unjudgedEvidence(store.sql, BATCH, after)
        const results: NewResult[] = []
        const unjudged = new Map<string, { readonly ref: StatementRef; readonly error: unknown }>()
        for (const { ref, text } of found) {
          const place = `${ref.cluster}/${ref.node} ${ref.incarnation}.${ref.seq}`
          if (aside.has(place)) continue
          try {
            results.push(judge(ref, text))
          } catch (error) {
            unjudged.set(place, { ref, error })
          }
        }
        if (results.length + unjudged.size > 0)
          await writeFenced(store, lease, async (tx) => {
            await recordEvents(
              tx,
              [...unjudged.values()].map(({ ref, error }) => unjudgedEvent(ref, error)),
            )
            if (results.length === 0) return
            await appendResults(tx, results)
            await wake(tx, 'attestation')
          })
        for (const [place, { ref, error }] of unjudged) {
          aside.add(place)
          log.error({ err: error, ...ref }, 'evidence could not be judged and is set aside until a hub starts again')
        }
        after = found.at(-1)?.ref
        if (found.length < BATCH) break
      }
      return {}
    },
  }
}

function unjudgedEvent({ cluster, node, incarnation, seq }: StatementRef, error: unknown): NewEvent {
  const why = (error instanceof Error ? error.message : String(error)).slice(0, 1_000)
  return {
    type: 'Warning',
    reason: 'EvidenceUnjudged',
    message: `evidence ${incarnation}.${seq} could not be judged and has no verdict: ${why}`,
    component: 'attestation',
    regarding: { kind: 'EdgeNode', namespace: cluster, name: node },
  }
}

function judge({ digest: _, ...ref }: StatementRef, text: string): NewResult {
  const statement = parse(Statement, JSON.parse(text), 'statement')
  if (statement.kind !== 'evidence') throw new Error(`it is a statement of kind ${statement.kind}`)
  const { body, marker, seq, prev } = statement
  return {
    ...ref,
    bootId: body.bootId,
    evidence: body,
    ...appraise(body, { nonce: evidenceNonce(marker, seq, prev) }),
  }
}
