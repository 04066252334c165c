import { expect, test } from 'vitest'
import { responseCode, responseCodeText } from './response-codes.ts'

// TPM 2.0 Part 2, "Response Code Formats"; the numbers of tpm2_rc_decode.
test.each([
  [0x1df, 'TPM_RC_INTEGRITY, parameter 1 (0x1df)'],
  [0x2d5, 'TPM_RC_SIZE, parameter 2 (0x2d5)'],
  [0xfcd, 'TPM_RC_RANGE, parameter 15 (0xfcd)'],
  [0x18b, 'TPM_RC_HANDLE, handle 1 (0x18b)'],
  [0x28b, 'TPM_RC_HANDLE, handle 2 (0x28b)'],
  [0x98e, 'TPM_RC_AUTH_FAIL, session 1 (0x98e)'],
  [0xa9d, 'TPM_RC_POLICY_FAIL, session 2 (0xa9d)'],
  [0x9a2, 'TPM_RC_BAD_AUTH, session 1 (0x9a2)'],
  [0x100, 'TPM_RC_INITIALIZE (0x100)'],
  [0x101, 'TPM_RC_FAILURE (0x101)'],
  [0x14c, 'TPM_RC_NV_DEFINED (0x14c)'],
  [0x902, 'TPM_RC_OBJECT_MEMORY (0x902)'],
  [0x921, 'TPM_RC_LOCKOUT (0x921)'],
  [0x922, 'TPM_RC_RETRY (0x922)'],
  [0xb0143, 'TPM_RC_COMMAND_CODE (0xb0143)'],
  [0x97e, 'an unknown response code (0x97e)'],
])('0x%s is %s', (value, text) => {
  expect(responseCodeText(responseCode(value))).toBe(text)
})

test('every number is read, whatever it is', () => {
  const all = Array.from({ length: 0xffff }, (_, at) => at + 1)
  expect(all.map(responseCode).map(({ value }) => value)).toEqual(all)
})
