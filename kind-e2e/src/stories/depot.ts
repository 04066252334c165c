import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { HardwareProfile, OSImageManifest, Statement } from '@skerry/api'
import { FAMILY, HARDWARE_ID, type Release } from '@skerry/demo'
import { statementsOf } from '../chain.ts'
import type { Userland } from '../machine/initramfs.ts'
import { type Judged, judged, promisedPcrs } from '../machine/judged.ts'
import type { Parts } from '../machine/parts.ts'
import { hardwareProfile } from '../machine/profile.ts'
import { ukiRelease } from '../machine/release.ts'
import { type MachineSite, type MachineSiteOptions, openMachineSite } from '../machine/site.ts'
import { buildUki } from '../machine/uki.ts'
import type { World } from '../world.ts'

// A depot: a site whose one UEFI machine registers by its TPM, as the stories of machines begin.

export const NAME = 'depot-a'
/** What a boot of it is worth to the hub: its TPM proves it. */
export const WORTH = { class: 'tpm', verdict: 'affirming' } as const
/** An emulated machine on a computer that others use too: what takes a minute where nobody else computes. */
export const STEP_MS = 600_000
/** A rollout to it that counts nothing less, and stops at the first failure. */
export const TERMS = {
  strategy: { type: 'Progressive', progressive: { maxConcurrency: 1, maxFailures: 0 } },
  // Longer than the watchdog waits, so that it is the machine that ends a try and not the agent's patience.
  gates: { healthySeconds: 5, timeoutSeconds: 900 },
  attestation: WORTH.verdict,
} as const

/** How long its userspace may be unwell, and who signs it. */
type Making = { readonly watchdogS?: number; readonly sign?: (uki: Uint8Array) => Uint8Array }

/** Image n as it is published. */
export function imageOf(
  world: World,
  parts: Parts,
  n: number,
  { watchdogS, sign = (uki) => uki, ...userland }: Partial<Userland> & Making = {},
): Release {
  const version = String(n)
  return ukiRelease(join(world.dir, 'images'), {
    family: FAMILY,
    version,
    releaseCounter: n,
    hardwareIds: [HARDWARE_ID],
    uki: sign(buildUki(parts, { id: FAMILY, version, healthy: true, ...userland }, watchdogS)),
    bootLoader: parts.bootLoader,
  })
}

export type Depot = MachineSite & { readonly profile: HardwareProfile }

/** A machine that is off, on whose ESP lies image 1; that image and its kind are published. */
export async function openDepot(
  world: World,
  parts: Parts,
  one: Release,
  { args = [], secureBoot, ...more }: Partial<Pick<MachineSiteOptions, 'args' | 'random' | 'secureBoot'>> = {},
): Promise<Depot> {
  const machine = world.take(
    await openMachineSite({
      name: NAME,
      dir: join(world.dir, 'machines', NAME),
      parts,
      images: { [`${FAMILY}_1.efi`]: readFileSync(one.file) },
      bundle: world.bundle,
      args: ['--hardware-id', HARDWARE_ID, '--tpm', 'auto', ...args],
      hubPort: () => Number(new URL(world.hub().apiUrl).port),
      natsPort: () => Number(new URL(world.hub().natsUrl).port),
      ...more,
      ...(secureBoot ? { secureBoot } : {}),
    }),
  )
  const profile = hardwareProfile(machine.tpm, secureBoot)
  await world.publishProfile(profile)
  await world.publish(one)
  return { ...machine, profile }
}

/** Starts it, and waits until the hub has let it in and judged its boot. */
export async function registers(world: World, depot: Depot, one: Release): Promise<void> {
  await depot.start()
  const boot = await depot.boot(1, STEP_MS)
  assert.deepEqual([boot.image, boot.version], [FAMILY, '1'])
  world.say(`${NAME} booted ${boot.entry}`)
  await runs(world, depot, one.manifest, `${FAMILY}-1`, boot.bootId)
  const { spec } = await world.client().get('Registration', NAME, NAME)
  world.say(`${NAME} registered, endorsed by ${spec.tpm?.endorsedBy}; ${FAMILY}-1 is ${WORTH.class}, ${WORTH.verdict}`)
}

/** This boot, of these bytes, is worth to the hub what it should be, by the very PCRs that were predicted of the image. */
export async function runs(
  world: World,
  depot: Depot,
  manifest: OSImageManifest,
  name: string,
  bootId: string,
): Promise<Judged> {
  const found = await judged(world.client(), depot, bootId, STEP_MS)
  assert.deepEqual([found.image?.sha256, found.image?.name], [manifest.image.sha256, name], 'what booted is on the ESP')
  const { verdict, findings, pcrs } = found.attestation
  assert.deepEqual([found.class, verdict], [WORTH.class, WORTH.verdict], JSON.stringify(findings))
  const measured = Object.fromEntries((pcrs ?? []).map(({ pcr, actual }) => [pcr, actual]))
  const secureBoot = depot.profile.secureBoot ? 'on' : 'off'
  for (const [pcr, value] of Object.entries(promisedPcrs(manifest, secureBoot)))
    assert.equal(measured[pcr], value, `PCR ${pcr} of boot ${bootId}`)
  return found
}

/** What it said, as far as the hub has it. */
export const said = async (world: World): Promise<Statement[]> =>
  (await statementsOf(world.client(), NAME)).map(({ statement }) => statement)

/** A rollout rests on a statement that the hub has. */
export async function assertSaid(world: World, reference: { seq: number; digest: string } | undefined): Promise<void> {
  assert.ok(reference, 'the rollout names the statement that it rests on')
  const found = (await statementsOf(world.client(), NAME)).find(({ told }) => told.seq === reference.seq)
  assert.equal(found?.told.digest, reference.digest, `statement ${reference.seq} is the one that was named`)
}
