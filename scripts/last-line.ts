import type { Reporter, TestModule } from 'vitest/node'
import { howToGet, lackingTools, TOOLS } from './tools.ts'

// The last line of `npm test` is "N passed, N failed, N skipped". A file that could not be loaded counts as one failure.
// Before it, once: which files' tests were skipped and how to get what they may have wanted.

export default class LastLine implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], errors: readonly unknown[]): void {
    let [passed, failed, skipped] = [0, errors.length, 0]
    const skippedIn = new Map<string, number>()
    for (const module of modules) {
      const tests = [...module.children.allTests()]
      for (const test of tests) {
        const { state } = test.result()
        if (state === 'passed') passed += 1
        else if (state === 'failed') failed += 1
        else {
          skipped += 1
          skippedIn.set(module.relativeModuleId, (skippedIn.get(module.relativeModuleId) ?? 0) + 1)
        }
      }
      if (module.state() === 'failed' && !tests.some((test) => test.result().state === 'failed')) failed += 1
    }
    const sentences = skipped === 0 ? [] : skippedSentences(skippedIn, lackingTools(TOOLS.tests))
    // After everything else: other reporters print when this event is over.
    process.once('exit', () => {
      for (const sentence of sentences) console.log(sentence)
      console.log(`${passed} passed, ${failed} failed, ${skipped} skipped`)
    })
  }
}

/** Which tests were skipped, by file, and what to install; nothing where no package is missing. */
export function skippedSentences(skippedIn: ReadonlyMap<string, number>, lacking: readonly string[]): string[] {
  if (skippedIn.size === 0 || lacking.length === 0) return []
  const files = [...skippedIn].map(([file, count]) => `${file} (${count})`)
  return [
    `skerry: skipped here: ${files.join(', ')}`,
    `skerry: tests want packages that this machine lacks: ${howToGet(lacking)}`,
  ]
}
