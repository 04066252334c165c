import { type Overload, overload } from '../overload.ts'
import { CelError, fail, type Opaque, type Outcome } from '../values.ts'

// The IP and CIDR libraries of Kubernetes: no zones, no IPv4 in IPv6, no leading zeros.

class Ip implements Opaque {
  readonly kind = 'net.IP'
  readonly bits: 32 | 128
  readonly value: bigint
  constructor(bits: 32 | 128, value: bigint) {
    this.bits = bits
    this.value = value
  }
  get size(): number {
    return this.bits / 8
  }
  equals(other: Opaque): boolean {
    return other instanceof Ip && this.bits === other.bits && this.value === other.value
  }
  /** The first `length` bits. */
  prefix(length: number): bigint {
    return this.value >> BigInt(this.bits - length)
  }
  isIn(text: string): boolean {
    const range = parseCidr(text)
    return range instanceof Cidr && range.has(this)
  }
  toString(): string {
    return this.bits === 32 ? fourText(this.value) : sixText(this.value)
  }
}

class Cidr implements Opaque {
  readonly kind = 'net.CIDR'
  readonly ip: Ip
  readonly length: number
  constructor(ip: Ip, length: number) {
    this.ip = ip
    this.length = length
  }
  get size(): number {
    return Math.ceil(this.length / 8)
  }
  equals(other: Opaque): boolean {
    return other instanceof Cidr && this.ip.equals(other.ip) && this.length === other.length
  }
  has(ip: Ip): boolean {
    return ip.bits === this.ip.bits && ip.prefix(this.length) === this.ip.prefix(this.length)
  }
}

const fourText = (value: bigint): string => [24n, 16n, 8n, 0n].map((shift) => (value >> shift) & 255n).join('.')

/** RFC 5952: the longest run of zeros, of two at least, the first of equals. */
function sixText(value: bigint): string {
  const groups = Array.from({ length: 8 }, (_, i) => Number((value >> BigInt(112 - 16 * i)) & 0xffffn))
  let [start, length] = [-1, 1]
  for (let i = 0; i < 8; i++) {
    let end = i
    while (end < 8 && groups[end] === 0) end++
    if (end - i > length) [start, length] = [i, end - i]
    if (end > i) i = end - 1
  }
  const hex = (part: readonly number[]) => part.map((group) => group.toString(16)).join(':')
  return start < 0 ? hex(groups) : `${hex(groups.slice(0, start))}::${hex(groups.slice(start + length))}`
}

const OCTET = '(0|[1-9]\\d?|1\\d\\d|2[0-4]\\d|25[0-5])'
const FOUR = new RegExp(`^${OCTET}\\.${OCTET}\\.${OCTET}\\.${OCTET}$`)

function fourValue(text: string): bigint | undefined {
  const match = FOUR.exec(text)
  return match?.slice(1).reduce((value, octet) => (value << 8n) | BigInt(octet), 0n)
}

function sixValue(text: string): bigint | undefined {
  let whole = text
  const dot = text.includes('.') ? text.lastIndexOf(':') : -1
  if (dot >= 0) {
    const four = fourValue(text.slice(dot + 1))
    if (four === undefined) return undefined
    whole = `${text.slice(0, dot + 1)}${(four >> 16n).toString(16)}:${(four & 0xffffn).toString(16)}`
  }
  const halves = whole.split('::')
  if (halves.length > 2) return undefined
  const parts = halves.map((half) => (half === '' ? [] : half.split(':')))
  const [before = [], after = []] = parts
  const missing = 8 - before.length - after.length
  if (halves.length === 2 ? missing < 1 : missing !== 0) return undefined
  const groups = [...before, ...Array.from({ length: missing }, () => '0'), ...after]
  if (!groups.every((group) => /^[0-9a-fA-F]{1,4}$/.test(group))) return undefined
  return groups.reduce((value, group) => (value << 16n) | BigInt(`0x${group}`), 0n)
}

