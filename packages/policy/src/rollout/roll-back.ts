import type { ClusterState, ObjectOf, RolloutCluster, RolloutStatus } from '@skerry/api'
import { comparePositions } from '@skerry/api'
import { DENIED, isTrying } from './cluster-state.ts'
import type { Placed } from './rows.ts'
import { FAILURES, UNDER_WAY } from './states.ts'

// After a breach: who is ordered back to the image that it confirmed before, where the rollout asks for that.

export type Image = NonNullable<RolloutStatus['image']>
export type Back = { readonly cluster: string; readonly to: Image }
type BackTo = NonNullable<RolloutCluster['backTo']>
export type RollBack = {
  /** Who is ordered back now. */
  readonly orders: readonly Back[]
  readonly told: ReadonlyMap<string, BackTo>
  /** How many nothing more is to come of, and which cannot go back. */
  readonly staying: number
  /** How many cannot go back and may still activate the image: no pause reaches them. */
  readonly trying: number
  readonly phase: 'RollingBack' | 'RolledBack'
}

/**
 * What the way back asks of a boot: as little as can be asked. What it names runs there already, so a refused demand keeps
 * nothing unproven away; it leaves the order that failed in force. The boot's evidence is judged as ever.
 */
export const WAY_BACK_ASKS = 'warning'

/** Of these states an order may be on its way, or be carried out. */
const MAY_STILL_TRY: ReadonlySet<ClusterState> = new Set([...UNDER_WAY, 'Offline'])

/**
 * Who goes back. A site that failed runs what it confirmed before already: the order makes that what is wanted of it, also
 * of a machine that is put in its place. Nobody is ordered anything while a person's word stands (`mayOrder`). Who confirmed the image stays: a site takes no lower release than it confirmed.
 */
export function rollBackOf(
  { metadata, spec }: ObjectOf<'Rollout'>,
  image: Image,
  placed: readonly Placed[],
  mayOrder: boolean,
): RollBack | undefined {
  if (spec.onBreach !== 'RollbackFailed' && spec.onBreach !== 'RollbackAll') return undefined
  const orders: Back[] = []
  const told = new Map<string, BackTo>()
  let trying = 0
  for (const { cluster, state } of placed) {
    const { assignment, denied, lastGood, nodes, position, accepted, refused, name } = cluster
    if (assignment?.rolloutUid !== metadata.uid) continue
    const ordered = assignment.manifestSha256 !== image.manifestSha256
    const wanted = FAILURES.has(state) || (spec.onBreach === 'RollbackAll' && MAY_STILL_TRY.has(state))
    if (!ordered && !(wanted && mayOrder)) continue
    const confirmed = nodes.some((node) => node.confirmed)
    const isDone = ordered && position && accepted && comparePositions(accepted.position, position) >= 0
    // Until it takes the order back, the one before is in force there, and was not told to hold.
    const mayActivate =
      ordered && !isDone && !denied && nodes.some((node) => isTrying(node, image.imageSha256) && !node.failure)
    if (!lastGood || confirmed) {
      if (mayActivate) trying += 1
      const why = confirmed
        ? `a node has confirmed ${image.version}, and a site takes no lower release than it confirmed: sign what it is to go back to with a higher release counter`
        : 'no signed image is known that every node of it confirmed before: roll out an image that it is to run'
      told.set(name, {
        ...{ target: image.target, manifestSha256: image.manifestSha256, version: image.version, state: 'Impossible' },
        message: denied && !isDone ? DENIED : mayActivate ? `${why}; a node may still activate ${image.version}` : why,
      })
      continue
    }
    const { target, manifestSha256, version } = lastGood
    if (denied && !isDone) {
      // Whatever it has under way, nothing that is sent reaches it: it is waited for no more.
      told.set(name, { ...{ target, manifestSha256, version, state: 'Impossible' }, message: DENIED })
      continue
    }
    // What it refused it refused for good; but an order that was for another image says nothing about this one.
    if (!isDone && refused && assignment.manifestSha256 === manifestSha256) {
      if (mayActivate) trying += 1
      const holds = mayActivate
        ? `it may still activate ${image.version}, and no pause reaches that until it takes another order`
        : 'it keeps the order that it took before'
      told.set(name, {
        ...{ target, manifestSha256, version, state: 'Impossible' },
        message: `the site refused the order for ${version}, which its nodes confirmed before (${refused.code}: ${refused.message}); ${holds}: ${wayOut(refused.code)}`,
      })
      continue
    }
    told.set(name, {
      ...{ target, manifestSha256, version, state: isDone ? 'Accepted' : 'Ordered' },
      message: isDone
        ? `the site has taken the order for ${version}, which its nodes confirmed before`
        : `is ordered back to ${version}, which its nodes confirmed before; the site has not said that it took the order; what it waits for, if it said so, is among its events ("skerry describe cluster ${name}")`,
    })
    if (mayOrder && assignment.manifestSha256 !== manifestSha256) orders.push({ cluster: name, to: lastGood })
  }
  const states = [...told.values()].map(({ state }) => state)
  const open = orders.length > 0 || trying > 0 || states.includes('Ordered')
  const staying = states.filter((state) => state === 'Impossible').length - trying
  return { orders, told, staying, trying, phase: open ? 'RollingBack' : 'RolledBack' }
}

function wayOut(code: string): string {
  return code === 'ReleaseCounterTooLow'
    ? 'sign what it is to go back to with a higher release counter, and roll that out'
    : 'roll out an image to it that it takes'
}
