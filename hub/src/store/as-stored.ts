/** What JSON makes of a value, to compare it with one that was stored: members that are undefined are not there. */
export function asStored(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value))
}
