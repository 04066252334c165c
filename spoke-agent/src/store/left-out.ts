import type { StatementKind } from '@skerry/api'

/** What was left unsaid for want of room, until it is told how much it was: `left_out` among what is kept. */
export type LeftOut = {
  readonly sinceAt: string
  readonly untilAt: string
  readonly counts: Partial<Record<StatementKind, number>>
}
