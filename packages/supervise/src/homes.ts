import { randomBytes } from 'node:crypto'
import {
  chmodSync,
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { commandLine, isAlive, type Say } from './child.ts'

// Where PostgreSQL's files lie when we are root: folders that user `nobody` can enter, one for each data folder of ours.
// The two name each other, so that a data folder which was deleted and made anew begins with nothing, and that what it had
// can be told from what is in use. It is never deleted unasked: a disk that is not mounted looks like a folder that is gone.

export const HOMES = '/var/lib/skerry'

/** In the data folder: the name of its home. */
const HOME_ID = 'home.id'
/** In the home: the path of its data folder. */
const BELONGS_TO = 'data-folder'
const ID = /^[0-9a-f]{16}$/

/** The home of a data folder, made at the first call; `say` tells where it lies. */
export function openHome(dataDir: string, owner: number, say: Say, homes = HOMES): string {
  const idFile = join(dataDir, HOME_ID)
  mkdirSync(dataDir, { recursive: true, mode: 0o700 })
  const isNew = !existsSync(idFile)
  if (isNew) {
    // Synced before it has its name, and the name after it: a power cut leaves the whole id or none.
    writeFileSync(`${idFile}.new`, randomBytes(8).toString('hex'), { mode: 0o600, flush: true })
    renameSync(`${idFile}.new`, idFile)
    syncFolder(dataDir)
  }
  const home = homeOf(idFile, homes)
  if (isNew) say(`PostgreSQL does not run as root: its data lies in ${home} and belongs to user ${owner}`)
  mkdirSync(home, { recursive: true, mode: 0o755 })
  chmodSync(homes, 0o755)
  writeFileSync(join(home, BELONGS_TO), dataDir)
  return home
}

/** Deletes what startPostgres keeps outside its data folder; for whoever deletes that folder too. No server may run on it. */
export function forgetPostgres(dataDir: string, homes = HOMES): void {
  const idFile = join(resolve(dataDir), HOME_ID)
  if (existsSync(idFile)) rmSync(homeOf(idFile, homes), { recursive: true, force: true })
}

// Without this an empty id would be the folder of all homes.
function homeOf(idFile: string, homes: string): string {
  const id = readId(idFile)
  if (!ID.test(id))
    throw new Error(
      `${idFile} is damaged: it holds no 16 hexadecimal digits. Write into it the name of the folder in ${homes} ` +
        `whose file "${BELONGS_TO}" names ${dirname(idFile)}; if there is none, delete ${idFile}, and a new one is made`,
    )
  return join(homes, id)
}

// As an editor leaves it, too.
function readId(idFile: string): string {
  return readFileSync(idFile, 'utf8').trim()
}

function syncFolder(dir: string): void {
  const folder = openSync(dir, 'r')
  try {
    fsyncSync(folder)
  } finally {
    closeSync(folder)
  }
}

export type Leftover = { readonly path: string; readonly dataDir: string }

/** PostgreSQL's files of data folders that are not there any more. None on which a server runs, and none of which it is not known whose they are. */
export function leftovers(homes = HOMES): Leftover[] {
  if (!existsSync(homes)) return []
  return readdirSync(homes)
    .filter((name) => ID.test(name))
    .flatMap((name) => {
      const path = join(homes, name)
      const mark = join(path, BELONGS_TO)
      if (!existsSync(mark)) return []
      const dataDir = readFileSync(mark, 'utf8')
      const idFile = join(dataDir, HOME_ID)
      const id = existsSync(idFile) ? readId(idFile) : undefined
      // A damaged id may have been this one.
      const inUse = id !== undefined && (id === name || !ID.test(id))
      return inUse || serverRuns(path) ? [] : [{ path, dataDir }]
    })
}

function serverRuns(home: string): boolean {
  const lock = join(home, 'cluster', 'postmaster.pid')
  if (!existsSync(lock)) return false
  const pid = Number(readFileSync(lock, 'utf8').split('\n')[0])
  return Number.isInteger(pid) && pid > 1 && isAlive(pid) && commandLine(pid).includes(home)
}
