import type { NodeStatus } from '@skerry/api'
import type { Target } from '@skerry/policy'
import type { Bus, EdgeNode } from '../store/bus.ts'

const STEPS = 20

/** How far a download has come, in twentieths: what changes less often makes fewer statuses, and less writing. */
export function inSteps(done: number, total: number): number {
  const steps = Math.min(Math.floor((done * STEPS) / Math.max(total, 1)), STEPS)
  return Math.floor((steps * total) / STEPS)
}

/** Keeps how far the download of a target's image has come, at each step. */
export function keepProgress(bus: Bus, { imageSha256, imageLength: total }: Target, bytes: number): void {
  const node = bus.node()
  const done = inSteps(bytes, total)
  if (node.progress?.imageSha256 === imageSha256 && node.progress.done === done) return
  bus.saveNode({ ...node, progress: { imageSha256, done, total } })
}

/** How far the download has come, while that is what the node is at. */
export function progressOf({ state: { stage }, progress }: EdgeNode): NodeStatus['progress'] {
  if (stage.phase !== 'Staging' || progress?.imageSha256 !== stage.target.imageSha256) return undefined
  const { done, total } = progress
  return { done, total }
}
