import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { eventually, FAMILY, type Release } from '@skerry/demo'
import { describeBoot } from '@skerry/measured-boot'
import { assertChain, transitionsOf } from '../chain.ts'
import { listEsp } from '../machine/disk.ts'
import { bootsFolder, keepingBoots, verifyKept } from '../machine/kept.ts'
import { findParts } from '../machine/parts.ts'
import { makeSecureBootKeys, type SecureBootKeys } from '../machine/secure-boot.ts'
import { HOST } from '../machine/site.ts'
import type { World } from '../world.ts'
import {
  assertSaid,
  type Depot,
  imageOf,
  NAME,
  openDepot,
  registers,
  runs,
  STEP_MS,
  said,
  TERMS,
  WORTH,
} from './depot.ts'
import type { Story } from './story.ts'

/** Whose certificates these machines trust, and whose they do not. */
const [OURS, THEIRS] = ['Skerry story', 'Somebody else']

export const secureBoot: Story = {
  name: 'secure-boot',
  tells:
    'a UEFI machine enrols keys; an image that another key signed is refused before it is downloaded and before anything is written, the right one boots, and PCR 7 is as the keys predict',
  async play(world) {
    const found = findParts(world.say)
    await world.raise(0, [], [HOST])
    const keys = makeSecureBootKeys(join(world.dir, 'keys'), OURS)
    const theirs = makeSecureBootKeys(join(world.dir, 'keys-of-others'), THEIRS)
    // What a release is made of is what is deployed: a signer pads the boot loader.
    const bootLoader = join(world.dir, 'keys', 'systemd-bootx64.efi')
    writeFileSync(bootLoader, keys.sign(readFileSync(found.bootLoader)))
    const [one, two, three] = [
      imageOf(world, { ...found, bootLoader }, 1, { sign: keys.sign }),
      imageOf(world, { ...found, bootLoader }, 2, { sign: theirs.sign }),
      imageOf(world, { ...found, bootLoader }, 3, { sign: keys.sign }),
    ]
    world.say(`keys are made; of three images the second is signed by ${THEIRS}`)
    const machine = await openDepot(world, found, one, { secureBoot: keys })
    const manifests = [one, two, three].map(({ manifest }) => manifest)
    await keepingBoots(world, machine, { manifests, profile: machine.profile }, async () => {
      await registers(world, machine, one)
      await bootedByKeys(world, machine, one, keys, bootLoader)
      await refuses(world, machine, two)
      await takes(world, machine, three)
      await bootedByKeys(world, machine, three, keys, bootLoader)
      await machine.turnOff(STEP_MS)
      const outbox = machine.outbox()
      await assertChain(world.client(), { name: NAME, outbox: () => outbox })
    })
    const kept = verifyKept(bootsFolder(world))
    assert.deepEqual([...kept.keys()], ['1-1', '2-1', '3-1', '4-3'])
    for (const [folder, { verdict, findings, secondOpinion }] of kept) {
      assert.equal(verdict, WORTH.verdict, `kept of boot ${folder}: ${JSON.stringify(findings)}`)
      assert.deepEqual(secondOpinion, [], `tpm2-tools find nothing in what is kept of boot ${folder}`)
    }
    world.say(`the kept evidence of ${[...kept.keys()].join(', ')} is ${WORTH.verdict} with no hub`)
  },
}

/** PCR 7 of the boot that was judged last is what follows from the keys' files and the images, and from no machine. */
async function bootedByKeys(
  world: World,
  machine: Depot,
  { manifest, file }: Release,
  { lists: { PK, KEK, db } }: SecureBootKeys,
  bootLoader: string,
): Promise<void> {
  const { pcr } = describeBoot({
    path: '',
    uki: readFileSync(file),
    bootLoaders: [{ name: 'systemd-boot', file: readFileSync(bootLoader) }],
    secureBoot: { pk: PK, kek: KEK, db, dbx: new Uint8Array() },
  })
  const predicted = pcr.predicted.sha256?.['7'].secureBootOn
  const { attestation } = (await node(world))?.status ?? {}
  const seven = attestation?.pcrs?.find((one) => one.pcr === 7)
  assert.deepEqual([seven?.actual], predicted, 'PCR 7 is what the keys predict')
  assert.deepEqual([seven?.expected, seven?.by], [predicted, 'profile'], 'and what the signed profile lets it be')
  assert.equal(attestation?.bootId, machine.boots().at(-1)?.bootId)
  world.say(
    `${FAMILY}-${manifest.version} was started by the enrolled key: PCR 7 is ${seven?.actual.slice(0, 16)}… as predicted`,
  )
}

async function refuses(world: World, machine: Depot, two: Release): Promise<void> {
  const { sha256 } = two.manifest.image
  await machine.turnOff(STEP_MS)
  const before = digestOf(machine.espDisk)
  await world.publish(two)
  const name = await world.rollOut(2, TERMS)
  await machine.start()
  const boot = await machine.boot(2, STEP_MS)
  assert.equal(boot.version, '1')
  const end = await world.rolloutUntil(name, 'Paused by a breach', ({ phase }) => phase === 'Paused', STEP_MS)
  const [cluster] = end.clusters ?? []
  assert.equal(cluster?.reason, 'SignerNotEnrolled')
  await assertSaid(world, cluster?.statement)
  const steps = transitionsOf(await said(world), sha256)
  const last = steps.at(-1)
  assert.deepEqual([last?.from, last?.to, last?.outcome], ['Preflight', 'Failed', 'Refused'])
  const status = await eventually(
    async () => {
      const found = (await node(world))?.status
      return found?.reason === 'SignerNotEnrolled' && found
    },
    `${NAME} saying why it does not take ${name}`,
    STEP_MS,
  )
  assert.equal(status.phase, 'Failed')
  for (const part of [`CN=${THEIRS} db`, `CN=${OURS} db`, 'enroll its key first'])
    assert.ok(status.message?.includes(part), `its condition names "${part}": ${status.message}`)
  assert.ok(!steps.some(({ to }) => to === 'Staging'), 'nothing was begun')
  world.say(`${name} is refused: ${status.message}`)
  await machine.turnOff(STEP_MS)
  assert.equal(digestOf(machine.espDisk), before, 'the ESP is bit for bit what it was')
  assert.ok(!machine.holds(`agent/blobs/${sha256}`), 'nor was the image downloaded')
  world.say(
    `its disks are as they were: nothing downloaded, and on the ESP not one bit is another (${listEsp(machine.espDisk)})`,
  )
}

async function takes(world: World, machine: Depot, three: Release): Promise<void> {
  await world.publish(three)
  const name = await world.rollOut(3, TERMS)
  await machine.start()
  const boot = await machine.boot(4, STEP_MS)
  assert.equal(boot.version, '3')
  world.say(`${name} was staged, and booted as ${boot.entry}`)
  const done = await world.rolloutUntil(name, 'Completed', ({ phase }) => phase === 'Completed', STEP_MS)
  const [cluster] = done.clusters ?? []
  assert.deepEqual([cluster?.name, cluster?.state], [NAME, 'Succeeded'])
  await assertSaid(world, cluster?.statement)
  await runs(world, machine, three.manifest, name, boot.bootId)
  world.say(`${name} is Completed, ${WORTH.class} and ${WORTH.verdict}`)
}

const node = async (world: World) => (await world.client().list('EdgeNode', { namespace: NAME }))[0]
const digestOf = (file: string) => createHash('sha256').update(readFileSync(file)).digest('hex')
