import type { ClusterState, Condition, RolloutPhase, RolloutSpec } from '@skerry/api'
import { counted } from '../words.ts'
import type { Steered } from './acts.ts'
import { UNPROVEN } from './boots.ts'
import { UNPROVABLE } from './cluster-state.ts'
import type { RollBack } from './roll-back.ts'
import type { Placed } from './rows.ts'
import { type Gate, isAttempted, type Staged, type Standing, stageName } from './stages.ts'
import { FAILURES, FINISHED, NOTHING_LEFT, SETTLED, UNDER_WAY } from './states.ts'
import { isUnlimited } from './strategy.ts'

// The sentences of a rollout as a whole: whether it stopped, whether it is over, and what to do.

export function afterBreach(name: string): string {
  return `find out why, then edit the rollout: with a larger maxFailures it goes on, with another image it starts over; or let it go on as it is ("skerry rollout resume ${name}"), or try again where it failed ("skerry rollout retry ${name}")`
}

/** What a closed gate waits for, and how it is opened. */
export function gateText({ name, before, needed, given }: Gate, rollout: string): string {
  const what = before ? stageName(before) : 'the end'
  return `${what} waits for ${needed === 1 ? 'an approval' : `${needed} approvals, of which ${given} ${given === 1 ? 'is' : 'are'} given`}: "skerry rollout approve ${rollout} --gate ${name}"`
}

/** What people did: paused it, ended it, or let it go on. Nothing where nobody did. */
export function steeringCondition(steered: Steered): Conditions {
  if (steered.state === 'Going') {
    if (!steered.resumed) return []
    const { by, at, reason } = steered.resumed
    return [{ type: 'Paused', status: 'False', reason: 'Resumed', message: `by ${by} at ${at}: ${reason}` }]
  }
  const { by, at, reason } = steered.act
  return [{ type: 'Paused', status: 'True', reason: steered.state, message: `by ${by} at ${at}: ${reason}` }]
}

export type Conditions = readonly Omit<Condition, 'lastTransitionTime'>[]

function afterFailures(name: string): string {
  return `the same image is not sent again by itself: try it again ("skerry rollout retry ${name}"), name another one in spec.image.name, or make another rollout`
}

type Back = Pick<RollBack, 'staying' | 'trying'> | undefined

/** What failed in this rollout, and is counted. */
type Failed = readonly { readonly reason: string }[]

/** `dropped`: who failed, and was dropped by the placement since. `back`: who goes back after a breach. */
export function conditionsOf(
  spec: RolloutSpec,
  phase: RolloutPhase,
  breached: boolean,
  standing: Standing,
  placed: readonly Placed[],
  dropped: Failed,
  back: Back,
  name: string,
): Conditions {
  const failed = [...placed.filter(({ state }) => FAILURES.has(state)), ...dropped]
  const counted = countedOf(standing, failed)
  const left = placed.some(({ state }) => !FINISHED.has(state))
  const unlimited = isUnlimited(spec)
    ? '; maxConcurrency is 0 or not given, which is no limit on how many clusters are under way at once'
    : ''
  return [
    {
      type: 'Breached',
      status: breached ? 'True' : 'False',
      reason: breached ? 'MaxFailuresExceeded' : 'WithinBudget',
      message: !breached
        ? counted
        : [counted, ...(left ? [...wayOut(failed), afterBreach(name)] : wayOn(failed, name))].join('; '),
    },
    phase === 'Completed'
      ? { type: 'Completed', status: 'True', ...sinceCompletion(placed, failed, name) }
      : {
          type: 'Completed',
          status: 'False',
          ...untilCompletion(phase, breached, standing, placed, failed, back, name),
        },
    { type: 'Ready', status: 'True', reason: 'Planned', message: `image and placement are known${unlimited}` },
  ]
}

// Each budget that is exceeded; else the one of the stage whose turn it is.
function countedOf({ stages, current }: Standing, failed: Failed): string {
  const budget = (stage: Staged) => {
    const tolerated = Math.min(stage.maxFailures, stage.members.filter(isAttempted).length)
    const text = `${stage.failed.length} failed, ${tolerated} tolerated`
    return stages.length === 1 ? text : `${stageName(stage)}: ${text}`
  }
  const exceeded = stages.filter(({ isExceeded }) => isExceeded)
  if (exceeded.length > 0) return exceeded.map(budget).join('; ')
  const shown = current ?? stages[0]
  return stages.length === 1 && shown ? budget(shown) : current ? budget(current) : `${failed.length} failed`
}

// What an edit of the terms takes back.
function wayOut(failed: Failed): string[] {
  const are = (wanted: string, what: string) => {
    const count = failed.filter(({ reason }) => reason === wanted).length
    return count === 0 ? [] : [`${count} of them ${what}`]
  }
  return [
    ...are(UNPROVABLE, 'cannot prove a boot: with spec.attestation warning they are sent the image again'),
    ...are(UNPROVEN, 'were not proven in time: with spec.attestation warning a warning is good enough'),
  ]
}

