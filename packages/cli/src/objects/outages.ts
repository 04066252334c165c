import { existsSync, readFileSync } from 'node:fs'
import { causes, Outages, soundPart } from '@skerry/api'
import { type ClusterFacts, type SimulatedCluster, type SimulationInput, simulationFaults } from '@skerry/policy'
import { LineCounter, parseDocument } from 'yaml'
import { Faults, UsageError } from '../errors.ts'
import { didYouMean } from '../nearby.ts'
import { parseDuration } from '../output/times.ts'
import { isRecord, plain } from './documents.ts'
import { placeOf } from './faults.ts'
import type { FoundFleet } from './fleet.ts'

// The outages file of a simulation: YAML or JSON, every fault with its place.

/** What may lack any of its members, as the rest of a file with faults does. */
export type Sound<T> = T extends readonly (infer Item)[]
  ? readonly Sound<Item>[]
  : T extends object
    ? { readonly [Member in keyof T]?: Sound<T[Member]> }
    : T

export type ReadOutages = {
  /** What the file says, where nothing is wrong by its schema. */
  readonly whole: Outages | undefined
  /** The same, or what of it is sound. */
  readonly outages: Sound<Outages>
  /** What is wrong by the schema. */
  readonly faults: readonly string[]
  /** Another fault of a member, with its place; none of what is told already to be wrong, or missing. */
  told(field: string, message: string): string[]
  /** Whether nothing in a member of the file is wrong by the schema. */
  isWhole(member: keyof Outages): boolean
}

/** What is said last of a file that is wrong by its schema. */
export const EXAMPLE = 'packages/cli/README.md has an example of such a file'

/** Reads a file; a member that is not known, or stands twice, is a fault. Faults of what is no such file at all are thrown. */
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
  const told = (field: string, message: string) => [`${place(field)}: ${field ? `${field}: ` : ''}${message}`]
  const wrong = causes(Outages, value)
  const faults = wrong.map(({ field, message, reason }) => {
    const known = Object.keys(Outages.properties)
    const near = reason === 'FieldValueForbidden' ? didYouMean(field.split('.').at(-1) ?? '', known) : ''
    const shown = place(field, reason === 'FieldValueForbidden' ? reason : 'FieldValueInvalid')
    return `${shown}: ${field || 'the document'} ${message}${near}`
  })
  if (faults.length === 0)
    return { whole: value as Outages, outages: value as Outages, faults, told, isWhole: () => true }
  const sound = isRecord(value) ? soundPart(Outages, value) : undefined
  if (!sound) throw new Faults([...faults, EXAMPLE])
  return {
    whole: undefined,
    outages: sound.rest,
    faults,
    told: (field, message) => {
      const inFile = sound.placeOf(field)
      return sound.isLeftOut(inFile) ? [] : told(inFile, message)
    },
    isWhole: (member) => wrong.every(({ field }) => /^[^.[]*/.exec(field)?.[0] !== member),
  }
}

type Groups = SimulationInput['groups']

/** The groups that a file names; undefined where it names none. */
export function groupsIn({ groups }: Sound<Outages>): Groups | undefined {
  return groups?.map(({ name = '', clusters = [], numbered: { prefix = '', count = 0 } = {} }) => ({
    name,
    clusters: [...clusters, ...Array.from({ length: count }, (_, index) => `${prefix}${index + 1}`)],
  }))
}

/** What a file contradicts itself in, whatever the fleet is. */
export function contradictions({ outages: file, told }: ReadOutages): string[] {
  const ends = ({ from, to }: { readonly from?: string; readonly to?: string }, field: string) =>
    from !== undefined && to !== undefined && Date.parse(to) <= Date.parse(from)
      ? told(`${field}.to`, 'an outage ends after it begins')
      : []
  const names = file.clusters?.map(({ name }) => name) ?? []
  return [
    ...(file.clusters ?? []).flatMap(({ name, outages = [] }, index) => [
      ...outages.flatMap((outage, item) => ends(outage, `clusters[${index}].outages[${item}]`)),
      ...(name !== undefined && names.indexOf(name) !== index
        ? told(`clusters[${index}].name`, `"${name}" is there twice: name a cluster once`)
        : []),
    ]),
    ...(file.outages ?? []).flatMap((outage, index) => ends(outage, `outages[${index}]`)),
    ...(file.people?.acts ?? []).flatMap(({ do: verb, gate }, index) =>
      verb === 'approve' && gate === undefined
        ? told(`people.acts[${index}].gate`, 'an approve names its gate: Start, Group/<index> or Completion')
        : [],
    ),
  ]
}

