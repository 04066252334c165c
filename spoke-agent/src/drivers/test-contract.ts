import { rmSync } from 'node:fs'
import { until } from '@skerry/supervise'
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import { type Driver, DriverFault } from './driver.ts'
import type { Behaviour, TestImage } from './testing.ts'

// What every driver promises, whatever boots the machine. A driver brings its machine; the promises are here, once.

/** One machine: its disk stays when its power goes. */
export type Machine = {
  /** Powers it on. */
  open(): Promise<Driver>
  image(version: string, behaviour?: Behaviour): TestImage
  /** The image the machine came with. */
  readonly factory: TestImage
}

/** Every driver's suite. `makeMachine` gives a new machine that goes with the test. */
export function driverContract(name: string, makeMachine: () => Machine): void {
  describe(`the ${name} driver`, () => {
    let machine: Machine
    let driver: Driver
    const on = async () => {
      driver = await machine.open()
    }
    const powerCut = async () => {
      await driver.close()
      await on()
    }
    beforeEach(async () => {
      machine = makeMachine()
      await on()
      onTestFinished(() => driver.close())
    })
    const healthy = () => until(async () => (await driver.status()).healthy, 'the boot being healthy', 30_000)
    const stage = async ({ target, file }: TestImage) => {
      await driver.preflight(target)
      await driver.stage(target, file)
    }

    test('boots what the machine came with, and says which slot, boot and bytes', async () => {
      await healthy()
      const { bootId, slot, imageSha256, fellBackFrom } = await driver.status()
      expect({ imageSha256, fellBackFrom }).toEqual({
        imageSha256: machine.factory.target.imageSha256,
        fellBackFrom: undefined,
      })
      expect(bootId).not.toBe('')
      expect(slot).not.toBe('')
    })

    test('each power-on is a boot of its own', async () => {
      const before = await driver.status()
      await powerCut()
      expect((await driver.status()).bootId).not.toBe(before.bootId)
    })

    test('staging changes nothing that runs, however often and wherever it is cut off', async () => {
      const before = await driver.status()
      const next = machine.image('2')
      await stage(next)
      await stage(next)
      expect(await driver.status()).toMatchObject({ bootId: before.bootId, imageSha256: before.imageSha256 })
      await powerCut()
      expect(await driver.status()).toMatchObject({ imageSha256: before.imageSha256, slot: before.slot })
      await stage(next)
    })

    test('activating boots the staged image in the other slot; activating again boots nothing', async () => {
      const before = await driver.status()
      const next = machine.image('2')
      await stage(next)
      await driver.activate(next.target)
      const booted = await driver.status()
      expect(booted.imageSha256).toBe(next.target.imageSha256)
      expect(booted.bootId).not.toBe(before.bootId)
      expect(booted.slot).not.toBe(before.slot)
      await driver.activate(next.target)
      expect((await driver.status()).bootId).toBe(booted.bootId)
      await healthy()
    })

    test('a slot on trial is not written over', async () => {
      const next = machine.image('2')
      await stage(next)
      await driver.activate(next.target)
      await expect(driver.stage(machine.image('3').target, machine.image('3').file)).rejects.toThrow(
        expect.objectContaining({ of: 'surroundings' }),
      )
      expect((await driver.status()).imageSha256).toBe(next.target.imageSha256)
    })

    test('what was confirmed boots from then on; confirming again changes nothing', async () => {
      const next = machine.image('2')
      await stage(next)
      await driver.activate(next.target)
      await driver.confirm(next.target)
      await driver.confirm(next.target)
      for (let boots = 0; boots < 6; boots += 1) await powerCut()
      const { imageSha256, fellBackFrom } = await driver.status()
      expect({ imageSha256, fellBackFrom }).toEqual({ imageSha256: next.target.imageSha256, fellBackFrom: undefined })
      await stage(machine.image('3'))
    })

    test('what is never confirmed is left after a counted number of boots, and the driver says so', async () => {
      const next = machine.image('2')
      await stage(next)
      await driver.activate(next.target)
      let boots = 0
      while ((await driver.status()).fellBackFrom === undefined) {
        boots += 1
        expect(boots).toBeLessThan(10)
        await powerCut()
      }
      expect(await driver.status()).toMatchObject({
        imageSha256: machine.factory.target.imageSha256,
        fellBackFrom: next.target.imageSha256,
      })
      await healthy()
    })

    test('an image that ends as soon as it boots is left without anybody’s help', async () => {
      const next = machine.image('2', 'dies')
      await stage(next)
      await driver.activate(next.target)
      await until(async () => (await driver.status()).fellBackFrom === next.target.imageSha256, 'the fallback', 30_000)
      await healthy()
      expect((await driver.status()).imageSha256).toBe(machine.factory.target.imageSha256)
    })

    test.each(['ill', 'lies'] as const)('an image that is %s boots and is not healthy', async (behaviour) => {
      const next = machine.image('2', behaviour)
      await stage(next)
      await driver.activate(next.target)
      const { imageSha256, healthy } = await driver.status()
      expect({ imageSha256, healthy }).toEqual({ imageSha256: next.target.imageSha256, healthy: false })
    })

    test('rolling back boots what was confirmed before, for good: the same image is not booted again', async () => {
      const next = machine.image('2')
      await stage(next)
      await driver.activate(next.target)
      await driver.rollback(next.target)
      await driver.rollback(next.target)
      const back = { imageSha256: machine.factory.target.imageSha256, fellBackFrom: next.target.imageSha256 }
      expect(await driver.status()).toMatchObject(back)
      await powerCut()
      expect(await driver.status()).toMatchObject(back)
      await driver.activate(next.target)
      expect(await driver.status()).toMatchObject(back)
    })

    test('a boot that is left costs a try, as its glimpse says, until the platform falls back; one that was confirmed none', async () => {
      const next = machine.image('2')
      await stage(next)
      await driver.activate(next.target)
      let leaves = 0
      while ((await driver.glimpse()).onTrial) {
        const { bootId } = await driver.glimpse()
        expect((await driver.status()).bootId).toBe(bootId)
        leaves += 1
        expect(leaves).toBeLessThan(10)
        await driver.leave()
        expect((await driver.glimpse()).bootId).not.toBe(bootId)
      }
      const back = { imageSha256: machine.factory.target.imageSha256, fellBackFrom: next.target.imageSha256 }
      expect(await driver.status()).toMatchObject(back)
      await driver.leave()
      expect(await driver.status()).toMatchObject(back)
    })

    test('after a rollback another image has its chance', async () => {
      const bad = machine.image('2', 'ill')
      await stage(bad)
      await driver.activate(bad.target)
      await driver.rollback(bad.target)
      const good = machine.image('3')
      await stage(good)
      await driver.activate(good.target)
      await driver.confirm(good.target)
      const { imageSha256, fellBackFrom } = await driver.status()
      expect({ imageSha256, fellBackFrom }).toEqual({ imageSha256: good.target.imageSha256, fellBackFrom: undefined })
    })

    test('rolling back when nothing was armed boots nothing', async () => {
      const before = await driver.status()
      const next = machine.image('2')
      await stage(next)
      await driver.rollback(next.target)
      expect((await driver.status()).bootId).toBe(before.bootId)
    })

    test('its slots say what lies in each, which booted, which is armed with how many tries, and which is confirmed', async () => {
      const [second, third] = [machine.image('2'), machine.image('3')]
      const factory = { imageSha256: machine.factory.target.imageSha256 }
      const [next, last] = [second, third].map(({ target }) => ({ imageSha256: target.imageSha256 }))
      const slots = async () => (await driver.slots()).map(({ slot: _, version: __, ...seen }) => seen)
      const before = { ...factory, booted: true, state: 'confirmed' }
      expect(await slots()).toEqual([before])
      await stage(second)
      expect(await slots()).toEqual(
        expect.arrayContaining([before, expect.objectContaining({ booted: false, state: 'idle' })]),
      )
      await driver.activate(second.target)
      let triesLeft = 2
      for (; triesLeft >= 0; triesLeft -= 1) {
        if (triesLeft < 2) await powerCut()
        expect(await slots()).toEqual(
          expect.arrayContaining([
            { ...factory, booted: false, state: 'confirmed' },
            { ...next, booted: true, state: 'armed', triesLeft },
          ]),
        )
      }
      await driver.confirm(second.target)
      expect(await slots()).toContainEqual({ ...next, booted: true, state: 'confirmed' })
      await stage(third)
      await driver.activate(third.target)
      await driver.rollback(third.target)
      expect(await slots()).toEqual(
        expect.arrayContaining([
          { ...next, booted: true, state: 'confirmed' },
          { ...last, booted: false, state: 'spent' },
        ]),
      )
      const { slot } = await driver.status()
      expect((await driver.slots()).filter(({ booted }) => booted).map((seen) => seen.slot)).toEqual([slot])
    })

    test('an image that does not run is not confirmed', async () => {
      const next = machine.image('2')
      await expect(driver.confirm(next.target)).rejects.toThrow(expect.objectContaining({ of: 'surroundings' }))
      await stage(next)
      await expect(driver.confirm(next.target)).rejects.toThrow(expect.objectContaining({ of: 'surroundings' }))
      await powerCut()
      expect((await driver.status()).imageSha256).toBe(machine.factory.target.imageSha256)
    })

    test('bytes that are not the target’s are refused at staging', async () => {
      const [next, other] = [machine.image('2'), machine.image('3')]
      await expect(driver.stage(next.target, other.file)).rejects.toThrow(
        expect.objectContaining({ reason: 'ImageMismatch' }),
      )
      await expect(driver.activate(next.target)).rejects.toThrow(expect.objectContaining({ of: 'image' }))
      expect((await driver.status()).imageSha256).toBe(machine.factory.target.imageSha256)
    })

    test('an image that is not staged is not armed', async () => {
      await expect(driver.activate(machine.image('2').target)).rejects.toThrow(DriverFault)
      expect((await driver.status()).imageSha256).toBe(machine.factory.target.imageSha256)
    })

    test('a download that is gone is a fault of the surroundings', async () => {
      const next = machine.image('2')
      rmSync(next.file)
      await expect(driver.stage(next.target, next.file)).rejects.toThrow(
        expect.objectContaining({ of: 'surroundings' }),
      )
    })

    test('too little space is known before anything is touched', async () => {
      const huge = { ...machine.image('2').target, imageLength: Number.MAX_SAFE_INTEGER / 4 }
      await expect(driver.preflight(huge)).rejects.toThrow(
        expect.objectContaining({ of: 'surroundings', reason: 'NoSpace' }),
      )
    })
  })
}
