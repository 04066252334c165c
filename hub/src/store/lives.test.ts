import { createKey, sha256Hex } from '@skerry/trust'
import { expect, test } from 'vitest'
import { saveIdentities } from './identities.ts'
import { loadLife } from './lives.ts'
import { write } from './store.ts'
import { openTestStore } from './testing.ts'

test('a life keeps the key and the exchange it began with, whatever is written under its number later', async () => {
  const store = await openTestStore()
  const life = { cluster: 'shop', node: 'a', incarnation: 1 }
  const save = async (word: string) => {
    const { jwk, thumbprint } = createKey('ES256')
    const [at, transcript] = [new Date(), sha256Hex(word)]
    const record = {
      ...life,
      class: 'software-key',
      nodeKey: jwk,
      nodeKeyThumbprint: thumbprint,
      natsKey: word,
    } as const
    const credential = { acceptance: '', natsJwt: '', credentialIssuedAt: at, credentialExpiresAt: at }
    const decided = { state: 'Accepted', requestId: word, transcript, decidedBy: word, decidedAt: at } as const
    await write(store, (tx) => saveIdentities(tx, [{ ...record, ...credential, ...decided, proof: word }]))
    return { nodeKey: jwk, transcript, proof: word, decidedBy: word }
  }
  const first = await save('first')
  await save('second')
  expect(await loadLife(store.sql, life)).toMatchObject(first)
})