function parseIp(text: string): Ip | CelError {
  const four = fourValue(text)
  if (four !== undefined) return new Ip(32, four)
  const six = text.includes(':') ? sixValue(text) : undefined
  if (six === undefined) return fail(`"${text}" is no IP address`)
  if (six >> 32n === 0xffffn) return fail(`"${text}" is an IPv4 address in IPv6`)
  return new Ip(128, six)
}

function parseCidr(text: string): Cidr | CelError {
  const slash = text.lastIndexOf('/')
  const [length, ip] = [text.slice(slash + 1), parseIp(text.slice(0, slash))]
  if (slash < 0 || ip instanceof CelError || !/^(0|[1-9]\d{0,2})$/.test(length) || Number(length) > ip.bits)
    return fail(`"${text}" is no CIDR`)
  return new Cidr(ip, Number(length))
}

const of = <T, R extends Outcome>(value: T | CelError, then: (value: T) => R): R | CelError =>
  value instanceof CelError ? value : then(value)
const containsCidr = (outer: Cidr, inner: Cidr): boolean => outer.length <= inner.length && outer.has(inner.ip)
const isMulticast = (ip: Ip): boolean => ip.isIn('224.0.0.0/4') || ip.isIn('ff00::/8')
const isLinkLocal = (ip: Ip): boolean => ip.isIn('169.254.0.0/16') || ip.isIn('fe80::/10')
const isLoopback = (ip: Ip): boolean => ip.isIn('127.0.0.0/8') || ip.isIn('::1/128')
const isLinkLocalMulticast = (ip: Ip): boolean =>
  ip.bits === 32 ? ip.isIn('224.0.0.0/24') : ((ip.value >> 112n) & 0xff0fn) === 0xff02n

export const addresses: readonly Overload[] = [
  overload('ip(string): net.IP', parseIp),
  overload('isIP(string): bool', (text: string) => !(parseIp(text) instanceof CelError)),
  overload('ip::isCanonical(string): bool', (text: string) => of(parseIp(text), (ip) => ip.toString() === text)),
  overload('string(net.IP): string', (ip: Ip) => ip.toString()),
  overload('net.IP.family(): int', (ip: Ip) => (ip.bits === 32 ? 4n : 6n)),
  overload('net.IP.isUnspecified(): bool', (ip: Ip) => ip.value === 0n),
  overload('net.IP.isLoopback(): bool', isLoopback),
  overload('net.IP.isLinkLocalMulticast(): bool', isLinkLocalMulticast),
  overload('net.IP.isLinkLocalUnicast(): bool', isLinkLocal),
  overload(
    'net.IP.isGlobalUnicast(): bool',
    (ip: Ip) =>
      ip.value !== 0n &&
      !(ip.bits === 32 && ip.value === 0xffffffffn) &&
      !isLoopback(ip) &&
      !isMulticast(ip) &&
      !isLinkLocal(ip),
  ),
  overload('cidr(string): net.CIDR', parseCidr),
  overload('isCIDR(string): bool', (text: string) => !(parseCidr(text) instanceof CelError)),
  overload('string(net.CIDR): string', ({ ip, length }: Cidr) => `${ip}/${length}`),
  overload('net.CIDR.ip(): net.IP', ({ ip }: Cidr) => ip),
  overload('net.CIDR.prefixLength(): int', ({ length }: Cidr) => BigInt(length)),
  overload('net.CIDR.masked(): net.CIDR', ({ ip, length }: Cidr) => {
    const rest = BigInt(ip.bits - length)
    return new Cidr(new Ip(ip.bits, ip.prefix(length) << rest), length)
  }),
  overload('net.CIDR.containsIP(string): bool', (cidr: Cidr, text: string) => of(parseIp(text), (ip) => cidr.has(ip))),
  overload('net.CIDR.containsIP(net.IP): bool', (cidr: Cidr, ip: Ip) => cidr.has(ip)),
  overload('net.CIDR.containsCIDR(string): bool', (cidr: Cidr, text: string) =>
    of(parseCidr(text), (inner) => containsCidr(cidr, inner)),
  ),
  overload('net.CIDR.containsCIDR(net.CIDR): bool', containsCidr),
]
