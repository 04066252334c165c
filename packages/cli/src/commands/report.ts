import { existsSync, statSync } from 'node:fs'
import { ComplianceReport, parse, Refusal } from '@skerry/api'
import { type CheckedReport, checkReport, counted } from '@skerry/policy'
import { parseStrictText, type ReadEvidence, readEvidence, readReferences } from '@skerry/trust'
import type { Command } from 'commander'
import { Faults, UsageError } from '../errors.ts'
import { bytesOf } from '../offline/read.ts'
import { rootGiven } from '../offline/roots.ts'
import { formatColumns } from '../output/columns.ts'
import { writeOut } from '../output/files.ts'
import { formOption, toJson, toText } from '../output/forms.ts'
import { MOST_TEXT, withinOneText } from '../output/too-long.ts'
import { type Shell, say, withHub } from '../shell.ts'
import { collect } from '../values.ts'

type Options = { output: 'json' | 'yaml' | 'table'; out?: string; cluster?: string[] }

export function reportCommand(program: Command, shell: Shell): void {
  const report = program
    .command('report')
    .description('What can be claimed of the fleet, and on what each claim rests.')
  report
    .command('export')
    .description(
      'Exports the report: each claim with the statement it rests on; as json or yaml with every signed statement.',
    )
    .addOption(formOption('json', 'table', 'yaml'))
    .option('--cluster <name>', 'of this cluster alone; once for each', collect)
    .option('--out <file>', 'write it there')
    .addHelpText('after', '\nExample:\n  skerry report export -o json --out report.json')
    .action(async ({ output, out, cluster }: Options, command: Command) => {
      await withHub(command, shell, async ({ client }) => {
        const { found, text } = await withinOneText(async () => {
          const made = await client.report({ evidence: output !== 'table', clusters: cluster })
          return { found: made, text: output === 'table' ? reportText(made) : toText(made, output) }
        }, EXPORT_LESS)
        if (out === undefined) return shell.out(text)
        writeOut(out, text)
        say(shell, `${out}: ${counted(found.clusters.length, 'cluster')} as of ${found.asOf}`)
      })
    })
  report
    .command('verify')
    .description('Verifies an exported report without a hub: each signature, each chain, each claim made again.')
    .argument('<file>', 'the report as json; - is standard input')
    .option('--key <node=fingerprint>', 'a node’s key, as its own screen shows it; once for each', collect)
    .option('--trust <folder>', 'the signers’ folder whose root is to be believed: boots with a TPM are judged again')
    .option('--root <file>', 'the same by root 1, as a site has it')
    .addOption(formOption('table', 'json'))
    .addHelpText('after', HELP)
    .action(async (file: string, { key = [], output, ...believed }: VerifyOptions) => {
      if (believed.trust !== undefined && believed.root !== undefined)
        throw new UsageError('whom to believe is said once: by --trust FOLDER or by --root FILE')
      const root = rootGiven(believed)
      const report = parse(ComplianceReport, jsonOf(await readText(file, shell), file), file)
      const { checked, unproven } = await verify(report, pinsOf(key, report), root && signedIn(report, root))
      shell.out(output === 'json' ? toJson(checked) : checkedText(report, checked, unproven))
      if (checked.faults.length > 0) throw new Faults(checked.faults)
    })
}

const HELP = `
Example:
  skerry report verify report.json --key shop-17=q1Xz…

"skerry-agent status" shows the fingerprint (nodeKey) on the machine itself. Without --key, that a key is a node's is the
word of the hub. Without --trust or --root, so is what the boot of a machine with a TPM was held against. Exit code 1 when anything in the report does not hold.`

const IN_PARTS = `longer than one text may be (512 MiB): "skerry report export -o json --cluster NAME --out FILE" writes a report of some clusters`
const EXPORT_LESS = `the report is ${IN_PARTS}; --cluster may stand there several times`

type VerifyOptions = { key?: string[]; trust?: string; root?: string; output: 'table' | 'json' }

async function readText(file: string, shell: Shell): Promise<string> {
  const tooLong = `${file} is ${IN_PARTS}; verify each`
  if (file === '-') return withinOneText(shell.stdin, tooLong)
  if (existsSync(file) && statSync(file).size > MOST_TEXT) throw new Error(tooLong)
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytesOf(file))
  } catch (cause) {
    if (!(cause instanceof TypeError)) throw cause
    throw new Error(
      `${file} is no text in UTF-8: it was changed on its way; "skerry report export -o json --out FILE" writes it anew`,
      { cause },
    )
  }
}

// A member that stands twice would be one thing here and another to whoever reads the file next.
function jsonOf(text: string, file: string): unknown {
  try {
    return parseStrictText(text, { maxBytes: Number.MAX_SAFE_INTEGER })
  } catch (cause) {
    const why = cause instanceof Error ? cause.message.replaceAll(/\s*\n\s*/g, ' ') : String(cause)
    throw new Error(`${file}: ${why}; "skerry report export -o json --out FILE" writes what can be verified`, { cause })
  }
}

