import { existsSync, readdirSync, readFileSync, realpathSync, statSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import type { Entry } from './cpio.ts'

// The agent as it lies in this tree, and only that: its package, the packages it depends on, theirs, and the links by
// which each finds the next. It is laid out in the image as it is here, so what a test has run is what a machine runs.

const ROOT = join(import.meta.dirname, '..', '..', '..')
/** What a program can load. */
const LOADED = /\.([cm]?js|json|wasm|node|ts)$/
const NOT_RUN = /\.d\.[cm]?ts$|\.test\.ts$|\/(testing|fixtures?|test-[^/]*)\.ts$/
const FOLDERS_NOT_RUN = new Set(['node_modules', 'test', 'tests', '__tests__', 'docs', 'examples', 'benchmarks'])

/** The files of a package of this tree and of all it stands on, below `into`. */
export function programFiles(packageDir: string, into: string): Entry[] {
  const entries = new Map<string, Entry>()
  const place = (path: string) => join(into, relative(ROOT, path))
  const visited = new Set<string>()
  const visit = (dir: string) => {
    if (visited.has(dir)) return
    visited.add(dir)
    for (const path of filesIn(dir)) entries.set(path, { path: place(path), kind: 'file', data: readFileSync(path) })
    for (const name of dependenciesOf(dir)) {
      const found = lookUp(dir, name)
      if (found.link)
        entries.set(found.link, {
          path: place(found.link),
          kind: 'link',
          to: relative(dirname(found.link), found.dir),
        })
      visit(found.dir)
    }
  }
  visit(realpathSync(join(ROOT, packageDir)))
  return [...entries.values()]
}

function filesIn(dir: string): string[] {
  return readdirSync(dir, { withFileTypes: true }).flatMap((entry) => {
    const path = join(dir, entry.name)
    if (entry.isDirectory()) return FOLDERS_NOT_RUN.has(entry.name) ? [] : filesIn(path)
    return entry.isFile() && LOADED.test(path) && !NOT_RUN.test(path) ? [path] : []
  })
}

function dependenciesOf(dir: string): string[] {
  const text: unknown = JSON.parse(readFileSync(join(dir, 'package.json'), 'utf8'))
  const named = typeof text === 'object' && text !== null && 'dependencies' in text ? text.dependencies : undefined
  return typeof named === 'object' && named !== null ? Object.keys(named).toSorted() : []
}

// As Node looks it up: in node_modules of this folder, and of each above it.
function lookUp(from: string, name: string): { dir: string; link?: string } {
  for (let above = from; ; above = dirname(above)) {
    const path = join(above, 'node_modules', name)
    if (existsSync(path)) {
      const dir = realpathSync(path)
      if (!statSync(dir).isDirectory() || relative(ROOT, dir).startsWith('..'))
        throw new Error(`${name} of ${from} lies outside this tree: run node scripts/setup.mjs`)
      return dir === path ? { dir } : { dir, link: path }
    }
    if (above === ROOT || above === dirname(above))
      throw new Error(`${name} of ${from} is not installed: run node scripts/setup.mjs`)
  }
}
