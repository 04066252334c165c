import { defineConfig } from 'vitest/config'

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
    reporters: ['default', './scripts/last-line.ts'],
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 30_000,
    hookTimeout: 60_000,
  },
})
