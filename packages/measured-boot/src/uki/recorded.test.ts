import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { type Bank, digest, TRUSTED_BANKS } from '../banks.ts'
import { toHex } from '../bytes.ts'
import type { UkiSectionName } from '../uki-sections.ts'
import { assembleUki } from './assemble.ts'
import { ascii, tinyPe } from './fixture.ts'
import { predictPcr4, predictPcr9, predictPcr11, predictPcr12, type UkiDigests } from './predict.ts'
import { parseUki } from './sections.ts'
import { NOTHING_ENROLLED, predictPcr7 } from './secure-boot.ts'
import { parseSignatureLists } from './signature-list.ts'

type Recorded = {
  what: string
  secureBoot: boolean
  commandLine: string
  variables?: Record<'pk' | 'kek' | 'db' | 'dbx', string>
  banks: Record<Bank, { measured: Measured; pcrs: Record<string, string> }>
}
type Measured = Record<'bootLoader' | 'authenticode' | 'kernelAuthenticode' | 'loadOptions' | 'initrd', string> & {
  sections: [UkiSectionName, string][]
}

const boots: Recorded[] = JSON.parse(readFileSync(join(import.meta.dirname, 'recorded/boots.json'), 'utf8'))
const bytes = (text: string, encoding: 'hex' | 'base64' = 'hex') => Uint8Array.from(Buffer.from(text, encoding))

describe.each(boots)('a recorded boot, $what', ({ secureBoot, variables, banks, commandLine }) => {
  test.each(TRUSTED_BANKS)('has the PCRs that are predicted for it, in %s', (bank) => {
    const { measured, pcrs } = banks[bank]
    const uki: UkiDigests = {
      bank,
      authenticode: bytes(measured.authenticode),
      kernelAuthenticode: bytes(measured.kernelAuthenticode),
      loadOptions: bytes(measured.loadOptions),
      initrd: bytes(measured.initrd),
      sections: measured.sections.map(([name, hex]) => ({ name, digest: bytes(hex) })),
    }
    const lists = variables
      ? {
          pk: bytes(variables.pk, 'base64'),
          kek: bytes(variables.kek, 'base64'),
          db: bytes(variables.db, 'base64'),
          dbx: bytes(variables.dbx, 'base64'),
        }
      : NOTHING_ENROLLED
    const authorities = parseSignatureLists(lists.db).flatMap(({ entries }) => entries)
    expect({
      4: toHex(predictPcr4(uki, bytes(measured.bootLoader), secureBoot).value),
      7: toHex(predictPcr7(bank, secureBoot, lists, authorities)),
      9: toHex(predictPcr9(uki)),
      11: toHex(predictPcr11(uki).get('') ?? new Uint8Array()),
      12: toHex(predictPcr12(uki, secureBoot)),
    }).toEqual(pcrs)
  })

  test('had its command line measured as it is read here', () => {
    const data = bytes(commandLine, 'base64')
    const uki = assembleUki(tinyPe({ text: ascii('stub') }), [
      { name: '.linux', data: tinyPe() },
      { name: '.cmdline', data },
    ])
    const { loadOptions } = parseUki(uki).commandLine ?? { loadOptions: new Uint8Array() }
    expect(toHex(digest('sha256', loadOptions))).toBe(banks.sha256.measured.loadOptions)
  })
})