/** Whom a file may name, and when it begins, as far as that is known. */
type Known = { readonly groups?: Groups | undefined; readonly startMs?: number | undefined; readonly limits?: Limits }
type Limits = FoundFleet['limits']

/** What a file says that does not fit the fleet, the time from which it is played, or the hub's limits. */
export function misfits({ outages: file, told, isWhole }: ReadOutages, { groups, startMs, limits }: Known): string[] {
  const endMs = file.end === undefined ? undefined : Date.parse(file.end)
  const isTimed = startMs !== undefined && endMs !== undefined
  const names = [...new Set(groups?.flatMap(({ clusters }) => clusters))]
  const unplayable = simulationFaults({
    ...{
      groups: groups ?? [],
      clusters: names.map((name) => ({ name })),
      limits: limitsIn(isWhole('reachability') ? file : {}, limits),
    },
    ...(isTimed ? { startMs, endMs } : { startMs: 0, endMs: 1 }),
  }).flatMap(({ field, message }) => told(field, message))
  return groups ? [...unplayable, ...strangers(file, told, names, groups)] : unplayable
}

// Who is named and not there.
function strangers(
  file: Sound<Outages>,
  told: ReadOutages['told'],
  names: readonly string[],
  groups: Groups,
): string[] {
  const known = new Set(names)
  const groupNames = new Set(groups.map(({ name }) => name))
  const check = (name: string | undefined, of: ReadonlySet<string>, what: string, field: string) =>
    name === undefined || of.has(name) ? [] : told(field, `there is no ${what} "${name}"${didYouMean(name, [...of])}`)
  const clusters = (some: readonly string[] = [], at: string) =>
    some.flatMap((name, item) => check(name, known, 'cluster', `${at}.clusters[${item}]`))
  return [
    ...(file.clusters ?? []).flatMap(({ name }, index) => check(name, known, 'cluster', `clusters[${index}].name`)),
    ...(file.outages ?? []).flatMap((outage, index) => [
      ...clusters(outage.clusters, `outages[${index}]`),
      ...(outage.groups ?? []).flatMap((name, item) =>
        check(name, groupNames, 'group', `outages[${index}].groups[${item}]`),
      ),
    ]),
    ...(file.people?.acts ?? []).flatMap((act, index) => clusters(act.clusters, `people.acts[${index}]`)),
  ]
}

function limitsIn({ reachability }: Sound<Outages>, hubs: Limits | undefined): Limits {
  const { lateAfter, offlineAfter, staleAfter } = reachability ?? {}
  const of = hubs ?? { lateMs: ms('90s'), offlineMs: ms('5m'), staleMs: ms('14d') }
  return {
    lateMs: lateAfter === undefined ? of.lateMs : ms(lateAfter),
    offlineMs: offlineAfter === undefined ? of.offlineMs : ms(offlineAfter),
    staleMs: staleAfter === undefined ? of.staleMs : ms(staleAfter),
  }
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
 * What is to be played over a fleet of a file that fits it. Who is out of
 * reach at a hub is so to the end, but for whom the file has outages or a time to join. Of what people do only what is to
 * come is played.
 */
export function playedBy(file: Outages, fleet: Fleet): Played {
  const { groups, startMs } = fleet
  const named = new Map(file.clusters?.map((cluster) => [cluster.name, cluster]))
  const endMs = Date.parse(file.end)
  const limits = limitsIn(file, fleet.limits)
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
