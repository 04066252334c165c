import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { SiteBundle } from '@skerry/api'
import { manufactureTpm, type TpmState } from '@skerry/supervise'
import { openLink } from '../link.ts'
import { outboxOf } from '../site.ts'
import { openCachedDisk } from './cached-disk.ts'
import { copyFromDataDisk, makeDataDisk, makeEspDisk } from './disk.ts'
import { type CachedDisks, type Machine, openMachine } from './machine.ts'
import type { Parts } from './parts.ts'
import type { SecureBootKeys } from './secure-boot.ts'

// A site whose one node is a UEFI machine: its disks made, its link to the hub one that a story can cut.

/** Where a machine sees this computer's loopback. */
export const HOST = '10.0.2.2'
/** Where the machine's init mounts the agent's disk. */
const DATA = '/var/lib/skerry'

export type MachineSite = Machine & {
  /** Digests of the statements on its disk, by number. The machine is off. */
  outbox(): ReadonlyMap<number, string>
  /** Whether the agent's disk has this file. The machine is off. */
  holds(path: string): boolean
  readonly link: { cut(): void; mend(): void }
  readonly espDisk: string
  readonly dataDisk: string
  /** Where it was asked for disks with caches. */
  readonly cached: CachedDisks | undefined
  /** Its TPM's memory, and the CA that signed its endorsement keys' certificates. */
  readonly tpm: TpmState
}

export type MachineSiteOptions = {
  readonly name: string
  readonly dir: string
  readonly parts: Parts
  /** What its ESP holds, by file name; with `secureBoot` they are signed. */
  readonly images: Readonly<Record<string, Uint8Array>>
  /** Its firmware starts what these keys signed, and nothing else. */
  readonly secureBoot?: SecureBootKeys
  readonly bundle: (hubUrl: string) => SiteBundle
  /** More arguments of its agent. */
  readonly args: readonly string[]
  /** Its disks have caches that lose with the power what was not flushed, by chance: numbers in [0, 1). */
  readonly random?: () => number
  /** Of the CA that other machines' TPMs share; one of its own otherwise. */
  readonly caDir?: string
  readonly hubPort: () => number
  readonly natsPort: () => number
}

/** Makes its disks. It is off until `start()`. */
export async function openMachineSite(options: MachineSiteOptions): Promise<MachineSite> {
  const { name, dir, parts, images, secureBoot, bundle } = options
  const [toHub, toNats] = [await openLink(options.hubPort), await openLink(options.natsPort)]
  const [espDisk, dataDisk, seed] = [join(dir, 'esp.img'), join(dir, 'data.img'), join(dir, 'seed')]
  const hubUrl = `https://${HOST}:${toHub.port}`
  const data = (file: string) => `${DATA}/${file}`
  const args = [
    'run',
    ...['--data', data('agent'), '--bundle', data('bundle.json'), '--node-name', name],
    ...['--hub-url', hubUrl, '--nats-url', `tls://${HOST}:${toNats.port}`],
    ...['--heartbeat-seconds', '1', '--reconnect-seconds', '4'],
    // A story that registers by hardware says so in its own arguments: the last word counts.
    ...['--tpm', 'off'],
    ...['--driver', 'uki', '--reboot-command', 'reboot', '--health-command', '/etc/skerry/healthy'],
    ...options.args,
  ]
  mkdirSync(seed, { recursive: true, mode: 0o700 })
  writeFileSync(join(seed, 'bundle.json'), JSON.stringify(bundle(hubUrl)), { mode: 0o600 })
  writeFileSync(join(seed, 'agent.args'), args.map((argument) => `${argument}\n`).join(''))
  writeFileSync(join(seed, 'hostname'), `${name}\n`)
  const loader = readFileSync(parts.bootLoader)
  makeEspDisk(espDisk, { bootLoader: secureBoot?.sign(loader) ?? loader, images, ...secureBoot })
  makeDataDisk(dataDisk, seed)
  const tpm = await manufactureTpm({ dir: join(dir, 'tpm'), ...(options.caDir ? { caDir: options.caDir } : {}), name })
  const { random } = options
  const cached = random && {
    esp: await openCachedDisk(espDisk, random),
    data: await openCachedDisk(dataDisk, random),
  }
  const machine = openMachine({
    name,
    dir,
    tpmDir: tpm.stateDir,
    espDisk,
    dataDisk,
    ...(cached ? { cached } : {}),
    firmware: secureBoot ? 'secure-boot' : 'open',
  })
  function withAgentsFiles<T>(look: (copy: string) => T): T {
    const copy = mkdtempSync(join(dir, 'data-'))
    try {
      copyFromDataDisk(dataDisk, '/agent', copy)
      return look(copy)
    } finally {
      rmSync(copy, { recursive: true, force: true })
    }
  }
  return {
    ...machine,
    tpm,
    espDisk,
    dataDisk,
    cached,
    outbox: () => withAgentsFiles((copy) => outboxOf(join(copy, 'agent', 'agent.db'))),
    holds: (path) => withAgentsFiles((copy) => existsSync(join(copy, path))),
    link: {
      cut() {
        for (const link of [toHub, toNats]) link.cut()
      },
      mend() {
        for (const link of [toHub, toNats]) link.mend()
      },
    },
    async close() {
      await machine.close()
      await Promise.all([toHub, toNats, ...(cached ? [cached.esp, cached.data] : [])].map((one) => one.close()))
    },
  }
}
