import fc from 'fast-check'

// What the property tests ask is the same in every run, so that a gate that turns red tells of the change before it.
// `SKERRY_SEED=random npm test` (or a number) asks other things; the seed of what was found stands in its message.

const { SKERRY_SEED: given = '20261126' } = process.env
if (given !== 'random') {
  const seed = Number(given)
  if (!Number.isInteger(seed)) throw new Error(`SKERRY_SEED is "${given}"; it is a whole number or "random"`)
  fc.configureGlobal({ ...fc.readConfigureGlobal(), seed })
}
