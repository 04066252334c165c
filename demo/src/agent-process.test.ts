import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { startAgent, tellEnd } from './agent-process.ts'
import { openCeremony } from './ceremony.ts'
import { introduction } from './hub-process.ts'
import { buildImage } from './images.ts'

// Real agents of a hub that is not there.

const dir = mkdtempSync(join(tmpdir(), 'skerry-demo-'))

test('of two agents, the one that is killed is named on the screen with its log; one that is stopped with all else is not', async () => {
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }))
  const bundle = openCeremony(join(dir, 'offline'), introduction(join(dir, 'hub'), []), Date.now()).bundle(
    ['https://127.0.0.1:1'],
    '',
    'token',
  )
  const factoryImage = buildImage(join(dir, 'images'), '1', { healthy: true, ballastBytes: 1_000 }).file
  const said: string[] = []
  let stopping = false
  const site = (name: string) => {
    const place = { name, dir: join(dir, name) }
    const agent = startAgent({ ...place, bundle, factoryImage })
    onTestFinished(() => agent.kill())
    const told = tellEnd(agent, place, { bad: (text) => void said.push(text) }, () => stopping)
    const waits = (line: string) => line.includes('registration waits') || undefined
    return { agent, told, there: agent.line(waits, 'an agent that waits for its hub', 120_000) }
  }
  const [one, two] = [site('shop-1'), site('shop-2')]
  await Promise.all([one.there, two.there])
  await two.agent.kill()
  await two.told
  expect(said).toEqual([expect.stringMatching(/^the agent of shop-2 ended \(-1\): /)])
  expect(said[0]).toContain(join(dir, 'shop-2', 'agent.log'))
  stopping = true
  await one.agent.stop()
  await one.told
  expect(said).toHaveLength(1)
})
