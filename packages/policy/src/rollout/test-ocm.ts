// Open Cluster Management's rollout once more, plainly, from the specification of its rules: a witness for tests. Its
// defects are in it, each behind a name, so that a test can say which of them it leaves out.

/** A cluster as OCM's strategies see it; no status: nothing was applied. `ageMs`: since its last transition. */
export type Told = {
  readonly name: string
  readonly group: number
  readonly status?: 'ToApply' | 'Progressing' | 'Succeeded' | 'Failed' | 'TimeOut'
  readonly ageMs: number
}

export type Asked = {
  readonly type: 'All' | 'Progressive' | 'ProgressivePerGroup'
  readonly mandatory: readonly number[]
  readonly maxConcurrency: number
  readonly maxFailures: number
  readonly soakMs: number
  readonly deadlineMs: number
}

export type Answer = { readonly window: readonly string[]; readonly breach: boolean }

const stays = ({ status, ageMs }: Told, { soakMs, deadlineMs }: Asked): boolean => {
  if (status === 'ToApply') return true
  if (status === 'Succeeded') return ageMs < soakMs
  return (status === 'Progressing' || status === 'Failed') && ageMs < deadlineMs
}
const failed = ({ status, ageMs }: Told, { deadlineMs }: Asked): boolean =>
  status === 'Failed' || status === 'TimeOut' || (status === 'Progressing' && ageMs >= deadlineMs)
const byName = (a: { name: string }, b: { name: string }) => (a.name < b.name ? -1 : 1)
const sized = (value: number, total: number, otherwise: number) => (value <= 0 || value > total ? otherwise : value)

export function rollOut(clusters: readonly Told[], asked: Asked): Answer {
  const groups = [...new Set(clusters.map(({ group }) => group))].toSorted((a, b) => a - b)
  const of = (group: number) => clusters.filter((one) => one.group === group).toSorted(byName)
  if (asked.type === 'All') {
    const window = clusters.filter((one) => one.status === undefined || stays(one, { ...asked, soakMs: 0 }))
    return { window: window.map(({ name }) => name).toSorted(), breach: false }
  }
  const perGroup = (some: readonly number[], maxFailures: number): Answer => {
    const window: string[] = []
    for (const group of some) {
      const members = of(group)
      const failures = members.filter((one) => failed(one, asked)).length
      const rolling = members.filter((one) => one.status === undefined || stays(one, asked))
      window.push(...rolling.map(({ name }) => name))
      if (failures > sized(maxFailures, members.length, 0)) return { window, breach: true }
      if (rolling.length > 0) return { window, breach: false }
    }
    return { window, breach: false }
  }
  const mandatory = groups.filter((group) => asked.mandatory.includes(group))
  const first = perGroup(mandatory, 0)
  if (first.window.length > 0 || first.breach) return first
  const rest = groups.filter((group) => !asked.mandatory.includes(group))
  if (asked.type === 'ProgressivePerGroup') return perGroup(rest, asked.maxFailures)
  const remaining = rest.flatMap(of).toSorted(byName)
  const size = sized(asked.maxConcurrency, remaining.length, remaining.length)
  const breach = remaining.filter((one) => failed(one, asked)).length > sized(asked.maxFailures, clusters.length, 0)
  const window = remaining.filter((one) => one.status !== undefined && stays(one, asked)).map(({ name }) => name)
  if (!breach)
    for (const { name, status } of remaining) if (status === undefined && window.length < size) window.push(name)
  return { window: window.toSorted(), breach }
}
