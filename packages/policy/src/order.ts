/** The order of names in every list that is stored or compared: by code unit, whatever the machine's language is. */
export function byCodeUnit(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}
