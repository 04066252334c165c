import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { parse, Statement } from '@skerry/api'
import type { Client } from '@skerry/client'
import { eventually } from '@skerry/demo'
import type { Site } from './site.ts'

// What a node said, as the hub tells it, checked from outside: numbered without a gap, each after the one before, once.

export type Told = { readonly seq: number; readonly digest: string; readonly text: string; readonly receivedAt: string }

/** Every statement of a site's node, from the hub's API alone. */
export async function statementsOf(client: Client, name: string): Promise<{ told: Told; statement: Statement }[]> {
  const all: { told: Told; statement: Statement }[] = []
  for (let from: number | undefined = 1; from !== undefined; ) {
    const page: { next?: number; items: Told[] } = await client.call(
      `/apis/skerry.dev/v1alpha1/namespaces/${name}/edgenodes/${name}/statements?from=${from}`,
    )
    for (const told of page.items) all.push({ told, statement: parse(Statement, JSON.parse(told.text), 'statement') })
    from = page.next
  }
  return all
}

/**
 * Waits until the hub has all that the site has said, and shows that it is whole: no number is missing or there twice,
 * every text follows from the one before, and site and hub hold the same digests.
 */
export async function assertChain(client: Client, site: Pick<Site, 'name' | 'outbox'>): Promise<Statement[]> {
  await eventually(
    async () => {
      const mine = site.outbox()
      const [last] = [...mine.keys()].slice(-1)
      return (await statementsOf(client, site.name)).at(-1)?.told.seq === last
    },
    `every statement of ${site.name} at the hub`,
    30_000,
  )
  const all = await statementsOf(client, site.name)
  let prev: string | undefined
  for (const [index, { told, statement }] of all.entries()) {
    assert.equal(told.seq, index + 1, `${site.name}: statement ${index + 1} is missing or there twice`)
    assert.equal(statement.seq, told.seq, `${site.name}: a text says another number than the row`)
    assert.equal(
      createHash('sha256').update(told.text).digest('hex'),
      told.digest,
      `${site.name}: digest of ${told.seq}`,
    )
    if (prev !== undefined)
      assert.equal(statement.prev, prev, `${site.name}: ${told.seq} does not follow from the one before`)
    prev = told.digest
  }
  for (const [seq, digest] of site.outbox())
    assert.equal(all[seq - 1]?.told.digest, digest, `${site.name}: the hub holds another text of ${seq}`)
  return all.map(({ statement }) => statement)
}

/** The transitions of a chain that concern these bytes. */
export function transitionsOf(statements: readonly Statement[], imageSha256: string) {
  return statements.flatMap((statement) =>
    statement.kind === 'transition' && statement.body.imageSha256 === imageSha256 ? [statement.body] : [],
  )
}
