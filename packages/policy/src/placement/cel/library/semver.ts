import { type Overload, overload } from '../overload.ts'
import { CelError, fail, MAX_UINT, type Opaque } from '../values.ts'

// The semver library of Kubernetes in its first version: nothing is normalised, so `v1.30.2` is none.

class Semver implements Opaque {
  readonly kind = 'kubernetes.Semver'
  readonly numbers: readonly [bigint, bigint, bigint]
  readonly before: readonly string[]
  readonly weight: number
  constructor(numbers: readonly [bigint, bigint, bigint], before: readonly string[], weight: number) {
    this.numbers = numbers
    this.before = before
    this.weight = weight
  }
  /** What is built how makes no difference. */
  equals(other: Opaque): boolean {
    return other instanceof Semver && order(this, other) === 0n
  }
}

const isNumber = (text: string): boolean => /^\d+$/.test(text)
// No more digits than 64 bits have.
const NUMBER = '(0|[1-9]\\d{0,19})'
const PARTS = '([0-9A-Za-z-]+(?:\\.[0-9A-Za-z-]+)*)'
const SHAPE = new RegExp(`^${NUMBER}\\.${NUMBER}\\.${NUMBER}(?:-${PARTS})?(?:\\+${PARTS})?$`)

function parse(text: string): Semver | CelError {
  const match = SHAPE.exec(text)
  const before = match?.[4]?.split('.') ?? []
  const [major = 0n, minor = 0n, patch = 0n] = (match?.slice(1, 4) ?? []).map(BigInt)
  const isRight = before.every((part) => !isNumber(part) || (!/^0\d|^\d{21}/.test(part) && BigInt(part) <= MAX_UINT))
  if (!match || !isRight || major > MAX_UINT || minor > MAX_UINT || patch > MAX_UINT)
    return fail(`"${text}" is no semantic version`)
  return new Semver([major, minor, patch], before, text.length)
}

function order(a: Semver, b: Semver): bigint {
  for (const [index, number] of a.numbers.entries()) {
    const other = b.numbers[index] ?? 0n
    if (number !== other) return number < other ? -1n : 1n
  }
  if (a.before.length === 0 || b.before.length === 0) return BigInt(Math.sign(b.before.length - a.before.length))
  for (const [index, part] of a.before.entries()) {
    const other = b.before[index]
    if (other === undefined) return 1n
    if (part === other) continue
    const [number, otherNumber] = [isNumber(part), isNumber(other)]
    if (number !== otherNumber) return number ? -1n : 1n
    const isLess = number ? BigInt(part) < BigInt(other) : part < other
    return isLess ? -1n : 1n
  }
  return a.before.length < b.before.length ? -1n : 0n
}

const signed = (value: bigint): bigint => BigInt.asIntN(64, value)

export const semvers: readonly Overload[] = [
  overload('semver(string): kubernetes.Semver', parse),
  overload('isSemver(string): bool', (text: string) => !(parse(text) instanceof CelError)),
  overload('kubernetes.Semver.major(): int', ({ numbers }: Semver) => signed(numbers[0])),
  overload('kubernetes.Semver.minor(): int', ({ numbers }: Semver) => signed(numbers[1])),
  overload('kubernetes.Semver.patch(): int', ({ numbers }: Semver) => signed(numbers[2])),
  overload('kubernetes.Semver.compareTo(kubernetes.Semver): int', order),
  overload('kubernetes.Semver.isLessThan(kubernetes.Semver): bool', (a: Semver, b: Semver) => order(a, b) < 0n),
  overload('kubernetes.Semver.isGreaterThan(kubernetes.Semver): bool', (a: Semver, b: Semver) => order(a, b) > 0n),
]
