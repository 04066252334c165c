import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { availableParallelism, loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Hostile, hostileInputs } from './hostile.ts'

// Each input goes to a process of its own, as a person's shell would start it: time and memory are the whole program's,
// Node's start included.

const GOAL_S = 2
const GOAL_MB = 300
/** One that has not ended by then never will. */
const HUNG_MS = 30_000
const SKERRY = fileURLToPath(new URL('../../../packages/cli/bin/skerry.mjs', import.meta.url))
const MEASURE = new URL('./own-figures.mjs', import.meta.url).href

type Played = {
  readonly input: string
  /** Of the error, or of the findings, each once. */
  readonly codes: readonly string[]
  readonly exit: number | null
  readonly wallS: number
  readonly cpuS: number | null
  readonly peakRssMb: number | null
  readonly hung?: true
}

type RefusalBench = {
  /** Inputs whose name has this in it. */
  readonly only?: string
  readonly runs: number
  readonly say: (sentence: string) => void
}

export async function benchRefusals({ only = '', runs, say }: RefusalBench) {
  const played: Played[] = []
  for (const input of hostileInputs().filter(({ name }) => name.includes(only))) {
    const one = await playOften(input, runs)
    say(`${one.input}: ${one.codes.join(' ') || '-'}, exit code ${one.exit}, ${one.wallS} s, ${one.peakRssMb} MB`)
    played.push(one)
  }
  const named = (wanted: (one: Played) => boolean) => played.filter(wanted).map(({ input }) => input)
  return {
    bench: 'refusals',
    inputs: played.length,
    runs,
    refused: played.filter(({ exit }) => exit !== 0).length,
    refusedWithoutCode: named(({ exit, codes }) => exit !== 0 && codes.length === 0),
    slower: named(({ wallS }) => wallS >= GOAL_S),
    larger: named(({ peakRssMb }) => peakRssMb === null || peakRssMb >= GOAL_MB),
    most: { wallS: worst(played, 'wallS'), cpuS: worst(played, 'cpuS'), peakRssMb: worst(played, 'peakRssMb') },
    goal: { wallS: GOAL_S, peakRssMb: GOAL_MB },
    cores: availableParallelism(),
    loadAverage: loadavg().map((one) => Number(one.toFixed(1))),
    played,
  }
}

function worst(played: readonly Played[], figure: 'wallS' | 'cpuS' | 'peakRssMb') {
  const [most] = played.toSorted((a, b) => (b[figure] ?? 0) - (a[figure] ?? 0))
  return most ? { input: most.input, [figure]: most[figure] } : undefined
}

/** What others do on this machine only adds to a time, so the least of some is nearest to the program's own. */
async function playOften(input: Hostile, runs: number): Promise<Played> {
  const all: Played[] = []
  for (let run = 0; run < runs; run += 1) all.push(await play(input))
  const [quickest] = all.toSorted((a, b) => a.wallS - b.wallS)
  if (!quickest) throw new Error(`${input.name} was never played`)
  const peaks = all.flatMap(({ peakRssMb }) => (peakRssMb === null ? [] : [peakRssMb]))
  return { ...quickest, peakRssMb: peaks.length < runs ? null : Math.max(...peaks) }
}

async function play({ name, make }: Hostile): Promise<Played> {
  const dir = mkdtempSync(join(tmpdir(), 'skerry-refusal-'))
  try {
    const args = make(dir)
    const startedAt = performance.now()
    const child = spawn(process.execPath, ['--import', MEASURE, SKERRY, 'attest', ...args], {
      stdio: ['ignore', 'pipe', 'ignore', 'pipe'],
      timeout: HUNG_MS,
      killSignal: 'SIGKILL',
    })
    const [out, figures, { exit, signal, endedAt }] = await Promise.all([
      textOf(child.stdio[1]),
      textOf(child.stdio[3]),
      new Promise<{ exit: number | null; signal: string | null; endedAt: number }>((resolve, reject) => {
        child.once('error', reject)
        child.once('exit', (exit, signal) => resolve({ exit, signal, endedAt: performance.now() }))
      }),
    ])
    const own = figures === '' ? undefined : (JSON.parse(figures) as { cpuS: number; peakRssMb: number })
    return {
      input: name,
      codes: signal === null ? codesOf(out) : [],
      exit,
      wallS: Number(((endedAt - startedAt) / 1_000).toFixed(2)),
      cpuS: own?.cpuS ?? null,
      peakRssMb: own?.peakRssMb ?? null,
      ...(signal === null ? {} : { hung: true }),
    }
  } finally {
    rmSync(dir, { recursive: true })
  }
}

async function textOf(stream: unknown): Promise<string> {
  let text = ''
  for await (const piece of stream as AsyncIterable<Buffer>) text += piece.toString()
  return text
}

function codesOf(out: string): string[] {
  if (out === '') return []
  const { error, findings = [] } = JSON.parse(out) as { error?: { code: string }; findings?: { code: string }[] }
  return [...new Set([...(error ? [error] : []), ...findings].map(({ code }) => code))]
}
