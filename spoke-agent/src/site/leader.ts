import { comparePositions, type DesiredState, type OSImageManifest, Refusal, TIMELINE_AHEAD_MS } from '@skerry/api'
import { admit, type Memory, planSite, type Target, targetOf } from '@skerry/policy'
import { keysInForce, sha256Hex, type Trust, verifyDocument } from '@skerry/trust'
import type { Logger } from 'pino'
import type { Outbox } from '../outbox/outbox.ts'
import { reasonOf } from '../reason.ts'
import type { Enrollment } from '../registration/enrollment.ts'
import type { Bus, EdgeSite } from '../store/bus.ts'
import type { Clock } from '../store/clock.ts'
import type { Database } from '../store/database.ts'
import { makeBell } from '../waits.ts'
import { openRefusals } from './refusals.ts'

// Reads what the site shall be, believes it or not, and gives its nodes their turn. Order: receive, verify, store with the
// statement about it, and only then let anybody act.

export type LeaderOptions = {
  readonly enrollment: Enrollment
  readonly database: Database
  readonly bus: Bus
  readonly outbox: Outbox
  readonly trust: Trust
  /** The newest desired state's text; undefined when there is none or nobody answers. */
  readonly fetchDesired: () => Promise<string | undefined>
  readonly hardwareId: string
  /** The release counter below which the machine's TPM says that nothing goes; undefined where it holds none. */
  readonly tpmFloor: () => number | undefined
  readonly measuresBoot: boolean
  readonly pollMs: number
  /** The wall clock: windows are judged by it, in the site's own zone, and waves. */
  readonly now: () => number
  /** For what expires, with its floor of signed time. */
  readonly clock: Clock
  readonly log: Logger
  readonly signal: AbortSignal
}

const PLAN_MS = 1_000
const REFRESH_MS = 15 * 60_000
/** What waits is looked at again after this, and after twice as long each time up to the poll. */
const FIRST_RETRY_MS = 1_000

export type Leader = { readonly done: Promise<void> /** Something may be new. */; hint(): void }

