/** What became of a cluster. */
export const VERDICTS = [
  'Unknown',
  'NotInEligibleSet',
  'Deleting',
  'PredicateMismatch',
  'TaintNotTolerated',
  'OutOfNumber',
  'SpreadLimit',
  'TopologyKeyMissing',
  'Selected',
] as const
export type Verdict = (typeof VERDICTS)[number]
/** Their places, each by itself: they are written ten thousand times a look. */
export const [UNKNOWN, NOT_IN_ELIGIBLE_SET, DELETING, PREDICATE_MISMATCH, TAINT_NOT_TOLERATED] = [
  0, 1, 2, 3, 4,
] as const
export const [OUT_OF_NUMBER, SPREAD_LIMIT, TOPOLOGY_KEY_MISSING, SELECTED] = [5, 6, 7, 8] as const
/** Of a sieve alone: whoever passed it becomes one of the last five. */
export const MATCHES = 9

/** Whether one of these verdicts, as a place in VERDICTS, passed every filter. */
export const passedFilters = (verdict: number) => verdict >= OUT_OF_NUMBER
