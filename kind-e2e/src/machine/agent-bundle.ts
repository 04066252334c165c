import { join } from 'node:path'
import { buildSync } from 'esbuild'

// The agent as one file. As nine hundred, which it finds, reads and strips of their types at each start, it needs three
// times as long to begin, and an emulated processor has other things to do. Nothing is minified.

const ROOT = join(import.meta.dirname, '..', '..', '..')
const ENTRY = 'spoke-agent/src/main.ts'
/** Packages of the older kind ask for Node's own modules by `require`. */
const REQUIRE = `import { createRequire } from 'node:module'\nconst require = createRequire(import.meta.url)`

/** The agent with all it imports, and nothing else. The same tree gives the same bytes, wherever it lies. */
export function bundleAgent(): Uint8Array {
  const { outputFiles } = buildSync({
    entryPoints: [ENTRY],
    // Paths in the comments of the bundle are relative to it.
    absWorkingDir: ROOT,
    bundle: true,
    write: false,
    platform: 'node',
    format: 'esm',
    target: 'node24',
    banner: { js: REQUIRE },
    logLevel: 'silent',
  })
  const [bundle] = outputFiles
  if (!bundle) throw new Error(`esbuild made nothing of ${ENTRY}`)
  return bundle.contents
}
