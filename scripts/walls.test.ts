import { globSync, readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { describe, expect, test } from 'vitest'

// Imports go one way (DESIGN.md, "Tree"), and policy has no clock, randomness, environment, network, file or promise in it.

/** What each package stands on. A test may stand on more: the second list. kind-e2e looks from outside at everything. */
const MAY: Record<string, { uses: string[]; inTests?: string[] }> = {
  api: { uses: [] },
  'measured-boot': { uses: [], inTests: ['supervise'] },
  policy: { uses: ['api', 'measured-boot'] },
  trust: { uses: ['api'] },
  client: { uses: ['api'] },
  supervise: { uses: [] },
  cli: { uses: ['api', 'policy', 'client', 'trust', 'measured-boot'], inTests: ['demo', 'supervise'] },
  hub: { uses: ['api', 'policy', 'trust', 'supervise', 'measured-boot'], inTests: ['client'] },
  'spoke-agent': { uses: ['api', 'policy', 'trust', 'measured-boot'], inTests: ['supervise'] },
  demo: { uses: ['api', 'client', 'trust'], inTests: ['supervise'] },
  'kind-e2e': {
    uses: ['api', 'measured-boot', 'policy', 'trust', 'client', 'supervise', 'cli', 'hub', 'spoke-agent', 'demo'],
  },
  scripts: { uses: ['api', 'supervise'] },
}
/** Rooms of one program that meet only in its store. */
const APART: Record<string, string[]> = { hub: ['http', 'controllers', 'transport'], 'spoke-agent': ['site', 'node'] }
/** Second doors of a package, for tests and development alone. */
const TEST_DOORS = ['@skerry/supervise/testing', '@skerry/policy/testing']
/** Packages of judgement and of bytes, and all that they may use from outside. */
const PURE: Record<string, string[]> = {
  policy: ['@skerry/api', '@skerry/measured-boot', 'croner', 're2js', 'node:crypto'],
  'measured-boot': ['node:crypto'],
}
const IMPURE =
  /\bDate\.now\b|\bnew Date\(\s*\)|\bDate\(\s*\)|\bperformance\b|\bMath\.random\b|\brandom(UUID|Bytes|Int)\b|\bgetRandomValues\b|\bprocess\b|\bglobalThis\b|\bfetch\b|\basync\b|\bawait\b|\bPromise\b|\b(setTimeout|setInterval|setImmediate|queueMicrotask)\b/

type Files = ReadonlyMap<string, string>
const IMPORT = /\b(?:import|export)\b[^'"`;=]*?\bfrom\s*'([^']+)'|\bimport\s*\(?\s*'([^']+)'/g
const imports = (text: string) => [...text.matchAll(IMPORT)].map((match) => match[1] ?? match[2] ?? '')
const packageOf = (path: string) => path.split('/')[path.startsWith('packages/') ? 1 : 0] ?? ''
const roomOf = (path: string) => /\/src\/([^/]+)\//.exec(path)?.[1] ?? ''
const isTest = (path: string) => /\.test\.ts$|\/(testing|fixtures?|test-[^/]*)\.ts$/.test(path)
const code = (text: string) => text.replace(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, '')

/** Every import that goes through a wall, as `file: why`. */
function breaches(files: Files): string[] {
  const found: string[] = []
  const stands = new Map<string, Set<string>>()
  for (const [path, text] of files) {
    const say = (why: string) => found.push(`${path}: ${why}`)
    const from = packageOf(path)
    const allowed = MAY[from] ?? { uses: [] }
    const pure = isTest(path) ? undefined : PURE[from]
    for (const to of imports(code(text))) {
      if (to.startsWith('@skerry/')) {
        const name = to.slice('@skerry/'.length)
        const testing = isTest(path) && TEST_DOORS.includes(to)
        const uses = isTest(path) ? [...allowed.uses, ...(allowed.inTests ?? [])] : allowed.uses
        if (name.includes('/') && !testing) say(`imports past the door of ${to}`)
        else if (!testing && !uses.includes(name)) say(`${from} may not stand on ${name}`)
      } else if (to.startsWith('.')) {
        const target = normalize(join(dirname(path), to))
        if (packageOf(target) !== from && packageOf(target) !== 'scripts') say(`leaves its package for ${target}`)
        const [here, there] = [roomOf(path), roomOf(target)]
        if (here !== there && there !== '') {
          // A test may stand in another room's test world.
          const fixture = isTest(path) && isTest(target)
          if (!fixture && files.has(join(from, 'src', there, 'index.ts')) && !target.endsWith('/index.ts'))
            say(`imports past the door of room ${there}`)
          if (here !== '' && !isTest(path)) {
            if (APART[from]?.includes(here) && APART[from].includes(there)) say(`${here} may not know ${there}`)
            stands.set(`${from}/${here}`, (stands.get(`${from}/${here}`) ?? new Set()).add(`${from}/${there}`))
          }
        }
      }
      if (pure && !to.startsWith('.') && !pure.includes(to)) say(`${from} is pure and may not use ${to}`)
    }
    const impure = pure ? IMPURE.exec(code(text)) : null
    if (impure) say(`${from} is pure and may not say "${impure[0]}"`)
  }
  for (const room of stands.keys()) if (reaches(stands, room, room)) found.push(`${room}: stands in a circle of rooms`)
  return found
}

function reaches(
  rooms: ReadonlyMap<string, Set<string>>,
  from: string,
  goal: string,
  seen = new Set<string>(),
): boolean {
  return [...(rooms.get(from) ?? [])].some((next) => {
    if (next === goal) return true
    if (seen.has(next)) return false
    return reaches(rooms, next, goal, seen.add(next))
  })
}

const root = join(import.meta.dirname, '..')
const paths = globSync('{packages/*,hub,spoke-agent,demo,kind-e2e,scripts}/{src/**/,bin/,}*.{ts,mjs}', { cwd: root })
// This file quotes breaches.
const own = 'scripts/walls.test.ts'
const tree: Files = new Map(
  paths.filter((path) => path !== own).map((path) => [path, readFileSync(join(root, path), 'utf8')]),
)

describe('the walls', () => {
  test('every package is looked at', () => {
    expect(Object.keys(MAY).filter((name) => ![...tree.keys()].some((path) => packageOf(path) === name))).toEqual([])
    expect([...tree.values()].flatMap(imports).length).toBeGreaterThan(400)
  })

  test('no import of this tree goes through one', () => {
    expect(breaches(tree)).toEqual([])
  })

  const circle: Record<string, string> = {
    'hub/src/keys/a.ts': `import '../transport/index.ts'`,
    'hub/src/transport/index.ts': `import '../keys/a.ts'`,
  }
  test.each<[string, Record<string, string>]>([
    ['api may not stand on policy', { 'packages/api/src/a.ts': `import { x } from '@skerry/policy'` }],
    ['trust may not stand on policy', { 'packages/trust/src/a.ts': `import { x } from '@skerry/policy'` }],
    ['hub may not stand on spoke-agent', { 'hub/src/a.ts': `import { x } from '@skerry/spoke-agent'` }],
    ['hub may not stand on client', { 'hub/src/a.ts': `import { x } from '@skerry/client'` }],
    ['spoke-agent may not stand on hub', { 'spoke-agent/src/a.test.ts': `import { x } from '@skerry/hub'` }],
    ['cli may not stand on hub', { 'packages/cli/src/a.ts': `const x = await import('@skerry/hub')` }],
    ['demo may not stand on hub', { 'demo/src/a.ts': `export { x } from '@skerry/hub'` }],
    ['imports past the door of @skerry/api/src/x.ts', { 'hub/src/a.ts': `import '@skerry/api/src/x.ts'` }],
    ['imports past the door of @skerry/supervise/testing', { 'hub/src/a.ts': `import '@skerry/supervise/testing'` }],
    ['leaves its package for packages/api/src/x.ts', { 'hub/src/a.ts': `import '../../packages/api/src/x.ts'` }],
    ['http may not know transport', { 'hub/src/http/a.ts': `import '../transport/index.ts'` }],
    ['controllers may not know http', { 'hub/src/controllers/a.ts': `import '../http/b.ts'` }],
    ['site may not know node', { 'spoke-agent/src/site/a.ts': `import '../node/b.ts'` }],
    [
      'imports past the door of room transport',
      { 'hub/src/a.ts': `import './transport/b.ts'`, 'hub/src/transport/index.ts': '' },
    ],
    ['stands in a circle of rooms', circle],
    ['policy is pure and may not use node:fs', { 'packages/policy/src/a.ts': `import { x } from 'node:fs'` }],
    ['measured-boot is pure and may not use node:fs', { 'packages/measured-boot/src/a.ts': `import 'node:fs'` }],
    ['measured-boot is pure and may not say', { 'packages/measured-boot/src/a.ts': `randomBytes(32)` }],
    ['measured-boot may not stand on api', { 'packages/measured-boot/src/a.ts': `import '@skerry/api'` }],
    ...['Date.now()', 'new Date()', 'Math.random()', 'process.env', 'fetch(x)', 'async () => 1', 'new Promise(x)'].map(
      (text): [string, Record<string, string>] => [
        'policy is pure and may not say',
        { 'packages/policy/src/a.ts': `const x = ${text}` },
      ],
    ),
  ])('"%s" is seen', (why, files) => {
    expect(breaches(new Map(Object.entries(files)))).toContainEqual(expect.stringContaining(why))
  })

  test('what only looks like a breach is none', () => {
    const files = {
      'hub/src/transport/index.ts': '',
      'hub/src/parts/a.test.ts': `import { openWorld } from '../transport/fixture.ts'`,
      'packages/policy/src/a.ts': `// Date.now() is not asked\nimport { createHash } from 'node:crypto'\nconst x = new Date(nowMs)`,
      'packages/policy/src/a.test.ts': `import { readFileSync } from 'node:fs'`,
      'hub/src/a.test.ts': `import { testDatabase } from '@skerry/supervise/testing'`,
    }
    expect(breaches(new Map(Object.entries(files)))).toEqual([])
  })
})
