import { readFileSync, writeSync } from 'node:fs'

// Loaded into a program that is measured: as it ends it writes what it used, as JSON, to file descriptor 3. The peak is
// the kernel's VmHWM where there is one: getrusage's also counts what the starting process held before this one's program.
process.on('exit', () => {
  const { userCPUTime, systemCPUTime, maxRSS } = process.resourceUsage()
  writeSync(
    3,
    JSON.stringify({ cpuS: (userCPUTime + systemCPUTime) / 1e6, peakRssMb: Math.round((peakKb() ?? maxRSS) / 1024) }),
  )
})

function peakKb() {
  if (process.platform !== 'linux') return undefined
  const [, kb] = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8')) ?? []
  return kb === undefined ? undefined : Number(kb)
}
