export { BANKS, type Bank, type BankName, bankOf, digest, extend, extended, isTrusted, TRUSTED_BANKS } from './banks.ts'
export { MALFORMED, Malformed, type MalformedCode } from './bytes.ts'
export { assembleUki } from './uki/assemble.ts'
export { type Pe, type PeSection, parsePe } from './uki/pe.ts'
