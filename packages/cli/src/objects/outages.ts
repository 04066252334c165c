import { existsSync, readFileSync } from 'node:fs'
import { causes, Outages } from '@skerry/api'
import type { ClusterFacts, SimulatedCluster, SimulationInput } from '@skerry/policy'
import { LineCounter, parseDocument } from 'yaml'
import { Faults, UsageError } from '../errors.ts'
import { didYouMean } from '../nearby.ts'
import { parseDuration } from '../output/times.ts'
import { plain } from './documents.ts'
import { placeOf } from './faults.ts'
import type { FoundFleet } from './fleet.ts'

// The outages file of a simulation: YAML or JSON, every fault with its place.

export type ReadOutages = { readonly outages: Outages; place(field: string): string }

/** Reads the file whole or not at all: a member that is not known, or stands twice, is a fault. */
export function readOutages(path: string): ReadOutages {
  if (!existsSync(path)) throw new UsageError(`--outages: there is no file ${path}`)
  const lines = new LineCounter()
  const document = parseDocument(readFileSync(path, 'utf8'), {
    lineCounter: lines,
    prettyErrors: false,
    uniqueKeys: true,
  })
  const at = ({ line, column }: { line: number; column: number }) => `${path}:${line}:${column}`
  const syntax = document.errors.map(({ pos, message }) => {
    const { line, col } = lines.linePos(pos[0])
    return `${at({ line, column: col })}: ${message}`
  })
  if (syntax.length > 0) throw new Faults(syntax)
  const place = (field: string, reason: 'FieldValueInvalid' | 'FieldValueForbidden' = 'FieldValueInvalid') =>
    at(placeOf({ field, reason }, document.contents, lines))
  const value = plain(document, (message) => {
    throw new Faults([`${place('')}: ${message}`])
  })
  const faults = causes(Outages, value).map(({ field, message, reason }) => {
    const known = Object.keys(Outages.properties)
    const near = reason === 'FieldValueForbidden' ? didYouMean(field.split('.').at(-1) ?? '', known) : ''
    const shown = place(field, reason === 'FieldValueForbidden' ? reason : 'FieldValueInvalid')
    return `${shown}: ${field || 'the document'} ${message}${near}`
  })
  if (faults.length > 0) throw new Faults([...faults, 'packages/cli/README.md has an example of such a file'])
  return { outages: value as Outages, place }
}

type Groups = SimulationInput['groups']

/** The groups that a file names; undefined where it names none. */
export function groupsIn({ groups }: Outages): Groups | undefined {
  return groups?.map(({ name = '', clusters = [], numbered }) => ({
    name,
    clusters: [
      ...clusters,
      ...Array.from({ length: numbered?.count ?? 0 }, (_, index) => `${numbered?.prefix}${index + 1}`),
    ],
  }))
}

type Played = Pick<
  SimulationInput,
  'groups' | 'clusters' | 'limits' | 'pace' | 'acts' | 'approvers' | 'startMs' | 'endMs'
>

/** Whom a file is played over, and from when. `goesOn`: the clusters are as a hub knows them at that time. */
type Fleet = { readonly groups: Groups; readonly startMs: number; readonly goesOn: boolean } & Partial<
  Pick<FoundFleet, 'clusters' | 'limits'>
>

/**
 * What is to be played of a file over a fleet. Faults with their places where the file names who is not there. Who is out of
 * reach at a hub is so to the end, but for whom the file has outages or a time to join. Of what people do only what is to
 * come is played.
 */
