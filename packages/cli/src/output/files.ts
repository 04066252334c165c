import { mkdirSync, renameSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'

/** Writes a file whole or not at all; `secret` ones are readable by their owner alone. */
export function writeOut(file: string, text: string, { secret = false }: { secret?: boolean } = {}): void {
  mkdirSync(dirname(file), { recursive: true })
  const beside = `${file}.${process.pid}.new`
  writeFileSync(beside, text, { mode: secret ? 0o600 : 0o644, flag: 'wx' })
  renameSync(beside, file)
}