/** What people signed, as the file carries it, by a root that whoever asks believes. */
function signedIn({ references, clusters }: ComplianceReport, root: Uint8Array) {
  try {
    if (references) return readReferences(references, root)
  } catch (cause) {
    if (!(cause instanceof Refusal)) throw cause
    throw new Error(`what the report carries of signed files is not to be believed: ${cause.message}`, { cause })
  }
  if (!clusters.some(({ nodes }) => nodes.some((node) => node.class === 'tpm'))) return { manifests: [], profiles: [] }
  throw new Error(
    'the report carries no signed manifests and profiles by which a boot with a TPM could be judged again: "skerry report export -o json --out FILE" at a hub of this version writes one that does',
  )
}

/** Reads the evidence of every node, then has policy judge the report against it. */
async function verify(
  report: ComplianceReport,
  pins: ReadonlyMap<string, string>,
  signed: ReturnType<typeof readReferences> | undefined,
) {
  if (report.evidence === undefined)
    throw new Error('the report holds no evidence: "skerry report export -o json" writes one that does')
  const read = new Map<string, ReadEvidence>()
  for (const one of report.evidence) {
    const place = `${one.cluster}/${one.node}/${one.incarnation}`
    if (read.has(place)) throw new Error(`the file holds the evidence of ${place} twice`)
    read.set(place, await readEvidence(one))
  }
  const unproven = [...read].filter(([, { registered }]) => !registered).map(([place]) => place)
  return { checked: checkReport(report, read, pins, signed), unproven }
}

// NODE is cluster/node, or the one of them that says it, where that is one node's alone.
function pinsOf(given: readonly string[], { clusters }: ComplianceReport): Map<string, string> {
  const places = clusters.flatMap(({ cluster, nodes }) => nodes.map(({ node }) => ({ cluster, node })))
  const pins = new Map<string, string>()
  for (const text of given) {
    const [, name, fingerprint] = /^([^=]+)=([A-Za-z0-9_-]{43})$/.exec(text) ?? []
    if (name === undefined || fingerprint === undefined)
      throw new UsageError(`--key ${text}: write NODE=FINGERPRINT, with the 43 characters that the node shows`)
    const found = places.filter(
      ({ cluster, node }) => name === `${cluster}/${node}` || name === cluster || name === node,
    )
    if (found.length > 1 && !name.includes('/'))
      throw new UsageError(
        `--key ${text}: several nodes are called so: ${found.map(({ cluster, node }) => `${cluster}/${node}`).join(', ')}`,
      )
    const [one] = found
    const place = one ? `${one.cluster}/${one.node}` : name
    if (pins.has(place) && pins.get(place) !== fingerprint) throw new UsageError(`--key: two keys for ${place}`)
    pins.set(place, fingerprint)
  }
  return pins
}

const KEYS = { pinned: 'pinned', hub: 'hub’s word', '': '' } as const

/** The claims as they were found, and how far the keys under them are known. */
function checkedText({ asOf, only }: ComplianceReport, { claims }: CheckedReport, unproven: readonly string[]): string {
  const rows = claims.map(({ cluster, node, claim, result, key, outcome, reason }) => [
    cluster,
    node,
    claim,
    result,
    KEYS[key],
    outcome,
    reason,
  ])
  const count = (outcome: CheckedReport['claims'][number]['outcome']) =>
    `${claims.filter((one) => one.outcome === outcome).length} ${outcome}`
  const onWord = new Set(claims.filter(({ key }) => key === 'hub').map(({ cluster, node }) => `${cluster}/${node}`))
  const lines = [
    `As of ${asOf}, by the hub's clock${only ? `, of ${only.join(', ')} alone` : ''}:`,
    `${count('verified')}, ${count('not-verified')}, ${count('not-assessed')}`,
    ...(onWord.size > 0
      ? [
          `${counted(onWord.size, 'node’s key is', 'nodes’ keys are')} known by the hub’s word alone: compare with --key.`,
        ]
      : []),
    ...(unproven.length > 0 ? [`Joined before the proof of registration was kept: ${unproven.join(', ')}`] : []),
  ]
  return `${formatColumns([['CLUSTER', 'NODE', 'CLAIM', 'RESULT', 'KEY', 'VERIFIED', 'REASON'], ...rows])}\n${lines.join('\n')}\n`
}

/** The report as a table: one line a claim, and what a class cannot prove below it. */
function reportText({ asOf, totals, clusters }: ComplianceReport): string {
  const rows = clusters.flatMap(({ cluster, reachability, result, nodes }) => {
    if (nodes.length === 0) return [[cluster, '', '', reachability, '', result, 'no node is registered', '']]
    return nodes.flatMap(({ node, class: kind, claims }) =>
      claims.map(({ claim, result: found, message, statements }) => [
        cluster,
        node,
        kind,
        reachability,
        claim,
        found,
        message,
        statements.map(({ incarnation, seq, digest }) => `${incarnation}/${seq} ${digest.slice(0, 12)}`).join(', '),
      ]),
    )
  })
  const limits = new Map(
    clusters.flatMap(({ nodes }) =>
      nodes.flatMap(({ class: kind, limitation }) => (limitation ? [[kind, limitation] as const] : [])),
    ),
  )
  const counts = Object.entries(totals).map(([result, count]) => `${count} ${result}`)
  const headers = ['CLUSTER', 'NODE', 'CLASS', 'REACHABILITY', 'CLAIM', 'RESULT', 'MESSAGE', 'STATEMENTS']
  return `As of ${asOf}: ${counts.join(', ')}\n\n${formatColumns([headers, ...rows])}${[...limits].map(([kind, limitation]) => `\nClass ${kind}: ${limitation}\n`).join('')}`
}