export function playedBy({ outages: file, place }: ReadOutages, fleet: Fleet): Played {
  const { groups, startMs } = fleet
  const names = groups.flatMap(({ clusters }) => clusters)
  const known = new Set(names)
  const groupNames = new Set(groups.map(({ name }) => name))
  const faults: string[] = []
  const check = (name: string, of: ReadonlySet<string>, what: string, field: string) => {
    if (!of.has(name))
      faults.push(`${place(field)}: ${field}: there is no ${what} "${name}"${didYouMean(name, [...of])}`)
  }
  const ends = ({ from, to }: { from: string; to?: string }, field: string) => {
    if (to !== undefined && Date.parse(to) <= Date.parse(from))
      faults.push(`${place(`${field}.to`)}: ${field}.to: an outage ends after it begins`)
  }
  file.clusters?.forEach(({ name, outages = [] }, index) => {
    for (const [item, outage] of outages.entries()) ends(outage, `clusters[${index}].outages[${item}]`)
    check(name, known, 'cluster', `clusters[${index}].name`)
    if (file.clusters?.findIndex((one) => one.name === name) !== index)
      faults.push(`${place(`clusters[${index}].name`)}: "${name}" is there twice: name a cluster once`)
  })
  file.outages?.forEach((outage, index) => {
    ends(outage, `outages[${index}]`)
    outage.clusters?.forEach((name, item) => void check(name, known, 'cluster', `outages[${index}].clusters[${item}]`))
    outage.groups?.forEach((name, item) => void check(name, groupNames, 'group', `outages[${index}].groups[${item}]`))
  })
  file.people?.acts?.forEach((act, index) => {
    if (act.do === 'approve' && act.gate === undefined)
      faults.push(`${place(`people.acts[${index}].do`)}: an approve names its gate: Start, Group/<index> or Completion`)
    act.clusters?.forEach((name, item) => void check(name, known, 'cluster', `people.acts[${index}].clusters[${item}]`))
  })
  if (faults.length > 0) throw new Faults(faults)

  const named = new Map(file.clusters?.map((cluster) => [cluster.name, cluster]))
  const endMs = Date.parse(file.end)
  const { lateAfter, offlineAfter, staleAfter } = file.reachability ?? {}
  const of = fleet.limits ?? { lateMs: ms('90s'), offlineMs: ms('5m'), staleMs: ms('14d') }
  const limits = {
    lateMs: lateAfter === undefined ? of.lateMs : ms(lateAfter),
    offlineMs: offlineAfter === undefined ? of.offlineMs : ms(offlineAfter),
    staleMs: staleAfter === undefined ? of.staleMs : ms(staleAfter),
  }
  const shared = (file.outages ?? []).map((outage) => ({
    span: spanOf(outage),
    isOfAll: !outage.clusters && !outage.groups,
    clusters: new Set(outage.clusters),
    groups: new Set(outage.groups),
  }))
  const clusters = groups.flatMap((group) =>
    group.clusters.map((name): SimulatedCluster => {
      const { outages = [], joins, fails, ...pace } = named.get(name) ?? {}
      const isTold = outages.length > 0 || joins !== undefined
      const known = fleet.clusters?.get(name)
      const as = known ? asFound(known, fleet.goesOn, isTold, startMs, endMs, limits) : { name }
      const own = outages.map(spanOf)
      for (const { span, isOfAll, clusters, groups } of shared)
        if (isOfAll || clusters.has(name) || groups.has(group.name)) own.push(span)
      return {
        ...as,
        ...paceOf(pace),
        outages: [...(as.outages ?? []), ...own],
        ...(fails ? { fails } : {}),
        ...(joins === undefined ? {} : { joinsAtMs: Date.parse(joins) }),
      }
    }),
  )
  return {
    ...{ groups, clusters, limits, startMs, endMs, pace: paceOf(file.pace ?? {}) },
    acts: (file.people?.acts ?? [])
      .filter(({ at }) => Date.parse(at) >= startMs)
      .map(({ at, do: verb, by, reason = 'as the outages file says', gate, clusters: some }) => ({
        ...{ atMs: Date.parse(at), verb, by, reason },
        ...(gate === undefined ? {} : { gate }),
        ...(some === undefined ? {} : { clusters: some }),
      })),
    approvers: (file.people?.approvals ?? []).map(({ by, after, gate }) => ({
      ...{ by, afterMs: ms(after) },
      ...(gate === undefined ? {} : { gate }),
    })),
  }
}

// From the beginning it counts for nothing since when a cluster is out of reach: so long that the limits call it that then.
function asFound(
  found: ClusterFacts,
  goesOn: boolean,
  isTold: boolean,
  startMs: number,
  endMs: number,
  { offlineMs, staleMs }: Played['limits'],
): SimulatedCluster {
  const { name, reachability, denied = false, heardAtMs } = found
  const bare: ClusterFacts = { name, reachability: 'Online', denied, nodes: [] }
  const as = { name, ...(goesOn ? { known: found } : denied ? { known: bare } : {}) }
  if (isTold || denied) return as
  // First heard when all is over.
  if (reachability === 'NeverSeen') return { ...as, joinsAtMs: endMs + 1 }
  if (reachability !== 'Offline' && reachability !== 'Stale') return as
  const silentMs = reachability === 'Offline' ? offlineMs : staleMs
  return { ...as, outages: [{ fromMs: goesOn && heardAtMs !== undefined ? heardAtMs : startMs - silentMs }] }
}

function spanOf({ from, to }: { from: string; to?: string }): { fromMs: number; toMs?: number } {
  return { fromMs: Date.parse(from), ...(to === undefined ? {} : { toMs: Date.parse(to) }) }
}

function paceOf({ delivery, staging, activation }: NonNullable<Outages['pace']>): NonNullable<SimulationInput['pace']> {
  return {
    ...(delivery === undefined ? {} : { deliveryMs: ms(delivery) }),
    ...(staging === undefined ? {} : { stagingMs: ms(staging) }),
    ...(activation === undefined ? {} : { activationMs: ms(activation) }),
  }
}

// The schema has let through what is one.
function ms(text: string): number {
  return parseDuration(text) ?? 0
}
