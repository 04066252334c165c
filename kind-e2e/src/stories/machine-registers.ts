import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { eventually, FAMILY, HARDWARE_ID } from '@skerry/demo'
import { listEsp } from '../machine/disk.ts'
import { findParts } from '../machine/parts.ts'
import { HOST, openMachineSite } from '../machine/site.ts'
import { buildUki } from '../machine/uki.ts'
import type { Story } from './story.ts'

const NAME = 'depot-a'
const MINUTES = 60_000

export const machineRegisters: Story = {
  name: 'machine-registers',
  tells:
    'a UEFI machine boots an image whose only program is the agent, which joins the hub; its power is cut, and it is back',
  async play(world) {
    const parts = findParts(world.say)
    const uki = buildUki(parts, { id: FAMILY, version: '1', healthy: true })
    world.say(
      `an image of ${(uki.length / 1e6).toFixed(1)} MB is built: kernel ${parts.kernel.release}, Node ${parts.node.version}`,
    )
    await world.raise(1, [], [HOST])
    const machine = world.take(
      await openMachineSite({
        name: NAME,
        dir: join(world.dir, 'machines', NAME),
        parts,
        images: { [`${FAMILY}_1.efi`]: uki },
        bundle: world.bundle,
        args: ['--hardware-id', HARDWARE_ID],
        hubPort: () => Number(new URL(world.hub().apiUrl).port),
        natsPort: () => Number(new URL(world.hub().natsUrl).port),
      }),
    )
    await machine.start()
    const boot = await machine.boot(1)
    assert.deepEqual([boot.image, boot.version, boot.entry], [FAMILY, '1', `${FAMILY}_1.efi`])
    world.say(`${NAME} is up, ${boot.upS} s after its kernel began`)
    const node = () => world.client().list('EdgeNode', { namespace: NAME })
    await eventually(
      async () => (await node())[0]?.status?.attestation !== undefined,
      `${NAME} joining and telling of its image`,
      5 * MINUTES,
    )
    const [joined] = await node()
    assert.equal(joined?.status?.class, 'software-key')
    const sha256 = createHash('sha256').update(uki).digest('hex')
    assert.equal(joined?.status?.image?.sha256, sha256, 'what booted is found on the ESP')
    world.say(`${NAME} joined and says what it runs`)

    await machine.cut()
    await machine.start()
    const second = await machine.boot(2)
    assert.notEqual(second.bootId, boot.bootId, 'it is another boot')
    await machine.line(
      (line) => line.includes('"this node belongs"') || undefined,
      'its agent knowing where it belongs',
      5 * MINUTES,
    )
    world.say('its power was cut, and it knows where it belongs')

    await machine.turnOff(4 * MINUTES)
    assert.deepEqual(listEsp(machine.espDisk), [`${FAMILY}_1.efi`])
    assert.equal(machine.boots().length, 2)
    world.say('it was turned off by its power button')
  },
}
