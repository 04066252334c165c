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
  /** Without X-05 a group waits for itself alone, and not for whatever rolls in later ones. */
  readonly without?: readonly 'X-05'[]
}

export type Answer = { readonly window: readonly string[]; readonly breach: boolean }

type Left = Answer & { readonly timedOut: readonly string[] }

const rolls = ({ status, ageMs }: Told, { soakMs, deadlineMs }: Asked): boolean => {
  if (status === 'ToApply') return true
  if (status === 'Succeeded') return ageMs < soakMs
  return (status === 'Progressing' || status === 'Failed') && ageMs < deadlineMs
}
const timesOut = ({ status, ageMs }: Told, { deadlineMs }: Asked): boolean =>
  status === 'TimeOut' || ((status === 'Progressing' || status === 'Failed') && ageMs >= deadlineMs)
const fails = (one: Told, asked: Asked): boolean => one.status === 'Failed' || timesOut(one, asked)
const byName = (a: { name: string }, b: { name: string }) => (a.name < b.name ? -1 : 1)
/** beyond the total is not the total. */
const sized = (value: number, total: number, otherwise: number) => (value <= 0 || value > total ? otherwise : value)
const namesOf = (some: readonly Told[]) => some.map(({ name }) => name)

export function rollOut(clusters: readonly Told[], asked: Asked): Answer {
  const all = clusters.toSorted(byName)
  const groups = [...new Set(all.map(({ group }) => group))].toSorted((a, b) => a - b)
  const isMandatory = (group: number) => asked.mandatory.includes(group)
  if (asked.type === 'All') return perCluster(all, all, { ...asked, soakMs: 0 }, all.length, all.length)
  const first = groups.filter(isMandatory)
  if (first.length > 0) {
    const answer = perGroup(first, all, { ...asked, maxFailures: 0 })
    if (answer.window.length > 0 || answer.timedOut.length > 0) return answer
  }
  const rest = groups.filter((group) => !isMandatory(group))
  if (asked.type === 'ProgressivePerGroup') return perGroup(rest, all, asked)
  const remaining = all.filter(({ group }) => rest.includes(group))
  const size = sized(asked.maxConcurrency, remaining.length, remaining.length)
  return perCluster(remaining, all, asked, size, sized(asked.maxFailures, all.length, 0))
}

function perGroup(groups: readonly number[], all: readonly Told[], asked: Asked): Left {
  const seen = asked.without?.includes('X-05') ? all.filter(({ group }) => groups.includes(group)) : all
  const applied = seen.filter(({ status }) => status !== undefined && status !== 'ToApply')
  const timedOut = namesOf(applied.filter((one) => timesOut(one, asked)))
  const window = namesOf(applied.filter((one) => rolls(one, asked)))
  let failures = 0
  for (const index of groups) {
    const members = seen.filter(({ group }) => group === index)
    window.push(...namesOf(members.filter((one) => !applied.includes(one))))
    const failed = members.filter((one) => fails(one, asked)).length
    failures += failed
    const breach = failed > sized(asked.maxFailures, members.length, 0)
    const later = asked.without?.includes('X-05')
      ? seen.filter(({ group }) => group > index).map(({ name }) => name)
      : []
    const rolling = window.filter((name) => !later.includes(name))
    // who timed out is subtracted, and was not there.
    if (breach || rolling.length - failures > 0) return { window, breach, timedOut }
  }
  return { window, breach: false, timedOut }
}

function perCluster(
  remaining: readonly Told[],
  seen: readonly Told[],
  asked: Asked,
  size: number,
  maxFailures: number,
): Left {
  const timedOut = namesOf(seen.filter((one) => timesOut(one, asked)))
  const window: string[] = []
  let [failures, breach] = [0, false]
  for (const one of seen.filter(({ status }) => status !== undefined)) {
    if (rolls(one, asked) && !(breach && one.status === 'ToApply')) window.push(one.name)
    if (fails(one, asked)) failures++
    breach = failures > maxFailures
    // what fails behind this one is not seen.
    if (window.length >= size) return { window, breach, timedOut }
  }
  if (breach) return { window, breach, timedOut }
  const fresh = remaining.filter(({ status }) => status === undefined)
  window.push(...namesOf(fresh.slice(0, Math.max(size - window.length, 0))))
  return { window, breach, timedOut }
}
