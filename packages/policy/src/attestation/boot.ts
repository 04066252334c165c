import type { BankName, PcrAppraisal, UkiBoot } from '@skerry/api'
import type { ApplicationFact, Facts } from '@skerry/measured-boot'
import { type Found, found } from './findings.ts'
import type { TpmReference } from './reference.ts'

type Values = ReadonlyMap<number, string>
type Measured = NonNullable<UkiBoot['measured'][BankName]>
export type Judged = { readonly findings: readonly Found[]; readonly pcrs: readonly PcrAppraisal[] }

/** What ran, held against the manifest of the image that the node says it runs: PCR 4 by its events, 9, 11 and 12 by value. */
export function judgeImage(
  image: TpmReference['image'],
  others: readonly UkiBoot[],
  bank: BankName,
  quoted: Values,
  facts: Facts | undefined,
): Judged {
  const known = others.flatMap(({ measured }) => measured[bank] ?? [])
  if (image === 'not-given')
    return {
      findings: [found('NoReference', 'no manifest was given: what the machine measured is told, not judged')],
      pcrs: told(quoted),
    }
  if (image === 'unknown') {
    const why = found('ImageUnknown', 'no signed manifest names the bytes that the node says it runs')
    return { findings: [why, ...applications(facts, undefined, known)], pcrs: told(quoted) }
  }
  if (image === 'other-hardware') {
    const why = found(
      'ImageForOtherHardware',
      'the signed manifest of these bytes does not name the hardware of this node',
    )
    return { findings: [why, ...applications(facts, undefined, known)], pcrs: told(quoted) }
  }
  if (image.kind === 'none')
    return {
      findings: [
        found('ImageNotMeasured', 'the manifest says that nothing measures this image, so no quote can prove it'),
      ],
      pcrs: told(quoted),
    }
  const measured = image.measured[bank]
  if (!measured)
    return {
      findings: [found('BankNotPredicted', `the manifest has no reference values of bank ${bank}`)],
      pcrs: told(quoted),
    }
  const state = facts?.secureBoot.value === true ? 'on' : 'off'
  const pcrs = [
    pcr(9, quoted, [measured.pcr9]),
    pcr(
      11,
      quoted,
      measured.pcr11.phases.map(({ value }) => value),
    ),
    pcr(12, quoted, [measured.pcr12[state]]),
  ].flatMap((one) => one ?? [])
  const findings = pcrs
    .filter(({ ok }) => !ok)
    .map(({ pcr, expected, actual }) =>
      found('PcrMismatch', `PCR ${pcr} is not what the signed manifest says that this image measures`, {
        pcr,
        expected,
        actual,
      }),
    )
  const started = applications(facts, measured, known)
  return {
    findings: [...findings, ...started],
    pcrs: [four(quoted, measured, started), ...pcrs].flatMap((one) => one ?? []),
  }
}

/** Each application that the firmware started, by its Authenticode digest: a boot loader of the manifest, the image, its kernel. */
function applications(facts: Facts | undefined, mine: Measured | undefined, others: readonly Measured[]): Found[] {
  // Without a replay that holds there are no facts; that is a finding already.
  if (!facts) return []
  if (facts.boot.value === undefined)
    return [found('FactUnknown', `what was started is not known: ${facts.boot.why}`, { pcr: 4 })]
  const expected = mine ? digestsOf(mine) : []
  const tried = new Set(others.flatMap(digestsOf))
  const strange = facts.boot.value.applications.flatMap(({ event, digest }): Found[] => {
    if (expected.includes(digest)) return []
    const where = { pcr: 4, event, expected, actual: digest }
    if (tried.has(digest) && mine)
      return [found('OtherImageTried', 'another signed image was started in this boot, before this one', where)]
    return [found('UnknownApplication', 'the firmware started something that no signed manifest names', where)]
  })
  if (!mine) return strange
  const last = facts.boot.value.applications.findLast(({ digest }) => digest !== mine.applications.kernel)
  if (last?.digest === mine.applications.uki) return [...strange, ...kernelsAlone(facts.boot.value.applications, mine)]
  const where = {
    pcr: 4,
    expected: [mine.applications.uki],
    ...(last ? { event: last.event, actual: last.digest } : {}),
  }
  return [
    ...strange,
    found('ImageNotStarted', 'the last image that was started is not the one that the node says it runs', where),
  ]
}

/**
 * Kernels that no image started just before. PCR 4 can be extended by whatever runs: a kernel that a boot loader started by
 * itself, with another initrd, could measure its image afterwards. What came before it no one can change any more.
 */
function kernelsAlone(
  started: readonly ApplicationFact[],
  { applications: { loaders, uki, kernel } }: Measured,
): Found[] {
  if (loaders.includes(kernel)) return []
  return started.flatMap(({ digest, event }, at) => {
    const before = started[at - 1]?.digest
    if (digest !== kernel || before === uki) return []
    const where = { pcr: 4, event, expected: [uki], ...(before === undefined ? {} : { actual: before }) }
    return [found('KernelNotOfImage', 'the kernel was started by something else than its image', where)]
  })
}

function digestsOf({ applications: { loaders, uki, kernel } }: Measured): string[] {
  return [...loaders, uki, kernel]
}

function four(
  quoted: Values,
  { applications: { loaders, uki, kernel } }: Measured,
  started: readonly Found[],
): PcrAppraisal | undefined {
  const actual = quoted.get(4)
  // Its value depends on how often the firmware tried: the events are judged, and shown for what they are.
  return actual === undefined
    ? undefined
    : {
        pcr: 4,
        actual,
        expected: [...loaders, uki, kernel],
        by: 'log',
        ok: started.every(({ tier }) => tier === 'affirming'),
      }
}

function pcr(index: number, quoted: Values, expected: string[]): PcrAppraisal | undefined {
  const actual = quoted.get(index)
  return actual === undefined
    ? undefined
    : { pcr: index, actual, expected, by: 'manifest', ok: expected.includes(actual) }
}

function told(quoted: Values): PcrAppraisal[] {
  return [4, 9, 11, 12].flatMap((index) => {
    const actual = quoted.get(index)
    return actual === undefined ? [] : [{ pcr: index, actual, expected: [], by: 'nothing' as const, ok: false }]
  })
}
