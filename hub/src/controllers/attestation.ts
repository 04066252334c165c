import { parse, Statement, type StatementRef } from '@skerry/api'
import { appraise } from '@skerry/policy'
import { evidenceNonce } from '@skerry/trust'
import { appendResults, type NewResult, unjudgedEvidence } from '../store/attestations.ts'
import { writeFenced } from '../store/leases.ts'
import { wake } from '../store/wake.ts'
import type { Controller } from './run.ts'

const BATCH = 500

/**
 * Judges every boot's evidence once. An exception leaves no verdict: nothing good is kept from before, the evidence stays
 * in the queue, and what stands behind it is judged all the same.
 */
export function attestationController(): Controller {
  return {
    name: 'attestation',
    async reconcile({ store, lease }) {
      const faults: Error[] = []
      let after: StatementRef | undefined
      for (;;) {
        const found = await unjudgedEvidence(store.sql, BATCH, after)
        const results: NewResult[] = []
        for (const { ref, text } of found)
          try {
            results.push(judge(ref, text))
          } catch (cause) {
            const place = `${ref.cluster}/${ref.node} ${ref.incarnation}.${ref.seq}`
            faults.push(new Error(`evidence ${place} could not be judged`, { cause }))
          }
        if (results.length > 0)
          await writeFenced(store, lease, async (tx) => {
            await appendResults(tx, results)
            await wake(tx, 'attestation')
          })
        after = found.at(-1)?.ref
        if (found.length < BATCH) break
      }
      if (faults.length > 0) throw new AggregateError(faults, `${faults.length} statements could not be judged`)
      return {}
    },
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
