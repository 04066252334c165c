import type { Reporter, TestModule } from 'vitest/node'

// The last line of `npm test` is "N passed, N failed, N skipped". A file that could not be loaded counts as one failure.

export default class LastLine implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], errors: readonly unknown[]): void {
    let [passed, failed, skipped] = [0, errors.length, 0]
    for (const module of modules) {
      const tests = [...module.children.allTests()]
      for (const test of tests) {
        const { state } = test.result()
        if (state === 'passed') passed += 1
        else if (state === 'failed') failed += 1
        else skipped += 1
      }
      if (module.state() === 'failed' && !tests.some((test) => test.result().state === 'failed')) failed += 1
    }
    // After everything else: other reporters print when this event is over.
    process.once('exit', () => console.log(`${passed} passed, ${failed} failed, ${skipped} skipped`))
  }
}
