import { type Overload, overload } from '../overload.ts'
import { isQuantity, parseQuantity, Quantity } from '../quantity.ts'
import { fail, type Outcome } from '../values.ts'

// The quantity library of Kubernetes. sign() is no member: so it is declared upstream.

const whole = (value: bigint): Quantity => new Quantity(value, 0, true, 'DecimalExponent')

export const quantities: readonly Overload[] = [
  overload('quantity(string): kubernetes.Quantity', parseQuantity),
  overload('isQuantity(string): bool', isQuantity),
  overload('kubernetes.Quantity.isInteger(): bool', (a: Quantity) => a.integer() !== undefined),
  overload('kubernetes.Quantity.asInteger(): int', (a: Quantity): Outcome => a.integer() ?? fail(`${a} is no integer`)),
  overload('kubernetes.Quantity.asApproximateFloat(): double', (a: Quantity) => a.approximate()),
  overload('sign(kubernetes.Quantity): int', (a: Quantity) => (a.value > 0n ? 1n : a.value < 0n ? -1n : 0n)),
  overload('kubernetes.Quantity.add(kubernetes.Quantity): kubernetes.Quantity', (a: Quantity, b: Quantity) =>
    a.plus(b, 1n),
  ),
  overload('kubernetes.Quantity.add(int): kubernetes.Quantity', (a: Quantity, b: bigint) => a.plus(whole(b), 1n)),
  overload('kubernetes.Quantity.sub(kubernetes.Quantity): kubernetes.Quantity', (a: Quantity, b: Quantity) =>
    a.plus(b, -1n),
  ),
  overload('kubernetes.Quantity.sub(int): kubernetes.Quantity', (a: Quantity, b: bigint) => a.plus(whole(b), -1n)),
  overload('kubernetes.Quantity.isLessThan(kubernetes.Quantity): bool', (a: Quantity, b: Quantity) => a.compare(b) < 0),
  overload(
    'kubernetes.Quantity.isGreaterThan(kubernetes.Quantity): bool',
    (a: Quantity, b: Quantity) => a.compare(b) > 0,
  ),
  overload('kubernetes.Quantity.compareTo(kubernetes.Quantity): int', (a: Quantity, b: Quantity) =>
    BigInt(a.compare(b)),
  ),
]
