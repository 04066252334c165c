import { expect, test } from 'vitest'
import { type Ends, endAll } from './ends.ts'

test('the newest ends first; one that fails and one that never ends are named and keep no other from ending', async () => {
  const said: string[] = []
  const end = (what: string, act: () => Promise<unknown>) => ({
    what,
    withinMs: 10,
    end: () => {
      said.push(what)
      return act()
    },
  })
  const ends: Ends = [
    end('first', async () => undefined),
    end('hung', () => new Promise(() => {})),
    end('broken', () => Promise.reject(new Error('no'))),
    end('last', async () => undefined),
  ]
  const faults: [string, string][] = []
  await endAll(ends, (what, error) => faults.push([what, String(error)]))
  expect(said).toEqual(['last', 'broken', 'hung', 'first'])
  expect(faults).toEqual([
    ['broken', 'Error: no'],
    ['hung', 'Error: it did not end within 0.01 s'],
  ])
  await endAll(ends, (what) => faults.push([what, 'again']))
  expect(said).toHaveLength(4)
})