// What to do where nothing goes on by itself. What an edit takes back is sent again, and the rest is not.
function wayOn(failed: Failed, name: string): string[] {
  const out = wayOut(failed)
  const others = failed.filter(({ reason }) => reason !== UNPROVABLE && reason !== UNPROVEN).length
  if (others === 0) return out
  const whom = out.length === 0 ? 'where it failed' : `to the other ${others}`
  return [...out, 'find out why', `${whom} ${afterFailures(name)}`]
}

// A completed rollout stays one: who returns or is added later catches up, and that is told.
function sinceCompletion(placed: readonly Placed[], failed: Failed, name: string): Told {
  const catchingUp = [
    ...areSaid(placed, (state) => UNDER_WAY.has(state), 'under way since it completed'),
    ...areSaid(placed, (state) => state === 'NotStarted', 'not sent the image yet'),
  ]
  const pending = areSaid(placed, (state) => state === 'Offline', 'out of reach, to catch up on return')
  const message = [...catchingUp, ...pending, ...ended(placed, failed, name)].join('; ')
  if (catchingUp.length > 0) return { reason: 'CompletedCatchingUp', message }
  if (pending.length > 0) return { reason: 'CompletedPendingCatchUp', message }
  if (failed.length > 0) return { reason: 'CompletedWithFailures', message }
  return { reason: 'Completed', message: 'every cluster is settled' }
}

// A rollout that has not completed says so, and what it waits for where nothing goes on by itself.
function untilCompletion(
  phase: RolloutPhase,
  breached: boolean,
  { stages, current, gate }: Standing,
  placed: readonly Placed[],
  failed: Failed,
  back: Back,
  name: string,
): Told {
  const where = current && stages.length > 1 ? `${stageName(current)}: ` : ''
  const turn = current && stages.length > 1 ? [`${stageName(current)} has its turn`] : []
  const { staying = 0, trying = 0 } = back ?? {}
  const stays = [
    ...(staying > 0 ? [`${counted(staying, 'cluster')} cannot go back, and backTo in the row of each says why`] : []),
    ...(trying > 0
      ? [
          `${counted(trying, 'cluster')} cannot go back and may still activate the image: backTo in the row of each says what to do`,
        ]
      : []),
  ]
  const going = { reason: phase, message: [`the rollout is ${phase}`, ...turn, ...stays].join('; ') }
  if (phase === 'WaitingForApproval' && gate) return { reason: phase, message: gateText(gate, name) }
  const { members = placed } = current ?? {}
  const isStuck = members.every(({ state }) => FINISHED.has(state)) && members.some(({ state }) => FAILURES.has(state))
  if (breached || phase === 'Aborted' || (phase === 'Paused' && !isStuck)) return going
  if (phase === 'Paused') {
    const [counted = '', ...next] = ended(placed, failed, name)
    return {
      reason: NOTHING_LEFT,
      message: [`${where}${counted}`, 'no cluster is left to go on with', ...next].join('; '),
    }
  }
  if (placed.every(({ state }) => state === 'Removed')) {
    const taken = placed.length > 0 && placed.every(({ reason }) => reason === 'AssignedElsewhere')
    return taken
      ? { reason: 'Superseded', message: 'newer rollouts have every cluster' }
      : { reason: 'NoClusters', message: 'the placement selects no cluster that this rollout could send the image to' }
  }
  if (!members.every(({ state }) => SETTLED.has(state))) return going
  const dark = areSaid(members, (state) => state === 'Offline', 'out of reach, to be sent the image on return')
  const proven = members.some(({ state }) => state === 'Succeeded')
  const why = proven || stages.length === 1 ? [] : ['none of it succeeded, and what comes after it waits until one did']
  return { reason: 'OutOfReach', message: `${where}${[...dark, ...why, ...ended(placed, failed, name)].join('; ')}` }
}

type Told = { readonly reason: string; readonly message: string }

function areSaid(placed: readonly Placed[], is: (state: ClusterState) => boolean, what: string): string[] {
  const count = placed.filter(({ state }) => is(state)).length
  return count === 0 ? [] : [`${counted(count, 'cluster is', 'clusters are')} ${what}`]
}

// How many succeeded and failed, and what to do; nothing where nothing failed.
function ended(placed: readonly Placed[], failed: Failed, name: string): string[] {
  if (failed.length === 0) return []
  const succeeded = placed.filter(({ state }) => state === 'Succeeded').length
  return [`${succeeded} succeeded, ${failed.length} failed`, ...wayOn(failed, name)]
}
