import { execFile, spawn } from 'node:child_process'
import { readFileSync, renameSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { buildImage, createJoinToken, ensure, eventually } from '@skerry/demo'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { KUBECTL, openWorld, type World } from './test-world.ts'

// The README's commands, typed as they are printed, in a folder of their own: only the addresses and folders of its
// examples are this test's. What is not typed here is named, so that a new line of the README is not left out.

const README = readFileSync(new URL('../../../README.md', import.meta.url), 'utf8')
const BINS = fileURLToPath(new URL('../../../node_modules/.bin', import.meta.url))
/** The demo's own two commands, what runs until it is ended, and the path to it all. */
const ELSEWHERE = [/^npm (start|test)\b/, /^skerry-hub serve /, /^export PATH=/]
const AGENT = /^skerry-agent --data /

let world: World
beforeAll(async () => {
  world = await openWorld()
  world.write('ca.pem', world.hub.caPem)
  await sh(`skerry login --server ${world.hub.apiUrl} --ca ca.pem --token ${world.hub.adminToken}`)
  for (const version of ['42', '43'])
    renameSync(buildImage(world.dir, version, { healthy: true }).file, world.path(`edge-os-${version}.img`))
  // What the demo has made by the time its four commands are typed.
  const metadata = { name: 'all-shops', namespace: 'default' }
  await ensure(world.hub.client, 'Placement', { metadata, spec: {} })
  await ensure(world.hub.client, 'Rollout', {
    metadata: { name: 'edge-os-3', namespace: 'default' },
    spec: { placementRef: { name: 'all-shops' }, image: { name: 'edge-os-3' } },
  })
})
afterAll(() => world?.close())

const environment = () => ({ ...world.env, PATH: `${BINS}${delimiter}${process.env['PATH']}` })

/** Types a line in a shell; what it prints on standard output. */
async function sh(line: string): Promise<string> {
  const options = { cwd: world.dir, env: environment(), timeout: 120_000 }
  return (await promisify(execFile)('bash', ['-euo', 'pipefail', '-c', line], options)).stdout
}

/** A line of the README with this test's places in it. */
function here(line: string): string {
  return line
    .replaceAll(/\bnpx (?=skerry)/g, '')
    .replaceAll('https://hub.example.org:7443', world.hub.apiUrl)
    .replaceAll('/var/lib/skerry-hub', world.path('hub'))
    .replaceAll('/var/lib/skerry-agent', world.path('agent'))
}

/** The lines of the shell blocks below a heading; of those above the first one for ''. */
function linesOf(heading: string): string[] {
  const part = README.split(/^## /m).find((text) => text.startsWith(heading)) ?? ''
  return [...part.matchAll(/```sh\n([\s\S]*?)```/g)].flatMap(([, block = '']) =>
    block
      .replaceAll(/\\\n\s*/g, '')
      .split('\n')
      .map((line) => line.replace(/^npx (?=skerry)/, '').replace(/\s+# .*$/, ''))
      .filter((line) => line.trim() !== ''),
  )
}

/** The commands that stand within a sentence. */
const inline = [...README.matchAll(/`(?:npx )?(skerry-(?:hub|agent) [^`]+)`/g)].map(([, command = '']) => command)

describe('the README', () => {
  test.each(['Two commands', 'For platform teams'])('"%s" can be typed as it is printed', async (heading) => {
    const lines = linesOf(heading).filter((line) => !ELSEWHERE.some((one) => one.test(line)))
    expect(lines.length).toBeGreaterThan(3)
    for (const line of lines) if (!line.includes('kubectl ')) await sh(here(line))
  })

  test.skipIf(KUBECTL === undefined)('its kubectl sees the hub', async () => {
    const [line = ''] = linesOf('For platform teams').filter((one) => one.includes('kubectl '))
    await sh('skerry kubeconfig --out skerry.kubeconfig')
    expect(await sh(here(line))).toContain('placement.cluster.open-cluster-management.io/all-shops')
  })

  test('a site joins as it says, and can be asked without a hub', async () => {
    const lines = linesOf('For site technicians')
    const run = lines.find((line) => AGENT.test(line)) ?? ''
    for (const line of lines.filter((one) => one !== run)) await sh(here(line))
    const agent = spawn('bash', ['-c', `exec ${here(run)}`], { cwd: world.dir, env: environment(), stdio: 'ignore' })
    const ended = new Promise((resolve) => agent.once('exit', resolve))
    try {
      const { spec } = await eventually(
        async () => (await world.hub.client.list('Registration'))[0],
        'the registration',
        120_000,
      )
      const status = inline.filter((command) => command.startsWith('skerry-agent status'))
      expect(status.length).toBeGreaterThan(0)
      for (const command of status) expect(await sh(here(command))).toContain(spec.fingerprint)
      const accept = /`(skerry cluster accept [^`]+)`/.exec(README)?.[1] ?? ''
      await sh(here(accept.replace(/--fingerprint \S+/, `--fingerprint ${spec.fingerprint}`)))
      await sh('skerry wait cluster shop-17 --for=condition=ManagedClusterJoined --timeout 120s')
      // The hub says that it is a member a moment before the node has heard so, and said a first word.
      for (const command of status)
        await eventually(
          async () => {
            const view = JSON.parse(await sh(here(command))) as Record<string, unknown>
            return view['cluster'] === 'shop-17' && view['newestStatement'] !== null && view['statementsWaiting'] === 0
          },
          'the node knowing its cluster, and the hub its first word',
          120_000,
        )
    } finally {
      agent.kill('SIGTERM')
      await ended
    }
  })

  test('an auditor types what it says', async () => {
    const lines = linesOf('For auditors')
    const shown = lines.find((line) => line.startsWith('skerry-agent status')) ?? ''
    const { nodeKey } = JSON.parse(await sh(here(shown))) as { nodeKey: string }
    const said: string[] = []
    for (const line of lines) said.push(await sh(here(line).replace('=KEY', `=${nodeKey}`)))
    expect(said.join('')).toMatch(/HeardFrom +pass +hub’s word +verified[\s\S]*HeardFrom +pass +pinned +verified/)
    expect(JSON.parse(readFileSync(join(world.dir, 'report.json'), 'utf8'))).toMatchObject({ clusters: [{}] })
  })

  test('what it names in its sentences works', async () => {
    await createJoinToken(world.hub.client, 'other', { maxUses: 1 }, Date.now())
    const rest = inline.filter((command) => !command.startsWith('skerry-agent status') && / /.test(command))
    expect(rest.length).toBeGreaterThan(0)
    for (const command of rest) await sh(here(command))
    const { scripts } = JSON.parse(readFileSync(new URL('../../../package.json', import.meta.url), 'utf8')) as {
      scripts: Record<string, string>
    }
    const named = [...README.matchAll(/npm (?:run )?([a-z0-9]+)\b/g)].map(([, name = '']) => name)
    expect(named.filter((name) => name !== 'run' && scripts[name] === undefined)).toEqual([])
  })
})
