// UAPI.10, "Version Format Specification": how systemd-boot decides which of two images is the newer one.

/** Below 0 when `a` is older than `b`, above 0 when it is newer, 0 when neither is. */
export function compareVersions(a: string, b: string): number {
  let [left, right] = [a, b]
  // The one that has the mark is the older. Each mark is looked at once in a round, as systemd does it.
  const skip = (mark: string): number => {
    const [one, other] = [left.startsWith(mark), right.startsWith(mark)]
    if (one !== other) return one ? -1 : 1
    if (one) [left, right] = [left.slice(1), right.slice(1)]
    return 0
  }
  for (;;) {
    ;[left, right] = [left.replace(IGNORED, ''), right.replace(IGNORED, '')]
    // A tilde is older than anything, also than the end.
    const early = skip('~')
    if (early !== 0) return early
    if (left === '' || right === '') return Math.sign(left.length - right.length)
    const marked = skip('-') || skip('^') || skip('.')
    if (marked !== 0) return marked
    const run = /^\d/.test(left) || /^\d/.test(right) ? DIGITS : LETTERS
    const [one, other] = [run.exec(left)?.[0] ?? '', run.exec(right)?.[0] ?? '']
    const order = run === DIGITS ? compareNumbers(one, other) : compareText(one, other)
    if (order !== 0) return order
    ;[left, right] = [left.slice(one.length), right.slice(other.length)]
  }
}

const IGNORED = /^[^a-zA-Z0-9~^.-]+/
const DIGITS = /^\d*/
const LETTERS = /^[a-zA-Z]*/

/** Of any length. No number is older than any number. */
function compareNumbers(a: string, b: string): number {
  if (a === '' || b === '') return Math.sign(a.length - b.length)
  const [one, other] = [a.replace(/^0+/, ''), b.replace(/^0+/, '')]
  return Math.sign(one.length - other.length) || compareText(one, other)
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}
