import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { testFolder } from '@skerry/supervise/testing'
import { expect, test } from 'vitest'
import { failedSentence, skippedSentences } from './last-line.ts'
import { howToGet, lackingTools, planTools, TOOLS, type Tool } from './tools.ts'

test('a package is here when each of its programs is, or one of the files that may stand for it', () => {
  const dir = testFolder()
  mkdirSync(join(dir, 'bin'))
  writeFileSync(join(dir, 'bin', 'one-program'), '')
  chmodSync(join(dir, 'bin', 'one-program'), 0o755)
  const tools: Tool[] = [
    { deb: 'here', has: ['one-program'] },
    { deb: 'half', has: ['one-program', 'other-program'] },
    { deb: 'either', has: [['/nowhere/a.so', join(dir, 'bin', 'one-program')]] },
    { deb: 'neither', has: [['/nowhere/a.so', '/nowhere/b.so']] },
  ]
  expect(lackingTools(tools, join(dir, 'bin'))).toEqual(['half', 'neither'])
})

test('whoever builds a machine has all that the tests have', () => {
  const names = TOOLS.machine.map(({ deb }) => deb)
  expect(names).toEqual(expect.arrayContaining(TOOLS.tests.map(({ deb }) => deb)))
  expect(new Set(names).size).toBe(names.length)
})

const debian = { isRoot: true, hasApt: true, mayInstall: true }
test.each([
  ['nothing is missing', [], debian, { do: 'nothing' }],
  ['root on Debian', ['swtpm'], debian, { do: 'install' }],
  ['somebody else', ['swtpm'], { ...debian, isRoot: false }, { do: 'tell', why: 'only root may install them' }],
  [
    'another system',
    ['swtpm'],
    { ...debian, hasApt: false },
    { do: 'tell', why: expect.stringContaining('no Debian') },
  ],
  [
    'told not to',
    ['swtpm'],
    { ...debian, mayInstall: false },
    { do: 'tell', why: expect.stringContaining('SKERRY_APT') },
  ],
])('what is done about missing packages: %s', (_, lacking, machine, plan) => {
  expect(planTools(lacking, machine)).toEqual(plan)
})

test('a run with skipped tests says which, and how to get what is missing, in two lines', () => {
  const skipped = new Map([
    ['a.test.ts', 2],
    ['b.test.ts', 1],
  ])
  expect(skippedSentences(skipped, ['swtpm', 'pesign'])).toEqual([
    'skerry: skipped here: a.test.ts (2), b.test.ts (1)',
    `skerry: tests want packages that this machine lacks: ${howToGet(['swtpm', 'pesign'])}`,
  ])
})

test.each([
  ['nothing was skipped', new Map<string, number>(), ['swtpm']],
  ['nothing is missing', new Map([['a.test.ts', 1]]), []],
])('it says nothing when %s', (_, skipped, lacking) => {
  expect(skippedSentences(skipped, lacking)).toEqual([])
})

test('a failure is one line, which begins as the gate looks for it', () => {
  const errors = [{ message: 'expected 1\n  to be 2' }, 'thrown as a text']
  const line = failedSentence('a.test.ts > counts', errors)
  expect(line).toBe('skerry: failed: a.test.ts > counts: expected 1 to be 2; thrown as a text')
  const gate = readFileSync(new URL('../.ci/run', import.meta.url), 'utf8')
  expect(gate).toContain("grep -h '^skerry: failed: ' ")
  expect(failedSentence('a.test.ts')).toBe('skerry: failed: a.test.ts: no error was told')
})
