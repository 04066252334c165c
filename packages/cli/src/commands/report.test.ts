import { closeSync, ftruncateSync, openSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { testFolder } from '@skerry/supervise/testing'
import { expect, onTestFinished, test } from 'vitest'
import { buildProgram } from '../program.ts'

// A report that no text can hold. What a whole hub exports is tested with the command itself.

const MOST = 2 ** 29
/** What the engine does where a text would be too long. */
const tooMuch = () => 'x'.repeat(MOST)

function run(args: string[], stdin: () => Promise<string> = async () => '') {
  const shell = {
    out: () => {},
    err: () => {},
    now: () => 0,
    env: {},
    signal: new AbortController().signal,
    stdin,
  }
  return buildProgram(shell).parseAsync(['report', ...args], { from: 'user' })
}

test('verify: a file longer than one text may be is told with the way to smaller ones, before it is read', async () => {
  const file = join(testFolder(), 'large.json')
  const opened = openSync(file, 'w')
  ftruncateSync(opened, MOST)
  closeSync(opened)
  await expect(run(['verify', file])).rejects.toThrow(
    `${file} is longer than one text may be (512 MiB): "skerry report export -o json --cluster NAME --out FILE" writes a report of some clusters; verify each`,
  )
})

test('verify: so is what comes on standard input', async () => {
  await expect(run(['verify', '-'], async () => tooMuch())).rejects.toThrow(
    /^- is longer than one text may be \(512 MiB\): .*--cluster NAME/,
  )
})

test('export: so is a report that is longer than one text may be once it is written', async () => {
  // Short on its way, and half a gigabyte once each number stands on a line of its own, two thousand steps in.
  const deep = `${'['.repeat(2_000)}${Array.from({ length: 140_000 }, () => '0').join(',')}${']'.repeat(2_000)}`
  const server = createServer((_, response) => {
    response.setHeader('content-type', 'application/json')
    response.end(`{"asOf":"","clusters":[],"deep":${deep}}`)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(async () => {
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  })
  const there = ['--server', `http://127.0.0.1:${(server.address() as AddressInfo).port}`, '--token', 'secret']
  await expect(run(['export', '-o', 'json', ...there])).rejects.toThrow(
    'the report is longer than one text may be (512 MiB): "skerry report export -o json --cluster NAME --out FILE" writes a report of some clusters; --cluster may stand there several times',
  )
})

test('verify: a root needs what people signed in the file, and by that root', async () => {
  const dir = testFolder()
  const [file, root] = [join(dir, 'report.json'), join(dir, '1.root.json')]
  const hubSays = { incarnation: 1, hardwareId: 'till', watermark: 0, newestSeq: 0 }
  const node = { node: 'n', class: 'tpm', hubSays, claims: [] }
  const report = {
    ...{ kind: 'ComplianceReport', apiVersion: 'skerry.dev/v1alpha1', asOf: '2026-06-01T12:00:00.000Z' },
    totals: { pass: 0, fail: 0, 'not-assessed': 1 },
    clusters: [{ cluster: 'shop', reachability: 'NeverSeen', result: 'not-assessed', nodes: [node] }],
    evidence: [],
  }
  writeFileSync(root, '{}')
  writeFileSync(file, JSON.stringify(report))
  await expect(run(['verify', file, '--root', root])).rejects.toThrow(
    /^the report carries no signed manifests and profiles .*"skerry report export -o json --out FILE" at a hub of this version writes one that does$/,
  )
  writeFileSync(file, JSON.stringify({ ...report, references: { roots: ['e30='], targets: 'e30=', files: [] } }))
  await expect(run(['verify', file, '--root', root])).rejects.toThrow('is not to be believed: signed must be')
  writeFileSync(root, 'another')
  await expect(run(['verify', file, '--root', root])).rejects.toThrow('the report begins with root 44136fa3')
  await expect(run(['verify', file, '--root', root, '--trust', dir])).rejects.toThrow(
    '--trust FOLDER or by --root FILE',
  )
})

test('what else goes wrong keeps its own words', async () => {
  await expect(
    run(['verify', '-'], async () => {
      throw new RangeError('something else')
    }),
  ).rejects.toThrow('something else')
})
