import { describe, expect, test } from 'vitest'
import { makeBell, pause, together } from './waits.ts'

test('a wait leaves no listener behind, whether it was rung or its time came', async () => {
  const over = new AbortController()
  let listeners = 0
  const { signal } = over
  const counted = new Proxy(signal, {
    get(target, name) {
      if (name === 'addEventListener') listeners += 1
      if (name === 'removeEventListener') listeners -= 1
      const value: unknown = Reflect.get(target, name, target)
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
  const bell = makeBell()
  for (let round = 0; round < 10; round += 1) {
    const wait = bell.wait(round % 2 === 0 ? 1 : 60_000, counted)
    if (round % 2 === 1) bell.ring()
    await wait
  }
  expect(listeners).toBe(0)
})

test('a wait ends with its signal', async () => {
  const over = new AbortController()
  const wait = makeBell().wait(60_000, over.signal)
  over.abort()
  await wait
})

describe('parts that need each other', () => {
  const endless = (stop: AbortController) => pause(3_600_000, stop.signal).catch(() => undefined)

  test('end when one of them fails, and what failed is told by its name', async () => {
    const stop = new AbortController()
    const cause = new Error('no more')
    const run = together({ node: endless(stop), leader: Promise.reject(cause) }, stop)
    await expect(run).rejects.toMatchObject({ message: 'leader: no more', cause })
    expect(stop.signal.reason).toMatchObject({ message: 'leader: no more' })
  })

  test('have all ended when the failure is told, and the first one is told', async () => {
    const stop = new AbortController()
    let ended = false
    const slow = endless(stop).then(() => {
      ended = true
      throw new Error('and I could not end well')
    })
    await expect(together({ slow, leader: Promise.reject(new Error('first')) }, stop)).rejects.toThrow('leader: first')
    expect(ended).toBe(true)
  })

  test('end well when none fails', async () => {
    const stop = new AbortController()
    const run = together({ node: endless(stop), leader: endless(stop) }, stop)
    stop.abort(new Error('the end'))
    await run
  })
})
