// Evidence of recorded boots and what it is held against, for tests of whoever asks for a verdict.
export {
  type Bit,
  bitsThatCount,
  bitsThatDoNot,
  CLOCK,
  type Clock,
  canMakeUki,
  evidenceOf,
  flipped,
  LOADER,
  logOf,
  makeTpm,
  makeUki,
  recordedEvidence,
  recordsAfter,
  referenceOf,
  strayRecords,
  type Tpm,
  valuesAfter,
  valuesOf,
} from './attestation/fixture.ts'
// What happens to a fleet, drawn at random, and placements over it.
export { type Event as FleetEvent, events, everybody, NOW, placements } from './placement/test-histories.ts'
