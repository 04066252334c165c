import { existsSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { parse, SiteBundle } from '@skerry/api'
import { openTrust, parseStrictJson, type Trust, writeSecret } from '@skerry/trust'
import type { Logger } from 'pino'
import type { AgentConfig, DriverConfig } from './config.ts'
import type { Driver } from './drivers/driver.ts'
import { openSlots } from './drivers/slots.ts'
import { openUki } from './drivers/uki/index.ts'
import { healthBy, rebootBy } from './drivers/uki/reboot.ts'
import { openWritten } from './drivers/uki/written.ts'
import { live, type Place } from './life.ts'
import { keepSlots } from './node/slots.ts'
import { reasonOf } from './reason.ts'
import { type EnrollOptions, type Entry, enroll } from './registration/enroll.ts'
import { loadEnrollment } from './registration/enrollment.ts'
import { makeEntryPauses } from './registration/entries.ts'
import { tufSources } from './registration/http.ts'
import { nodeKeyIn, nodeKeyThumbprint } from './registration/node-key.ts'
import { AGENT_VERSION } from './status.ts'
import { openClock } from './store/clock.ts'
import { type Database, openDatabase } from './store/database.ts'
import { type Hardware, openHardware, type TpmTrouble, type TpmView, tpmPath } from './tpm/index.ts'

/**
 * Runs the agent until the signal. With an enrollment on disk it needs no hub to start. Rejects when a part of it fails
 * for a reason that no part foresaw: all it knows is on the disk, so whoever started it starts it again.
 */
export async function runAgent(config: AgentConfig, log: Logger, signal: AbortSignal): Promise<void> {
  const dataDir = resolve(config.dataDir)
  const now = () => Date.now()
  const database = openDatabase(dataDir)
  const bundle = openBundle(dataDir, config.bundleFile)
  let trust: Trust | undefined
  const clock = openClock(database, now, () => hubOf(trust)?.keys)
  const hubUrls = () =>
    config.hubUrls.length > 0 ? config.hubUrls : [...new Set([...(hubOf(trust)?.apiUrls ?? []), ...bundle.hubUrls])]
  trust = openTrust({
    dir: join(dataDir, 'tuf'),
    root: new TextEncoder().encode(bundle.root),
    pinned: bundle.acceptHub,
    sources: tufSources(hubUrls),
  })
  const entry = {
    ...{ dataDir, database, bundle, trust, hubUrls, log, signal },
    now: clock.now,
    hardware: openTpm(config, database, now, signal),
    facts: {
      nodeName: config.nodeName,
      hardwareId: config.hardwareId,
      claims: config.claims,
      agentVersion: AGENT_VERSION,
      ...(config.cluster ? { cluster: config.cluster } : {}),
    },
  }
  const driver = await openDriver(config.driver, dataDir, log)
  try {
    const place: Place = {
      ...{ config, entry, driver, clock, now },
      pauses: makeEntryPauses(),
      hub: () => hubOf(trust),
    }
    const enrolled = loadEnrollment(database)
    // An enrollment of a key that is gone can sign nothing.
    const belongs = enrolled !== undefined && enrolled.nodeKeyThumbprint === nodeKeyThumbprint(dataDir)
    let next = belongs ? undefined : await enterFirst(entry, driver)
    while (!signal.aborted) {
      next?.keep()
      const enrollment = loadEnrollment(database)
      if (!enrollment) throw new Error('the enrollment was not kept')
      const { cluster, node, class: class_, incarnation } = enrollment
      log.info({ cluster, node, class: class_, incarnation }, 'this node belongs')
      next = await live(place, enrollment)
    }
  } finally {
    await driver.close()
    database.close()
  }
}

/**
 * Enters, however long that takes. A node that waits to be let in has slots, too: they are looked at meanwhile, and not
 * waited for, because a disk that hangs must not keep the node from its hub.
 */
async function enterFirst(entry: EnrollOptions, driver: Driver): Promise<Entry> {
  const { database, log } = entry
  const entered = new AbortController()
  void keepSlots({ driver, database, log, signal: AbortSignal.any([entry.signal, entered.signal]) })
  try {
    return await enroll(entry)
  } finally {
    // From now on the executor looks, or nobody: the database is closed.
    entered.abort(new Error('the node waits no more'))
  }
}

/** The TPM that this node uses, with its last trouble kept for whoever asks for its status. */
function openTpm(
  { tpm, eventLog, dataDir }: AgentConfig,
  database: Database,
  now: () => number,
  signal: AbortSignal,
): Hardware | undefined {
  const path = tpmPath(tpm, nodeKeyIn(resolve(dataDir)))
  const at = path ?? null
  const keep = (trouble: TpmTrouble | undefined) => {
    const before = database.load<TpmView>('tpm')
    // Once a reason: each try would be another time, and another status.
    const same = trouble && sinceBefore(trouble, before?.trouble)
    const since = before?.path === at ? before.since : new Date(now()).toISOString()
    const kept: TpmView = { path: at, since, ...(same ? { trouble: same } : {}) }
    if (JSON.stringify(kept) !== JSON.stringify(before)) database.save('tpm', kept)
  }
  keep(database.load<TpmView>('tpm')?.trouble)
  if (path === undefined) return undefined
  return openHardware({ path, eventLog, now, signal, onTrouble: keep })
}

// The same reason lasts, whatever was tried when it was seen first.
function sinceBefore(trouble: TpmTrouble, before: TpmTrouble | undefined): TpmTrouble {
  if (trouble.code !== before?.code) return trouble
  return trouble.tried === before.tried ? before : { ...trouble, at: before.at }
}

async function openDriver(config: DriverConfig, dataDir: string, log: Logger): Promise<Driver> {
  if (config.name === 'slots') return openSlots({ dir: join(dataDir, 'slots'), factoryImage: config.factoryImage, log })
  return openUki({
    root: '/',
    esp: config.esp,
    dataDir,
    tries: config.bootTries,
    written: openWritten(join(dataDir, 'uki')),
    reboot: rebootBy(config.rebootCommand),
    healthy: config.healthCommand === undefined ? async () => true : healthBy(config.healthCommand),
  })
}

/** The trusted hub.json, where there is one. */
function hubOf(trust: Trust | undefined): ReturnType<Trust['hub']> | undefined {
  try {
    return trust?.hub()
  } catch {
    return undefined
  }
}

// The bundle is kept: whoever was given one hub follows no other, and a start needs no file from outside.
function openBundle(dataDir: string, file: string | undefined): SiteBundle {
  const kept = join(dataDir, 'bundle.json')
  const source = file ?? (existsSync(kept) ? kept : undefined)
  if (!source) throw new Error('this node belongs to no site yet: name its bundle with --bundle FILE')
  if (!existsSync(source))
    throw new Error(
      `there is no bundle ${source}: name with --bundle what "skerry join-token create --bundle FILE" wrote`,
    )
  const text = readFileSync(source)
  const bundle = bundleOf(text, source)
  if (file) writeSecret(kept, text.toString('utf8'))
  return bundle
}

function bundleOf(text: Uint8Array, source: string): SiteBundle {
  try {
    return parse(SiteBundle, parseStrictJson(text, { maxBytes: 1_048_576 }), source)
  } catch (cause) {
    throw new Error(`${source} is no bundle: ${reasonOf(cause)}`, { cause })
  }
}
