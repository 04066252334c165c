import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { EXIT, Faults, UsageError } from '../errors.ts'
import { type Manifest, readManifests } from './documents.ts'

/** All objects that -f names: files, the .yaml, .yml and .json files of folders, or - for standard input. Faults when any has one. */
export async function readFiles(paths: readonly string[], stdin: () => Promise<string>): Promise<Manifest[]> {
  const manifests: Manifest[] = []
  const faults: string[] = []
  for (const path of paths) {
    const sources =
      path === '-'
        ? [{ file: '<stdin>', text: await stdin() }]
        : filesOf(path).map((file) => ({ file, text: readFileSync(file, 'utf8') }))
    for (const { file, text } of sources) {
      const read = readManifests(file, text)
      manifests.push(...read.manifests)
      faults.push(...read.faults)
    }
  }
  if (faults.length > 0) throw new Faults(faults, EXIT.error)
  if (manifests.length === 0) throw new UsageError(`there is no object in ${paths.join(', ')}`)
  return manifests
}

function filesOf(path: string): string[] {
  if (!existsSync(path)) throw new UsageError(`-f: there is no file or folder ${path}`)
  if (!statSync(path).isDirectory()) return [path]
  const files = readdirSync(path).filter((name) => /\.(ya?ml|json)$/.test(name))
  return files.toSorted().map((name) => join(path, name))
}
