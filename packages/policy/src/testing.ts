// Evidence of recorded boots and what it is held against, for tests of whoever asks for a verdict.
export {
  CLOCK,
  type Clock,
  canMakeUki,
  evidenceOf,
  LOADER,
  logOf,
  makeTpm,
  makeUki,
  recordsAfter,
  referenceOf,
  type Tpm,
  valuesAfter,
  valuesOf,
} from './attestation/fixture.ts'
