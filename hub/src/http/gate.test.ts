import { expect, test } from 'vitest'
import { LineFull, makeGate } from './gate.ts'

test('so many are let through, so many wait, and one more is told that the line is full', async () => {
  const gate = makeGate('calls', 1, 1)
  const over = Promise.withResolvers<void>()
  const entered: string[] = []
  const enter = (name: string) =>
    gate(async () => {
      entered.push(name)
      await over.promise
    })
  const [first, second] = [enter('first'), enter('second')]
  await expect(enter('third')).rejects.toThrow(new LineFull('calls'))
  expect(entered).toEqual(['first'])
  over.resolve()
  await Promise.all([first, second])
  await enter('fourth')
  expect(entered).toEqual(['first', 'second', 'fourth'])
})
