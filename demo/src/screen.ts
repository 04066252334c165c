import { styleText } from 'node:util'

// What the person at the terminal sees: a line a step, with the time since the start. The same lines without colour where
// nobody watches.

export type Screen = {
  step(text: string): void
  say(text: string): void
  good(text: string): void
  bad(text: string): void
}

export function openScreen(): Screen {
  const started = performance.now()
  const colour = process.stdout.isTTY === true && !process.env['NO_COLOR']
  const paint = (style: Parameters<typeof styleText>[0], text: string) => (colour ? styleText(style, text) : text)
  const line = (mark: string, text: string) =>
    console.log(
      `${paint('dim', `${((performance.now() - started) / 1000).toFixed(1).padStart(6)} s`)}  ${mark}  ${text}`,
    )
  return {
    step: (text) => line(paint('cyan', '▶'), paint('bold', text)),
    say: (text) => line(' ', text),
    good: (text) => line(paint('green', '✔'), text),
    bad: (text) => line(paint('red', '✘'), text),
  }
}