export function startLeader(options: LeaderOptions): Leader {
  const { bus, database, outbox, log, signal, now, clock, trust } = options
  const refusals = openRefusals({ database, outbox, log, monotonicMs: () => performance.now() })
  const bell = makeBell()
  let look = true
  let pollAtMs = 0
  let refreshAtMs = 0
  let waited = 0
  bus.onChange(bell.ring)

  const done = (async () => {
    while (!signal.aborted) {
      // Pauses are not the wall clock's: one that jumps back by years must not stop the looking.
      const nowMs = performance.now()
      if (look || nowMs >= pollAtMs) {
        look = false
        pollAtMs = nowMs + options.pollMs * (0.75 + Math.random() / 2)
        const settled = await receive().catch((error: unknown) => {
          log.warn({ reason: reasonOf(error) }, 'desired state could not be looked at')
          return false
        })
        waited = settled ? 0 : waited + 1
        if (!settled) {
          const pauseMs = FIRST_RETRY_MS * 2 ** Math.min(waited - 1, 16) * (0.5 + Math.random())
          pollAtMs = Math.min(pollAtMs, nowMs + pauseMs)
        }
      }
      try {
        if (nowMs >= refreshAtMs) {
          refreshAtMs = nowMs + REFRESH_MS * (0.75 + Math.random() / 2)
          await refreshTrust()
        }
        tellInThisChapter()
        plan()
      } catch (error) {
        log.error({ err: error }, 'what this site shall do could not be kept and is looked at again')
      }
      await bell.wait(PLAN_MS, signal)
    }
  })()

  // Whether there is nothing left to be judged: accepted, refused for good, or nothing new.
  async function receive(): Promise<boolean> {
    const jws = await options.fetchDesired()
    if (jws === undefined) return true
    const held = bus.site()
    if (held?.jws === jws) return true
    const digest = sha256Hex(jws)
    let document: DesiredState | undefined
    try {
      const verified = await verify(jws)
      document = verified.payload
      clock.heard({ role: 'desiredState', by: verified.thumbprint, atMs: Date.parse(document.issuedAt) })
      // A place in the far future would be the last one this site ever takes.
      if (document.timeline * 1_000 > Date.parse(document.issuedAt) + TIMELINE_AHEAD_MS)
        throw new Refusal(
          'InvalidField',
          `timeline ${document.timeline} begins after ${document.issuedAt}, when it was signed`,
          { field: 'timeline' },
        )
      if (held && !isNewer(document, verified.digest, held)) return true
      // What it leads to has to be told and proven: not begun where there is no room for that.
      const full = outbox.full()
      if (full) throw full
      const admitted = await judge(document)
      store(jws, document, verified.digest, admitted)
      log.info({ timeline: document.timeline, generation: document.generation }, 'desired state accepted')
      return true
    } catch (error) {
      if (!(error instanceof Refusal)) throw error
      const place = document && { position: { timeline: document.timeline, generation: document.generation } }
      refusals.tell(error, { document: 'DesiredState', digest, ...place })
      // What cannot be judged now may be judged later.
      return error.retry === 'never'
    }
  }

  async function verify(jws: string) {
    const keys = () => keysInForce(trust.hub().keys.desiredState, clock.now())
    const aud = options.enrollment.cluster
    try {
      return await verifyDocument('DesiredState', jws, keys(), { aud })
    } catch (error) {
      if (!(error instanceof Refusal) || error.code !== 'UnknownKey') throw error
      // A key nobody told us of: hub.json may have it by now. Judged once more, and then it is so.
      await refreshTrust()
      return verifyDocument('DesiredState', jws, keys(), { aud })
    }
  }

  // An older or repeated order changes nothing; the same place with other contents is a fault to report.
  function isNewer(document: DesiredState, digest: string, held: EdgeSite): boolean {
    if (document.cluster !== options.enrollment.cluster)
      throw new Refusal('WrongAudience', `this is ${options.enrollment.cluster}`)
    // A place that nobody could name by what counts as time now is that of a key which named the future and counts no more.
    if (held.holds.timeline * 1_000 > clock.now() + TIMELINE_AHEAD_MS) return true
    const order = comparePositions(document, held.holds)
    if (order < 0)
      throw new Refusal(
        'OlderPosition',
        `(${document.timeline}, ${document.generation}) is older than (${held.holds.timeline}, ${held.holds.generation})`,
      )
    if (order === 0 && digest !== held.holds.digest)
      throw new Refusal('PositionReused', 'the same timeline and generation as the one held, with other contents')
    return order > 0
  }

  async function judge(document: DesiredState): Promise<Pick<EdgeSite, 'manifest' | 'target'>> {
    if (!document.image) return {}
    const { target: path, sha256 } = document.image
    const held = bus.site()
    // Expired metadata blocks new installs; what was verified while it was valid is not asked again.
    const known = held?.manifest && held.document.image?.sha256 === sha256 ? held.manifest : undefined
    const manifest = known ?? (await trustedManifest(path, sha256))
    const refusal = admission(manifest, document, bus.node().state.memory)
    if (refusal) throw refusal
    const target = { ...targetOf(document, manifest, sha256), ...signedOf(manifest.boot) }
    return { manifest, target }
  }

  function admission(manifest: OSImageManifest, document: DesiredState, memory: Memory): Refusal | undefined {
    const { hardwareId, measuresBoot } = options
    const tpmFloor = options.tpmFloor()
    return admit(manifest, document, { hardwareId, memory, tpmFloor, measuresBoot, appliesWorks: false })
  }

  async function trustedManifest(path: string, sha256: string) {
    try {
      return await trust.manifest(path, sha256, clock.now(), signal)
    } catch (error) {
      if (
        !(error instanceof Refusal) ||
        (error.code !== 'TargetUnknown' && error.code !== 'ManifestMismatch' && error.code !== 'MetadataExpired')
      )
        throw error
      await refreshTrust()
      return trust.manifest(path, sha256, clock.now(), signal)
    }
  }

  function store(
    jws: string,
    document: DesiredState,
    digest: string,
    admitted: Pick<EdgeSite, 'manifest' | 'target'>,
  ): void {
    const { timeline, generation } = document
    database.transact(() => {
      const toldIn = outbox.chapter()
      bus.saveSite({ jws, document, holds: { timeline, generation, digest }, ...admitted, toldIn })
      outbox.append({ kind: 'accepted', body: { timeline, generation, digest } })
    })
  }

  // Another life of this node is another chain, in which nobody has said yet what this site holds. Nor has anybody where
  // what said it may be lost.
  function tellInThisChapter(): void {
    const held = bus.site()
    const toldIn = outbox.chapter()
    if (!held || held.toldIn === toldIn) return
    database.transact(() => {
      bus.saveSite({ ...held, toldIn })
      outbox.append({ kind: 'accepted', body: held.holds })
    })
  }

  async function refreshTrust(): Promise<void> {
    const byMs = clock.now()
    try {
      for (const lie of await trust.refresh(byMs, signal)) metadataRefused(lie)
    } catch (error) {
      // A floor that a stolen key set may call everything expired. What the offline keys have signed since, and is good by
      // the machine's clock, is read all the same: it says which keys count. Nothing is installed on it below the floor.
      if (byMs > now() && isExpired(error) && (await readBelowFloor()) && clock.now() < byMs) return
      metadataRefused(error)
    }
  }

  async function readBelowFloor(): Promise<boolean> {
    try {
      for (const lie of await trust.refresh(now(), signal)) metadataRefused(lie)
      return true
    } catch (error) {
      if (!isExpired(error)) metadataRefused(error)
      return false
    }
  }

  // A link that is down is waited for; what is wrong, or too old, is told. The set in force stays.
  function metadataRefused(error: unknown): void {
    log.warn({ reason: reasonOf(error) }, 'trust metadata could not be refreshed')
    if (!(error instanceof Refusal) || error.code === 'MetadataUnavailable') return
    refusals.tell(error, { document: 'Metadata', digest: sha256Hex(`${error.code} ${error.message}`) })
  }

  function plan(): void {
    const site = bus.site()
    if (!site) return
    const { stage, memory } = bus.node().state
    const { node } = options.enrollment
    // Asked again before anything is activated: what was admitted when it came may not be any more.
    const refusal =
      stage.phase === 'Staged' && site.manifest
        ? (admission(site.manifest, site.document, memory) ?? outbox.full())
        : undefined
    const next = refusal
      ? { turns: [], hold: [{ node, reason: refusal.code, message: refusal.message }] }
      : planSite(site.document, [{ node, phase: stage.phase }], now())
    const staged = stage.phase === 'Staged' ? { staged: stage.target.position } : {}
    const plan = { ...next, ...staged }
    if (JSON.stringify(plan) !== JSON.stringify(site.plan ?? {})) bus.saveSite({ ...site, plan })
  }

  return {
    done,
    hint() {
      look = true
      bell.ring()
    },
  }
}

function isExpired(error: unknown): boolean {
  return error instanceof Refusal && error.code === 'MetadataExpired'
}

/** Who signed an image, where its manifest says so whole. */
function signedOf(boot: OSImageManifest['boot']): Pick<Target, 'signed'> {
  if (boot.kind !== 'uki') return {}
  const { signers, certificates, measured } = boot
  const authenticodeSha256 = measured.sha256?.applications.uki
  return certificates && authenticodeSha256 ? { signed: { authenticodeSha256, signers, certificates } } : {}
}
