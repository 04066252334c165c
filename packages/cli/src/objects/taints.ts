import type { Taint } from '@skerry/api'
import { NotFound, UsageError } from '../errors.ts'
import { didYouMean } from '../nearby.ts'

export type TaintChange =
  | { readonly remove: false; readonly taint: Taint }
  | { readonly remove: true; readonly key: string; readonly effect: string | undefined }

const EFFECTS: readonly Taint['effect'][] = ['NoSelect', 'PreferNoSelect', 'NoSelectIfNew']

/** `key=value:Effect`, `key:Effect`; with `-` behind it, or as `key-`, it goes. */
export function parseTaint(text: string): TaintChange {
  const [, key, value, effect, minus] = /^([^=:]+?)(?:=([^:]*))?(?::([^:]*?))?(-)?$/.exec(text) ?? []
  if (!key) throw new UsageError(`"${text}" is no taint; write key=value:Effect, key:Effect, or key- to take it off`)
  if (minus && effect === undefined && value === undefined) return { remove: true, key, effect: undefined }
  const known = EFFECTS.find((one) => one === effect)
  if (!known)
    throw new UsageError(`"${text}": the effect is one of ${EFFECTS.join(', ')}${didYouMean(effect ?? '', EFFECTS)}`)
  if (minus) return { remove: true, key, effect: known }
  return { remove: false, taint: { key, ...(value ? { value } : {}), effect: known } }
}

/** The taints after the changes. A key is there once. NotFound for one that is to go and is not there. */
export function applyTaints(present: readonly Taint[], changes: readonly TaintChange[]): Taint[] {
  return changes.reduce<Taint[]>(
    (taints, change) => {
      if (!change.remove) return [...taints.filter(({ key }) => key !== change.taint.key), change.taint]
      const gone = ({ key, effect }: Taint) =>
        key === change.key && (change.effect === undefined || effect === change.effect)
      if (!taints.some(gone))
        throw new NotFound(`there is no taint ${change.key}${change.effect ? `:${change.effect}` : ''} on it`)
      return taints.filter((taint) => !gone(taint))
    },
    [...present],
  )
}
