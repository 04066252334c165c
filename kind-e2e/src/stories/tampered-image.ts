import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { eventually, FAMILY, type Release } from '@skerry/demo'
import { authenticodeDigest } from '@skerry/measured-boot'
import { transitionsOf } from '../chain.ts'
import { listEsp, readEsp, writeEsp } from '../machine/disk.ts'
import { judged } from '../machine/judged.ts'
import { bootsFolder, keepingBoots, verifyKept } from '../machine/kept.ts'
import { findParts } from '../machine/parts.ts'
import { HOST } from '../machine/site.ts'
import { buildUki } from '../machine/uki.ts'
import type { World } from '../world.ts'
import { type Depot, imageOf, NAME, openDepot, registers, STEP_MS, said, TERMS, WORTH } from './depot.ts'
import type { Story } from './story.ts'

const SECTOR = 512
/** Where the images lie on the ESP, and where the intruder hides the signed one. */
const [IMAGES, HIDDEN] = ['/EFI/Linux', '/EFI/signed']
/**
 * In the tampered image, in the place of Node: it puts the signed bytes where its own were, under whatever name the boot
 * loader has counted its file to, so that the agent finds on the ESP what was ordered, and says so in good faith.
 */
const INTRUDER = `#!/bin/sh
[ ! -e /efi${HIDDEN} ] || mv -f /efi${HIDDEN} /efi${IMAGES}/${FAMILY}_2*.efi
exec /bin/node "$@"
`

export const tamperedImage: Story = {
  name: 'tampered-image',
  tells:
    'bytes that differ by one from what was signed never get a name that boots; a machine that booted others says in its quote what they were, and does not count',
  async play(world) {
    const parts = findParts(world.say)
    await world.raise(0, [], [HOST])
    const [one, two] = [imageOf(world, parts, 1), imageOf(world, parts, 2)]
    const machine = await openDepot(world, parts, one)
    const reference = { manifests: [one.manifest, two.manifest], profile: machine.profile }
    const tampered = buildUki(parts, { id: FAMILY, version: '2', healthy: true, more: { 'sbin/node': INTRUDER } })
    await keepingBoots(world, machine, reference, async () => {
      await registers(world, machine, one)
      await world.publish(two)
      const name = await world.rollOut(2, TERMS)
      await refusesWhatDiffers(world, machine, two, name)
      await bootsTheTampered(world, machine, two, tampered)
      await isFoundOut(world, machine, two, tampered, name)
    })
    const kept = verifyKept(bootsFolder(world))
    assert.deepEqual(
      [...kept].map(([folder, { exitCode, verdict }]) => [folder, exitCode, verdict]),
      [
        ['1-1', 0, WORTH.verdict],
        ['2-2', 2, 'contraindicated'],
      ],
    )
    const findings = kept.get('2-2')?.findings ?? []
    assert.ok(
      findings.some(({ pcr, event, actual }) => pcr === 4 && event !== undefined && actual === digestOf(tampered)),
      `the PCR and the event are named: ${JSON.stringify(findings)}`,
    )
    for (const [folder, { secondOpinion }] of kept)
      assert.deepEqual(secondOpinion, [], `the quote of ${folder} is genuine, to tpm2-tools too`)
    world.say(`the kept evidence is ${WORTH.verdict} of 1-1 and contraindicated of 2-2 with no hub (exit code 2)`)
  },
}

async function refusesWhatDiffers(world: World, machine: Depot, two: Release, name: string): Promise<void> {
  const signed = readFileSync(two.file)
  // In the middle of what is packed, where no sector is like another.
  const at = Math.trunc(signed.length / 2)
  const differing = Buffer.from(signed)
  differing[at] = (differing[at] ?? 0) ^ 1
  const sector = (bytes: Buffer) => bytes.subarray(at - (at % SECTOR), at - (at % SECTOR) + SECTOR)
  const onDisk = (bytes: Buffer) => readFileSync(machine.espDisk).includes(sector(bytes))

  writeFileSync(world.blobFile(two), differing)
  const { sha256 } = two.manifest.image
  const refused = await eventually(
    async () => transitionsOf(await said(world), sha256).find(({ reason }) => reason === 'ImageMismatch'),
    `${NAME} saying that the image of ${name} is another`,
    STEP_MS,
  )
  assert.deepEqual([refused.from, refused.to], ['Staging', 'Staging'], refused.message)
  assert.deepEqual(listEsp(machine.espDisk), [`${FAMILY}_1.efi`], 'the ESP has no other name, as read from outside')
  assert.ok(!onDisk(differing), 'nor do these bytes lie on its disk under no name')
  const steps = transitionsOf(await said(world), sha256).map(({ to }) => to)
  assert.ok(!steps.includes('Staged') && !steps.includes('Activating'), `nothing was staged of it: ${steps.join(', ')}`)
  world.say(`one byte of ${name} differs at its source: "${refused.message}"; nothing of it is on the ESP`)

  writeFileSync(world.blobFile(two), signed)
  await machine.line((line) => line.includes('"machine":"reboot"') || undefined, `${name} armed`, STEP_MS)
  await machine.cut()
  assert.deepEqual(listEsp(machine.espDisk), [`${FAMILY}_1.efi`, ARMED])
  assert.equal(sha256Of(readEsp(machine.espDisk, `${IMAGES}/${ARMED}`)), sha256)
  assert.ok(onDisk(signed) && !onDisk(differing), 'the signed bytes are found there, and still not the others')
  world.say(`the source was put right: ${name} is armed, byte for byte what was signed`)
}

