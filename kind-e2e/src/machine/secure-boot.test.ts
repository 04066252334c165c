import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseSignatureLists } from '@skerry/measured-boot'
import { testFolder } from '@skerry/supervise/testing'
import { expect, test } from 'vitest'
import { lackingForMachines } from './parts.ts'
import { makeSecureBootKeys } from './secure-boot.ts'

const LOADER = '/usr/lib/systemd/boot/efi/systemd-bootx64.efi'

// Needs efitools, openssl, sbsigntool and systemd-boot-efi.
test.skipIf(lackingForMachines() !== undefined || !existsSync(LOADER))(
  'keys of a story sign a boot loader so that another program finds it signed by them, and by no other story’s',
  () => {
    const [one, two] = [testFolder(), testFolder()]
    const keys = makeSecureBootKeys(one)
    makeSecureBootKeys(two)
    const file = join(one, 'loader.efi')
    writeFileSync(file, keys.sign(readFileSync(LOADER)))
    const verify = (cert: string) => () => execFileSync('sbverify', ['--cert', cert, file], { stdio: 'pipe' })
    expect(verify(join(one, 'db.crt'))).not.toThrow()
    expect(verify(join(two, 'db.crt'))).toThrow()
    expect(Object.keys(keys.more)).toEqual(['PK', 'KEK', 'db'].map((name) => `/loader/keys/auto/${name}.auth`))
    expect(parseSignatureLists(keys.lists.db)).toHaveLength(1)
  },
)
