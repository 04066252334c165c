import { comparePositions, type DesiredState, Refusal } from '@skerry/api'
import { admit, planSite, type Target } from '@skerry/policy'
import { keysInForce, sha256Hex, type Trust, verifyDocument } from '@skerry/trust'
import type { Logger } from 'pino'
import type { Outbox } from '../outbox/outbox.ts'
import type { Enrollment } from '../registration/enrollment.ts'
import type { Bus, EdgeSite } from '../store/bus.ts'
import type { Database } from '../store/database.ts'
import { makeBell } from '../store/pause.ts'

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
  readonly measuresBoot: boolean
  readonly pollMs: number
  readonly now: () => number
  readonly log: Logger
  readonly signal: AbortSignal
}

const PLAN_MS = 1_000
const REFRESH_MS = 15 * 60_000

export type Leader = { readonly done: Promise<void> /** Something may be new. */; hint(): void }

export function startLeader(options: LeaderOptions): Leader {
  const { bus, log, signal, now, trust } = options
  const bell = makeBell()
  let look = true
  let pollAtMs = 0
  let refreshAtMs = 0
  const refused = new Set<string>()
  bus.onChange(bell.ring)

  const done = (async () => {
    while (!signal.aborted) {
      const nowMs = now()
      if (look || nowMs >= pollAtMs) {
        look = false
        pollAtMs = nowMs + options.pollMs * (0.75 + Math.random() / 2)
        await receive().catch((error: unknown) =>
          log.warn(
            { reason: error instanceof Error ? error.message : String(error) },
            'desired state could not be looked at',
          ),
        )
      }
      if (nowMs >= refreshAtMs) {
        refreshAtMs = nowMs + REFRESH_MS * (0.75 + Math.random() / 2)
        await trust
          .refresh(nowMs, signal)
          .catch((error: unknown) =>
            log.info(
              { reason: error instanceof Error ? error.message : String(error) },
              'trust metadata could not be refreshed',
            ),
          )
      }
      plan()
      await bell.wait(PLAN_MS, signal)
    }
  })()

  async function receive(): Promise<void> {
    const jws = await options.fetchDesired()
    if (jws === undefined) return
    const held = bus.site()
    if (held?.jws === jws && held.target) return
    const digest = sha256Hex(jws)
    let document: DesiredState | undefined
    try {
      const verified = await verify(jws)
      document = verified.payload
      if (held && !isNewer(document, verified.digest, held)) return
      const admitted = await judge(document)
      store(jws, document, verified.digest, admitted)
      log.info({ timeline: document.timeline, generation: document.generation }, 'desired state accepted')
    } catch (error) {
      if (!(error instanceof Refusal)) throw error
      // What cannot be judged now may be judged later; what is wrong in itself is said once.
      if (error.retry === 'later') {
        log.warn({ code: error.code, reason: error.message }, 'desired state waits')
        look = true
        return
      }
      refuse(error, digest, document)
    }
  }

  async function verify(jws: string) {
    const keys = () => keysInForce(trust.hub().keys.desiredState, now())
    const aud = options.enrollment.cluster
    try {
      return await verifyDocument('DesiredState', jws, keys(), { aud })
    } catch (error) {
      if (!(error instanceof Refusal) || error.code !== 'UnknownKey') throw error
      // A key nobody told us of: hub.json may have it by now. Judged once more, and then it is so.
      await trust.refresh(now(), signal)
      return verifyDocument('DesiredState', jws, keys(), { aud })
    }
  }

  // An older or repeated order changes nothing; the same place with other contents is a fault to report.
  function isNewer(document: DesiredState, digest: string, held: EdgeSite): boolean {
    if (document.cluster !== options.enrollment.cluster)
      throw new Refusal('WrongAudience', `this is ${options.enrollment.cluster}`)
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
    const refusal = admit(manifest, document, {
      hardwareId: options.hardwareId,
      memory: bus.node().state.memory,
      measuresBoot: options.measuresBoot,
      appliesWorks: false,
    })
    if (refusal) throw refusal
    const target: Target = {
      position: { timeline: document.timeline, generation: document.generation },
      manifestSha256: sha256,
      imageSha256: manifest.image.sha256,
      imageLength: manifest.image.length,
      version: manifest.version,
      releaseCounter: manifest.releaseCounter,
      gates: document.gates,
    }
    return { manifest, target }
  }

  async function trustedManifest(path: string, sha256: string) {
    try {
      return await trust.manifest(path, sha256, now(), signal)
    } catch (error) {
      if (
        !(error instanceof Refusal) ||
        (error.code !== 'TargetUnknown' && error.code !== 'ManifestMismatch' && error.code !== 'MetadataExpired')
      )
        throw error
      await trust.refresh(now(), signal)
      return trust.manifest(path, sha256, now(), signal)
    }
  }

  function store(
    jws: string,
    document: DesiredState,
    digest: string,
    admitted: Pick<EdgeSite, 'manifest' | 'target'>,
  ): void {
    const { timeline, generation } = document
    options.database.transact(() => {
      bus.saveSite({ jws, document, holds: { timeline, generation, digest }, ...admitted })
      options.outbox.append({ kind: 'accepted', body: { timeline, generation, digest } })
    })
  }

  function refuse(refusal: Refusal, digest: string, document: DesiredState | undefined): void {
    if (refused.has(digest)) return
    refused.add(digest)
    log.warn({ code: refusal.code, reason: refusal.message }, 'desired state refused')
    const position = document ? { position: { timeline: document.timeline, generation: document.generation } } : {}
    options.outbox.append({
      kind: 'refused',
      body: {
        document: 'DesiredState',
        code: refusal.code,
        message: refusal.message.slice(0, 1_000),
        digest,
        ...position,
      },
    })
  }

  function plan(): void {
    const site = bus.site()
    if (!site) return
    const next = planSite(
      site.document,
      [{ node: options.enrollment.node, phase: bus.node().state.stage.phase }],
      now(),
    )
    if (JSON.stringify(next) !== JSON.stringify(site.plan ?? {})) bus.saveSite({ ...site, plan: next })
  }

  return {
    done,
    hint() {
      look = true
      bell.ring()
    },
  }
}
