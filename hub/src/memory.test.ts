import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { boundedStart } from './memory.ts'

const MALLOC = { MALLOC_MMAP_THRESHOLD_: '131072', MALLOC_TRIM_THRESHOLD_: '4194304' }
const FLAGS = ['--heap-growing-percent=50']

test.each([
  ['nothing was said', { execArgv: [], env: { A: 'b' } }, { execArgv: FLAGS, env: { A: 'b', ...MALLOC } }],
  [
    'there are other flags: they stay, and come last',
    { execArgv: ['--import', 'x'], env: {} },
    { execArgv: [...FLAGS, '--import', 'x'], env: MALLOC },
  ],
  [
    'an operator said how large, in one way or another: that stands',
    {
      execArgv: ['--heap_growing_percent=80'],
      env: { NODE_OPTIONS: '--trace-warnings', MALLOC_TRIM_THRESHOLD_: '1' },
    },
    {
      execArgv: ['--heap_growing_percent=80'],
      env: {
        NODE_OPTIONS: '--trace-warnings',
        ...MALLOC,
        MALLOC_TRIM_THRESHOLD_: '1',
      },
    },
  ],
  ['it is bounded', { execArgv: FLAGS, env: MALLOC }, undefined],
])('a start where %s', (_, start, again) => {
  expect(boundedStart(start)).toEqual(again)
  if (again) expect(boundedStart(again)).toBeUndefined()
})

test('the program runs bounded, in the process that was started, and its children are not', () => {
  const tell = 'console.log(JSON.stringify({ pid: process.pid, execArgv: process.execArgv }))'
  const atExit = 'process.on("exit", () => console.log(JSON.stringify({ left: Object.keys(process.env) })))'
  const main = fileURLToPath(new URL('./main.ts', import.meta.url))
  const spy = `data:text/javascript,${encodeURIComponent(`${tell};${atExit}`)}`
  const out = execFileSync(process.execPath, ['--import', spy, main, '--help'], {
    encoding: 'utf8',
    env: { PATH: process.env['PATH'] },
  })
  const told = out.split('\n').flatMap((line) => (line.startsWith('{') ? [JSON.parse(line)] : []))
  const [first, second, end] = told
  expect(told).toHaveLength(3)
  expect(second).toEqual({ pid: first.pid, execArgv: [...FLAGS, ...first.execArgv] })
  expect(end.left.filter((name: string) => name.startsWith('MALLOC'))).toEqual([])
})
