import { parse, Statement } from '@skerry/api'
import { appraise } from '@skerry/policy'
import { evidenceNonce } from '@skerry/trust'
import { appendResults, unjudgedEvidence } from '../store/attestations.ts'
import { writeFenced } from '../store/leases.ts'
import { wake } from '../store/wake.ts'
import type { Controller } from './run.ts'

const BATCH = 500

/** Judges every boot's evidence once. An exception leaves no verdict: nothing good is kept from before. */
export function attestationController(): Controller {
  return {
    name: 'attestation',
    async reconcile({ store, lease, now }) {
      const found = await unjudgedEvidence(store.sql, BATCH)
      if (found.length === 0) return {}
      const results = found.flatMap(({ ref: { digest: _, ...ref }, text }) => {
        const statement = parse(Statement, JSON.parse(text), 'statement')
        if (statement.kind !== 'evidence') return []
        const nonce = evidenceNonce(statement.marker, statement.seq, statement.prev)
        return [
          { ...ref, bootId: statement.body.bootId, evidence: statement.body, ...appraise(statement.body, { nonce }) },
        ]
      })
      await writeFenced(store, lease, async (tx) => {
        await appendResults(tx, results)
        await wake(tx, 'attestation')
      })
      return found.length === BATCH ? { recheckAtMs: now() } : {}
    },
  }
}
