import type { Bank } from '../banks.ts'
import { Malformed } from '../bytes.ts'
import { imageSignatures, SIGNATURE_VERDICTS } from './image-signature.ts'
import { judgePcrSignatures, PCR_SIGNATURE_VERDICTS } from './pcrsig.ts'
import { digestUki, predictPcr11 } from './predict.ts'
import type { Uki } from './sections.ts'

/** What a person who reviews an image should look at. None of it makes an image unreadable; some of it makes it unfit. */
const UKI_FINDINGS = {
  Unsigned: 'the image has no signature',
  SignatureNotGood: 'a signature of the image is not good',
  NotPredictable: 'what this image will be measured as is not known here',
  NoCommandLine: 'the image has no command line of its own: whoever starts it chooses one',
  InitOnCommandLine: 'the command line names the first program',
  DebugOnCommandLine: 'the command line opens a way in for debugging',
  NoPanic: 'the command line does not say panic=N: a kernel that panics stays where it is, and nothing falls back',
  NoImageId: '.osrel has no IMAGE_ID: boot entries of other images sort among its versions',
  NoImageVersion: '.osrel has no IMAGE_VERSION: no version of it is newer than another',
  WritableAndExecutable: 'a section may be written and run',
  PayloadNotReadOnly: 'a section that is only read is marked otherwise',
  PcrSignatureNotGood: 'a signature in .pcrsig will not be of use',
} as const
type UkiFindingCode = keyof typeof UKI_FINDINGS
export type UkiFinding = { readonly code: UkiFindingCode; readonly message: string }

/** Words of the kernel, of initramfs-tools, dracut and systemd that give a person at the machine a shell or a voice. */
const DEBUG = new Set(
  [
    'debug break rd.break rd.shell rd.debug rdshell rd.systemd.debug_shell systemd.debug_shell systemd.default_debug_tty',
    'rd.systemd.unit systemd.unit rd.systemd.mask systemd.mask rd.systemd.wants systemd.wants systemd.run systemd.setenv',
    'systemd.crash_shell systemd.confirm_spawn systemd.log_level systemd.debug emergency rescue single s 1 kgdboc kgdbwait',
    'earlyprintk initcall_debug no_console_suspend sysrq_always_enabled',
  ]
    .join(' ')
    .split(' '),
)
const INIT = new Set(['init', 'rdinit'])
const EXECUTABLE = 0x20000000
const WRITABLE = 0x80000000

export function findings(uki: Uki): readonly UkiFinding[] {
  const found: UkiFinding[] = []
  const say = (code: UkiFindingCode, detail = '') =>
    found.push({ code, message: detail === '' ? UKI_FINDINGS[code] : `${UKI_FINDINGS[code]}: ${detail}` })

  const signatures = imageSignatures(uki.file, uki.pe)
  if (signatures.length === 0) say('Unsigned')
  for (const { verdict, signer } of signatures)
    if (verdict !== 'Good')
      say('SignatureNotGood', `by ${signer?.subject ?? 'nobody it names'}, ${SIGNATURE_VERDICTS[verdict]}`)

  const words = uki.commandLine ? kernelParameters(uki.commandLine.text) : []
  if (words.length === 0) say('NoCommandLine')
  for (const { name, text } of words) {
    if (INIT.has(name)) say('InitOnCommandLine', text)
    if (DEBUG.has(name)) say('DebugOnCommandLine', text)
  }
  // What follows a double dash is init's.
  const ends = words.findIndex(({ text }) => text === '--')
  const panic = words.slice(0, ends < 0 ? words.length : ends).findLast(({ name }) => name === 'panic')
  if (words.length > 0 && !/^-?[1-9][0-9]{0,8}$/.test(panic?.value ?? '')) say('NoPanic', panic?.text)

  if (!uki.osRelease.get('IMAGE_ID')) say('NoImageId')
  if (!uki.osRelease.get('IMAGE_VERSION')) say('NoImageVersion')

  for (const { name, characteristics } of uki.pe.sections) {
    const [writable, executable] = [(characteristics & WRITABLE) !== 0, (characteristics & EXECUTABLE) !== 0]
    const payload = [...uki.sections.keys()].some((one) => one === name)
    if (writable && executable) say('WritableAndExecutable', name)
    // Some tools mark the kernel as code.
    else if (payload && (writable || (executable && name !== '.linux'))) say('PayloadNotReadOnly', name)
  }

  const predicted = tried(() => digestUki(uki, 'sha256'))
  if (predicted instanceof Malformed) say('NotPredictable', predicted.message)
  else {
    const judged = tried(() => judgePcrSignatures(uki.sections, (bank: Bank) => predictPcr11(digestUki(uki, bank))))
    if (judged instanceof Malformed) say('PcrSignatureNotGood', judged.message)
    else
      for (const { bank, index, verdict } of judged)
        if (verdict !== 'Good') say('PcrSignatureNotGood', `${bank}[${index}] ${PCR_SIGNATURE_VERDICTS[verdict]}`)
  }
  return found
}

/** The kernel's parameters (lib/cmdline.c, next_arg): words between spaces, quotes hold a word together, and a dash in a name is an underscore. */
export function kernelParameters(text: string): readonly { name: string; value: string | undefined; text: string }[] {
  const words: string[] = []
  let [word, quoted] = ['', false]
  for (const character of text) {
    if (character === '"') quoted = !quoted
    if (isSpace(character) && !quoted) {
      if (word !== '') words.push(word)
      word = ''
    } else word += character
  }
  if (word !== '') words.push(word)
  return words.map((one) => {
    const [, name = '', value] = /^([^=]*)(?:=(.*))?$/s.exec(one.replaceAll('"', '')) ?? []
    return { name: name.replaceAll('-', '_'), value, text: one }
  })
}

// The kernel looks at bytes, and takes 0xA0 for the space that it is in Latin-1, in whatever letter of UTF-8 it stands.
function isSpace(character: string): boolean {
  return character === ' ' || (character > '~' && Buffer.from(character).includes(0xa0))
}

function tried<T>(act: () => T): T | Malformed {
  try {
    return act()
  } catch (error) {
    if (error instanceof Malformed) return error
    throw error
  }
}
