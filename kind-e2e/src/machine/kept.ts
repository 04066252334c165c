import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import type { EvidenceBody, Finding, HardwareProfile, OSImageManifest, PcrValues, Statement } from '@skerry/api'
import { ENTRIES } from '@skerry/demo'
import { nameOf, parsePublic } from '@skerry/measured-boot'
import { FIRMWARE_PCRS } from '@skerry/policy'
import { statementsOf } from '../chain.ts'
import type { World } from '../world.ts'
import { isBootLine } from './console.ts'
import { claimsOf, type Result, resultsOf } from './judged.ts'
import type { Machine } from './machine.ts'
import { secondOpinion } from './second-opinion.ts'

// What is left of a story's boots, for whoever judges them elsewhere and without a hub: one folder a boot. With a TPM,
// `skerry attest verify --evidence evidence.json --reference reference.json` reads two of the files.

export type Kept = {
  readonly machine: Pick<Machine, 'boots' | 'consoleLog'>
  /** What its node said, as the hub tells it. */
  readonly statements: readonly Statement[]
  /** Of every image that may have booted, by the version in its os-release. */
  readonly manifests: readonly OSImageManifest[]
  /** What was signed of this kind of machine, if anything. */
  readonly profile?: HardwareProfile
  /** The hub's verdicts, the newest first. */
  readonly results?: readonly Result[]
}

/** The folder of a story in which its boots are kept. */
export const bootsFolder = ({ dir }: Pick<World, 'dir'>) => join(dir, 'boots')

/** Plays, and keeps the boots however that ends: what was measured until it failed is what a person wants to see. */
export async function keepingBoots(
  world: World,
  machine: Pick<Machine, 'name' | 'boots' | 'consoleLog'>,
  reference: Pick<Kept, 'manifests' | 'profile'>,
  play: () => Promise<void>,
): Promise<void> {
  const keep = async () => {
    const client = world.client()
    const statements = (await statementsOf(client, machine.name)).map(({ statement }) => statement)
    keepBoots(bootsFolder(world), { ...reference, machine, statements, results: await resultsOf(client, machine.name) })
  }
  try {
    await play()
  } catch (error) {
    await keep().catch((cause: unknown) => console.error('the boots could not be kept:', cause))
    throw error
  }
  await keep()
}

/**
 * Writes `dir/<n>-<version>/` for each boot: serial.log, manifest.json, profile.json, verdict.json; of a node of class tpm
 * evidence.json and reference.json too.
 */
export function keepBoots(dir: string, { machine, statements, manifests, profile, results }: Kept): void {
  const evidence = statements.flatMap(({ kind, body }) => (kind === 'evidence' ? [body] : []))
  const serial = serialByBoot(readFileSync(machine.consoleLog, 'utf8'))
  for (const [index, { bootId, version }] of machine.boots().entries()) {
    const folder = join(dir, `${index + 1}-${version}`)
    const keep = (file: string, text: string) => writeFileSync(join(folder, file), text, { mode: 0o600 })
    mkdirSync(folder, { recursive: true, mode: 0o700 })
    keep('serial.log', serial[index] ?? '')
    const manifest = manifests.find((one) => one.version === version)
    if (manifest) keep('manifest.json', toJson(manifest))
    if (profile) keep('profile.json', toJson(profile))
    const result = results?.find((one) => one.bootId === bootId)
    if (result) keep('verdict.json', toJson({ ...result, says: claimsOf(result) }))
    const told = evidence.find((one) => one.bootId === bootId)
    if (told?.quote === undefined) continue
    keep('evidence.json', toJson(told))
    const others = manifests.filter((one) => one !== manifest)
    keep('reference.json', toJson({ manifest, profile, others, ...onRecord(evidence) }))
  }
}

/** What a boot's evidence is worth to whoever has the folder alone. */
export type Verified = {
  /** Of `skerry attest verify`, asked in another folder and of no hub: 0 is affirming or warning, 2 contraindicated. */
  readonly exitCode: number | null
  /** As it prints it. */
  readonly verdict: string
  readonly findings: readonly Finding[]
  readonly secondOpinion: readonly string[]
}

/** Judges each boot that left evidence, by its folder's name. */
export function verifyKept(dir: string): Map<string, Verified> {
  const folders = readdirSync(dir).filter((folder) => existsSync(join(dir, folder, 'evidence.json')))
  return new Map(
    folders.toSorted().map((folder) => {
      const at = (file: string) => resolve(dir, folder, file)
      const files = ['--evidence', at('evidence.json'), '--reference', at('reference.json')]
      const asked = spawnSync(process.execPath, [ENTRIES.cli, 'attest', 'verify', ...files], {
        cwd: tmpdir(),
        encoding: 'utf8',
      })
      if (!asked.stdout) throw new Error(`the evidence in ${folder} could not be verified: ${asked.stderr}`)
      const { verdict, findings } = JSON.parse(asked.stdout) as Pick<Verified, 'verdict' | 'findings'>
      const evidence = JSON.parse(readFileSync(at('evidence.json'), 'utf8')) as EvidenceBody
      return [folder, { exitCode: asked.status, verdict, findings, secondOpinion: secondOpinion(evidence) }]
    }),
  )
}

/** What the first boot that was told of showed of the machine itself: what it is held to from then on. */
function onRecord(evidence: readonly EvidenceBody[]): { akName?: string; firmware?: PcrValues } {
  const [first] = evidence
  const shown = first?.pcrs?.sha256
  if (first?.akPublic === undefined || shown === undefined) return {}
  const akName = Buffer.from(nameOf(parsePublic(Buffer.from(first.akPublic, 'base64')))).toString('hex')
  const firmware = FIRMWARE_PCRS.flatMap((pcr) => (shown[pcr] === undefined ? [] : [[pcr, shown[pcr]]]))
  return { akName, firmware: Object.fromEntries(firmware) }
}

/** A machine's console, boot by boot: each from its firmware's first words to the next one's, tries that came to nothing first. */
export function serialByBoot(log: string): string[] {
  const boots: string[][] = [[]]
  let isUp = false
  for (const line of log.split('\n')) {
    if (isUp && line.includes(FIRMWARE_BEGINS)) {
      boots.push([])
      isUp = false
    }
    isUp ||= isBootLine(line)
    boots.at(-1)?.push(line)
  }
  return boots.map((lines) => lines.join('\n'))
}

/** What OVMF says before it starts anything. */
const FIRMWARE_BEGINS = 'BdsDxe: loading'

const toJson = (value: object) => `${JSON.stringify(value, null, 1)}\n`
