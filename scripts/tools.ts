import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { argv, env, getuid } from 'node:process'

// Programs that no npm package brings: tests and machine stories are held against them. As root on Debian they install
// themselves, everywhere else the tests that want them are skipped and the run says how to get them. `npm start` and the
// stories on slots need none, and nothing here ever fails a run.
//   node scripts/tools.ts tests     (npm test does)
//   node scripts/tools.ts machine   (what builds and boots a machine, too)

/** A Debian package, and what shows that it is there: a program's name or a file's path, one of which is enough in each item. */
export type Tool = { readonly deb: string; readonly has: readonly (string | readonly string[])[] }

const TSS = ['/usr/lib/x86_64-linux-gnu', '/usr/lib/aarch64-linux-gnu', '/usr/lib64', '/usr/lib']
const EFI = '/usr/lib/systemd/boot/efi'

const TESTS: readonly Tool[] = [
  { deb: 'binutils', has: ['objcopy'] },
  { deb: 'dosfstools', has: ['mkfs.vfat', 'fsck.fat'] },
  { deb: 'efitools', has: ['cert-to-efi-sig-list', 'sign-efi-sig-list'] },
  { deb: 'libtss2-tcti-swtpm0', has: [TSS.map((dir) => join(dir, 'libtss2-tcti-swtpm.so.0'))] },
  { deb: 'mtools', has: ['mcopy', 'mmd', 'mdir'] },
  { deb: 'openssl', has: ['openssl'] },
  { deb: 'pesign', has: ['pesign'] },
  { deb: 'sbsigntool', has: ['sbsign', 'sbverify'] },
  { deb: 'swtpm', has: ['swtpm'] },
  { deb: 'swtpm-tools', has: ['swtpm_setup', 'swtpm_localca'] },
  { deb: 'systemd', has: [['/usr/lib/systemd/systemd-measure', '/lib/systemd/systemd-measure']] },
  { deb: 'systemd-boot-efi', has: [[join(EFI, 'linuxx64.efi.stub'), join(EFI, 'linuxaa64.efi.stub')]] },
  { deb: 'tpm2-tools', has: ['tpm2_checkquote', 'tpm2_eventlog'] },
]

const MACHINE: readonly Tool[] = [
  ...TESTS,
  { deb: 'busybox-static', has: ['busybox'] },
  { deb: 'e2fsprogs', has: ['mkfs.ext4', 'debugfs'] },
  { deb: 'fdisk', has: ['sfdisk'] },
  { deb: 'kmod', has: ['depmod'] },
  { deb: 'ovmf', has: ['/usr/share/OVMF/OVMF_CODE.fd', '/usr/share/OVMF/OVMF_CODE_4M.secboot.fd'] },
  { deb: 'qemu-system-x86', has: ['qemu-system-x86_64'] },
  { deb: 'zstd', has: ['zstd'] },
]

export const TOOLS = { tests: TESTS, machine: MACHINE } as const

/** Which of the packages are not on this machine. */
export function lackingTools(tools: readonly Tool[], path = env['PATH'] ?? ''): string[] {
  const folders = [...path.split(delimiter).filter((dir) => dir !== ''), '/usr/sbin', '/sbin']
  const isHere = (what: string) =>
    what.startsWith('/') ? existsSync(what) : folders.some((dir) => existsSync(join(dir, what)))
  return tools.filter(({ has }) => !has.every((any) => [any].flat().some(isHere))).map(({ deb }) => deb)
}

/** How a person gets them, to follow "missing:" or "needs". */
export function howToGet(debs: readonly string[]): string {
  return `apt-get install --no-install-recommends ${debs.join(' ')}`
}

export type Machine = { readonly isRoot: boolean; readonly hasApt: boolean; readonly mayInstall: boolean }

/** What is to be done about packages that are missing: nothing, install them, or say why not. */
export function planTools(
  lacking: readonly string[],
  { isRoot, hasApt, mayInstall }: Machine,
): { readonly do: 'nothing' } | { readonly do: 'install' } | { readonly do: 'tell'; readonly why: string } {
  if (lacking.length === 0) return { do: 'nothing' }
  if (!hasApt) return { do: 'tell', why: 'this is no Debian, so look for what holds the same programs' }
  if (!mayInstall) return { do: 'tell', why: 'SKERRY_APT=no says to install nothing' }
  if (!isRoot) return { do: 'tell', why: 'only root may install them' }
  return { do: 'install' }
}

/** Installs what is missing where it may, says what it does, and never throws. */
export function openTools(name: keyof typeof TOOLS, say: (sentence: string) => void): void {
  const lacking = lackingTools(TOOLS[name])
  const plan = planTools(lacking, {
    isRoot: getuid?.() === 0,
    hasApt: isDebian() && lackingTools([{ deb: 'apt', has: ['apt-get'] }]).length === 0,
    mayInstall: env['SKERRY_APT'] !== 'no',
  })
  if (plan.do === 'nothing') return
  if (plan.do === 'tell') {
    say(`not on this machine, and ${plan.why}: ${howToGet(lacking)}`)
    return
  }
  say(`installing ${lacking.join(', ')} with apt-get (once; up to a few minutes) …`)
  const trouble = installTools(lacking)
  if (trouble) say(`apt-get could not (${trouble}); by hand: apt-get update && ${howToGet(lacking)}`)
}

// The lists are fetched first: in a fresh container there are none. A mirror that does not answer is not waited for long.
function installTools(debs: readonly string[]): string | undefined {
  const apt = (args: readonly string[], timeout: number) =>
    spawnSync(
      'apt-get',
      ['-q', '-o', 'Acquire::Retries=1', '-o', 'Acquire::http::Timeout=20', '-o', 'DPkg::Lock::Timeout=60', ...args],
      {
        stdio: ['ignore', 'pipe', 'pipe'],
        encoding: 'utf8',
        timeout,
        env: { ...env, DEBIAN_FRONTEND: 'noninteractive', LC_ALL: 'C' },
      },
    )
  apt(['update'], 120_000)
  const done = apt(['install', '-y', '--no-install-recommends', ...debs], 600_000)
  if (done.status === 0) return undefined
  return done.error?.message ?? done.stderr.trim().split('\n').at(-1) ?? `exit code ${done.status}`
}

function isDebian(): boolean {
  const file = '/etc/os-release'
  return existsSync(file) && /^(ID|ID_LIKE)=.*\b(debian|ubuntu)\b/m.test(readFileSync(file, 'utf8'))
}

if (import.meta.main) {
  const name = argv[2] === 'machine' ? 'machine' : 'tests'
  openTools(name, (sentence) => console.error(`skerry: ${sentence}`))
}
