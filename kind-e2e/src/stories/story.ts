import type { World } from '../world.ts'

export type Story = {
  readonly name: string
  /** One line for `list`. */
  readonly tells: string
  /** Throws at the first thing that is not as told. */
  readonly play: (world: World) => Promise<void>
}
