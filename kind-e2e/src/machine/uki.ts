import { readFileSync } from 'node:fs'
import { assembleUki } from '@skerry/measured-boot'
import { initramfs, osRelease, type Userland } from './initramfs.ts'
import type { Parts } from './parts.ts'

/** How long an image's userspace may be unwell before the watchdog starts the machine again. */
const WATCHDOG_S = 30

/** panic=1: without it a kernel that panics waits for ever, and the firmware is never asked for another image. */
const commandLine = (watchdogS = WATCHDOG_S) => `console=ttyS0 quiet panic=1 skerry.watchdog=${watchdogS}`

/** A unified kernel image of this userland. The same parts and the same userland give the same bytes. */
export function buildUki(parts: Parts, userland: Userland, watchdogS?: number): Uint8Array {
  const text = (body: string) => new TextEncoder().encode(body)
  return assembleUki(readFileSync(parts.stub), [
    { name: '.osrel', data: text(osRelease(userland)) },
    { name: '.cmdline', data: text(commandLine(watchdogS)) },
    { name: '.linux', data: readFileSync(parts.kernel.image) },
    { name: '.initrd', data: initramfs(parts, userland) },
  ])
}