const ARMED = `${FAMILY}_2+3.efi`

/** Somebody with the disk in their hands, while the machine is off. */
async function bootsTheTampered(world: World, machine: Depot, two: Release, tampered: Uint8Array): Promise<void> {
  writeEsp(machine.espDisk, HIDDEN, readFileSync(two.file))
  writeEsp(machine.espDisk, `${IMAGES}/${ARMED}`, tampered)
  await machine.start()
  const boot = await machine.boot(2, STEP_MS)
  assert.deepEqual([boot.image, boot.version, boot.entry], [FAMILY, '2', ARMED])
  world.say(`its power was cut, ${ARMED} was replaced by a tampered image of the same version, and that booted`)
}

async function isFoundOut(
  world: World,
  machine: Depot,
  two: Release,
  tampered: Uint8Array,
  name: string,
): Promise<void> {
  const end = await world.rolloutUntil(name, 'Paused by a breach', ({ phase }) => phase === 'Paused', STEP_MS)
  const [cluster] = end.clusters ?? []
  assert.deepEqual([cluster?.state, cluster?.reason], ['Failed', 'AttestationContraindicated'])
  assert.match(cluster?.message ?? '', /PCR 9/, 'the rollout says by what')
  assert.equal(end.counts?.succeeded ?? 0, 0, 'it does not count')
  const steps = transitionsOf(await said(world), two.manifest.image.sha256)
  assert.deepEqual([steps.at(-1)?.to, steps.at(-1)?.reason], ['Idle', 'Confirmed'], 'its agent saw nothing amiss')

  const bootId = machine.boots()[1]?.bootId ?? ''
  const { image, attestation } = await judged(world.client(), machine, bootId, STEP_MS)
  assert.equal(image?.sha256, two.manifest.image.sha256, 'it says that it runs what was signed')
  assert.equal(attestation.verdict, 'contraindicated')
  const findings = attestation.findings ?? []
  const started = findings.find(({ code }) => code === 'UnknownApplication')
  assert.deepEqual([started?.pcr, started?.actual], [4, digestOf(tampered)], JSON.stringify(findings))
  assert.equal(typeof started?.event, 'number', 'the event of the log is named')
  const differ = findings.filter(({ code }) => code === 'PcrMismatch').map(({ pcr }) => pcr)
  assert.deepEqual(differ, [9, 11], 'its initrd and its sections are others; its command line is not')
  const told = (await world.client().list('Event', { namespace: NAME })).filter(
    ({ spec }) => spec.reason === 'BootContraindicated',
  )
  assert.equal(told.length, 1, 'people are told')
  await machine.turnOff(STEP_MS)
  assert.deepEqual(listEsp(machine.espDisk), [`${FAMILY}_1.efi`, `${FAMILY}_2.efi`])
  assert.equal(
    sha256Of(readEsp(machine.espDisk, `${IMAGES}/${FAMILY}_2.efi`)),
    two.manifest.image.sha256,
    'on its disk are signed bytes alone',
  )
  world.say(
    `its agent, and its disk, show ${name} as it was signed; the quote does not: event ${started?.event} in PCR 4, PCR 9, PCR 11 (${attestation.reason})`,
  )
  world.say(`the rollout does not count it: ${cluster?.message}`)
}

const sha256Of = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')
/** As the firmware measures a program. */
const digestOf = (uki: Uint8Array) => Buffer.from(authenticodeDigest(uki, 'sha256')).toString('hex')
