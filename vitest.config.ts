import { defineConfig } from 'vitest/config'
import { HeaviestFirst } from './scripts/heaviest-first.ts'

export default defineConfig({
  test: {
    include: [
      'packages/*/src/**/*.test.ts',
      'hub/src/**/*.test.ts',
      'spoke-agent/src/**/*.test.ts',
      'demo/src/**/*.test.ts',
      'kind-e2e/src/**/*.test.ts',
      'scripts/*.test.ts',
    ],
    globalSetup: ['scripts/test-environment.ts'],
    setupFiles: ['scripts/property-seed.ts'],
    reporters: ['default', './scripts/last-line.ts'],
    pool: 'forks',
    // One more than the cores of the smallest machine: tests of real programs wait for them much of their time.
    maxWorkers: 3,
    sequence: { sequencer: HeaviestFirst },
    // Above the sum of the waits inside any test, also where the machine is slow: each wait has a deadline of its own that
    // says what did not happen, and it must be the one that speaks.
    testTimeout: 300_000,
    hookTimeout: 180_000,
  },
})
