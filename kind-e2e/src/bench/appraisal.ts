import { generateKeyPairSync, sign, verify } from 'node:crypto'
import { availableParallelism, loadavg } from 'node:os'
import { appraise } from '@skerry/policy'
import { recordedBoots } from './fixture.ts'

// Whole appraisals on one core, from base64 to the verdict. Nothing is kept from one to the next, as a hub keeps nothing
// between two boots: each reads its AK anew, checks the quote, parses and replays the log, holds it to its grammar, and
// compares with manifest and profile.

const GOAL_PER_SECOND = 3_000
const WARM_UP_MS = 3_000
const VERIFICATIONS_A_ROUND = 100

export function benchAppraisal({
  seconds,
  nodes,
  say,
}: {
  seconds: number
  nodes: number
  say: (sentence: string) => void
}) {
  say(`${nodes} machines boot: each has a key of its own and quotes a recorded log`)
  const boots = recordedBoots(nodes)
  const round = (): number => {
    for (const { evidence, nonce, tpm } of boots) {
      const { verdict, reason } = appraise(evidence, { nonce, tpm })
      if (verdict !== 'affirming') throw new Error(`a good boot was judged ${verdict}: ${reason}`)
    }
    return boots.length
  }
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const signed = Buffer.from('what a machine can do')
  const signature = sign('sha256', signed, privateKey)
  const verifications = (): void => {
    for (let nth = 0; nth < VERIFICATIONS_A_ROUND; nth++)
      if (!verify('sha256', signed, publicKey, signature)) throw new Error('a good signature was refused')
  }
  // The compiler's time is not the judge's, and it works beside him for seconds.
  const warmUntil = performance.now() + WARM_UP_MS
  while (performance.now() < warmUntil) round()
  const spentS = (since: NodeJS.CpuUsage) => {
    const { user, system } = process.cpuUsage(since)
    return (user + system) / 1e6
  }
  const startedAt = performance.now()
  let [appraised, cpuS, best] = [0, 0, 0]
  let [verified, verifyingS] = [0, 0]
  while (performance.now() - startedAt < seconds * 1_000) {
    const before = process.cpuUsage()
    const done = round()
    const spent = spentS(before)
    appraised += done
    cpuS += spent
    best = Math.max(best, done / spent)
    const then = process.cpuUsage()
    verifications()
    verified += VERIFICATIONS_A_ROUND
    verifyingS += spentS(then)
  }
  return {
    bench: 'appraisal',
    appraised,
    wallS: Number(((performance.now() - startedAt) / 1_000).toFixed(2)),
    cpuS: Number(cpuS.toFixed(2)),
    perSecondOfOneCore: Math.round(appraised / cpuS),
    // What the same work costs while nothing else is on this machine's caches: how far the rest is its neighbours.
    bestRoundPerSecond: Math.round(best),
    goalPerSecond: GOAL_PER_SECOND,
    // What the machine does meanwhile of what it is bound by: one signature of P-256 and SHA-256, its key read before.
    verificationsPerSecond: Math.round(verified / verifyingS),
    counts:
      'whole appraisals: AK, quote, log, replay, grammar, facts, manifest and profile; nothing is kept between two',
    machines: nodes,
    maxRssMb: Math.round(process.resourceUsage().maxRSS / 1024),
    cores: availableParallelism(),
    loadAverage: loadavg().map((one) => Number(one.toFixed(1))),
  }
}
