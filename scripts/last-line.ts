import type { Reporter, TestModule } from 'vitest/node'
import { howToGet, lackingTools, TOOLS } from './tools.ts'

// The last line of `npm test` is "N passed, N failed, N skipped". A file that could not be loaded counts as one failure.
// Before it: each failed test in a line of its own, which is what a gate repeats at its end; and, once, which files' tests
// were skipped and how to get what they may have wanted.

export default class LastLine implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], errors: readonly unknown[]): void {
    let [passed, failed, skipped] = [0, errors.length, 0]
    const skippedIn = new Map<string, number>()
    const failures = errors.map((error) => failedSentence('outside of a test', [error]))
    for (const module of modules) {
      const tests = [...module.children.allTests()]
      for (const test of tests) {
        const { state, errors: found } = test.result()
        if (state === 'passed') passed += 1
        else if (state === 'failed') {
          failed += 1
          failures.push(failedSentence(`${module.relativeModuleId} > ${test.fullName}`, found))
        } else {
          skipped += 1
          skippedIn.set(module.relativeModuleId, (skippedIn.get(module.relativeModuleId) ?? 0) + 1)
        }
      }
      if (module.state() === 'failed' && !tests.some((test) => test.result().state === 'failed')) {
        failed += 1
        failures.push(failedSentence(module.relativeModuleId, module.errors()))
      }
    }
    const sentences = [...failures, ...(skipped === 0 ? [] : skippedSentences(skippedIn, lackingTools(TOOLS.tests)))]
    // After everything else: other reporters print when this event is over.
    process.once('exit', () => {
      for (const sentence of sentences) console.log(sentence)
      console.log(`${passed} passed, ${failed} failed, ${skipped} skipped`)
    })
  }
}

/** One line: where, and the first words of each error. */
export function failedSentence(where: string, errors: readonly unknown[] = []): string {
  const said = errors.map((error) =>
    String((error as { message?: unknown } | undefined)?.message ?? error)
      .replaceAll(/\s+/g, ' ')
      .slice(0, 400),
  )
  return `skerry: failed: ${where}: ${said.join('; ') || 'no error was told'}`
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
